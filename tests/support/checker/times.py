"""The check of time lookups: what ListOffsets finds is what a scan of the log finds."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from tests.support.checker.report import Check, Finding
from tests.support.checker.view import View
from tests.support.history import (
    NO_OFFSET,
    AllRead,
    ProduceOperation,
    Status,
    TimeFound,
    TimeOperation,
    TopicPartition,
)


class Timeline:
    """The records of one partition's final read with their timestamps, ready for lookups.

    Lookups ran while records were appended and the log start moved. The final read holds the records that were there
    for all of them, from the final log start on; what stood before it can excuse an answer but not forbid one.
    """

    def __init__(self, read: AllRead, writes: list[ProduceOperation]) -> None:
        self.start = read.log_start
        self._offsets = read.offsets
        self._largest_so_far = list(accumulate((write.call.timestamp_ms for write in writes), max))
        self._writes = dict(zip(read.offsets, writes, strict=True))

    def first_at_or_after(self, timestamp_ms: int) -> int:
        """Return the offset of the first record at or after `timestamp_ms`, or `NO_OFFSET`."""
        index = bisect_left(self._largest_so_far, timestamp_ms)
        return NO_OFFSET if index == len(self._offsets) else self._offsets[index]

    def write_at(self, offset: int) -> ProduceOperation:
        """Return the write that stands at an offset which a lookup should find."""
        return self._writes[offset]


def time_lookup_is_a_scan(view: View) -> Iterator[Finding]:
    """A lookup finds the first record at or after its time; -1 only if that one may have come later than the lookup."""
    timelines = _timelines(view)
    for lookup in view.time_lookups:
        timeline = timelines.get(lookup.call.at)
        if lookup.reply is not None and timeline is not None:
            problem = _wrong_answer(timeline, lookup, lookup.reply)
            if problem:
                yield f"{lookup.call.at} at {lookup.call.timestamp_ms} ms", f"{problem}: {lookup} {lookup.reply}"


def _wrong_answer(timeline: Timeline, lookup: TimeOperation, found: TimeFound) -> str:
    expected = timeline.first_at_or_after(lookup.call.timestamp_ms)
    if found.offset == expected:
        return _wrong_timestamp(timeline, found)
    if found.offset == NO_OFFSET:
        known = _acknowledged_before(timeline.write_at(expected), lookup)
        return f"found nothing, a scan finds {expected}" if known else ""
    if found.offset < timeline.start:
        return "" if found.timestamp_ms >= lookup.call.timestamp_ms else "found an earlier record"
    return f"a scan finds {expected}"


def _wrong_timestamp(timeline: Timeline, found: TimeFound) -> str:
    if found.offset == NO_OFFSET:
        return ""
    expected = timeline.write_at(found.offset).call.timestamp_ms
    return "" if expected == found.timestamp_ms else f"that record's timestamp is {expected}"


def _acknowledged_before(write: ProduceOperation, lookup: TimeOperation) -> bool:
    return write.status is Status.OK and write.ended < lookup.invoked


def _timelines(view: View) -> dict[TopicPartition, Timeline]:
    timelines: dict[TopicPartition, Timeline] = {}
    for at in {lookup.call.at: None for lookup in view.time_lookups}:
        read = view.final_reads.get(at)
        if read is not None:
            writes = [view.writes[value] for value in read.values if value in view.writes]
            if len(writes) == len(read.values) and all(write.call.timestamp_ms >= 0 for write in writes):
                timelines[at] = Timeline(read, writes)
    return timelines


TIME_CHECKS: dict[str, Check] = {"time lookup is a scan": time_lookup_is_a_scan}
