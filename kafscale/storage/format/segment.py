"""The segment format: an immutable object of record batches, an index, and a footer.

All integers are big-endian.

    head    magic "KSSEGM" (6 bytes), version u16 (1)
    body    record batches, whole, one behind the other. In a flush segment their base offsets and leader epochs are
            what the producer wrote (usually 0 and -1): the order is in the metadata log, not here.
    index   MessagePack array of [topic id (16 bytes), topic name, partition, position, length, batch count], one per
            run, by ascending position (bytes from the start of the object). It makes a segment describe itself, topic
            names included, so that the metadata can be rebuilt from segments alone.
    footer  60 bytes:
              0  index position u64
              8  index length u32
             12  CRC-32C of the index u32
             16  CRC-32C of the body u32
             20  incarnation u64
             28  object number u64
             36  created, milliseconds since the epoch, u64
             44  kind u8 (1 flush)
             45  zero, 3 bytes
             48  CRC-32C of footer bytes 0..47 u32
             52  version u16 (1)
             54  magic "KSSEGM"

The footer gives position, length and CRC of the index, so that a reader needs one ranged GET of the tail to open it.
Readers refuse what they do not know.
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

import msgspec
from crc32c import crc32c

from kafscale.errors import DataCorrupt

MAGIC = b"KSSEGM"
VERSION = 1
HEAD = MAGIC + VERSION.to_bytes(2, "big")
HEAD_BYTES = len(HEAD)

_FOOTER_BODY = Struct(">QIIIQQQB3x")
_FOOTER_END = Struct(">IH6s")
FOOTER_BYTES = _FOOTER_BODY.size + _FOOTER_END.size


class SegmentKind(IntEnum):
    """What wrote a segment."""

    FLUSH = 1


class IndexRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One run of one partition in a segment. `position` is counted from the start of the object."""

    topic_id: bytes
    topic_name: str
    partition: int
    position: int
    length: int
    batch_count: int


class Footer(msgspec.Struct, frozen=True):
    """The fixed end of a segment."""

    index_position: int
    index_length: int
    index_crc: int
    body_crc: int
    incarnation: int
    number: int
    created_ms: int
    kind: SegmentKind


_index_encoder = msgspec.msgpack.Encoder()
_index_decoder = msgspec.msgpack.Decoder(list[IndexRun])


def encode_tail(
    body: "Sequence[bytes | bytearray | memoryview]",
    runs: list[IndexRun],
    incarnation: int,
    number: int,
    created_ms: int,
    kind: SegmentKind = SegmentKind.FLUSH,
) -> bytes:
    """Return index and footer of a segment whose body is the concatenation of `body`."""
    body_crc = 0
    body_length = 0
    for part in body:
        body_crc = crc32c(part, body_crc)
        body_length += len(part)
    index = _index_encoder.encode(runs)
    footer = _FOOTER_BODY.pack(
        HEAD_BYTES + body_length, len(index), crc32c(index), body_crc, incarnation, number, created_ms, kind
    )
    return index + footer + _FOOTER_END.pack(crc32c(footer), VERSION, MAGIC)


def decode_footer(tail: bytes) -> Footer:
    """Return the footer at the end of `tail`. Raises `DataCorrupt`."""
    if len(tail) < FOOTER_BYTES:
        raise DataCorrupt("the segment is shorter than a footer")
    body = tail[-FOOTER_BYTES : -_FOOTER_END.size]
    checksum, version, magic = _FOOTER_END.unpack(tail[-_FOOTER_END.size :])
    if magic != MAGIC or version != VERSION:
        raise DataCorrupt(f"not a segment of version {VERSION} (magic {magic!r}, version {version})")
    if crc32c(body) != checksum:
        raise DataCorrupt("the segment's footer is not what was written")
    index_position, index_length, index_crc, body_crc, incarnation, number, created_ms, kind = _FOOTER_BODY.unpack(body)
    if kind not in list(SegmentKind):
        raise DataCorrupt(f"segment of unknown kind {kind}")
    return Footer(
        index_position=index_position,
        index_length=index_length,
        index_crc=index_crc,
        body_crc=body_crc,
        incarnation=incarnation,
        number=number,
        created_ms=created_ms,
        kind=SegmentKind(kind),
    )


def decode_index(index: bytes, footer: Footer) -> list[IndexRun]:
    """Return the runs in a segment's index. Raises `DataCorrupt`."""
    if len(index) != footer.index_length or crc32c(index) != footer.index_crc:
        raise DataCorrupt("the segment's index is not what was written")
    try:
        return _index_decoder.decode(index)
    except msgspec.DecodeError as error:
        raise DataCorrupt(f"the segment's index cannot be read: {error}") from error
