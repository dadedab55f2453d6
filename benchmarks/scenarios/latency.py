"""One record at a time, acks=all, beside the bare fsyncs that one durable acknowledgement cannot do without.

The three take turns in blocks, so that other load on the machine meets each of them alike.
"""

from typing import Final

from benchmarks.arena import Arena
from benchmarks.clients import RECORD_BYTES, SingleRecords, create_topic
from benchmarks.measure import BareFsyncs, percentile, settle, timed
from benchmarks.results import Better, Metric
from benchmarks.servers import KAFSCALE

TOPIC: Final = "latency"
BLOCK: Final = 10
WARM_UP: Final = 200
"""Records before the first one that counts: the log's file grows at first, and the JVM compiles."""

P50: Final = Metric(label="acknowledgement of one record, p50", unit="ms", better=Better.LOWER)
P99: Final = Metric(label="acknowledgement of one record, p99", unit="ms", better=Better.LOWER)
CPU: Final = Metric(label="processor time for one record", unit="us", better=Better.LOWER)
BARE_P50: Final = Metric(label="bare fsyncs of one record, p50", unit="ms", better=Better.LOWER)
OVER_BARE: Final = Metric(label="acknowledgement over bare fsyncs, p50", unit="x", better=Better.LOWER, target="<= 2 x")


def measure(arena: Arena) -> None:
    """Send the same number of records to each server, in blocks."""
    for subject in arena.subjects:
        create_topic(subject.port, TOPIC, partition_count=1)
    bare = BareFsyncs(arena.directory / "bare-fsyncs", bytes(RECORD_BYTES))
    producers = {subject.name: SingleRecords(subject.port, TOPIC) for subject in arena.subjects}
    bare_times: list[float] = []
    times: dict[str, list[float]] = {subject.name: [] for subject in arena.subjects}
    for subject in arena.subjects:
        _send(producers[subject.name], WARM_UP)
    settle()
    cpu_before = {subject.name: subject.cpu_seconds for subject in arena.subjects}
    for _ in range(arena.size.latency_records // BLOCK):
        bare_times += [timed(bare.step) for _ in range(BLOCK)]
        for name, producer in producers.items():
            times[name] += _send(producer, BLOCK)
    bare.close()
    for producer in producers.values():
        producer.close()
    bare_p50 = percentile(bare_times, 0.5)
    for subject in arena.subjects:
        took = times[subject.name]
        arena.add(P50, subject, percentile(took, 0.5) * 1e3)
        arena.add(P99, subject, percentile(took, 0.99) * 1e3)
        arena.add(CPU, subject, (subject.cpu_seconds - cpu_before[subject.name]) / len(took) * 1e6)
        if subject.name == KAFSCALE:
            arena.add(BARE_P50, subject, bare_p50 * 1e3)
            arena.add(OVER_BARE, subject, percentile(took, 0.5) / bare_p50)


def _send(producer: SingleRecords, count: int) -> list[float]:
    return [timed(lambda: _expect_success(producer.send())) for _ in range(count)]


def _expect_success(error_code: int) -> None:
    if error_code:
        raise RuntimeError(f"a record was refused: error {error_code}")
