"""Runs scenarios: one seed, one world, twice, and both runs must be the same.

    python -m tests.simulation.runner module:scenario --first 1 --count 100

A scenario is `async def scenario(loop: SimulatedLoop) -> None` that raises when something is wrong. Started as a
program, the runner starts itself again with a fixed hash seed, so that a seed means the same run in every process.
"""

import argparse
import asyncio
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.simulation.guard import guarded
from tests.simulation.loop import SimulatedLoop, SimulationFailure, UncaughtError

HASH_SEED: Final = "0"

Scenario: TypeAlias = Callable[[SimulatedLoop], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of one seed did."""

    digest: str
    virtual_s: float
    turns: int


class NotDeterministic(SimulationFailure):
    """Two runs of one seed were different."""


def run_once(scenario: Scenario, seed: int) -> Run:
    """Run a scenario. Raises what it raises, or `SimulationFailure`; the message begins with the seed."""
    loop = SimulatedLoop(seed)
    # A collection at any moment could run __del__ and weakref callbacks there; reference counts alone are repeatable.
    gc.disable()
    # What is there already need not be looked at when the run's own garbage is collected.
    gc.freeze()
    try:
        with guarded():
            _run(loop, scenario)
        return Run(digest=loop.digest(), virtual_s=loop.time(), turns=loop.turns)
    except BaseException as error:
        error.add_note(f"seed {seed}, virtual time {loop.time():.6f} s, turn {loop.turns}")
        raise
    finally:
        loop.close()
        gc.unfreeze()
        gc.enable()


def run_twice(scenario: Scenario, seed: int) -> Run:
    """Run a scenario twice and return the run, as `run_once` does. Raises `NotDeterministic` besides."""
    first, second = run_once(scenario, seed), run_once(scenario, seed)
    if first != second:
        raise NotDeterministic(f"seed {seed}: {first} and {second}")
    return first


def _run(loop: SimulatedLoop, scenario: Scenario) -> None:
    loop.run_until_complete(scenario(loop))
    loop.kill_all()
    leftover = [task for task in loop.running_tasks() if not loop.is_buried(task)]
    for task in leftover:
        task.cancel()
    loop.run_until_complete(_settled(leftover))
    loop.bury_generators()
    loop.run_until_complete(loop.shutdown_asyncgens())
    leftover.clear()
    gc.collect()
    if loop.failures:
        raise UncaughtError("\n".join(loop.failures))


async def _settled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def load_scenario(name: str) -> Scenario:
    """Return the scenario that `module:function` names."""
    module, _, function = name.partition(":")
    scenario: Scenario = getattr(importlib.import_module(module), function)
    return scenario


def main(arguments: list[str]) -> int:
    """Run seeds until one fails; return the exit status."""
    parser = argparse.ArgumentParser(description="Run a simulated scenario for a range of seeds.")
    parser.add_argument("scenario", help="module:function")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds")
    options = parser.parse_args(arguments)
    scenario = load_scenario(options.scenario)
    virtual_s = 0.0
    for seed in range(options.first, options.first + options.count):
        try:
            virtual_s += run_twice(scenario, seed).virtual_s
        except Exception:  # noqa: BLE001 (whatever it is, the seed is the news)
            traceback.print_exc()
            print(f"FAILED: {options.scenario} --first {seed}")
            return 1
    print(f"{options.count} seeds, {virtual_s / 3600:.2f} simulated hours")
    return 0


def _restart_with_hash_seed() -> None:
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        command = [sys.executable, "-m", "tests.simulation.runner", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)  # noqa: S606 (the same program again)


if __name__ == "__main__":
    _restart_with_hash_seed()
    sys.exit(main(sys.argv[1:]))
