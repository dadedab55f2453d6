"""Produce throughput with Kafka's own performance tool, and what it costs the server."""

from benchmarks.arena import LOADS, Arena, Load
from benchmarks.measure import MEGABYTE
from benchmarks.results import Better, Metric

MEMORY = Metric(label="memory after producing", unit="MB", better=Better.LOWER)


def measure(arena: Arena) -> None:
    """Fill each load's topic on both servers."""
    for load in LOADS:
        for subject in arena.turns():
            work = arena.fill(subject, load, arena.size.record_count)
            arena.add(_speed(load), subject, work.megabytes_per_second)
            arena.add(_cost(load), subject, work.cpu_seconds_per_gigabyte)
    for subject in arena.subjects:
        arena.add(MEMORY, subject, subject.resident_bytes / MEGABYTE)


def _speed(load: Load) -> Metric:
    return Metric(label=f"produce, {load.label}", unit="MB/s", better=Better.HIGHER, target=load.target)


def _cost(load: Load) -> Metric:
    return Metric(label=f"produce, {load.label}: processor time", unit="s/GB", better=Better.LOWER)
