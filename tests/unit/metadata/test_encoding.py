"""The canonical encoding: the same state has the same bytes and the same hash, however it came about."""

import random
from collections.abc import MutableMapping
from itertools import permutations
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from kafscale.errors import DataCorrupt
from kafscale.metadata.entries import Command, Entry
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import HASH_BYTES, decode_state, encode_state, state_hash
from tests.unit.metadata.digest_machine import MACHINE_SETTINGS, DigestMachine
from tests.unit.metadata.histories import (
    A,
    B,
    Batch,
    append,
    create,
    entry,
    histories,
    holds,
    rebalanced,
    rich_entries,
)

K = TypeVar("K")
V = TypeVar("V")


def replayed(entries: list[Entry]) -> ClusterState:
    state = ClusterState()
    for one in entries:
        state.apply(one)
    return state


def shuffle(mapping: MutableMapping[K, V], dice: random.Random) -> None:
    """Put the items into another order of insertion."""
    items = list(mapping.items())
    dice.shuffle(items)
    mapping.clear()
    mapping.update(items)


def shuffle_state(state: ClusterState, dice: random.Random) -> None:
    """Give every dict in the state another order of insertion."""
    objects = state.objects
    for numbers in (objects.references, state.appended, state.resolved):
        shuffle(numbers, dice)
    for names in (objects.indexes, objects.released):
        shuffle(names, dice)
    shuffle(objects.names, dice)
    shuffle(state.topics, dice)
    shuffle(state.names, dice)
    shuffle(state.folded_names, dice)
    shuffle(state.groups.by_id, dice)
    for topic in state.topics.values():
        shuffle(topic.configs, dice)
        for partition in topic.partitions:
            shuffle(partition.producers, dice)
    for group in state.groups.by_id.values():
        shuffle(group.offsets, dice)


def check_canonical(case: tuple[list[Entry], int]) -> None:
    """I7: the order in which dicts were filled leaves no trace in the bytes."""
    entries, seed = case
    state = replayed(entries)
    data, digest = encode_state(state), state_hash(state)
    shuffle_state(state, random.Random(seed))
    assert encode_state(state) == data
    assert state_hash(state) == digest


def check_round_trip(entries: list[Entry]) -> None:
    state = replayed(entries)
    data = encode_state(state)
    again = decode_state(data)
    assert encode_state(again) == data
    assert state_hash(again) == state_hash(state)
    assert (again.names, again.folded_names) == (state.names, state.folded_names)
    assert again.objects.indexes == state.objects.indexes


def check_going_on_from_a_checkpoint(case: tuple[list[Entry], int]) -> None:
    """I7: replaying the rest behind a decoded state gives what replaying everything gives, outcomes included."""
    entries, cut = case
    whole = ClusterState()
    for one in entries[:cut]:
        whole.apply(one)
    half = decode_state(encode_state(whole))
    for one in entries[cut:]:
        assert half.apply(one) == whole.apply(one)
    assert state_hash(half) == state_hash(whole)


def test_the_encoding_is_canonical() -> None:
    holds(check_canonical, st.tuples(histories, st.integers(0, 9)))


def test_round_trip() -> None:
    holds(check_round_trip, histories)


def test_going_on_from_a_checkpoint() -> None:
    holds(check_going_on_from_a_checkpoint, st.tuples(histories, st.integers(0, 12)))


def test_hashes_between_changes() -> None:
    run_state_machine_as_test(DigestMachine, settings=MACHINE_SETTINGS)


def test_commands_that_commute_give_the_same_bytes() -> None:
    changes: list[Command] = [
        create(A, "a"),
        create(B, "b"),
        rebalanced("m", group_id="g"),
        rebalanced("n", group_id="h"),
    ]
    encoded = {encode_state(replayed([entry(1, *order)])) for order in permutations(changes)}
    assert len(encoded) == 1


def test_the_hash_of_a_state_stays() -> None:
    """Brokers of two releases compare hashes: a change here is a change of the schema level."""
    assert HASH_BYTES == 32
    assert state_hash(ClusterState()).hex() == "adffd33b714fb81e6af19406bc4cfcaad4a957764eab5a72ceff5084c22355df"
    assert (
        state_hash(replayed(rich_entries())).hex() == "cdd1e417b4208facb434351a802e09df059141cf83701e0cc319047dda187a50"
    )


def test_an_empty_state() -> None:
    assert encode_state(decode_state(encode_state(ClusterState()))) == encode_state(ClusterState())


def test_damage_is_corruption_and_nothing_else() -> None:
    data = encode_state(replayed(rich_entries()))
    dice = random.Random(1)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << dice.randrange(8)
        try:
            decode_state(bytes(damaged))
        except DataCorrupt:
            continue


@pytest.mark.parametrize("keep", ["whole pages", "all"])
def test_every_truncation_is_corruption(keep: str) -> None:
    data = encode_state(replayed(rich_entries()))
    ends = set(range(1, len(data)))
    if keep == "whole pages":
        ends = set()
        at = 0
        while at < len(data):
            ends.add(at)
            at += 4 + int.from_bytes(data[at : at + 4])
    for end in ends:
        with pytest.raises(DataCorrupt):
            decode_state(data[:end])


def test_pages_left_over_are_corruption() -> None:
    data = encode_state(replayed(rich_entries()))
    with pytest.raises(DataCorrupt, match="left over"):
        decode_state(data + (1).to_bytes(4) + b"\x90")


@pytest.mark.parametrize(
    "page", [b"\x90", b"\x91\x01", b"\xc0", b"\x01", b"\xa1x", b"\x98" + 8 * b"\x01", b"\x94\xa1x\x01\x00\x90"]
)
def test_a_page_of_another_shape_is_corruption(page: bytes) -> None:
    """`IndexError` and `AttributeError` once came through."""
    head = encode_state(replayed([entry(1, create())]))
    first = head[: 4 + int.from_bytes(head[:4])]
    for pages in (page, first + len(page).to_bytes(4) + page, first + 2 * (len(page).to_bytes(4) + page)):
        with pytest.raises(DataCorrupt):
            decode_state(pages)


def test_a_short_partition_page_is_corruption() -> None:
    state = replayed([entry(1, create(), append(1, (A, 0, [Batch()])))])
    data = encode_state(state)
    ends = []
    at = 0
    while at < len(data):
        ends.append(at)
        at += 4 + int.from_bytes(data[at : at + 4])
    with pytest.raises(DataCorrupt):
        decode_state(data[: ends[-1]] + (4).to_bytes(4) + b"\x93\x00\x00\x00")
