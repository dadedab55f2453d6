"""Runs of record batches in memory, ready to be sent: base offsets and leader epoch are in place.

Two caches, so that a consumer reading old data never evicts what everybody else is about to read: the tail cache keeps
what was written last, the read cache what was fetched from the object store. Both are bounded in bytes and keyed by
(topic id, partition, base offset of the run): the bytes at an offset never change, so an entry can never be stale.
"""

from bisect import bisect_right
from typing import NamedTuple

from kafscale.metadata.entries import TopicId
from kafscale.protocol.batches import BatchIndex, place_batches


class RunKey(NamedTuple):
    """Where a run begins."""

    topic_id: TopicId
    partition: int
    base_offset: int


class CachedRun:
    """Whole batches with consecutive offsets, from `base_offset` up to `end_offset` (exclusive)."""

    __slots__ = ("_index", "base_offset", "data")

    def __init__(self, data: memoryview, base_offset: int, index: BatchIndex) -> None:
        self.data = data
        self.base_offset = base_offset
        self._index = index

    @property
    def end_offset(self) -> int:
        return self._index.end_offset

    def from_offset(self, offset: int, bytes_max: int) -> tuple[memoryview, int]:
        """Return whole batches from the one that holds `offset`, at most `bytes_max` bytes but at least one batch.

        The second value is the offset behind them.
        """
        positions, offsets, end_offset = self._index
        first = bisect_right(offsets, offset) - 1
        start = positions[first]
        if len(self.data) - start <= bytes_max:
            return (self.data[start:] if start else self.data), end_offset
        # The batch that begins past the limit is the first one left out; one batch goes out however large it is.
        stop = max(bisect_right(positions, start + bytes_max) - 1, first + 1)
        if stop >= len(positions):
            return self.data[start:], end_offset
        return self.data[start : positions[stop]], offsets[stop]


def place_run(data: memoryview, base_offset: int) -> CachedRun:
    """Return a run whose batches get their offsets from `base_offset` on, written into `data` in place.

    Raises `DataCorrupt` when `data` is not whole batches.
    """
    return CachedRun(data, base_offset, place_batches(data, 0, len(data), base_offset))


RUN_OVERHEAD_BYTES = 600
"""What a cached run takes besides its records: key, index and views, measured with one batch in it."""


class RunCache:
    """Runs by key, at most `bytes_max` bytes of them; the ones that came (or were used) longest ago go first."""

    __slots__ = ("_bytes_max", "_keep_used", "_runs", "size_bytes")

    def __init__(self, bytes_max: int, *, keep_used: bool) -> None:
        self._bytes_max = bytes_max
        self._keep_used = keep_used
        self._runs: dict[RunKey, CachedRun] = {}
        self.size_bytes = 0

    def get(self, key: RunKey) -> CachedRun | None:
        run = self._runs.get(key)
        if run is not None and self._keep_used:
            self._runs[key] = self._runs.pop(key)
        return run

    def put(self, key: RunKey, run: CachedRun) -> None:
        """Insert a run; evicts others until the cache fits (the newest run always stays)."""
        replaced = self._runs.pop(key, None)
        if replaced is not None:
            self.size_bytes -= _size(replaced)
        self._runs[key] = run
        self.size_bytes += _size(run)
        while self.size_bytes > self._bytes_max and len(self._runs) > 1:
            oldest = next(iter(self._runs))
            self.size_bytes -= _size(self._runs.pop(oldest))


def _size(run: CachedRun) -> int:
    return len(run.data) + RUN_OVERHEAD_BYTES
