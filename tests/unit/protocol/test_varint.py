"""Variable-length integers: round trips, padding, and what is too long or too large."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafscale.errors import MalformedRequest
from kafscale.protocol.varint import (
    append_signed,
    append_unsigned,
    read_signed_32,
    read_signed_64,
    read_unsigned,
)

Reader = Callable[[bytes, int], tuple[int, int]]


@given(st.integers(0, 2**31 - 1), st.binary(max_size=3))
def test_unsigned_round_trip(value: int, before: bytes) -> None:
    out = bytearray(before)
    append_unsigned(out, value)
    assert read_unsigned(out + b"\xff", len(before)) == (value, len(out))


@given(st.integers(-(2**31), 2**31 - 1))
def test_signed_32_round_trip(value: int) -> None:
    out = bytearray()
    append_signed(out, value)
    assert len(out) <= 5
    assert read_signed_32(out, 0) == (value, len(out))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_64_round_trip(value: int) -> None:
    out = bytearray()
    append_signed(out, value)
    assert len(out) <= 10
    assert read_signed_64(out, 0) == (value, len(out))


@pytest.mark.parametrize("padding", range(5))
def test_padded_varints_are_read_as_kafka_reads_them(padding: int) -> None:
    padded = b"\x03" if padding == 0 else b"\x83" + b"\x80" * (padding - 1) + b"\x00"
    assert read_unsigned(padded, 0) == (3, padding + 1)


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        (read_unsigned, b"\x80\x80\x80\x80\x80\x00"),
        (read_unsigned, b"\xff\xff\xff\xff\x08"),
        (read_signed_32, b"\xff\xff\xff\xff\x1f"),
        (read_signed_32, b"\x80\x80\x80\x80\x80\x00"),
        (read_signed_64, b"\xff" * 9 + b"\x02"),
        (read_signed_64, b"\x80" * 10 + b"\x00"),
    ],
)
def test_too_long_or_too_large(reader: Reader, data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        reader(data, 0)


@pytest.mark.parametrize("reader", [read_unsigned, read_signed_32, read_signed_64])
def test_cut_off(reader: Reader) -> None:
    with pytest.raises(IndexError):
        reader(b"\x80\x80", 0)
