"""Cached runs against a naive model of batches, and eviction by bytes."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kafscale.errors import DataCorrupt
from kafscale.protocol.records import Record, encode_batch
from kafscale.storage.cache import RUN_OVERHEAD_BYTES, CachedRun, RunCache, RunKey, place_run

TOPIC = b"T" * 16
COUNTS_AND_SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 40)), min_size=1, max_size=6)


def run_of(counts_and_sizes: list[tuple[int, int]], base_offset: int) -> tuple[CachedRun, list[bytes], list[int]]:
    """Return a run, its placed batches, and the offsets at which they begin, the end offset last."""
    batches = [
        encode_batch([Record(delta, value=bytes(size)) for delta in range(count)]) for count, size in counts_and_sizes
    ]
    offsets = list(accumulate((count for count, _ in counts_and_sizes), initial=base_offset))
    run = place_run(memoryview(bytearray(b"".join(batches))), base_offset)
    placed = [
        offset.to_bytes(8, "big") + batch[8:12] + bytes(4) + batch[16:]
        for offset, batch in zip(offsets[:-1], batches, strict=True)
    ]
    return run, placed, offsets


@given(COUNTS_AND_SIZES, st.integers(0, 2**60))
def test_from_offset_at_every_offset_and_limit(counts_and_sizes: list[tuple[int, int]], base_offset: int) -> None:
    run, batches, offsets = run_of(counts_and_sizes, base_offset)
    assert (run.base_offset, run.end_offset) == (base_offset, offsets[-1])
    sums = set(accumulate(map(len, batches)))
    limits = sorted({0, 1, -1} | {total + delta for total in sums for delta in (-1, 0, 1)})
    for offset in range(base_offset, run.end_offset):
        first = max(index for index, start in enumerate(offsets[:-1]) if start <= offset)
        for limit in limits:
            stop = first + 1
            while stop < len(batches) and sum(map(len, batches[first : stop + 1])) <= limit:
                stop += 1
            data, end_offset = run.from_offset(offset, limit)
            assert data == b"".join(batches[first:stop])
            assert end_offset == offsets[stop]
            assert data.obj is run.data.obj


def test_place_run_refuses_what_is_not_batches() -> None:
    with pytest.raises(DataCorrupt):
        place_run(memoryview(bytearray(70)), 0)


def sized(size: int) -> CachedRun:
    return CachedRun(memoryview(bytes(size)), 0, place_run(memoryview(bytearray()), 0)._index)


def cached_bytes(runs: list[tuple[RunKey, CachedRun]]) -> int:
    return sum(len(run.data) + RUN_OVERHEAD_BYTES for _, run in runs)


class CacheAgainstModel(RuleBasedStateMachine):
    """Both kinds of cache against a list of runs, the one to go first in front."""

    LIMIT = 2 * RUN_OVERHEAD_BYTES + 100

    def __init__(self) -> None:
        super().__init__()
        self.caches = {keep_used: RunCache(self.LIMIT, keep_used=keep_used) for keep_used in (False, True)}
        self.models: dict[bool, list[tuple[RunKey, CachedRun]]] = {False: [], True: []}

    @rule(offset=st.integers(0, 7), size=st.integers(0, 130))
    def put(self, offset: int, size: int) -> None:
        key, run = RunKey(TOPIC, 0, offset), sized(size)
        for keep_used, cache in self.caches.items():
            cache.put(key, run)
            model = [entry for entry in self.models[keep_used] if entry[0] != key] + [(key, run)]
            while len(model) > 1 and cached_bytes(model) > self.LIMIT:
                del model[0]
            self.models[keep_used] = model

    @rule(offset=st.integers(0, 7))
    def get(self, offset: int) -> None:
        key = RunKey(TOPIC, 0, offset)
        for keep_used, cache in self.caches.items():
            model = self.models[keep_used]
            found = [entry for entry in model if entry[0] == key]
            assert cache.get(key) is (found[0][1] if found else None)
            if keep_used and found:
                model.remove(found[0])
                model.append(found[0])

    @invariant()
    def size_is_counted(self) -> None:
        for keep_used, cache in self.caches.items():
            assert cache.size_bytes == cached_bytes(self.models[keep_used])
            assert cache.size_bytes <= self.LIMIT or len(self.models[keep_used]) == 1


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(max_examples=25, stateful_step_count=25)


def test_keys_of_other_partitions_and_topics_are_others() -> None:
    cache = RunCache(100, keep_used=False)
    cache.put(RunKey(TOPIC, 0, 5), sized(1))
    assert cache.get(RunKey(TOPIC, 1, 5)) is None
    assert cache.get(RunKey(b"U" * 16, 0, 5)) is None
    assert cache.get(RunKey(TOPIC, 0, 5)) is not None
