"""Records inside a batch: round trips, kafka-python as a second opinion, and damage."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from kafscale.errors import DataCorrupt
from kafscale.protocol.batches import CRC_FROM, parse_header
from kafscale.protocol.compression import Codec, DecompressionTooLarge
from kafscale.protocol.records import Record, encode_batch, iterate_records, iterate_times

ROOM = 1_000_000

Reader = Callable[[memoryview, int], Iterator[object]]
READERS: list[Reader] = [iterate_records, iterate_times]
READERS_EACH = pytest.mark.parametrize("iterate", READERS)

HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3).map(tuple)
BYTES = st.none() | st.binary(max_size=200)
TIMESTAMPS = st.integers(-(2**40), 2**40)


@st.composite
def record_lists(draw: st.DrawFn) -> list[Record]:
    drawn = draw(st.lists(st.tuples(TIMESTAMPS, BYTES, BYTES, HEADERS), min_size=1, max_size=20))
    return [Record(index, *fields) for index, fields in enumerate(drawn)]


@given(record_lists(), st.sampled_from(Codec))
def test_round_trip(records: list[Record], codec: Codec) -> None:
    batch = encode_batch(records, codec=codec, base_offset=12, base_timestamp=1_700_000_000_000)
    assert list(iterate_records(memoryview(batch), ROOM)) == records
    times = [(record.timestamp_delta, record.offset_delta) for record in records]
    assert list(iterate_times(memoryview(batch), ROOM)) == times
    header = parse_header(memoryview(batch))
    assert header.crc == crc32c(batch[CRC_FROM:])
    assert header.size == len(batch)
    assert header.last_offset_delta == len(records) - 1
    assert (header.base_offset, header.record_count) == (12, len(records))
    assert header.max_timestamp == 1_700_000_000_000 + max(record.timestamp_delta for record in records)


# kafka-python needs another package for snappy.
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_kafka_python_reads_our_batches(codec: Codec) -> None:
    records = [Record(0, 0, b"k", b"v", (("h", b"1"),)), Record(1, 5, None, b"w" * 300)]
    batch = DefaultRecordBatch(encode_batch(records, codec=codec, base_offset=7, base_timestamp=1_000))
    assert batch.validate_crc()
    read = [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in batch]
    assert read == [(7, 1_000, b"k", b"v", [("h", b"1")]), (8, 1_005, None, b"w" * 300, [])]


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_we_read_kafka_pythons_batches(codec: int) -> None:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000,
    )
    for offset in range(3):
        builder.append(offset, timestamp=1_000 + offset, key=b"key", value=b"x" * 100, headers=[("h", None)])
    records = list(iterate_records(memoryview(builder.build()), ROOM))
    assert records == [Record(offset, offset, b"key", b"x" * 100, (("h", None),)) for offset in range(3)]


def test_producer_fields_and_attributes() -> None:
    batch = encode_batch(
        [Record(0)],
        codec=Codec.LZ4,
        producer_id=5,
        producer_epoch=6,
        base_sequence=7,
        is_transactional=True,
        is_control=True,
        is_log_append_time=True,
    )
    header = parse_header(memoryview(batch))
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (5, 6, 7)
    assert header.attributes == 0b11_1011


def test_header_keys_that_are_not_utf_8_survive() -> None:
    good = encode_batch([Record(0, headers=(("abc", b""),))])
    odd = good.replace(b"abc", b"a\xffc")
    (record,) = iterate_records(memoryview(odd), ROOM)
    assert encode_batch([record])[61:] == odd[61:]


def test_too_much_when_decompressed() -> None:
    batch = encode_batch([Record(0, value=bytes(100_000))], codec=Codec.ZSTD)
    for iterate in READERS:
        with pytest.raises(DecompressionTooLarge):
            list(iterate(memoryview(batch), 99_999))


@READERS_EACH
def test_damage_never_raises_anything_else(iterate: Reader) -> None:
    batch = encode_batch([Record(0, 1, b"key", b"value", (("h", b"v"),)), Record(1, 2, None, None)])
    for index in range(len(batch)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            damaged = batch[:index] + bytes((value,)) + batch[index + 1 :]
            with suppress(DataCorrupt):
                list(iterate(memoryview(damaged), ROOM))


@READERS_EACH
@pytest.mark.parametrize("codec", Codec)
def test_cut_off_anywhere(codec: Codec, iterate: Reader) -> None:
    batch = encode_batch([Record(0, 1, b"key", b"value", (("h", b"v"),))], codec=codec)
    for end in range(len(batch)):
        with pytest.raises(DataCorrupt):
            list(iterate(memoryview(batch[:end]), ROOM))


@READERS_EACH
@pytest.mark.parametrize("count", [-1, 1, 3, 2**31 - 1])
def test_wrong_record_count(count: int, iterate: Reader) -> None:
    batch = bytearray(encode_batch([Record(0, value=b"a" * 20), Record(1, value=b"b" * 20)]))
    batch[57:61] = count.to_bytes(4, "big", signed=True)
    with pytest.raises(DataCorrupt):
        list(iterate(memoryview(batch), ROOM))
