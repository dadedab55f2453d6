"""Objects in the canonical encoding: in pages, of which only those are encoded again in which something changed."""

from collections.abc import Iterator

import pytest

from kafscale.metadata.entries import AdvanceLogStart, Command, DeleteTopic, Entry, LogStart
from kafscale.metadata.state import encoding
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state, hash_steps, state_hash
from kafscale.metadata.state.objects import PAGE_ROWS_MAX, ObjectName, Objects
from tests.unit.metadata.histories import A, B, Batch, append, create, entry

PAGES = 4


class World:
    """A state with PAGES pages of objects, one run each in partition 0 of topic A."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.entries = 0
        self.apply(create(A, "a"), create(B, "b"))
        for number in range(1, PAGES * PAGE_ROWS_MAX):
            self.append(number)

    def apply(self, *commands: Command) -> None:
        self.entries += 1
        self.state.apply(entry(self.entries, *commands, time_ms=self.entries))

    def append(self, number: int, topic_id: bytes = A) -> None:
        self.apply(append(number, (topic_id, 0, [Batch()])))


def encoded_pages(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the list in which pages of objects and released objects stand from now on when they are encoded."""
    encoded: list[object] = []
    rows_of, released_rows_of = encoding._object_rows, encoding._released_rows

    def object_rows(objects: Objects, page: int) -> list[list[int]]:
        encoded.append(page)
        return rows_of(objects, page)

    def released_rows(objects: Objects, page: tuple[int, int]) -> list[list[int]]:
        encoded.append(page)
        return released_rows_of(objects, page)

    monkeypatch.setattr(encoding, "_object_rows", object_rows)
    monkeypatch.setattr(encoding, "_released_rows", released_rows)
    return encoded


def test_unchanged_objects_are_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint once encoded the whole object table on the event loop: 1.2 s for a million objects."""
    world = World()
    state_hash(world.state)
    encoded = encoded_pages(monkeypatch)
    state_hash(world.state)
    assert encoded == []
    world.append(PAGES * PAGE_ROWS_MAX)
    state_hash(world.state)
    assert encoded == [PAGES]
    encoded.clear()
    world.apply(AdvanceLogStart([LogStart(A, 0, 2)]))
    state_hash(world.state)
    assert encoded == [0, (1, 0)]
    assert state_hash(world.state) == state_hash(decode_state(encode_state(world.state)))


def test_pages_that_became_empty_leave_no_trace() -> None:
    world = World()
    state_hash(world.state)
    world.append(PAGES * PAGE_ROWS_MAX, B)
    world.apply(DeleteTopic(A))
    digest = state_hash(world.state)
    assert list(world.state.objects.pages) == [PAGES]
    again = decode_state(encode_state(world.state))
    assert state_hash(again) == digest
    assert again.objects.released == world.state.objects.released


def test_a_released_object_that_is_named_again_changes_both_pages() -> None:
    state = ClusterState()
    changes: list[Entry] = [
        entry(1, create(A, "a"), append(1, (A, 0, [Batch()]))),
        entry(2, AdvanceLogStart([LogStart(A, 0, 1)])),
        entry(3, append(1, (A, 0, [Batch()]))),
    ]
    for one in changes:
        state.apply(one)
        assert state_hash(state) == state_hash(decode_state(encode_state(state)))
    assert state.objects.names == {2: ObjectName(1, 1)}
    assert list(state.objects.released_pages) == []


def test_a_hash_in_slices_is_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one after a large deletion once held the event loop for as long as all of it took."""
    monkeypatch.setattr(encoding, "HASH_SLICE_BYTES", 1)
    world = World()
    world.apply(DeleteTopic(A))
    digests: list[bytes] = []

    def hashed() -> Iterator[None]:
        digests.append((yield from hash_steps(world.state)))

    # One for each page of released objects, and one for the partition of B.
    assert sum(1 for _ in hashed()) == PAGES + 1
    assert digests == [state_hash(decode_state(encode_state(world.state)))]
