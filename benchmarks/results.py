"""Numbers by what they measure: one value per server and round, so that rounds can be compared one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from benchmarks.measure import median
from benchmarks.servers import APACHE_KAFKA, KAFSCALE


class Better(Enum):
    """Which way a number is better, for the reader of the table."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table.

    `target` is what the project wants, in words; it judges nothing here.
    """

    label: str
    unit: str
    better: Better
    target: str = ""


class Spread(NamedTuple):
    """The middle, the smallest and the largest of some values."""

    median: float
    low: float
    high: float


class Results:
    """What was measured so far, in the order in which it came first."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[str, list[float]]] = {}

    def add(self, metric: Metric, subject: str, value: float) -> None:
        self._values.setdefault(metric, {}).setdefault(subject, []).append(value)

    def metrics(self) -> Iterator[Metric]:
        yield from self._values

    def spread(self, metric: Metric, subject: str) -> Spread | None:
        """Return what a server reached, or None where it was not measured."""
        return _spread(self._values[metric].get(subject, []))

    def ratio(self, metric: Metric) -> Spread | None:
        """Return this broker's values over Apache Kafka's of the same rounds."""
        own, other = (self._values[metric].get(name, []) for name in (KAFSCALE, APACHE_KAFKA))
        return _spread([mine / theirs for mine, theirs in zip(own, other, strict=False) if theirs])


def _spread(values: list[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None
