"""Batches as bytes: which of a producer's are refused and why, and offsets and times written into headers."""

import struct
from collections.abc import Callable
from itertools import accumulate

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch

from kafscale.errors import DataCorrupt
from kafscale.protocol.batches import (
    CRC_AT,
    CRC_FROM,
    HEADER_BYTES,
    BatchFault,
    check_crcs,
    check_produced,
    iterate_batches,
    parse_header,
    place_batches,
    stamp_append_time,
)
from kafscale.protocol.compression import Codec
from kafscale.protocol.records import Record, encode_batch, iterate_records

BYTES_MAX = 500
ROOM = 1_000_000

RECORDS = st.lists(st.binary(max_size=30), min_size=1, max_size=5).map(
    lambda values: [Record(delta, delta, b"k", value) for delta, value in enumerate(values)]
)
BATCHES = st.builds(encode_batch, RECORDS, codec=st.sampled_from(Codec), base_timestamp=st.integers(0, 2**41))

GOOD = encode_batch([Record(0, 0, b"k", b"v"), Record(1, 1, b"k", b"w")], base_timestamp=1000)


def changed(at: int, new: bytes, *, batch: bytes = GOOD, repair_crc: bool = True) -> bytes:
    """Return a batch with other bytes at `at`, its CRC right again unless told otherwise."""
    out = bytearray(batch[:at] + new + batch[at + len(new) :])
    if repair_crc:
        out[CRC_AT : CRC_AT + 4] = struct.pack(">I", crc32c(bytes(out[CRC_FROM:])))
    return bytes(out)


def fault_of(data: bytes, bytes_max: int = BYTES_MAX, *, allow_zstd: bool = True) -> BatchFault:
    return check_produced(memoryview(data), bytes_max, allow_zstd=allow_zstd).fault


def id_of(value: object) -> str | None:
    return value.name if isinstance(value, BatchFault) else ""


OLD_MESSAGE = struct.pack(">qiIbb", 0, 14, 0, 1, 0) + bytes(8)
BAD_LENGTH = changed(8, struct.pack(">i", 13), repair_crc=False)
MAGIC_3 = changed(16, b"\x03", repair_crc=False)
MAGIC_1 = changed(16, b"\x01", repair_crc=False)
ZSTD = encode_batch([Record(0, value=b"v")], codec=Codec.ZSTD)
OFFSET_1 = changed(0, struct.pack(">q", 1))
BAD_CRC = changed(CRC_AT, b"\0\0\0\0", repair_crc=False)
SHORT = struct.pack(">qiibI", 0, 30, -1, 2, 0) + bytes(21)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", BatchFault.INVALID),
        (GOOD[:11], BatchFault.INVALID),
        (GOOD[:16], BatchFault.INVALID),
        (GOOD[:-1], BatchFault.INVALID),
        (BAD_LENGTH, BatchFault.CORRUPT),
        (BAD_LENGTH[:12], BatchFault.CORRUPT),
        (MAGIC_3, BatchFault.CORRUPT),
        (changed(16, b"\xff"), BatchFault.CORRUPT),
        (MAGIC_1, BatchFault.INVALID),
        (OLD_MESSAGE, BatchFault.INVALID),
        (GOOD + GOOD, BatchFault.INVALID),
        (GOOD + BAD_LENGTH, BatchFault.CORRUPT),
        (GOOD + MAGIC_3, BatchFault.CORRUPT),
        (GOOD + OLD_MESSAGE, BatchFault.INVALID),
        (OFFSET_1, BatchFault.INVALID),
        (SHORT, BatchFault.CORRUPT),
        (BAD_CRC, BatchFault.CORRUPT),
        (changed(70, b"\xff", repair_crc=False), BatchFault.CORRUPT),
        (changed(21, b"\0\x05"), BatchFault.UNKNOWN_CODEC),
        (changed(21, b"\0\x07"), BatchFault.UNKNOWN_CODEC),
        (changed(21, b"\0\x20"), BatchFault.INVALID),
        (changed(57, struct.pack(">i", 0)), BatchFault.INVALID),
        (changed(57, struct.pack(">i", -1)), BatchFault.INVALID),
        (changed(57, struct.pack(">i", 3)), BatchFault.INVALID),
        (changed(23, struct.pack(">i", 2)), BatchFault.INVALID),
        (changed(23, struct.pack(">i", -1)), BatchFault.INVALID),
        (changed(43, struct.pack(">qhi", 5, 0, -1)), BatchFault.INVALID),
        (changed(43, struct.pack(">qhi", 5, -1, 0)), BatchFault.INVALID),
        (changed(43, struct.pack(">qhi", 5, 0, 0)), BatchFault.NONE),
        (GOOD, BatchFault.NONE),
        (ZSTD, BatchFault.NONE),
    ],
    ids=id_of,
)
def test_faults(data: bytes, fault: BatchFault) -> None:
    assert fault_of(data) is fault


@pytest.mark.parametrize(
    ("data", "bytes_max", "fault"),
    [
        # Each pair of faults: the one that Kafka finds first.
        (changed(16, b"\x01", batch=BAD_LENGTH), BYTES_MAX, BatchFault.CORRUPT),
        (changed(16, b"\x01", batch=OFFSET_1), 10, BatchFault.INVALID),
        (OFFSET_1, 10, BatchFault.INVALID),
        (OFFSET_1 + BAD_LENGTH, BYTES_MAX, BatchFault.CORRUPT),
        (BAD_CRC + GOOD, BYTES_MAX, BatchFault.INVALID),
        (SHORT, 10, BatchFault.TOO_LARGE),
        (BAD_CRC, 10, BatchFault.TOO_LARGE),
        (changed(21, b"\0\x07", repair_crc=False), BYTES_MAX, BatchFault.CORRUPT),
        (changed(21, b"\0\x27"), BYTES_MAX, BatchFault.UNKNOWN_CODEC),
        (changed(21, b"\0\x27"), 10, BatchFault.TOO_LARGE),
    ],
    ids=id_of,
)
def test_the_first_fault_is_told(data: bytes, bytes_max: int, fault: BatchFault) -> None:
    assert fault_of(data, bytes_max) is fault


def test_zstd_needs_permission_and_is_judged_before_what_follows() -> None:
    assert fault_of(ZSTD, allow_zstd=False) is BatchFault.UNKNOWN_CODEC
    assert fault_of(ZSTD + BAD_LENGTH, 10, allow_zstd=False) is BatchFault.UNKNOWN_CODEC
    assert fault_of(GOOD, allow_zstd=False) is BatchFault.NONE


def test_the_limit_counts_every_byte_of_the_batch_and_none_behind_it() -> None:
    assert fault_of(GOOD, len(GOOD)) is BatchFault.NONE
    assert fault_of(GOOD, len(GOOD) - 1) is BatchFault.TOO_LARGE
    assert fault_of(GOOD + GOOD[:40], len(GOOD)) is BatchFault.NONE


@settings(max_examples=50)
@given(BATCHES, BATCHES, st.data())
def test_a_good_batch_passes_as_a_view_and_half_a_batch_behind_it_is_dropped(
    batch: bytes, other: bytes, data: st.DataObject
) -> None:
    given_bytes = batch + other[: data.draw(st.integers(0, len(other) - 1))]
    produced = check_produced(memoryview(given_bytes), ROOM)
    assert produced.fault is BatchFault.NONE
    assert produced.data == batch
    assert produced.data.obj is given_bytes
    assert produced.header == parse_header(memoryview(batch))


@settings(max_examples=50)
@given(BATCHES, st.data())
def test_a_flipped_bit_is_noticed_or_lies_outside_the_crc(batch: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(batch) - 1))
    flipped = batch[:at] + bytes([batch[at] ^ 1 << data.draw(st.integers(0, 7))]) + batch[at + 1 :]
    fault = check_produced(memoryview(flipped), ROOM).fault
    if 12 <= at < 16:
        assert fault is BatchFault.NONE
    else:
        assert fault in (BatchFault.CORRUPT, BatchFault.INVALID)


@given(st.binary(max_size=120))
def test_random_bytes_are_judged_without_an_exception(data: bytes) -> None:
    assert check_produced(memoryview(data), 100).fault is not BatchFault.NONE


@settings(max_examples=50)
@given(RECORDS, st.sampled_from(Codec), st.integers(0, 2**41), st.integers(0, 2**41))
def test_stamped_batches_have_the_brokers_time_and_a_right_crc(
    records: list[Record], codec: Codec, base_timestamp: int, time_ms: int
) -> None:
    original = encode_batch(records, codec=codec, base_timestamp=base_timestamp, producer_id=4, producer_epoch=0)
    stamped, header = stamp_append_time(memoryview(original), parse_header(memoryview(original)), time_ms)
    assert header == parse_header(stamped)
    assert (header.max_timestamp, header.base_timestamp) == (time_ms, base_timestamp)
    check_crcs(stamped)
    assert list(iterate_records(stamped, ROOM)) == records
    kafka_pythons = DefaultRecordBatch(bytes(stamped))
    assert kafka_pythons.validate_crc()
    assert kafka_pythons.timestamp_type == 1
    if codec is not Codec.SNAPPY:  # kafka-python needs another package for that
        assert {record.timestamp for record in kafka_pythons} == {time_ms}
    assert original == encode_batch(
        records, codec=codec, base_timestamp=base_timestamp, producer_id=4, producer_epoch=0
    )


@settings(max_examples=50)
@given(st.lists(BATCHES, min_size=1, max_size=5), st.integers(0, 2**60), st.binary(max_size=9))
def test_place_batches(batches: list[bytes], base_offset: int, padding: bytes) -> None:
    run = bytearray(padding + b"".join(batches) + padding)
    end = len(run) - len(padding)
    index = place_batches(run, len(padding), end, base_offset)
    placed = list(iterate_batches(memoryview(run)[len(padding) : end]))
    counts = [parse_header(memoryview(batch)).record_count for batch in batches]
    starts = list(accumulate(counts, initial=base_offset))
    assert [header.base_offset for header, _ in placed] == starts[:-1] == index.offsets
    assert index.end_offset == starts[-1]
    assert index.positions == list(accumulate(map(len, batches[:-1]), initial=0))
    assert {header.leader_epoch for header, _ in placed} == {0}
    for (_, batch), original in zip(placed, batches, strict=True):
        assert batch[16:] == original[16:]
        assert batch[8:12] == original[8:12]
    check_crcs(memoryview(run)[len(padding) : end])
    assert run.startswith(padding)
    assert run.endswith(padding)


WALKS: list[Callable[[bytes], object]] = [
    lambda data: list(iterate_batches(memoryview(data))),
    lambda data: check_crcs(memoryview(data)),
    lambda data: place_batches(bytearray(data), 0, len(data), 7),
]


@settings(max_examples=50)
@given(st.lists(BATCHES, min_size=1, max_size=3), st.data(), st.sampled_from(WALKS))
def test_cut_runs_are_corrupt(batches: list[bytes], data: st.DataObject, walk: Callable[[bytes], object]) -> None:
    whole = b"".join(batches)
    end = data.draw(st.integers(1, len(whole) - 1).filter(lambda end: end not in accumulate(map(len, batches))))
    with pytest.raises(DataCorrupt):
        walk(whole[:end])


@settings(max_examples=50)
@given(st.lists(BATCHES, min_size=1, max_size=3), st.data(), st.sampled_from(WALKS))
def test_damaged_runs_raise_nothing_but_corrupt(
    batches: list[bytes], data: st.DataObject, walk: Callable[[bytes], object]
) -> None:
    damaged = bytearray(b"".join(batches))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    try:
        walk(bytes(damaged))
    except DataCorrupt:
        return


def test_a_wrong_crc_names_the_offset() -> None:
    run = memoryview(changed(0, struct.pack(">q", 40)) + changed(70, b"\xff", repair_crc=False))
    with pytest.raises(DataCorrupt, match="offset 0 has a wrong CRC"):
        check_crcs(run)


@pytest.mark.parametrize("magic", [0, 1, 3, 0x82])
def test_another_magic_is_damage(magic: int) -> None:
    """It lies in front of what the CRC covers: a flipped bit there went out to consumers."""
    with pytest.raises(DataCorrupt, match="has magic"):
        check_crcs(memoryview(changed(16, bytes([magic]))))


def test_a_header_needs_61_bytes() -> None:
    assert parse_header(memoryview(GOOD)[:HEADER_BYTES]).record_count == 2
    with pytest.raises(DataCorrupt, match="61 bytes, 60 are left"):
        parse_header(memoryview(GOOD)[:60])
    with pytest.raises(DataCorrupt, match="60 are left"):
        parse_header(memoryview(GOOD), len(GOOD) - 60)
