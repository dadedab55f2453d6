"""How much the metadata log and the local object store add to the fsyncs they cannot do without.

One run does all of them in turn, so that a busy machine is as busy for each; what counts is the ratios:

    python -m benchmarks.append_latency DIRECTORY

`fsync` is an fdatasync after writing one WAL frame over an allocated file, what a commit comes down to; `2 fsyncs` is a
new file, its fsync and its directory's, what a put comes down to.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from kafscale.metadata.log import AppendUid
from kafscale.metadata.sqlite import SqliteLog
from kafscale.metadata.sqlite_database import WAL_FRAME_BYTES
from kafscale.storage.objects.local import LocalObjectStore

WARM_UP = 1200
"""Appends that fill the WAL file once: while it grows, an fsync costs more than in the long run."""

ROUNDS = 2000
ENTRY = os.urandom(300)
OBJECT = os.urandom(64 * 1024)

Step = Callable[[int], Awaitable[None]]


def bare_fsync(directory: Path) -> Step:
    descriptor = os.open(directory / "wal", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, bytes(1000 * WAL_FRAME_BYTES), 0)
    os.fsync(descriptor)
    frame = os.urandom(WAL_FRAME_BYTES)

    async def step(number: int) -> None:
        os.pwrite(descriptor, frame, number % 1000 * WAL_FRAME_BYTES)
        os.fdatasync(descriptor)

    return step


def two_fsyncs(directory: Path) -> Step:
    directory.mkdir()
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    async def step(number: int) -> None:
        file = os.open(directory / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(file, OBJECT)
        os.fsync(file)
        os.close(file)
        os.fsync(descriptor)

    return step


async def measure(steps: dict[str, Step]) -> dict[str, list[float]]:
    """Return each step's durations in microseconds, sorted."""
    durations: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            await step(number)
            durations[name].append((time.perf_counter() - start) * 1e6)
    return {name: sorted(values) for name, values in durations.items()}


def report(durations: dict[str, list[float]], against: dict[str, str]) -> None:
    print(f"{'':10} {'p50 us':>8} {'p99 us':>8}   ratio of p50")
    for name, values in durations.items():
        middle = values[len(values) // 2]
        base = durations[against[name]]
        ratio = middle / base[len(base) // 2]
        print(f"{name:10} {middle:8.0f} {values[len(values) * 99 // 100]:8.0f}   {ratio:.2f} x {against[name]}")


async def main(directory: Path) -> None:
    log = await SqliteLog.open(directory / "metadata.db")
    store = await LocalObjectStore.open(directory / "objects")

    async def append(number: int) -> None:
        await log.append(AppendUid(1, number + WARM_UP), ENTRY)

    async def put(number: int) -> None:
        await store.put(f"flush/00/1-{number}", [OBJECT])

    for number in range(WARM_UP):
        await log.append(AppendUid(2, number), ENTRY)
    steps = {
        "fsync": bare_fsync(directory),
        "append": append,
        "2 fsyncs": two_fsyncs(directory / "bare"),
        "put": put,
    }
    report(await measure(steps), {"fsync": "fsync", "append": "fsync", "2 fsyncs": "2 fsyncs", "put": "2 fsyncs"})
    await log.close()
    await store.close()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as scratch,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(Path(scratch)))
