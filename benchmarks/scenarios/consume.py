"""Consume throughput with Kafka's own performance tool: newest records from memory, all records after a restart.

Before a cold read the operating system's cache of the server's files is dropped as well.
"""

from typing import Final

from benchmarks.arena import LARGE_BATCHES, LOADS, TAIL_MEGABYTES, Arena, Load
from benchmarks.clients import RECORD_BYTES, consume
from benchmarks.measure import MEGABYTE, drop_page_cache
from benchmarks.results import Better, Metric
from benchmarks.servers import Subject

TAIL: Final = Load(label="from memory", topic="tail", properties=LARGE_BATCHES.properties)
MEMORY: Final = Metric(label="memory after consuming", unit="MB", better=Better.LOWER)


def measure(arena: Arena) -> None:
    """Read what was just written; then, after a restart, what each kind of producer has written."""
    tail_count = min(TAIL_MEGABYTES, arena.size.load_megabytes) * MEGABYTE // RECORD_BYTES
    for load in LOADS:
        for subject in arena.subjects:
            arena.ensure_filled(subject, load, arena.size.record_count)
    for subject in arena.turns():
        arena.fill(subject, TAIL, tail_count)
        _consume(arena, subject, TAIL, "from memory", tail_count)
    for subject in arena.turns():
        subject.restart()
    for load in LOADS:
        for subject in arena.turns():
            drop_page_cache(subject.data_dir)
            _consume(arena, subject, load, f"cold, {load.label}", arena.size.record_count)
    for subject in arena.subjects:
        arena.add(MEMORY, subject, subject.resident_bytes / MEGABYTE)


def _consume(arena: Arena, subject: Subject, load: Load, label: str, record_count: int) -> None:
    cpu_before = subject.cpu_seconds
    throughput = consume(subject.bootstrap, load.topic, record_count)
    cost = (subject.cpu_seconds - cpu_before) / (record_count * RECORD_BYTES / (1000 * MEGABYTE))
    speed = Metric(label=f"consume {label}", unit="MB/s", better=Better.HIGHER)
    arena.add(speed, subject, throughput.megabytes_per_second)
    arena.add(Metric(label=f"consume {label}: processor time", unit="s/GB", better=Better.LOWER), subject, cost)
