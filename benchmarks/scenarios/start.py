"""How soon a server is of use: process start to the first acknowledged record, on a data directory that exists."""

from typing import Final

from benchmarks.arena import Arena
from benchmarks.measure import MEGABYTE
from benchmarks.results import Better, Metric

START: Final = Metric(label="start to first acknowledged record", unit="s", better=Better.LOWER, target="<= 3 s")
IDLE_MEMORY: Final = Metric(label="memory after start", unit="MB", better=Better.LOWER)


def measure(arena: Arena) -> None:
    """Restart both servers and look at their memory."""
    for subject in arena.turns():
        arena.add(START, subject, subject.restart())
        arena.add(IDLE_MEMORY, subject, subject.resident_bytes / MEGABYTE)
