"""The codecs of record batches, with a hard limit on what comes out.

A producer chooses both the bytes and the size they claim to become, so nothing here trusts a claimed size: memory grows
with what really comes out, at most to the limit given. Only one frame (gzip member, zstd frame, LZ4 frame) is read, as
every client writes it; bytes behind it make the batch corrupt.
"""

import zlib
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final

import cramjam
import lz4.frame
import zstandard

from kafscale.errors import DataCorrupt


class Codec(IntEnum):
    """What the lowest three bits of a batch's attributes say."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class DecompressionTooLarge(DataCorrupt):
    """The data would decompress to more than the limit. Refuse it; whoever needs it can raise the limit."""


class UnknownCodec(DataCorrupt):
    """The attributes name a codec that does not exist."""


# Java's snappy stream: a head of magic, version and oldest compatible version, then blocks behind their length.
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = _XERIAL_MAGIC + b"\x00\x00\x00\x01\x00\x00\x00\x01"
_XERIAL_LENGTH: Final = Struct(">i")
_XERIAL_BLOCK_BYTES: Final = 32 * 1024
# LZ4 frames are taken out in pieces, because the library allocates all of what it may return.
_LZ4_PIECE_BYTES: Final = 1024 * 1024
# A zstd block takes at least 4 bytes and becomes at most 128 KiB, so a slice can exceed the limit by 16 MiB, not more.
_ZSTD_SLICE_BYTES: Final = 512
# zlib's window bits for a gzip head and trailer.
_GZIP_WINDOW_BITS: Final = 31


def decompress(codec: int, data: memoryview | bytes, bytes_max: int) -> bytes:
    """Return what these bytes decompress to.

    Raises DecompressionTooLarge beyond `bytes_max` bytes of output, UnknownCodec, and DataCorrupt for anything that is
    not exactly one stream of this codec.
    """
    if not Codec.NONE <= codec <= Codec.ZSTD:
        raise UnknownCodec(f"compression codec {codec}")
    decompressed = _DECOMPRESSORS[codec](data, bytes_max)
    if len(decompressed) > bytes_max:
        raise _too_large(codec, bytes_max)
    return decompressed


def compress(codec: int, data: bytes) -> bytes:
    """Return the bytes compressed as the Java client writes them (snappy in its stream framing)."""
    match Codec(codec):
        case Codec.NONE:
            return data
        case Codec.GZIP:
            return zlib.compress(data, wbits=_GZIP_WINDOW_BITS)
        case Codec.SNAPPY:
            return _compress_xerial(data)
        case Codec.LZ4:
            return lz4.frame.compress(
                data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
            )
        case Codec.ZSTD:
            return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def _too_large(codec: int, bytes_max: int) -> DecompressionTooLarge:
    return DecompressionTooLarge(f"{Codec(codec).name} data of more than {bytes_max} bytes")


def _copy(data: memoryview | bytes, bytes_max: int) -> bytes:
    if len(data) > bytes_max:
        raise _too_large(Codec.NONE, bytes_max)
    return bytes(data)


def _gunzip(data: memoryview | bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    try:
        # One byte beyond the limit tells "too much" from "exactly enough"; 0 would mean no limit.
        out = stream.decompress(data, bytes_max + 1)
    except zlib.error as reason:
        raise DataCorrupt(f"gzip: {reason}") from reason
    if len(out) > bytes_max:
        raise _too_large(Codec.GZIP, bytes_max)
    if not stream.eof or stream.unused_data:
        raise DataCorrupt("gzip: not one whole member")
    return out


def _unsnappy(data: memoryview | bytes, bytes_max: int) -> bytes:
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return _unsnappy_block(data, bytes_max)
    blocks = bytearray()
    position = len(_XERIAL_HEAD)
    if len(data) < position:
        raise DataCorrupt("snappy: cut off in the head")
    while position < len(data):
        if len(data) - position < _XERIAL_LENGTH.size:
            raise DataCorrupt("snappy: cut off before a block")
        (length,) = _XERIAL_LENGTH.unpack_from(data, position)
        position += _XERIAL_LENGTH.size
        if not 0 < length <= len(data) - position:
            raise DataCorrupt(f"snappy: block of {length} bytes, {len(data) - position} left")
        blocks += _unsnappy_block(data[position : position + length], bytes_max - len(blocks))
        position += length
    return bytes(blocks)


def _unsnappy_block(data: memoryview | bytes, bytes_max: int) -> bytes:
    block = bytes(data)
    try:
        # The size stands in front, and the library allocates it before it looks at anything else.
        if cramjam.snappy.decompress_raw_len(block) > bytes_max:
            raise _too_large(Codec.SNAPPY, bytes_max)
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as reason:
        raise DataCorrupt(f"snappy: {reason}") from reason


def _compress_xerial(data: bytes) -> bytes:
    out = bytearray(_XERIAL_HEAD)
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        out += _XERIAL_LENGTH.pack(len(block))
        out += block
    return bytes(out)


def _unlz4(data: memoryview | bytes, bytes_max: int) -> bytes:
    stream = lz4.frame.LZ4FrameDecompressor()
    out = bytearray()
    pending: memoryview | bytes = data
    while not stream.eof:
        try:
            piece = stream.decompress(pending, _LZ4_PIECE_BYTES)
        except RuntimeError as reason:
            raise DataCorrupt(f"lz4: {reason}") from reason
        out += piece
        if len(out) > bytes_max:
            raise _too_large(Codec.LZ4, bytes_max)
        if not piece and not stream.eof:
            raise DataCorrupt("lz4: cut off")
        pending = b""
    if stream.unused_data:
        raise DataCorrupt("lz4: bytes behind the frame")
    return bytes(out)


def _unzstd(data: memoryview | bytes, bytes_max: int) -> bytes:
    stream = zstandard.ZstdDecompressor().decompressobj()
    out = bytearray()
    position = 0
    try:
        while position < len(data) and not stream.eof:
            out += stream.decompress(data[position : position + _ZSTD_SLICE_BYTES])
            position += _ZSTD_SLICE_BYTES
            if len(out) > bytes_max:
                raise _too_large(Codec.ZSTD, bytes_max)
    except zstandard.ZstdError as reason:
        raise DataCorrupt(f"zstd: {reason}") from reason
    if not stream.eof or stream.unused_data or position < len(data):
        raise DataCorrupt("zstd: not one whole frame")
    return bytes(out)


_DECOMPRESSORS: Final[tuple[Callable[[memoryview | bytes, int], bytes], ...]] = (
    _copy,
    _gunzip,
    _unsnappy,
    _unlz4,
    _unzstd,
)
