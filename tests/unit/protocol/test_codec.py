"""The codec where golden bytes do not reach: refusals and their texts, unknown tags, time, versions."""

import struct
import time
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafscale.errors import MalformedRequest
from kafscale.protocol.api import ApiKey
from kafscale.protocol.codec import MESSAGES, decode_request, decode_response, encode_request, encode_response
from kafscale.protocol.messages import (
    ApiVersionsResponse,
    DeleteTopicsRequest,
    DescribeTopicPartitionsRequest,
    FetchRequest,
    HeartbeatRequest,
    MetadataRequest,
    MetadataResponse,
)
from kafscale.protocol.strict import ELEMENTS_MAX

# A dozen times what it takes; a reader that copies the rest for each tag takes minutes.
READ_WAIT_S = 5.0


def metadata_body(*, topics: bytes = b"\x01", rest: bytes = b"\x00\x00\x00") -> bytes:
    """A Metadata v9 request: topics, three booleans, tags; `rest` stands for all behind the topics but the tags."""
    return topics + rest + b"\x00"


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b"", "topics", "the bytes end here"),
        (metadata_body(topics=b"\xff\xff\xff\xff\x07"), "topics", "2147483646 elements"),
        (metadata_body(topics=b"\xff\xff\xff\xff\xff\x01"), "topics", "varint longer than 5 bytes"),
        (metadata_body(topics=b"\x02\x00\x00"), "topics.[].name", "null is not allowed"),
        (metadata_body(topics=b"\x02\x7fabc\x00"), "topics.[].name", "126 bytes long"),
        (metadata_body(topics=b"\x02\x02\xff\x00"), "topics.[].name", "can't decode byte 0xff"),
        (metadata_body(rest=b"\x00\x02\x00"), "include_cluster_authorized_operations", "2 is not a boolean"),
        (metadata_body() + b"\x00", "behind the message", "1 bytes too many"),
    ],
)
def test_refusals_say_where_and_why(body: bytes, path: str, reason: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        decode_request(ApiKey.METADATA, 9, body)
    assert path in str(refused.value)
    assert reason in str(refused.value)
    assert "MetadataRequest v9" in str(refused.value)


def test_null_where_the_version_allows_it() -> None:
    request = decode_request(ApiKey.METADATA, 9, metadata_body(topics=b"\x00"))
    assert isinstance(request, MetadataRequest)
    assert request.topics is None
    with pytest.raises(MalformedRequest, match="null is not allowed"):
        decode_request(ApiKey.METADATA, 0, b"\xff\xff\xff\xff")


def test_lengths_below_minus_one() -> None:
    with pytest.raises(MalformedRequest, match="length -2"):
        decode_request(ApiKey.METADATA, 1, b"\xff\xff\xff\xfe")
    with pytest.raises(MalformedRequest, match="length -2"):
        decode_request(ApiKey.HEARTBEAT, 0, b"\xff\xfe")


def test_compact_strings_have_kafkas_limit() -> None:
    def heartbeat(length: int) -> bytes:
        request = HeartbeatRequest(group_id="g" * length, generation_id=1, member_id="m", version=4)
        return bytes(encode_request(request, 4))

    decode_request(ApiKey.HEARTBEAT, 4, heartbeat(32_767))
    with pytest.raises(MalformedRequest, match="32768 bytes long"):
        decode_request(ApiKey.HEARTBEAT, 4, heartbeat(32_768))


def test_nullable_structures() -> None:
    request = DescribeTopicPartitionsRequest(topics=[], response_partition_limit=5, cursor=None, version=0)
    body = bytes(encode_request(request, 0))
    decoded = decode_request(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, body)
    assert isinstance(decoded, DescribeTopicPartitionsRequest)
    assert decoded.cursor is None
    with pytest.raises(MalformedRequest, match="0 where 1 or -1"):
        decode_request(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, body.replace(b"\xff", b"\x00"))


def test_unknown_tags_are_checked_and_dropped() -> None:
    body = metadata_body()[:-1]
    decode_request(ApiKey.METADATA, 9, body + b"\x02\x00\x03abc\x09\x00")
    for tags in (b"\x02\x09\x00\x08\x00", b"\x02\x09\x00\x09\x00", b"\x01\x00\x04abc", b"\x7f\x00\x00"):
        with pytest.raises(MalformedRequest, match="tag"):
            decode_request(ApiKey.METADATA, 9, body + tags)


def fetch_body(tags: bytes) -> bytes:
    request = FetchRequest(max_wait_ms=1, min_bytes=1, topics=[], forgotten_topics_data=[], rack_id="", version=15)
    return bytes(encode_request(request, 15))[:-1] + tags


def test_known_tags_fill_the_size_they_say() -> None:
    request = decode_request(ApiKey.FETCH, 15, fetch_body(b"\x01\x00\x03\x03ab"))
    assert isinstance(request, FetchRequest)
    assert request.cluster_id == "ab"
    for tags in (b"\x01\x00\x04\x03ab", b"\x01\x00\x02\x03ab", b"\x01\x00\x04\x03abc"):
        with pytest.raises(MalformedRequest):
            decode_request(ApiKey.FETCH, 15, fetch_body(tags))


def test_tagged_structures_may_have_tags_of_their_own() -> None:
    state = b"\x00\x00\x00\x05" + bytes(7) + b"\x09"
    request = decode_request(ApiKey.FETCH, 15, fetch_body(b"\x01\x01\x10" + state + b"\x01\x03\x01x"))
    assert isinstance(request, FetchRequest)
    assert request.replica_state is not None
    assert (request.replica_state.replica_id, request.replica_state.replica_epoch) == (5, 9)


def test_a_tag_in_every_element_is_read_in_linear_time() -> None:
    partition = struct.pack(">iiqiqi", 0, -1, 0, -1, 0, 1) + b"\x01\x00\x10" + bytes(15) + b"\x01"
    count = 30_000
    topic = UUID(int=1).bytes + bytes((count + 1 & 0x7F | 0x80, (count + 1) >> 7 & 0x7F | 0x80, (count + 1) >> 14))
    body = struct.pack(">iiibii", 0, 0, 0, 0, 0, -1) + b"\x02" + topic + partition * count + b"\x00" + b"\x01\x01\x00"
    started = time.monotonic()
    request = decode_request(ApiKey.FETCH, 17, body)
    assert time.monotonic() - started < READ_WAIT_S
    assert isinstance(request, FetchRequest)
    assert request.topics[0].partitions[-1].replica_directory_id == UUID(int=1)


def test_all_elements_together_are_limited() -> None:
    element = b"\x01\x00"
    count = ELEMENTS_MAX + 2
    topics = bytes((count & 0x7F | 0x80, count >> 7 & 0x7F | 0x80, count >> 14)) + element * (count - 1)
    with pytest.raises(MalformedRequest, match="300001 elements"):
        decode_request(ApiKey.METADATA, 9, metadata_body(topics=topics))


def test_the_zero_topic_id_is_none() -> None:
    request = DeleteTopicsRequest(
        topics=[DeleteTopicsRequest.DeleteTopicState(name="a", topic_id=None, version=6)], timeout_ms=1, version=6
    )
    decoded = decode_request(ApiKey.DELETE_TOPICS, 6, bytes(encode_request(request, 6)))
    assert isinstance(decoded, DeleteTopicsRequest)
    assert decoded.topics[0].topic_id is None


@pytest.mark.parametrize(
    ("key", "version"), [(ApiKey.PRODUCE, 2), (ApiKey.LIST_OFFSETS, 11), (ApiKey.SHARE_FETCH, 1), (400, 0), (3, -1)]
)
def test_versions_without_a_schema(key: int, version: int) -> None:
    with pytest.raises(MalformedRequest, match="no schema"):
        decode_request(key, version, b"")


def test_an_api_versions_response_that_refuses_is_version_0() -> None:
    key = ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=4, version=0)
    body = encode_response(ApiVersionsResponse(error_code=35, api_keys=[key], version=0), 0)
    response = decode_response(ApiKey.API_VERSIONS, 4, bytes(body))
    assert isinstance(response, ApiVersionsResponse)
    assert [(entry.api_key, entry.max_version) for entry in response.api_keys] == [(18, 4)]


def test_authorized_operations_are_bits() -> None:
    response = MetadataResponse(
        brokers=[], controller_id=1, topics=[], authorized_operations={1, 3}, cluster_id=None, version=8
    )
    body = bytes(encode_response(response, 8))
    assert body.endswith(b"\x00\x00\x00\x0a")
    decoded = decode_response(ApiKey.METADATA, 8, body)
    assert isinstance(decoded, MetadataResponse)
    assert decoded.authorized_operations == {1, 3}


@given(st.sampled_from(sorted(MESSAGES)), st.data(), st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(key: ApiKey, data: st.DataObject, body: bytes) -> None:
    version = data.draw(st.integers(0, 18))
    with suppress(MalformedRequest):
        decode_request(key, version, memoryview(body))
