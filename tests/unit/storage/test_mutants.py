"""The properties of storage hold, and each of them fails when the rule that keeps it is switched off."""

from collections.abc import Callable
from typing import Any

import pytest

from kafscale.errors import KafScaleError
from kafscale.protocol.batches import BatchIndex, iterate_batches
from kafscale.storage import read_path, write_path
from kafscale.storage.cache import CachedRun, RunKey, place_run
from kafscale.storage.format.segment import HEAD_BYTES
from kafscale.storage.write_path import WritePath
from tests.unit.storage import properties

SEEDS = range(25)

Property = Callable[[int], None]

PROPERTIES: list[Property] = [
    properties.nothing_overtakes_a_failed_batch,
    properties.what_was_accepted_is_served,
    properties.a_timed_out_batch_leaves_a_gap,
    properties.damage_is_noticed,
]


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda one: one.__name__)
def test_properties_hold(holds: Property) -> None:
    for seed in SEEDS:
        holds(seed)


def _commit_whatever_is_stored(self: Any) -> None:
    for flush in [flush for flush in self._uncommitted if flush.stored]:
        self._uncommitted.remove(flush)
        self._commit(flush)


def _unplaced(data: memoryview, base_offset: int) -> CachedRun:
    """`place_run` as it would be if it forgot to write the offsets."""
    copy = bytes(data)
    index = place_run(data, base_offset)._index
    data[:] = copy
    return CachedRun(data, base_offset, BatchIndex(*index))


def _cache_without_a_split(self: Any, flush: Any, stretch: Any, verdicts: Any, *, share_body: bool) -> None:
    accepted = [verdict.base_offset for verdict in verdicts if verdict.base_offset >= 0]
    if accepted:
        start = stretch.position - HEAD_BYTES
        end = start + sum(part.size for part in stretch.parts)
        self._cache_run(flush, stretch, start, end, accepted[0], share_body=share_body)


def _cache_under_a_wrong_key(
    self: Any, flush: Any, stretch: Any, start: int, end: int, base_offset: int, *, share_body: bool
) -> None:
    key = RunKey(stretch.topic_id, stretch.partition, base_offset + 1)
    self._tail.put(key, place_run(memoryview(flush.body)[start:end], base_offset))


def _stretches_without_gaps(self: Any) -> Any:
    position = HEAD_BYTES
    for (topic_id, partition), lane in self.lanes.items():
        parts = [part for part in lane.parts if not part.settled]
        if parts:
            yield write_path._Stretch(topic_id, partition, position, parts)
        position += sum(part.size for part in lane.parts)


def _only_walk(run: memoryview) -> None:
    list(iterate_batches(run))


MUTANTS: list[tuple[str, Any, str, Any, Property]] = [
    ("rule 5 off", WritePath, "_fail_senders", lambda *_: None, properties.nothing_overtakes_a_failed_batch),
    ("late batches overtake", WritePath, "_overtakes", lambda *_: False, properties.nothing_overtakes_a_failed_batch),
    (
        "commit order off",
        WritePath,
        "_commit_stored",
        _commit_whatever_is_stored,
        properties.nothing_overtakes_a_failed_batch,
    ),
    ("offsets not written", write_path, "place_run", _unplaced, properties.what_was_accepted_is_served),
    ("offsets not written when read", read_path, "place_run", _unplaced, properties.what_was_accepted_is_served),
    (
        "rejected batches cached",
        WritePath,
        "_cache_accepted",
        _cache_without_a_split,
        properties.what_was_accepted_is_served,
    ),
    ("wrong cache key", WritePath, "_cache_run", _cache_under_a_wrong_key, properties.what_was_accepted_is_served),
    (
        "gaps forgotten",
        write_path._Flush,
        "stretches",
        _stretches_without_gaps,
        properties.a_timed_out_batch_leaves_a_gap,
    ),
    ("CRC not checked", read_path, "check_crcs", _only_walk, properties.damage_is_noticed),
]


@pytest.mark.parametrize(
    ("owner", "name", "mutant", "broken"), [each[1:] for each in MUTANTS], ids=[m[0] for m in MUTANTS]
)
def test_mutants_are_killed(
    owner: Any, name: str, mutant: Any, broken: Property, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, mutant)
    assert any(_fails(broken, seed) for seed in SEEDS)


def _fails(broken: Property, seed: int) -> bool:
    try:
        broken(seed)
    except (AssertionError, pytest.fail.Exception, KafScaleError):
        return True
    return False
