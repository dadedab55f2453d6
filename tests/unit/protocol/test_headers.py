"""Request and response headers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.api_header import RequestHeader as LibraryHeader

from kafscale.errors import MalformedRequest
from kafscale.protocol.api import ApiKey
from kafscale.protocol.headers import RequestHeader, UnknownApiKey, encode_response_header, parse_request_header


def header(key: int, version: int, client_id: bytes | None = b"app", tags: bytes = b"") -> bytes:
    length = -1 if client_id is None else len(client_id)
    return struct.pack(">hhih", key, version, 7, length) + (client_id or b"") + tags


@pytest.mark.parametrize("frame_type", [bytes, bytearray, memoryview])
def test_header_without_tags(frame_type: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    frame = frame_type(header(ApiKey.FETCH, 11) + b"body")
    assert parse_request_header(frame) == RequestHeader(ApiKey.FETCH, 11, 7, "app", 13)


def test_flexible_header_skips_unknown_tags() -> None:
    tags = b"\x02" + b"\x00\x03abc" + b"\x05\x00"
    parsed = parse_request_header(header(ApiKey.FETCH, 12, tags=tags) + b"body")
    assert parsed.body_start == 13 + len(tags)


@pytest.mark.parametrize(("client_id", "expected"), [(None, None), (b"", ""), ("é".encode(), "é")])
def test_client_ids(client_id: bytes | None, expected: str | None) -> None:
    assert parse_request_header(header(ApiKey.METADATA, 4, client_id)).client_id == expected


def test_api_versions_from_the_future_still_has_a_header() -> None:
    parsed = parse_request_header(header(ApiKey.API_VERSIONS, 99, tags=b"\x00") + b"whatever")
    assert (parsed.api_version, parsed.correlation_id, parsed.body_start) == (99, 7, 14)


@pytest.mark.parametrize("key", [-1, 4, 7, 52, 93, 32_767])
def test_unknown_keys_are_told_apart(key: int) -> None:
    with pytest.raises(UnknownApiKey) as refused:
        parse_request_header(header(key, 0))
    assert refused.value.api_key == key


@pytest.mark.parametrize(
    "frame",
    [
        header(ApiKey.FETCH, 11, b"\xff\xfe"),
        struct.pack(">hhih", ApiKey.FETCH, 11, 7, -2),
        struct.pack(">hhih", ApiKey.FETCH, 11, 7, 5) + b"abcd",
        header(ApiKey.FETCH, 12, tags=b"\x02\x01\x00\x01\x00"),
        header(ApiKey.FETCH, 12, tags=b"\x02\x01\x00\x00\x00"),
        header(ApiKey.FETCH, 12, tags=b"\x01\x01\x05abcd"),
        header(ApiKey.FETCH, 12, tags=b"\xff\xff\xff\xff\xff\xff"),
        header(ApiKey.FETCH, 12, tags=b"\xff\xff\xff\xff\x07"),
    ],
)
def test_malformed_headers(frame: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_request_header(frame)


def test_cut_off_anywhere() -> None:
    whole = header(ApiKey.FETCH, 12, tags=b"\x01\x00\x03abc")
    for end in range(len(whole)):
        with pytest.raises(MalformedRequest):
            parse_request_header(whole[:end])


@given(st.sampled_from([(ApiKey.FETCH, 11), (ApiKey.FETCH, 12)]), st.text(max_size=50) | st.none())
def test_agrees_with_kafka_python(api: tuple[ApiKey, int], client_id: str | None) -> None:
    key, version = api
    theirs = LibraryHeader(
        request_api_key=int(key), request_api_version=version, correlation_id=9, client_id=client_id
    ).encode(flexible=version >= 12)
    assert parse_request_header(theirs) == RequestHeader(key, version, 9, client_id, len(theirs))


def test_response_headers() -> None:
    assert encode_response_header(ApiKey.FETCH, 11, 7) == b"\x00\x00\x00\x07"
    assert encode_response_header(ApiKey.FETCH, 12, -1) == b"\xff\xff\xff\xff\x00"
    assert encode_response_header(ApiKey.API_VERSIONS, 4, 7) == b"\x00\x00\x00\x07"
