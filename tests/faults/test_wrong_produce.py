"""Produce requests that are wrong, byte by byte: the right error, nothing half written, everything else served.

The error codes are Apache Kafka's; these tests pass against one, except where a test says what differs.
"""

import struct
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from kafscale.protocol.api import ApiKey
from kafscale.protocol.batches import ATTRIBUTES_AT, CONTROL_FLAG, CRC_AT, CRC_FROM, MAGIC_AT
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import ProduceRequest
from kafscale.protocol.records import Record, encode_batch
from tests.support.broker import BrokerProcess
from tests.support.raw_client import (
    RawClient,
    create_topic,
    end_offset,
    fetch_request,
    metadata_request,
    produce_request,
    records_of,
)

VERSIONS = (3, 7, 9, 12)
"""The oldest, the last before and the first with flexible headers, the last that names topics."""

LENGTH_AT = 8
COUNT_AT = 57
LAST_DELTA_AT = 23
CODEC_AT = ATTRIBUTES_AT + 1


def good(value: bytes = b"good", **fields: Any) -> bytes:
    """Return a batch of one record."""
    return encode_batch([Record(0, value=value)], **fields)


def edited(at: int, layout: str, value: int, *, batch: bytes | None = None, crc: bool = True) -> bytes:
    """Return a good batch with one field overwritten and, unless told otherwise, its CRC made right again."""
    from crc32c import crc32c

    changed = bytearray(good() if batch is None else batch)
    struct.pack_into(layout, changed, at, value)
    if crc:
        struct.pack_into(">I", changed, CRC_AT, crc32c(bytes(changed[CRC_FROM:])))
    return bytes(changed)


def message_set(magic: int) -> bytes:
    """Return a message set of magic 0 or 1 with one message whose CRC is right."""
    from binascii import crc32

    times = struct.pack(">q", 1_700_000_000_000) if magic else b""
    body = struct.pack(">bb", magic, 0) + times + struct.pack(">i", -1) + struct.pack(">i", 3) + b"old"
    return struct.pack(">qiI", 0, len(body) + 4, crc32(body)) + body


class Wrong(NamedTuple):
    """Records for one partition that must be refused, the error, and what Apache Kafka does where it differs."""

    name: str
    records: bytes | None
    error: ErrorCode
    kafka: str = ""


SPOILS_ALL = "looks for transactional batches in all partitions first, fails at it, and refuses the whole request"


WRONG = [
    Wrong("bad CRC", edited(CRC_AT, ">I", 1, crc=False), ErrorCode.CORRUPT_MESSAGE),
    Wrong("flipped value byte", good()[:-3] + b"\xff" + good()[-2:], ErrorCode.CORRUPT_MESSAGE),
    Wrong("length below any header", edited(LENGTH_AT, ">i", 13, crc=False), ErrorCode.CORRUPT_MESSAGE, SPOILS_ALL),
    Wrong("length negative", edited(LENGTH_AT, ">i", -1, crc=False), ErrorCode.CORRUPT_MESSAGE, SPOILS_ALL),
    Wrong("length beyond the bytes", edited(LENGTH_AT, ">i", 10_000, crc=False), ErrorCode.INVALID_RECORD),
    Wrong(
        "length 2 GiB",
        edited(LENGTH_AT, ">i", 2**31 - 1, crc=False),
        ErrorCode.INVALID_RECORD,
        "overflows an int, and refuses the whole request with UNKNOWN_SERVER_ERROR",
    ),
    Wrong("magic 0", message_set(0), ErrorCode.INVALID_RECORD),
    Wrong("magic 1", message_set(1), ErrorCode.INVALID_RECORD),
    Wrong("magic 3", edited(MAGIC_AT, ">b", 3), ErrorCode.CORRUPT_MESSAGE, SPOILS_ALL),
    Wrong("two batches", good() + good(), ErrorCode.INVALID_RECORD),
    Wrong(
        "a batch and an impossible one",
        good() + edited(LENGTH_AT, ">i", 1, crc=False),
        ErrorCode.CORRUPT_MESSAGE,
        SPOILS_ALL,
    ),
    Wrong("empty", b"", ErrorCode.INVALID_RECORD),
    Wrong("null", None, ErrorCode.INVALID_RECORD, "never answers"),
    Wrong("truncated", good()[:-1], ErrorCode.INVALID_RECORD),
    Wrong("truncated in the header", good()[:40], ErrorCode.INVALID_RECORD),
    Wrong("base offset 5", good(base_offset=5), ErrorCode.INVALID_RECORD),
    Wrong("control batch", edited(ATTRIBUTES_AT, ">h", CONTROL_FLAG), ErrorCode.INVALID_RECORD),
    Wrong("record count 0", edited(COUNT_AT, ">i", 0), ErrorCode.INVALID_RECORD),
    Wrong("record count 2 of 1", edited(COUNT_AT, ">i", 2), ErrorCode.INVALID_RECORD),
    Wrong("record count negative", edited(COUNT_AT, ">i", -1), ErrorCode.INVALID_RECORD),
    Wrong("last delta 7", edited(LAST_DELTA_AT, ">i", 7), ErrorCode.INVALID_RECORD),
    Wrong("producer without a sequence", good(producer_id=7, producer_epoch=0), ErrorCode.INVALID_RECORD),
    Wrong("too large", good(b"x" * 1_100_000), ErrorCode.MESSAGE_TOO_LARGE),
]


@pytest.fixture
def topic(client: RawClient) -> str:
    """A topic with three empty partitions."""
    name = f"wrong-{uuid.uuid4().hex[:8]}"
    create_topic(client, name, 3)
    return name


def errors(reply: Any) -> dict[int, ErrorCode]:
    """Return the error of each partition of the reply's only topic."""
    (answered,) = reply.responses
    return {partition.index: ErrorCode(partition.error_code) for partition in answered.partition_responses}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_wrong_records_refused_beside_good_ones(
    client: RawClient, topic: str, wrong: Wrong, version: int, is_elsewhere: bool
) -> None:
    if is_elsewhere and wrong.kafka:
        pytest.skip(f"Apache Kafka {wrong.kafka}")
    reply = client.call(produce_request(topic, {0: good(), 1: wrong.records, 2: good()}), version)
    assert errors(reply) == {0: ErrorCode.NONE, 1: wrong.error, 2: ErrorCode.NONE}
    assert [end_offset(client, topic, partition) for partition in range(3)] == [1, 0, 1]
    answered = reply.responses[0].partition_responses
    assert {partition.index: partition.base_offset for partition in answered} == {0: 0, 1: -1, 2: 0}
    # The same connection and partition take a good batch afterwards.
    assert errors(client.call(produce_request(topic, {1: good()}), version)) == {1: ErrorCode.NONE}
    assert end_offset(client, topic, 1) == 1


def test_unknown_codec(client: RawClient, topic: str) -> None:
    for codec in (5, 7):
        reply = client.call(produce_request(topic, {0: edited(CODEC_AT, ">B", codec), 1: good()}), 9)
        assert errors(reply)[0] in (ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, ErrorCode.UNKNOWN_SERVER_ERROR)
    assert [end_offset(client, topic, partition) for partition in range(2)] == [0, 2]


def test_zstd_needs_version_7(client: RawClient, topic: str) -> None:
    batch = good(codec=4)
    assert errors(client.call(produce_request(topic, {0: batch}), 6)) == {0: ErrorCode.UNSUPPORTED_COMPRESSION_TYPE}
    assert errors(client.call(produce_request(topic, {0: batch}), 7)) == {0: ErrorCode.NONE}
    assert end_offset(client, topic) == 1


def test_partition_out_of_range(client: RawClient, topic: str) -> None:
    reply = client.call(produce_request(topic, {-1: good(), 0: good(), 3: good(), 2**31 - 1: good()}), 9)
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert errors(reply) == {-1: unknown, 0: ErrorCode.NONE, 3: unknown, 2**31 - 1: unknown}
    assert end_offset(client, topic) == 1


def test_unknown_topic_beside_a_known_one(client: RawClient, topic: str) -> None:
    request = produce_request("nobody-made-this", {0: good()})
    request.topic_data += produce_request(topic, {0: good()}).topic_data
    reply = client.call(request, 9)
    found = {answer.name: answer.partition_responses[0].error_code for answer in reply.responses}
    assert found == {"nobody-made-this": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, topic: ErrorCode.NONE}


def test_topic_ids(client: RawClient, topic: str) -> None:
    known = client.call(metadata_request([topic]), 12).topics[0].topic_id
    data = ProduceRequest.TopicProduceData
    for topic_id, error in ((uuid.uuid4(), ErrorCode.UNKNOWN_TOPIC_ID), (known, ErrorCode.NONE)):
        partition = data.PartitionProduceData(index=0, records=good())
        topics = [data(topic_id=topic_id, partition_data=[partition])]
        request = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=1000, topic_data=topics)
        assert errors(client.call(request, 13)) == {0: error}
    assert end_offset(client, topic) == 1


@pytest.mark.parametrize("acks", [5, -2, 2])
def test_invalid_acks(client: RawClient, topic: str, acks: int) -> None:
    reply = client.call(produce_request(topic, {0: good(), 1: good()}, acks=acks), 9)
    assert errors(reply) == dict.fromkeys((0, 1), ErrorCode.INVALID_REQUIRED_ACKS)
    assert [end_offset(client, topic, partition) for partition in range(2)] == [0, 0]


@pytest.mark.parametrize("acks", [1, -1])
def test_transactional_id_without_transactions(broker: BrokerProcess, acks: int) -> None:
    with RawClient(broker.port) as client:
        topic = f"transactional{acks}"
        create_topic(client, topic, 1)
        reply = client.call(produce_request(topic, {0: good()}, acks=acks, transactional_id="tx"), 9)
        assert errors(reply) == {0: ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED}
        assert end_offset(client, topic) == 0


WITHOUT_REPLY: list[tuple[str, Callable[[str], ProduceRequest]]] = [
    ("bad CRC", lambda topic: produce_request(topic, {0: WRONG[0].records}, acks=0)),
    ("unknown topic", lambda _: produce_request("nobody-made-this", {0: good()}, acks=0)),
    ("partition out of range", lambda topic: produce_request(topic, {9: good()}, acks=0)),
]


@pytest.mark.parametrize("make", [make for _, make in WITHOUT_REPLY], ids=[name for name, _ in WITHOUT_REPLY])
def test_acks_0_with_an_error_closes_the_connection(
    client: RawClient, port: int, topic: str, make: Callable[[str], ProduceRequest]
) -> None:
    with RawClient(port) as doomed:
        doomed.send(make(topic), 9)
        assert doomed.is_closed_by_server()
    assert end_offset(client, topic) == 0


def test_acks_0_is_written_without_a_reply(client: RawClient, topic: str) -> None:
    client.send(produce_request(topic, {0: good()}, acks=0), 9)
    # The next reply on the connection is the next request's.
    client._expected.pop()
    assert errors(client.call(produce_request(topic, {0: good(b"second")}), 9)) == {0: ErrorCode.NONE}
    fetched = client.call(fetch_request(topic, {0: 0}), 11).responses[0].partitions[0]
    assert list(records_of(fetched.records, 0)) == [(0, b"good"), (1, b"second")]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_versions_get_a_proper_refusal(client: RawClient, topic: str, version: int, is_elsewhere: bool) -> None:
    if is_elsewhere:
        pytest.skip("Apache Kafka advertises these versions and closes the connection (KAFKA-18659)")
    name = topic.encode()
    records = message_set(version > 0)
    body = struct.pack(">hii", -1, 1000, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iii", 1, 0, len(records)) + records
    client.send_body(ApiKey.PRODUCE, version, body)
    reply = client.receive_body()
    head = struct.pack(">ih", 1, len(name)) + name + struct.pack(">iih", 1, 0, ErrorCode.UNSUPPORTED_VERSION)
    offset = struct.pack(">q", -1)
    tail = [b"", struct.pack(">i", 0), struct.pack(">qi", -1, 0)][version]
    assert reply == head + offset + tail
    assert end_offset(client, topic) == 0


def test_duplicate_partition_in_one_request(client: RawClient, topic: str) -> None:
    request = produce_request(topic, {0: good(b"one")})
    request.topic_data[0].partition_data += produce_request(topic, {0: good(b"two")}).topic_data[0].partition_data
    reply = client.call(request, 9)
    assert len(reply.responses[0].partition_responses) in (1, 2)
    assert end_offset(client, topic) in (0, 1, 2)


def test_replies_in_order_of_pipelined_requests(client: RawClient, topic: str) -> None:
    for number in range(50):
        client.send(produce_request(topic, {number % 3: good(b"%d" % number)}), 9)
    client.send(fetch_request(topic, {0: 0, 1: 0, 2: 0}), 11)
    offsets = [client.receive().responses[0].partition_responses[0].base_offset for _ in range(50)]
    assert offsets == [number // 3 for number in range(50)]
    fetched = client.receive().responses[0].partitions
    for partition in fetched:
        values = [value for _, value in records_of(partition.records, 0)]
        assert values == [b"%d" % number for number in range(partition.partition_index, 50, 3)]


def test_idempotent_sequences(client: RawClient, topic: str) -> None:
    producer: dict[str, Any] = {"producer_id": 2**40, "producer_epoch": 3}
    assert errors(client.call(produce_request(topic, {0: good(base_sequence=0, **producer)}), 9)) == {0: ErrorCode.NONE}
    again = client.call(produce_request(topic, {0: good(base_sequence=0, **producer)}), 9)
    assert again.responses[0].partition_responses[0].base_offset == 0
    assert errors(again) == {0: ErrorCode.NONE}
    gap = client.call(produce_request(topic, {0: good(base_sequence=5, **producer), 1: good()}), 9)
    assert errors(gap) == {0: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 1: ErrorCode.NONE}
    old = good(producer_id=2**40, producer_epoch=2, base_sequence=1)
    assert errors(client.call(produce_request(topic, {0: old}), 9)) == {0: ErrorCode.INVALID_PRODUCER_EPOCH}
    assert end_offset(client, topic) == 1
