"""The segment format: round trips, bytes that must never change, and damage anywhere in the tail."""

import struct

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from kafscale.errors import DataCorrupt
from kafscale.storage.format.segment import (
    FOOTER_BYTES,
    HEAD,
    HEAD_BYTES,
    Footer,
    IndexRun,
    SegmentKind,
    decode_footer,
    decode_index,
    encode_tail,
)

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
RUNS = st.lists(
    st.builds(IndexRun, st.binary(min_size=16, max_size=16), st.text(max_size=20), U32, U32, U32, U32), max_size=5
)
BODIES = st.lists(st.binary(max_size=50), max_size=4)

GOLDEN_BODY: list[bytes | memoryview] = [b"first batch", memoryview(b"second batch")]
GOLDEN_RUNS = [
    IndexRun(b"T" * 16, "words", 0, 8, 11, 1),
    IndexRun(bytes(range(16)), "t", 300, 19, 12, 2),
]
GOLDEN_TAIL = bytes.fromhex(
    "9296c41054545454545454545454545454545454a5776f72647300080b0196c410000102030405060708090a0b0c0d0e0fa1"
    "74cd012c130c02000000000000001f00000039efb6fe081d6e80b80123456789abcdef00000000000000070000018bcfe568"
    "000100000034f4412800014b535345474d"
)


def golden_tail() -> bytes:
    return encode_tail(list(GOLDEN_BODY), GOLDEN_RUNS, 0x0123_4567_89AB_CDEF, 7, 1_700_000_000_000)


def open_tail(tail: bytes) -> tuple[Footer, list[IndexRun]]:
    """Read a segment as a reader does that has its last bytes."""
    footer = decode_footer(tail)
    return footer, decode_index(tail[-FOOTER_BYTES - footer.index_length : -FOOTER_BYTES], footer)


@given(BODIES, RUNS, U64, U64, U64)
def test_round_trip(body: list[bytes], runs: list[IndexRun], incarnation: int, number: int, created_ms: int) -> None:
    tail = encode_tail(body, runs, incarnation, number, created_ms)
    whole = HEAD + b"".join(body) + tail
    footer, index = open_tail(whole)
    assert index == runs
    assert (footer.incarnation, footer.number, footer.created_ms) == (incarnation, number, created_ms)
    assert footer.kind is SegmentKind.FLUSH
    assert footer.index_position == HEAD_BYTES + sum(map(len, body))
    assert footer.body_crc == crc32c(b"".join(body))
    assert whole[footer.index_position :] == tail


def test_golden_bytes() -> None:
    assert HEAD == b"KSSEGM\x00\x01"
    assert golden_tail() == GOLDEN_TAIL
    footer, index = open_tail(GOLDEN_TAIL)
    assert index == GOLDEN_RUNS
    assert footer == Footer(
        index_position=31,
        index_length=len(GOLDEN_TAIL) - FOOTER_BYTES,
        index_crc=crc32c(GOLDEN_TAIL[:-FOOTER_BYTES]),
        body_crc=crc32c(b"first batchsecond batch"),
        incarnation=0x0123_4567_89AB_CDEF,
        number=7,
        created_ms=1_700_000_000_000,
        kind=SegmentKind.FLUSH,
    )


def test_the_footer_is_where_its_description_says() -> None:
    footer = GOLDEN_TAIL[-60:]
    assert struct.unpack_from(">Q", footer, 0) == (31,)
    assert struct.unpack_from(">Q", footer, 20) == (0x0123_4567_89AB_CDEF,)
    assert struct.unpack_from(">Q", footer, 28) == (7,)
    assert struct.unpack_from(">Q", footer, 36) == (1_700_000_000_000,)
    assert footer[44:48] == b"\x01\0\0\0"
    assert struct.unpack_from(">I", footer, 48) == (crc32c(footer[:48]),)
    assert footer[52:] == b"\x00\x01KSSEGM"


@pytest.mark.parametrize("bit", range(8))
def test_every_changed_bit_of_the_tail_is_noticed(bit: int) -> None:
    for at in range(len(GOLDEN_TAIL)):
        damaged = GOLDEN_TAIL[:at] + bytes([GOLDEN_TAIL[at] ^ 1 << bit]) + GOLDEN_TAIL[at + 1 :]
        with pytest.raises(DataCorrupt):
            open_tail(damaged)


def test_every_cut_is_noticed() -> None:
    whole = HEAD + b"".join(GOLDEN_BODY) + GOLDEN_TAIL
    for end in range(len(whole)):
        with pytest.raises(DataCorrupt):
            open_tail(whole[:end])
    for start in range(1, len(GOLDEN_TAIL)):
        with pytest.raises(DataCorrupt):
            open_tail(GOLDEN_TAIL[start:])


def sealed(footer: bytes, *, version: int = 1, magic: bytes = b"KSSEGM") -> bytes:
    return footer + struct.pack(">IH6s", crc32c(footer), version, magic)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (sealed(GOLDEN_TAIL[-60:-12], version=2), "not a segment of version 1"),
        (sealed(GOLDEN_TAIL[-60:-12], magic=b"KSCKPT"), "not a segment"),
        (sealed(GOLDEN_TAIL[-60:-16] + b"\x02\0\0\0"), "unknown kind 2"),
        (sealed(GOLDEN_TAIL[-60:-16] + b"\x00\0\0\0"), "unknown kind 0"),
    ],
    ids=["newer version", "other magic", "newer kind", "no kind"],
)
def test_what_is_not_known_is_refused(tail: bytes, reason: str) -> None:
    with pytest.raises(DataCorrupt, match=reason):
        decode_footer(tail)


def test_an_index_that_is_none_is_corrupt_even_with_a_right_crc() -> None:
    for index in (b"", b"\x91\xc0", b"\x93\x01\x02\x03", b"\xff" * 9):
        footer = Footer(
            index_position=8,
            index_length=len(index),
            index_crc=crc32c(index),
            body_crc=0,
            incarnation=1,
            number=1,
            created_ms=0,
            kind=SegmentKind.FLUSH,
        )
        with pytest.raises(DataCorrupt, match="cannot be read"):
            decode_index(index, footer)
