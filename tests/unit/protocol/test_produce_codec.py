"""The hand-written Produce codec says and reads, byte for byte, what the generic codec does."""

from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.errors import MalformedRequest
from kafscale.protocol.api import ApiKey
from kafscale.protocol.codec import decode_request, encode_request, encode_response
from kafscale.protocol.messages import ProduceRequest, ProduceResponse
from kafscale.protocol.produce import (
    TOPIC_ID_FROM,
    PartitionReply,
    TopicReply,
    decode_produce_request,
    encode_produce_response,
)

VERSIONS = st.integers(3, 13)
I16 = st.integers(-(2**15), 2**15 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
IDS = st.uuids().filter(lambda uuid: uuid.int != 0)
NAMES = st.text(max_size=140)
DATA = st.none() | st.binary(max_size=200)


@st.composite
def requests(draw: st.DrawFn, version: int) -> ProduceRequest:
    topics = [
        ProduceRequest.TopicProduceData(
            version=version,
            name="" if version >= TOPIC_ID_FROM else draw(NAMES),
            topic_id=draw(IDS) if version >= TOPIC_ID_FROM else None,
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(version=version, index=index, records=data)
                for index, data in draw(st.lists(st.tuples(I32, DATA), max_size=3))
            ],
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    return ProduceRequest(
        version=version,
        transactional_id=draw(st.none() | NAMES),
        acks=draw(I16),
        timeout_ms=draw(I32),
        topic_data=topics,
    )


def bodies(version: int) -> st.SearchStrategy[bytes]:
    return requests(version).map(lambda request: bytes(encode_request(request, version)))


VERSIONED_BODIES = VERSIONS.flatmap(lambda version: st.tuples(st.just(version), bodies(version)))


def as_values(request: Any) -> tuple[Any, ...]:
    """The generic codec's request in the shape of the hand-written one."""
    topics = [
        (
            topic.name or "",
            topic.topic_id.bytes if topic.topic_id is not None else b"",
            [(each.index, each.records) for each in topic.partition_data],
        )
        for topic in request.topic_data
    ]
    return request.transactional_id, request.acks, request.timeout_ms, topics


@settings(max_examples=40)
@given(VERSIONED_BODIES)
def test_requests_read_as_the_generic_codec_reads_them(versioned: tuple[int, bytes]) -> None:
    version, body = versioned
    assert decode_produce_request(version, memoryview(body)) == as_values(decode_request(ApiKey.PRODUCE, version, body))


@settings(max_examples=40)
@given(VERSIONED_BODIES)
def test_records_are_views_of_the_frame(versioned: tuple[int, bytes]) -> None:
    version, body = versioned
    for topic in decode_produce_request(version, memoryview(body)).topics:
        for partition in topic.partitions:
            assert partition.data is None or partition.data.obj is body


@settings(max_examples=40)
@given(VERSIONED_BODIES, st.data())
def test_cut_bodies_are_malformed(versioned: tuple[int, bytes], data: st.DataObject) -> None:
    version, body = versioned
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(MalformedRequest):
        decode_produce_request(version, memoryview(body)[:end])


@settings(max_examples=40)
@given(VERSIONED_BODIES)
def test_trailing_bytes_are_malformed(versioned: tuple[int, bytes]) -> None:
    version, body = versioned
    with pytest.raises(MalformedRequest, match="1 bytes too many"):
        decode_produce_request(version, memoryview(body + b"\0"))


@settings(max_examples=40)
@given(VERSIONED_BODIES, st.data())
def test_changed_bodies_are_malformed_or_mean_the_same_to_both(
    versioned: tuple[int, bytes], data: st.DataObject
) -> None:
    version, body = versioned
    damaged = bytearray(body)
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        damaged[at] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]))
    check_refused_or_the_same(version, bytes(damaged))


@given(VERSIONS, st.binary(max_size=80))
def test_random_bodies_are_malformed_or_mean_the_same_to_both(version: int, body: bytes) -> None:
    check_refused_or_the_same(version, body)


def check_refused_or_the_same(version: int, body: bytes) -> None:
    ours = theirs = None
    with suppress(MalformedRequest):
        ours = decode_produce_request(version, memoryview(body))
    with suppress(MalformedRequest):
        theirs = as_values(decode_request(ApiKey.PRODUCE, version, body))
    if ours is not None:
        # The zero id is none to the generic codec.
        names = [topic._replace(topic_id=topic.topic_id.strip(b"\0") and topic.topic_id) for topic in ours.topics]
        ours = ours._replace(topics=names)
    assert ours == theirs


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (3, b"\xff\xfe" + bytes(10)),
        (3, b"\x00\x01\xff" + bytes(10)),
        (3, b"\xff\xff" + bytes(6) + b"\xff\xff\xff\xff"),
        (3, b"\xff\xff" + bytes(6) + b"\x7f\xff\xff\xff"),
        (9, b"\x00" + bytes(6) + b"\x00\x00"),
        (9, b"\x00" + bytes(6) + b"\xff\xff\xff\xff\x0f\x00"),
        (9, b"\x00" + bytes(6) + b"\x01\x02\x05\x00\x05\x00"),
        (9, b"\x00" + bytes(6) + b"\x01\x01\x05\x09"),
        (9, b"\x00" + bytes(6) + b"\x02\x00\x01\x00\x00"),
    ],
    ids=[
        "string length -2",
        "not UTF-8",
        "null array",
        "more topics than bytes",
        "null compact array",
        "huge compact array",
        "a tag twice",
        "a tag longer than the rest",
        "null name",
    ],
)
def test_refused(version: int, body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode_produce_request(version, memoryview(body))


def test_unknown_tags_are_skipped() -> None:
    body = b"\x00" + b"\xff\xff" + bytes(4) + b"\x01" + b"\x02\x05\x01x\x07\x00"
    assert decode_produce_request(9, memoryview(body)) == (None, -1, 0, [])


PARTITION_REPLIES = st.builds(PartitionReply, I32, I16, I64, I64, I64, st.none() | st.text(max_size=140))


@st.composite
def replies(draw: st.DrawFn, version: int) -> list[TopicReply]:
    by_id = version >= TOPIC_ID_FROM
    return [
        TopicReply(
            "" if by_id else draw(NAMES),
            draw(IDS).bytes if by_id else b"",
            draw(st.lists(PARTITION_REPLIES, max_size=3)),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]


@settings(max_examples=40)
@given(VERSIONS, st.data())
def test_replies_are_written_as_the_generic_codec_writes_them(version: int, data: st.DataObject) -> None:
    topics = data.draw(replies(version))
    assert encode_produce_response(version, topics) == generic_reply(version, topics)


def generic_reply(version: int, topics: list[TopicReply]) -> bytearray:
    topic_class = ProduceResponse.TopicProduceResponse
    response = ProduceResponse(
        version=version,
        throttle_time_ms=0,
        responses=[
            topic_class(
                version=version,
                name=topic.name,
                topic_id=UUID(bytes=topic.topic_id) if topic.topic_id else None,
                partition_responses=[
                    topic_class.PartitionProduceResponse(
                        version=version,
                        index=each.partition,
                        error_code=each.error_code,
                        base_offset=each.base_offset,
                        log_append_time_ms=each.log_append_time_ms,
                        log_start_offset=each.log_start_offset,
                        record_errors=[],
                        error_message=each.error_message,
                    )
                    for each in topic.partitions
                ],
            )
            for topic in topics
        ],
    )
    return encode_response(response, version)


@pytest.mark.parametrize(
    ("version", "ending"),
    [
        (0, ""),
        (1, "00000000"),
        (2, "0000000000000009" + "00000000"),
        (3, "0000000000000009" + "00000000"),
    ],
)
def test_replies_of_old_versions(version: int, ending: str) -> None:
    """Kafka 4 has no schema for 0 to 2; the bytes are those of ProduceResponse.json as of Kafka 3.9."""
    body = encode_produce_response(version, [TopicReply("t", b"", [PartitionReply(1, 35, -1, 9, 7, "unseen")])])
    assert body.hex() == "00000001" + "0001" + "74" + "00000001" + "00000001" + "0023" + "ff" * 8 + ending
