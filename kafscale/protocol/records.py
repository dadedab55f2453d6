"""The records inside a batch of magic 2 (KIP-98), one by one: for cleaning, time lookups, tools and tests only.

The produce and fetch paths never come here: to them a batch is bytes (`kafscale.protocol.batches`). A record is

    length varint | attributes i8 | timestamp delta varlong | offset delta varint | key | value | headers

with key and value behind a varint length (-1 for null) and the headers behind a varint count, each a key and a value.
All varints are zigzag-coded. Records stand behind each other, compressed together where the attributes say so.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, NamedTuple

from crc32c import crc32c

from kafscale.errors import DataCorrupt, MalformedRequest
from kafscale.protocol.batches import (
    CODEC_MASK,
    CONTROL_FLAG,
    CRC_FROM,
    HEADER_BYTES,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_FLAG,
    MAGIC,
    TRANSACTIONAL_FLAG,
    parse_header,
)
from kafscale.protocol.compression import Codec, compress, decompress
from kafscale.protocol.varint import append_signed, read_signed_32, read_signed_64

# Length, attributes, two deltas, two lengths and a count, a byte each.
_RECORD_BYTES_MIN: Final = 7
# A header's key and value, a length byte each.
_RECORD_HEADER_BYTES_MIN: Final = 2
# A byte of a varint from this on says that another one follows.
_CONTINUED: Final = 0x80
# What a producer writes where the broker will put the leader epoch.
_NO_LEADER_EPOCH: Final = -1

_BEFORE_CRC: Final = Struct(">qiib")
_CRC: Final = Struct(">I")
_AFTER_CRC: Final = Struct(">hiqqqhii")


class Record(NamedTuple):
    """One record; offset and timestamp are relative to the batch's base offset and base timestamp (milliseconds).

    Header keys that are not UTF-8 carry their odd bytes as surrogates: reading them must never fail, because what is
    stored stays stored.
    """

    offset_delta: int
    timestamp_delta: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def iterate_records(batch: memoryview, bytes_max: int) -> Iterator[Record]:
    """Yield the records of one whole batch, its 61-byte header included; the CRC is not looked at.

    Raises DataCorrupt where the records are not exactly what the header says, and DecompressionTooLarge where they are
    more than `bytes_max` bytes once decompressed.
    """
    count, data = _open(batch, bytes_max)
    position = 0
    for _ in range(count):
        record, position = _read_record(data, position)
        yield record
    _check_end(data, position)


def iterate_times(batch: memoryview, bytes_max: int) -> Iterator[tuple[int, int]]:
    """Yield timestamp delta and offset delta of each record of one whole batch, without looking at the rest of it.

    Several times as fast as `iterate_records`, and raises as it does, but for what is wrong behind the offset delta.
    """
    count, data = _open(batch, bytes_max)
    position = 0
    try:
        for _ in range(count):
            end, timestamp_delta, offset_delta = _read_times(data, position)
            yield timestamp_delta, offset_delta
            position = end
    except (IndexError, MalformedRequest) as reason:
        raise DataCorrupt(f"record at byte {position}: {reason}") from reason
    _check_end(data, position)


def _open(batch: memoryview, bytes_max: int) -> tuple[int, bytes]:
    """Return how many records a batch has, and their bytes."""
    header = parse_header(batch)
    if header.magic != MAGIC or header.size != len(batch):
        raise DataCorrupt(f"not one batch of magic {MAGIC}: magic {header.magic}, {header.size} of {len(batch)} bytes")
    data = decompress(header.attributes & CODEC_MASK, batch[HEADER_BYTES:], bytes_max)
    if not 0 <= header.record_count * _RECORD_BYTES_MIN <= len(data):
        raise DataCorrupt(f"{header.record_count} records in {len(data)} bytes")
    return header.record_count, data


def _check_end(data: bytes, position: int) -> None:
    if position != len(data):
        raise DataCorrupt(f"{len(data) - position} bytes behind the last record")


def _read_times(data: bytes, start: int) -> tuple[int, int, int]:
    """Return (the position behind the record at `start`, its timestamp delta, its offset delta).

    Of most records each of the three takes one byte, which is read here: a call for each would take twice the time.
    """
    length, position = data[start], start + 1
    if length < _CONTINUED:
        length = length >> 1 ^ -(length & 1)
    else:
        length, position = read_signed_32(data, start)
    end = position + length
    if length < 0 or end > len(data):
        raise DataCorrupt(f"record at byte {start}: {length} bytes long, {len(data) - position} left")
    # The attributes byte in front of the deltas has no meaning yet.
    position += 1
    timestamp_delta = data[position]
    if timestamp_delta < _CONTINUED:
        timestamp_delta, position = timestamp_delta >> 1 ^ -(timestamp_delta & 1), position + 1
    else:
        timestamp_delta, position = read_signed_64(data, position)
    offset_delta, position = read_signed_32(data, position)
    if position > end:
        raise DataCorrupt(f"record at byte {start}: its deltas end at {position}, behind its end at {end}")
    return end, timestamp_delta, offset_delta


def _read_record(data: bytes, start: int) -> tuple[Record, int]:
    try:
        length, position = read_signed_32(data, start)
        end = position + length
        if length < 0 or end > len(data):
            raise DataCorrupt(f"record at byte {start}: {length} bytes long, {len(data) - position} left")
        # The attributes byte in front of the deltas has no meaning yet.
        timestamp_delta, position = read_signed_64(data, position + 1)
        offset_delta, position = read_signed_32(data, position)
        key, position = _read_bytes(data, position, end)
        value, position = _read_bytes(data, position, end)
        headers, position = _read_headers(data, position, end)
    except (IndexError, MalformedRequest) as reason:
        raise DataCorrupt(f"record at byte {start}: {reason}") from reason
    if position != end:
        raise DataCorrupt(f"record at byte {start}: ends at {position}, not at {end}")
    return Record(offset_delta, timestamp_delta, key, value, headers), end


def _read_bytes(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = read_signed_32(data, position)
    if length == -1:
        return None, position
    if not 0 <= length <= end - position:
        raise DataCorrupt(f"length {length} at byte {position}, {end - position} left in the record")
    return data[position : position + length], position + length


def _read_headers(data: bytes, position: int, end: int) -> tuple[tuple[tuple[str, bytes | None], ...], int]:
    count, position = read_signed_32(data, position)
    if count == 0:
        return (), position
    if not 0 <= count * _RECORD_HEADER_BYTES_MIN <= end - position:
        raise DataCorrupt(f"{count} headers at byte {position}, {end - position} left in the record")
    headers = []
    for _ in range(count):
        key, position = _read_bytes(data, position, end)
        if key is None:
            raise DataCorrupt(f"header without a key before byte {position}")
        value, position = _read_bytes(data, position, end)
        headers.append((key.decode(errors="surrogateescape"), value))
    return tuple(headers), position


def encode_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    base_timestamp: int = 0,
    codec: int = Codec.NONE,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    is_transactional: bool = False,
    is_control: bool = False,
    is_log_append_time: bool = False,
    leader_epoch: int = _NO_LEADER_EPOCH,
) -> bytes:
    """Return a whole batch of at least one record, its CRC computed; the last record gives the last offset delta."""
    attributes = int(codec)
    attributes |= TRANSACTIONAL_FLAG if is_transactional else 0
    attributes |= CONTROL_FLAG if is_control else 0
    attributes |= LOG_APPEND_TIME_FLAG if is_log_append_time else 0
    body = compress(codec, b"".join(map(encode_record, records)))
    max_timestamp = base_timestamp + max(record.timestamp_delta for record in records)
    covered = (
        _AFTER_CRC.pack(
            attributes,
            records[-1].offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            len(records),
        )
        + body
    )
    length = CRC_FROM + len(covered) - LENGTH_PREFIX_BYTES
    return _BEFORE_CRC.pack(base_offset, length, leader_epoch, MAGIC) + _CRC.pack(crc32c(covered)) + covered


def encode_record(record: Record) -> bytes:
    """Return one record with its length in front, as it stands in an uncompressed batch."""
    body = bytearray(b"\x00")
    append_signed(body, record.timestamp_delta)
    append_signed(body, record.offset_delta)
    _append_bytes(body, record.key)
    _append_bytes(body, record.value)
    append_signed(body, len(record.headers))
    for key, value in record.headers:
        _append_bytes(body, key.encode(errors="surrogateescape"))
        _append_bytes(body, value)
    out = bytearray()
    append_signed(out, len(body))
    return bytes(out + body)


def _append_bytes(out: bytearray, value: bytes | None) -> None:
    if value is None:
        append_signed(out, -1)
    else:
        append_signed(out, len(value))
        out += value
