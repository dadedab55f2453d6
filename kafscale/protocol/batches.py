"""Record batches of magic 2 (KIP-98) as bytes: their header, their validity, their place in a partition.

Nothing here looks at records: a batch stays what the producer made it, but for the base offset and the leader epoch,
which lie outside the CRC. Header, big-endian:

    0 base offset i64 | 8 length of what follows i32 | 12 leader epoch i32 | 16 magic i8 | 17 CRC-32C u32 |
    21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 |
    43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records

The CRC covers everything from the attributes on.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from crc32c import crc32c

from kafscale.errors import DataCorrupt

HEADER_BYTES = 61
LENGTH_PREFIX_BYTES = 12
"""Base offset and length field: what the length field does not count."""

MAGIC = 2
MAGIC_AT = 16
LEADER_EPOCH = 0

CODEC_MASK = 0x07
CODEC_MAX = 4
LOG_APPEND_TIME_FLAG = 0x08
TRANSACTIONAL_FLAG = 0x10
CONTROL_FLAG = 0x20

CRC_FROM = 21
ATTRIBUTES_AT = 21
CRC_AT = 17
MAX_TIMESTAMP_AT = 35

OLD_HEADER_BYTES_MIN = 14
"""Smallest header of a magic 0 message: no batch of any format is shorter (LegacyRecord.RECORD_OVERHEAD_V0)."""

_HEADER = Struct(">qiibIhiqqqhii")
_OFFSET = Struct(">q")
_EPOCH = Struct(">i")
_ATTRIBUTES = Struct(">h")
_TIMESTAMP = Struct(">q")
_CRC = Struct(">I")
_LENGTH_AT = Struct(">8xi")
_DELTA_AT = Struct(">23xi")


class BatchHeader(NamedTuple):
    """The 61 bytes in front of the records."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.length + LENGTH_PREFIX_BYTES

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_FLAG)


NO_HEADER = BatchHeader(0, 0, 0, MAGIC, 0, 0, 0, 0, 0, -1, -1, -1, 0)
NO_DATA = memoryview(b"")


class BatchFault(IntEnum):
    """Why a producer's batch is refused."""

    NONE = 0
    CORRUPT = 1
    """Impossible length or magic, or a bad CRC: CORRUPT_MESSAGE."""
    INVALID = 2
    """No batch, more than one, an older format, or one that a producer may not send: INVALID_RECORD."""
    TOO_LARGE = 3
    """Larger than the topic allows: MESSAGE_TOO_LARGE."""
    UNKNOWN_CODEC = 4
    """A compression type nobody knows: UNSUPPORTED_COMPRESSION_TYPE."""


def parse_header(data: memoryview, at: int = 0) -> BatchHeader:
    """Return the batch header at `at`. Raises `DataCorrupt` when fewer than 61 bytes are left."""
    if len(data) - at < HEADER_BYTES:
        raise DataCorrupt(f"a batch header needs {HEADER_BYTES} bytes, {len(data) - at} are left")
    return BatchHeader._make(_HEADER.unpack_from(data, at))


class Produced(NamedTuple):
    """Judgement on what a produce request carries for one partition; header and data only without a fault."""

    fault: BatchFault
    header: BatchHeader
    data: memoryview


def check_produced(data: memoryview, bytes_max: int, *, allow_zstd: bool = True) -> Produced:
    """Judge the records of one partition: exactly one batch, whole and true to its header.

    The checks and their order are Kafka's (ProduceRequest.validateRecords, then UnifiedLog and LogValidator), so that
    the error is, too. Like Kafka this drops bytes behind the batch that are not a whole batch.
    """
    size = _batch_size(data, 0)
    if size <= 0:
        return _refused(BatchFault.CORRUPT if size else BatchFault.INVALID)
    if data[MAGIC_AT] != MAGIC:
        return _refused(BatchFault.INVALID)
    if not allow_zstd and data[ATTRIBUTES_AT + 1] & CODEC_MASK == CODEC_MAX:
        return _refused(BatchFault.UNKNOWN_CODEC)
    if size < len(data):
        following = _batch_size(data, size)
        if following:
            return _refused(BatchFault.INVALID if following > 0 else BatchFault.CORRUPT)
        data = data[:size]
    return _check_batch(data, bytes_max)


def _check_batch(data: memoryview, bytes_max: int) -> Produced:
    if _OFFSET.unpack_from(data)[0] != 0:
        return _refused(BatchFault.INVALID)
    if len(data) > bytes_max:
        return _refused(BatchFault.TOO_LARGE)
    if len(data) < HEADER_BYTES:
        return _refused(BatchFault.CORRUPT)
    header = BatchHeader._make(_HEADER.unpack_from(data))
    if crc32c(data[CRC_FROM:]) != header.crc:
        return _refused(BatchFault.CORRUPT)
    return Produced(_check_fields(header), header, data)


def _refused(fault: BatchFault) -> Produced:
    return Produced(fault, NO_HEADER, NO_DATA)


def _batch_size(data: memoryview, at: int) -> int:
    """Return the size of the whole batch at `at`; 0 where none is whole, -1 where none can be (of any magic)."""
    left = len(data) - at
    if left < LENGTH_PREFIX_BYTES:
        return 0
    (length,) = _LENGTH_AT.unpack_from(data, at)
    if length < OLD_HEADER_BYTES_MIN:
        return -1
    if left <= MAGIC_AT:
        return 0
    if data[at + MAGIC_AT] > MAGIC:
        return -1
    size: int = length + LENGTH_PREFIX_BYTES
    return size if size <= left else 0


def _check_fields(header: BatchHeader) -> BatchFault:
    if header.attributes & CODEC_MASK > CODEC_MAX:
        return BatchFault.UNKNOWN_CODEC
    if header.attributes & CONTROL_FLAG:
        return BatchFault.INVALID
    if header.record_count <= 0 or header.last_offset_delta != header.record_count - 1:
        return BatchFault.INVALID
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return BatchFault.INVALID
    return BatchFault.NONE


def stamp_append_time(data: memoryview, header: BatchHeader, time_ms: int) -> tuple[memoryview, BatchHeader]:
    """Return a copy of the batch whose records all have the broker's time (message.timestamp.type=LogAppendTime).

    Records keep their own timestamps inside; readers take the batch's largest one once the attribute is set.
    """
    stamped = bytearray(data)
    attributes = header.attributes | LOG_APPEND_TIME_FLAG
    _ATTRIBUTES.pack_into(stamped, ATTRIBUTES_AT, attributes)
    _TIMESTAMP.pack_into(stamped, MAX_TIMESTAMP_AT, time_ms)
    crc = crc32c(memoryview(stamped)[CRC_FROM:])
    _CRC.pack_into(stamped, CRC_AT, crc)
    return memoryview(stamped), header._replace(attributes=attributes, max_timestamp=time_ms, crc=crc)


def place_batches(run: bytearray | memoryview, start: int, end: int, base_offset: int) -> "BatchIndex":
    """Write base offsets and leader epoch into the batches in run[start:end], the first one at `base_offset`.

    Returns where each batch is. Raises `DataCorrupt` when the bytes are not whole batches.
    """
    positions: list[int] = []
    offsets: list[int] = []
    at = start
    while at < end:
        if end - at < HEADER_BYTES:
            raise DataCorrupt("a run ends inside a batch header")
        (length,) = _LENGTH_AT.unpack_from(run, at)
        (delta,) = _DELTA_AT.unpack_from(run, at)
        if length < HEADER_BYTES - LENGTH_PREFIX_BYTES or at + LENGTH_PREFIX_BYTES + length > end or delta < 0:
            raise DataCorrupt("a run holds an impossible batch header")
        _OFFSET.pack_into(run, at, base_offset)
        _EPOCH.pack_into(run, at + LENGTH_PREFIX_BYTES, LEADER_EPOCH)
        positions.append(at - start)
        offsets.append(base_offset)
        base_offset += delta + 1
        at += LENGTH_PREFIX_BYTES + length
    return BatchIndex(positions, offsets, base_offset)


class BatchIndex(NamedTuple):
    """Where the batches of a run are: byte positions from the run's start, base offsets, and the run's end offset."""

    positions: list[int]
    offsets: list[int]
    end_offset: int


def check_crcs(run: memoryview) -> None:
    """Raise `DataCorrupt` for a batch that does not have the CRC it claims, or another magic: no CRC covers that."""
    for header, batch in iterate_batches(run):
        if header.magic != MAGIC:
            raise DataCorrupt(f"the batch at offset {header.base_offset} has magic {header.magic}")
        if crc32c(batch[CRC_FROM:]) != header.crc:
            raise DataCorrupt(f"the batch at offset {header.base_offset} has a wrong CRC")


def iterate_batches(run: memoryview) -> Iterator[tuple[BatchHeader, memoryview]]:
    """Yield each batch's header and bytes. Raises `DataCorrupt` when the bytes are not whole batches."""
    at = 0
    while at < len(run):
        header = parse_header(run, at)
        if header.length < HEADER_BYTES - LENGTH_PREFIX_BYTES or at + header.size > len(run):
            raise DataCorrupt("a run holds an impossible batch header")
        yield header, run[at : at + header.size]
        at += header.size
