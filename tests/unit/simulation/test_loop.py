"""The simulated loop keeps asyncio's promises, uses what they leave free, and notices when a run goes wrong."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tests.simulation.guard import ForbiddenCall, guarded
from tests.simulation.loop import Deadlock, Runaway, SimulatedLoop, SimulationFailure, UncaughtError
from tests.simulation.runner import NotDeterministic, run_once, run_twice

SEEDS = range(20)


async def busy_world(loop: SimulatedLoop) -> None:
    """Use tasks, timers, arrivals, sets of tasks and cancellation."""

    async def worker(number: int) -> int:
        for _ in range(5):
            await asyncio.sleep(loop.random.random())
            loop.arrive(0.01, loop.record, f"worker {number}")
        return number

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker(number)) for number in range(10)]
    done, _ = await asyncio.wait(tasks)
    loop.record(" ".join(str(task.result()) for task in done))
    sleepers = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(5)]
    await asyncio.wait(sleepers, timeout=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_is_one_run(seed: int) -> None:
    assert run_twice(busy_world, seed).virtual_s > 1


def test_seeds_differ() -> None:
    assert len({run_once(busy_world, seed).digest for seed in SEEDS}) == len(SEEDS)


def test_what_differs_between_runs_is_noticed() -> None:
    runs = iter(range(10))

    async def scenario(loop: SimulatedLoop) -> None:
        loop.record(str(next(runs)))

    with pytest.raises(NotDeterministic, match="seed 1"):
        run_twice(scenario, 1)


def test_an_hour_takes_no_time() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        await asyncio.sleep(3600)
        assert loop.time() >= 3600

    began = time.monotonic()
    run_once(scenario, 1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("seed", SEEDS)
def test_call_soon_is_first_in_first_out(seed: int) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        order: list[int] = []
        for number in range(50):
            loop.call_soon(order.append, number)
            loop.arrive(0.0, loop.call_soon, order.append, -1)
        await asyncio.sleep(1)
        assert [number for number in order if number >= 0] == list(range(50))

    run_once(scenario, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_timers_never_run_early_nor_before_earlier_ones(seed: int) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        ran: list[float] = []

        def run(when: float) -> None:
            assert loop.time() >= when
            ran.append(when)

        for _ in range(200):
            when = loop.time() + loop.random.randint(0, 5000) / 1000
            loop.call_at(when, run, when)
        await asyncio.sleep(6)
        assert ran == sorted(ran)
        assert len(ran) == 200

    run_once(scenario, seed)


def _orders(schedule: Any) -> set[str]:
    """Return the orders of two events over many seeds."""
    orders: set[str] = set()

    async def scenario(loop: SimulatedLoop) -> None:
        order: list[str] = []
        schedule(loop, order)
        await asyncio.sleep(2)
        orders.add("".join(order))

    for seed in range(150):
        run_once(scenario, seed)
    return orders


def test_timers_for_the_same_time_come_in_any_order() -> None:
    def schedule(loop: SimulatedLoop, order: list[str]) -> None:
        loop.call_at(1.0, order.append, "a")
        loop.call_at(1.0, order.append, "b")

    assert _orders(schedule) == {"ab", "ba"}


def test_arrivals_come_in_any_order() -> None:
    def schedule(loop: SimulatedLoop, order: list[str]) -> None:
        loop.arrive(1.0 - loop.time(), order.append, "a")
        loop.arrive(1.0 - loop.time(), order.append, "b")

    assert _orders(schedule) == {"ab", "ba"}


def test_an_arrival_comes_before_or_after_a_timer() -> None:
    def schedule(loop: SimulatedLoop, order: list[str]) -> None:
        loop.arrive(1.0 - loop.time(), order.append, "a")
        loop.call_at(1.0, order.append, "t")

    assert _orders(schedule) == {"at", "ta"}


def test_a_deadlock_names_who_waits() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        await loop.create_future()

    with pytest.raises(Deadlock, match="scenario"):
        run_once(scenario, 1)


def test_a_busy_loop_runs_away() -> None:
    async def scenario(_: SimulatedLoop) -> None:
        while True:  # noqa: ASYNC110 (the mistake to be noticed)
            await asyncio.sleep(0)

    with pytest.raises(Runaway, match="not idle"):
        run_once(scenario, 1)


def test_waiting_for_ever_runs_away() -> None:
    async def scenario(_: SimulatedLoop) -> None:
        while True:  # noqa: ASYNC110 (the mistake to be noticed)
            await asyncio.sleep(1000)

    with pytest.raises(Runaway, match="virtual time"):
        run_once(scenario, 1)


def test_an_error_that_nobody_looks_at_fails_the_run() -> None:
    async def fail() -> None:
        raise KeyError("lost")

    async def scenario(loop: SimulatedLoop) -> None:
        forgotten = loop.create_task(fail())
        await asyncio.sleep(1)
        del forgotten

    with pytest.raises(UncaughtError, match="lost"):
        run_once(scenario, 1)


def test_an_error_in_a_callback_fails_the_run_at_once() -> None:
    def fail() -> None:
        raise KeyError("lost")

    async def scenario(loop: SimulatedLoop) -> None:
        loop.call_later(1, fail)
        await asyncio.sleep(100)
        raise AssertionError("still running")

    with pytest.raises(UncaughtError, match="lost"):
        run_once(scenario, 1)


def test_there_are_no_threads() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        with pytest.raises(SimulationFailure, match="no threads"):
            await asyncio.to_thread(time.time)
        errors: list[BaseException] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except SimulationFailure as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(errors) == 1

    run_once(scenario, 1)


def test_a_killed_process_does_nothing_more() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        done: list[str] = []

        async def program() -> None:
            try:
                asyncio.get_running_loop().call_later(2, done.append, "timer")
                await asyncio.sleep(3)
            finally:
                done.append("finally")

        async def fails() -> None:
            raise KeyError("in a killed process")

        process = loop.process("victim")
        task = process.run(loop.create_task, program())
        failed = process.run(loop.create_task, fails())
        await asyncio.sleep(1)
        loop.kill(process)
        del failed
        await asyncio.sleep(10)
        assert done == []
        assert not task.done()

    assert run_twice(scenario, 5).virtual_s > 10


def test_the_broker_must_not_reach_past_the_simulation() -> None:
    namespace: dict[str, Any] = {"__name__": "kafscale.broker.session"}
    exec("import time\ndef now():\n    return time.monotonic()", namespace)  # noqa: S102 (broker code, for the test)
    with guarded():
        time.monotonic()
        with pytest.raises(ForbiddenCall, match=r"kafscale\.broker\.session called time\.monotonic"):
            namespace["now"]()
    assert namespace["now"]() > 0


async def hash_dependent(loop: SimulatedLoop) -> None:
    """Do what depends on the hash seed."""
    loop.record(str(list({f"key-{number}" for number in range(50)})))
    print(loop.digest())


def test_the_runner_fixes_the_hash_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation.runner", f"{__name__}:hash_dependent", "--first", "3"]
    outputs = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "random")
    }
    assert len(outputs) == 1
