"""Request and response headers, read and written by hand: every request pays for this.

A request header is v1, or v2 (v1 and tagged fields) from the API's first flexible version on. As in Kafka
(`RequestHeader.parse`) a version nobody knows is taken for flexible when it lies above that one, so that an ApiVersions
request from the future still yields the correlation id its answer needs. The client id keeps its two length bytes in
every version.
"""

from struct import Struct, error
from typing import Final, NamedTuple

from kafscale.errors import MalformedRequest
from kafscale.protocol.api import FLEXIBLE_FROM, response_header_is_flexible
from kafscale.protocol.varint import read_unsigned

_FIXED: Final = Struct(">hhih")
_CORRELATION_ID: Final = Struct(">i")
_CORRELATION_ID_AND_NO_TAGS: Final = Struct(">ix")


class UnknownApiKey(MalformedRequest):
    """A request for an API that Kafka 4.1 does not have or not for clients. Close the connection, as Kafka does."""

    def __init__(self, api_key: int) -> None:
        super().__init__(f"unknown API key {api_key}")
        self.api_key: Final = api_key


class RequestHeader(NamedTuple):
    """A request's header; its body starts at `body_start` in the frame (a frame begins behind the size)."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_start: int


def parse_request_header(frame: memoryview | bytearray | bytes) -> RequestHeader:
    """Read the header at the start of a frame.

    Raises MalformedRequest, and its subclass UnknownApiKey where not even the header's version can be told.
    """
    try:
        api_key, api_version, correlation_id, length = _FIXED.unpack_from(frame)
        flexible_from = FLEXIBLE_FROM.get(api_key)
        if flexible_from is None:
            raise UnknownApiKey(api_key)
        position = _FIXED.size
        client_id = None
        if length >= 0:
            position += length
            if position > len(frame):
                raise MalformedRequest(f"header: client id of {length} bytes in a frame of {len(frame)}")
            client_id = str(frame[_FIXED.size : position], "utf-8")
        elif length != -1:
            raise MalformedRequest(f"header: client id of {length} bytes")
        if api_version >= flexible_from:
            position = _skip_tagged_fields(frame, position)
    except (error, IndexError) as reason:
        raise MalformedRequest(f"header: cut off after {len(frame)} bytes") from reason
    except UnicodeDecodeError as reason:
        raise MalformedRequest(f"header: client id is not UTF-8 ({reason.reason})") from reason
    return RequestHeader(api_key, api_version, correlation_id, client_id, position)


def _skip_tagged_fields(frame: memoryview | bytearray | bytes, position: int) -> int:
    """Return the position behind the tagged fields at `position`. No header has a tag that means anything yet."""
    if frame[position] == 0:
        return position + 1
    count, position = read_unsigned(frame, position)
    previous = -1
    for _ in range(count):
        tag, position = read_unsigned(frame, position)
        size, position = read_unsigned(frame, position)
        position += size
        if tag <= previous:
            raise MalformedRequest(f"header: tag {tag} after tag {previous}")
        if position > len(frame):
            raise MalformedRequest(f"header: tag {tag} of {size} bytes goes beyond the frame")
        previous = tag
    return position


def encode_response_header(key: int, version: int, correlation_id: int) -> bytes:
    """Return the header of a response to a request of this API, version and correlation id."""
    if response_header_is_flexible(key, version):
        return _CORRELATION_ID_AND_NO_TAGS.pack(correlation_id)
    return _CORRELATION_ID.pack(correlation_id)
