"""Codecs: what each client writes is read, bombs and damage are refused."""

import gzip
import struct
from contextlib import suppress

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kafscale.errors import DataCorrupt
from kafscale.protocol.compression import Codec, DecompressionTooLarge, UnknownCodec, compress, decompress

TEXT = b"the quick brown fox jumps over the lazy dog " * 4_000
ROOM = len(TEXT) + 100
# What a bomb of this size costs to refuse must not depend on what it would become.
BOMB_BYTES = 200_000_000

FORMS = {
    "gzip": (Codec.GZIP, gzip.compress(TEXT)),
    "snappy as librdkafka writes it": (Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(TEXT))),
    "snappy as Java writes it": (Codec.SNAPPY, compress(Codec.SNAPPY, TEXT)),
    "lz4 as Java writes it": (Codec.LZ4, compress(Codec.LZ4, TEXT)),
    "lz4 with linked blocks, checksum and size": (
        Codec.LZ4,
        lz4.frame.compress(TEXT, block_linked=True, content_checksum=True, store_size=True),
    ),
    "zstd with a size": (Codec.ZSTD, zstandard.ZstdCompressor().compress(TEXT)),
    "zstd without a size": (Codec.ZSTD, compress(Codec.ZSTD, TEXT)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_up_to_the_limit_and_not_beyond(form: str) -> None:
    codec, data = FORMS[form]
    assert decompress(codec, data, ROOM) == TEXT
    assert decompress(codec, memoryview(data), len(TEXT)) == TEXT
    with pytest.raises(DecompressionTooLarge):
        decompress(codec, data, len(TEXT) - 1)


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_refused(form: str) -> None:
    codec, data = FORMS[form]
    for damaged in (data[:-1], data[: len(data) // 2], b"", data[:3], b"garbage, not a frame"):
        with pytest.raises(DataCorrupt):
            decompress(codec, damaged, ROOM)


@pytest.mark.parametrize("form", [form for form in FORMS if "snappy" not in form])
def test_bytes_behind_the_frame_are_refused(form: str) -> None:
    codec, data = FORMS[form]
    with pytest.raises(DataCorrupt):
        decompress(codec, data + b"\x00", ROOM)


@pytest.mark.parametrize("codec", list(Codec)[1:])
def test_bombs_are_refused(codec: Codec) -> None:
    bomb = compress(codec, bytes(BOMB_BYTES // 10))
    with pytest.raises(DecompressionTooLarge):
        decompress(codec, bomb, 1_000_000)


def test_a_claimed_size_is_not_believed() -> None:
    claim = b"\xff\xff\xff\xff\x0f" + b"\x00" * 20
    with pytest.raises(DecompressionTooLarge):
        decompress(Codec.SNAPPY, claim, 1_000_000)
    block = struct.pack(">i", 2**31 - 1)
    head = compress(Codec.SNAPPY, b"")
    with pytest.raises(DataCorrupt):
        decompress(Codec.SNAPPY, head + block + b"abc", 1_000_000)


@pytest.mark.parametrize("codec", [-1, 5, 7])
def test_unknown_codecs(codec: int) -> None:
    with pytest.raises(UnknownCodec):
        decompress(codec, b"", 10)


@given(st.sampled_from(Codec), st.binary(max_size=5_000))
def test_round_trip(codec: Codec, data: bytes) -> None:
    assert decompress(codec, compress(codec, data), len(data)) == data


@given(st.sampled_from(Codec), st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(codec: Codec, data: bytes) -> None:
    with suppress(DataCorrupt):
        assert len(decompress(codec, data, 1_000)) <= 1_000
