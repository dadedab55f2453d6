"""What a scenario works with: both servers, how much load to make, and where numbers go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from benchmarks.clients import PARTITION_COUNT, RECORD_BYTES, create_topic, produce
from benchmarks.measure import MEGABYTE, settle
from benchmarks.results import Metric, Results
from benchmarks.servers import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much load a run makes."""

    load_megabytes: int
    latency_records: int

    @property
    def record_count(self) -> int:
        return self.load_megabytes * MEGABYTE // RECORD_BYTES


FULL: Final = Size(load_megabytes=300, latency_records=1500)
QUICK: Final = Size(load_megabytes=60, latency_records=400)

TAIL_MEGABYTES: Final = 48
"""Fits the default tail cache (64 MiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A kind of producer, and the topic it fills."""

    label: str
    topic: str
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    target: str = ""


DEFAULT_CLIENT: Final = Load(label="default client", topic="default-client")
LARGE_BATCHES: Final = Load(
    label="1 MB batches",
    topic="large-batches",
    properties=MappingProxyType({"batch.size": "1000000", "linger.ms": "20"}),
    target=">= 0.5 x",
)
LOADS: Final = (DEFAULT_CLIENT, LARGE_BATCHES)


class Work(NamedTuple):
    """How fast something went and what it cost the server."""

    megabytes_per_second: float
    cpu_seconds_per_gigabyte: float


class Arena:
    """One round."""

    def __init__(self, subjects: list[Subject], directory: Path, size: Size, results: Results) -> None:
        self.subjects = subjects
        self.directory = directory
        self.size = size
        self._results = results

    def turns(self) -> Iterator[Subject]:
        """Yield the servers one after the other, the disk at rest before each."""
        for subject in self.subjects:
            settle()
            yield subject

    def add(self, metric: Metric, subject: Subject, value: float) -> None:
        self._results.add(metric, subject.name, value)

    def fill(self, subject: Subject, load: Load, record_count: int) -> Work:
        """Produce a load's records and return how that went."""
        create_topic(subject.port, load.topic, PARTITION_COUNT)
        cpu_before = subject.cpu_seconds
        throughput = produce(subject.bootstrap, load.topic, record_count, load.properties)
        subject.loaded.add(load.topic)
        gigabytes = record_count * RECORD_BYTES / (1000 * MEGABYTE)
        return Work(throughput.megabytes_per_second, (subject.cpu_seconds - cpu_before) / gigabytes)

    def ensure_filled(self, subject: Subject, load: Load, record_count: int) -> None:
        """Produce a load's records unless an earlier scenario of this round has done it."""
        if load.topic not in subject.loaded:
            self.fill(subject, load, record_count)
