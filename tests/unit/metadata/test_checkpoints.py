"""Checkpoints as objects: round trip, building on the one before, and damage."""

import random

import pytest
from hypothesis import strategies as st

from kafscale.errors import DataCorrupt
from kafscale.metadata.checkpoints import advance_checkpoint, checkpoint_hash, decode_checkpoint, encode_checkpoint
from kafscale.metadata.entries import Entry, encode_entry
from kafscale.metadata.log import LogEntry
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import encode_state, state_hash
from tests.unit.metadata.histories import histories, holds, rich_entries


def in_log(entries: list[Entry]) -> list[LogEntry]:
    return [LogEntry(position, encode_entry(one)) for position, one in enumerate(entries, start=1)]


def check_advancing(case: tuple[list[Entry], int]) -> None:
    """I7: a checkpoint built on another is the one built from the whole log, byte for byte."""
    entries, cut = case
    log = in_log(entries)
    state = ClusterState()
    for one in entries:
        state.apply(one)
    first = advance_checkpoint(None, log[:cut], cut)
    second = advance_checkpoint(first, log[cut:], len(log))
    assert second == advance_checkpoint(None, log, len(log)) == encode_checkpoint(len(log), state)
    assert checkpoint_hash(second) == state_hash(state)
    decoded = decode_checkpoint(second)
    assert (decoded.position, decoded.hash) == (len(log), state_hash(state))
    assert encode_state(decoded.state) == encode_state(state)


def test_advancing() -> None:
    holds(check_advancing, st.tuples(histories, st.integers(0, 16)), examples=60)


def whole() -> bytes:
    return advance_checkpoint(None, in_log(rich_entries()), 7)


def test_every_truncation_is_corruption() -> None:
    data = whole()
    for end in range(len(data)):
        with pytest.raises(DataCorrupt):
            decode_checkpoint(data[:end])


def test_every_flipped_byte_is_corruption() -> None:
    """The position once was not under the checksum."""
    data = whole()
    dice = random.Random(1)
    for at in range(len(data)):
        for flipped in (0xFF, 1 << dice.randrange(8)):
            damaged = bytearray(data)
            damaged[at] ^= flipped
            with pytest.raises(DataCorrupt):
                decode_checkpoint(bytes(damaged))


def test_bytes_left_over_are_corruption() -> None:
    with pytest.raises(DataCorrupt):
        decode_checkpoint(whole() + b"\x00")


def test_the_format_stays() -> None:
    data = encode_checkpoint(2**40, ClusterState())
    assert data[:14].hex() == "4b534350" + "0001" + "0000010000000000"
    assert data[14:46] == state_hash(ClusterState())
    assert int.from_bytes(data[46:54]) == len(data) - 58
    assert data[58:] == encode_state(ClusterState())
    assert data[54:58].hex() == "830f5f63"
