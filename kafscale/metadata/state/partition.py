"""One partition: which runs of which objects hold its records, and its producers.

A run is a row in packed arrays (40 bytes), because a broker may hold a million of them. Runs are ordered by offset and
cover log start .. high watermark without a gap. Pure: no clock, no I/O.

`run_newest` holds the largest timestamp of each run and all runs before it, so that a time is found by bisection. It
follows from `run_timestamps`, so it is no part of the encoding; what is missing of it is made when a time is asked for.

Keeps I2 (offsets dense when written, a (partition, offset) never changes its bytes) and I4 (high watermark and log
start never go back).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import NamedTuple

from kafscale.metadata.entries import BATCH_FACTS
from kafscale.metadata.state import producers
from kafscale.metadata.state.outcomes import BatchVerdict, Verdict


class Run(NamedTuple):
    """Batches of one partition that lie together in one object, with consecutive offsets.

    `object_index` is the state's number of the object, `position` and `length` bytes in it; `end_offset` is exclusive.
    """

    base_offset: int
    end_offset: int
    object_index: int
    position: int
    length: int
    max_timestamp: int


class Partition:
    """State of one partition. Every batch's base offset follows from its run and the batches before it in the run."""

    __slots__ = (
        "digest",
        "high_watermark",
        "log_start_offset",
        "producers",
        "run_lengths",
        "run_newest",
        "run_objects",
        "run_offsets",
        "run_positions",
        "run_timestamps",
        "size_bytes",
    )

    def __init__(self) -> None:
        self.log_start_offset = 0
        self.high_watermark = 0
        self.size_bytes = 0
        self.run_offsets = array("q")
        self.run_objects = array("q")
        self.run_positions = array("I")
        self.run_lengths = array("I")
        self.run_timestamps = array("q")
        self.run_newest = array("q")
        self.producers: dict[int, bytes] = {}
        self.digest: bytes | None = None
        """Cached digest of the canonical encoding; None after every change (see `encoding`)."""

    def append(
        self, object_index: int, position: int, facts: Iterator[tuple[int, ...]], time_ms: int
    ) -> tuple[list[BatchVerdict], int]:
        """Judge batches that lie one behind the other from `position`; return the verdicts and the runs added.

        `facts` yields rows of `BATCH_FACTS`. A rejected batch splits the run around itself.
        """
        self.digest = None
        verdicts: list[BatchVerdict] = []
        runs_before = len(self.run_offsets)
        known = self.producers
        offset = run_offset = self.high_watermark
        run_position = position
        run_timestamp = -1
        for length, count, max_timestamp, producer_id, epoch, sequence in facts:
            if producer_id >= 0:
                memory = known.get(producer_id)
                rejected = producers.judge(memory, epoch, sequence, count)
                if rejected is not None:
                    verdicts.append(rejected)
                    self._add_run(run_offset, object_index, run_position, position, run_timestamp, offset)
                    position += length
                    run_position, run_offset, run_timestamp = position, offset, -1
                    continue
                known[producer_id] = producers.remember(memory, epoch, sequence, count, offset, time_ms)
            verdicts.append(BatchVerdict(Verdict.ACCEPTED, offset))
            offset += count
            position += length
            if max_timestamp > run_timestamp:
                run_timestamp = max_timestamp
        self._add_run(run_offset, object_index, run_position, position, run_timestamp, offset)
        self.high_watermark = offset
        return verdicts, len(self.run_offsets) - runs_before

    def _add_run(
        self, base_offset: int, object_index: int, position: int, end: int, max_timestamp: int, end_offset: int
    ) -> None:
        if end_offset == base_offset:
            return
        self.run_offsets.append(base_offset)
        self.run_objects.append(object_index)
        self.run_positions.append(position)
        self.run_lengths.append(end - position)
        self.run_timestamps.append(max_timestamp)
        self.size_bytes += end - position

    def advance_log_start(self, offset: int) -> list[int]:
        """Let the partition begin at `offset` (log start <= offset <= high watermark).

        Runs wholly below it go; returns the index of the object of each, one reference to release for each.
        """
        self.digest = None
        self.log_start_offset = offset
        gone = self.run_count if offset == self.high_watermark else self.run_index_at(offset)
        released = self.run_objects[:gone].tolist()
        self.size_bytes -= sum(self.run_lengths[:gone])
        for values in (self.run_offsets, self.run_objects, self.run_positions, self.run_lengths, self.run_timestamps):
            del values[:gone]
        if gone:
            del self.run_newest[:gone]
            self._correct_newest()
        return released

    def _correct_newest(self) -> None:
        """Take runs that are gone out of `run_newest`: up to the first run as new as they were it shows them."""
        corrected = accumulate(self.run_timestamps, max)
        for index, (newest, before) in enumerate(zip(corrected, self.run_newest, strict=False)):
            if newest == before:
                return
            self.run_newest[index] = newest

    def _whole_newest(self) -> "array[int]":
        self.prepare_newest(self.run_count)
        return self.run_newest

    def run(self, index: int) -> Run:
        """Return run `index` (0 is the oldest)."""
        offsets = self.run_offsets
        end = offsets[index + 1] if index + 1 < len(offsets) else self.high_watermark
        return Run(
            offsets[index],
            end,
            self.run_objects[index],
            self.run_positions[index],
            self.run_lengths[index],
            self.run_timestamps[index],
        )

    @property
    def run_count(self) -> int:
        return len(self.run_offsets)

    def run_index_at(self, offset: int) -> int:
        """Return the index of the run that holds `offset` (log start <= offset < high watermark)."""
        return bisect_right(self.run_offsets, offset) - 1

    def prepare_newest(self, runs_max: int) -> bool:
        """Make what is missing of `run_newest`, for at most so many runs; tells whether it is whole.

        Looking for a time does it too, in one step: after a start that may be 100 ms and more for a million runs.
        """
        newest = self.run_newest
        missing = self.run_timestamps[len(newest) : len(newest) + runs_max]
        if missing:
            before = newest[-1] if newest else missing[0]
            newest.extend(islice(accumulate(missing, max, initial=before), 1, None))
        return len(newest) == self.run_count

    def first_run_with_timestamp(self, timestamp: int) -> int | None:
        """Return the oldest run that holds a record of `timestamp` or later, or None."""
        index = bisect_left(self._whole_newest(), timestamp)
        return index if index < self.run_count else None

    def next_run_with_timestamp(self, timestamp: int, start: int, stop: int) -> int | None:
        """Return the oldest run from `start` on and before `stop` that holds `timestamp` or later, or None; linear."""
        newest = enumerate(self.run_timestamps[start:stop], start)
        return next((index for index, own in newest if own >= timestamp), None)

    def run_with_max_timestamp(self) -> int | None:
        """Return the oldest run that holds the partition's largest timestamp, or None for an empty partition."""
        newest = self._whole_newest()
        return bisect_left(newest, newest[-1]) if newest else None

    def bytes_from(self, offset: int, enough: int) -> int:
        """Return how many bytes lie in whole runs from the one that holds `offset` on; stops counting at `enough`."""
        size = 0
        for index in range(self.run_index_at(offset), len(self.run_lengths)):
            size += self.run_lengths[index]
            if size >= enough:
                break
        return size

    def has_producers_before(self, before_ms: int) -> bool:
        """Tell whether some producer's last append was before `before_ms`."""
        return any(producers.last_append_ms(memory) < before_ms for memory in self.producers.values())

    def expire_producers(self, before_ms: int) -> None:
        """Forget producers whose last append was before `before_ms`."""
        expired = [
            producer_id
            for producer_id, memory in self.producers.items()
            if producers.last_append_ms(memory) < before_ms
        ]
        for producer_id in expired:
            del self.producers[producer_id]
            self.digest = None


def facts_rows(facts: bytes) -> Iterator[tuple[int, ...]]:
    """Yield the rows of packed batch facts."""
    return BATCH_FACTS.iter_unpack(facts)
