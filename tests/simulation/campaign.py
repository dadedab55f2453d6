"""Campaigns: many seeds, each run twice, over several processes, resumable.

A worker is this program again, with a fixed hash seed, that runs the seeds it reads from its standard input one by one
and answers each with a line of JSON. A worker that dies fails the seed it had, and another one takes its place.
"""

import json
import logging
import math
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from tests.simulation.mutants import MUTANTS
from tests.simulation.runner import HASH_SEED, run_once, run_twice
from tests.simulation.world import run_world

REPORT_CHARACTERS_MAX: Final = 4_000
"""Of a failure's description; the seed tells the rest."""

_SEEDS: Final = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one seed. `failure` is empty for a good one."""

    seed: int
    failure: str
    digest: str
    virtual_s: float
    wall_s: float


def parse_seeds(text: str) -> range:
    """Return the seeds of `first-last` or of a single number. Raises ValueError."""
    match = _SEEDS.fullmatch(text)
    if match is None:
        raise ValueError(f"not seeds: {text!r} (write 0-999, or 7)")
    first = int(match[1])
    return range(first, int(match[2] or first) + 1)


def run_seed(seed: int, mutant: str = "") -> Result:
    """Run one seed in this process: twice, or once with the mutant of this name in the place of the broker."""
    began_s = time.monotonic()
    failure, digest, virtual_s = "", "", 0.0
    try:
        if mutant:
            with MUTANTS[mutant]():
                run = run_once(run_world, seed)
        else:
            run = run_twice(run_world, seed)
        digest, virtual_s = run.digest, run.virtual_s
    except Exception as error:  # noqa: BLE001 (whatever it is, the seed is the news)
        failure = describe(error) or "failed without a word"
    wall_s = time.monotonic() - began_s
    return Result(seed=seed, failure=failure, digest=digest, virtual_s=virtual_s, wall_s=wall_s)


def describe(error: BaseException) -> str:
    """Return the errors behind an error, shortly, with the notes and the innermost place of each."""
    lines: list[str] = []
    for one in _leaves(error):
        frames = traceback.extract_tb(one.__traceback__)
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        lines.append(f"{type(one).__name__}: {one}{place}")
    lines += getattr(error, "__notes__", [])
    return "\n".join(lines)[:REPORT_CHARACTERS_MAX]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def work() -> None:
    """Be a worker: lines of seed and mutant in, results out."""
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        seed, _, mutant = line.strip().partition(" ")
        print(json.dumps(asdict(run_seed(int(seed), mutant))), flush=True)


class Worker:
    """A worker process, started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, seed: int, mutant: str) -> Result:
        """Run one seed."""
        began_s = time.monotonic()
        process = self._process = self._process or _start_worker()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{seed} {mutant}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return Result(**json.loads(line))
        self.close()
        failure = f"the worker died with exit status {process.returncode}"
        return Result(seed=seed, failure=failure, digest="", virtual_s=0.0, wall_s=time.monotonic() - began_s)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start_worker() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.simulation", "--worker"]
    environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


class Workers:
    """Some workers. Use as a context manager."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._workers = [Worker() for _ in range(jobs)]
        self._free: SimpleQueue[Worker] = SimpleQueue()
        self._pool = ThreadPoolExecutor(jobs)
        for worker in self._workers:
            self._free.put(worker)

    def run(self, seeds: Iterable[int], seconds: float = math.inf, mutant: str = "") -> Iterator[Result]:
        """Yield the result of each seed as it comes; after `seconds` begin no further one."""
        deadline_s = time.monotonic() + seconds
        left = iter(seeds)
        running: set[Future[Result]] = set()
        try:
            while True:
                while len(running) < self._jobs and time.monotonic() < deadline_s:
                    seed = next(left, None)
                    if seed is None:
                        break
                    running.add(self._pool.submit(self._run, seed, mutant))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            wait(running)

    def _run(self, seed: int, mutant: str) -> Result:
        worker = self._free.get()
        try:
            return worker.run(seed, mutant)
        finally:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        for worker in self._workers:
            worker.close()


class State:
    """Results on disk, one line each, so that a campaign can go on where it was stopped."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.results: dict[int, Result] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                result = Result(**json.loads(line))
                self.results[result.seed] = result

    def add(self, result: Result) -> None:
        """Keep a result."""
        self.results[result.seed] = result
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")


def summary(results: Mapping[int, Result], wall_s: float) -> str:
    """Return the figures of a campaign, failed seeds last."""
    failed = sorted(result.seed for result in results.values() if result.failure)
    virtual_h = sum(result.virtual_s for result in results.values()) / 3600
    lines = [
        f"{len(results)} seeds run twice, {len(failed)} failed, {virtual_h:.2f} simulated hours, {wall_s:.0f} s in all"
    ]
    lines += [f"failed: {' '.join(map(str, failed))}"] if failed else []
    return "\n".join(lines)
