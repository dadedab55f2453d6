"""Where in a partition to begin, the way people write it: start, end, 17, -5 (five before the end), @1700000000000."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from kafscale.cli.errors import CommandError

if TYPE_CHECKING:
    from kafka import TopicPartition


class Anchor(Enum):
    """What the number of a place is counted from."""

    START = "start"
    END = "end"
    OFFSET = "offset"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a partition: `number` records before the END, an OFFSET, or a TIME in ms since the epoch."""

    anchor: Anchor
    number: int = 0


_WORDS = {
    "start": Anchor.START,
    "beginning": Anchor.START,
    "earliest": Anchor.START,
    "end": Anchor.END,
    "latest": Anchor.END,
}


def parse_place(text: str) -> Place:
    """Return the place `text` means; raises CommandError where it means none."""
    if text in _WORDS:
        return Place(anchor=_WORDS[text])
    try:
        if text.startswith("@"):
            return Place(anchor=Anchor.TIME, number=int(text[1:]))
        number = int(text)
    except ValueError:
        raise CommandError(f"offset {text!r}: write start, end, N, -N or @milliseconds") from None
    return Place(anchor=Anchor.END, number=-number) if number < 0 else Place(anchor=Anchor.OFFSET, number=number)


class OffsetSource(Protocol):
    """What can say where partitions begin and end, and where in them a time is (None: after the last record)."""

    def starts(self, partitions: Iterable["TopicPartition"]) -> Mapping["TopicPartition", int]: ...

    def ends(self, partitions: Iterable["TopicPartition"]) -> Mapping["TopicPartition", int]: ...

    def at(
        self, partitions: Iterable["TopicPartition"], timestamp_ms: int
    ) -> Mapping["TopicPartition", int | None]: ...


def resolve(place: Place, partitions: Iterable["TopicPartition"], source: OffsetSource) -> dict["TopicPartition", int]:
    """Return the offset of `place` in each partition, within what the partition holds."""
    partitions = list(partitions)
    starts, ends = source.starts(partitions), source.ends(partitions)
    times = source.at(partitions, place.number) if place.anchor is Anchor.TIME else {}
    return {each: _within(place, starts[each], ends[each], times.get(each)) for each in partitions}


def _within(place: Place, start: int, end: int, at_time: int | None) -> int:
    match place.anchor:
        case Anchor.START:
            return start
        case Anchor.END:
            return max(start, end - place.number)
        case Anchor.OFFSET:
            return min(max(start, place.number), end)
        case Anchor.TIME:
            return end if at_time is None else at_time
