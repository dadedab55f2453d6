"""What is read from the operating system and from a list of numbers: processor time, memory, fsyncs, percentiles."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from kafscale.metadata.sqlite_database import WAL_FRAME_BYTES

MEGABYTE: Final = 1_000_000
WAL_FRAMES: Final = 1000
"""Frames of the file that bare fsyncs write over: allocated beforehand, as SQLite's WAL is in the long run."""

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the command's name: own user and system time, then those of children waited for.
_STAT_TIMES: Final = slice(11, 15)


class ThreadSeconds(NamedTuple):
    """Processor time of a thread."""

    user: float
    system: float


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process and its ended children have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[_STAT_TIMES])) / _TICKS_PER_SECOND


def thread_seconds(pid: int) -> dict[int, ThreadSeconds]:
    """Return the processor time of each living thread of a process; the main thread has the process's id."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        user, system = (task / "stat").read_text().rpartition(")")[2].split()[_STAT_TIMES][:2]
        times[int(task.name)] = ThreadSeconds(int(user) / _TICKS_PER_SECOND, int(system) / _TICKS_PER_SECOND)
    return times


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory left")


def settle() -> None:
    """Let the disk finish what earlier steps have left, so that the next one does not pay for it."""
    os.sync()


def drop_page_cache(directory: Path) -> None:
    """Make the operating system forget the contents of every file below `directory`, so that reads meet the disk."""
    settle()
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def timed(step: Callable[[], object]) -> float:
    """Return how many seconds `step` takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


class BareFsyncs:
    """What one acknowledgement cannot do without: a small file and its directory synced, then a log's fdatasync."""

    def __init__(self, directory: Path, content: bytes) -> None:
        directory.mkdir()
        self._objects = directory / "objects"
        self._objects.mkdir()
        self._content = content
        self._frame = os.urandom(WAL_FRAME_BYTES)
        self._directory = os.open(self._objects, os.O_RDONLY | os.O_DIRECTORY)
        self._log = os.open(directory / "log", os.O_RDWR | os.O_CREAT)
        os.pwrite(self._log, bytes(WAL_FRAMES * WAL_FRAME_BYTES), 0)
        os.fsync(self._log)
        self._number = 0

    def step(self) -> None:
        """Do it once more."""
        self._number += 1
        file = os.open(self._objects / str(self._number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(file, self._content)
        os.fsync(file)
        os.close(file)
        os.fsync(self._directory)
        os.pwrite(self._log, self._frame, self._number % WAL_FRAMES * WAL_FRAME_BYTES)
        os.fdatasync(self._log)

    def close(self) -> None:
        os.close(self._directory)
        os.close(self._log)
