"""Message bodies between bytes and kafka-python's message objects: the one adapter that library stands behind.

Schemas, containers and the encoder are kafka-python's; bytes are read by the strict readers of
`kafscale.protocol.strict`. Versions are clamped to Kafka 4.1's, because some of kafka-python's schemas go further.
Readers and encoders are compiled on first use (1 to 10 ms each).

What is peculiar about kafka-python's messages, and stays so here:
- a field the version does not have reads as its default; writing drops it without an error;
- the zero topic id is None, in both directions;
- sets of authorized operations (in the replies of Metadata and DescribeGroups) are sets of bit numbers under the name
  `authorized_operations`, None where Kafka has its lowest int32 for "not asked for";
- a tagged structure is None where it is not there, and is written whenever it is not None, whatever its values;
- unknown tagged fields are checked and dropped.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kafka.protocol.api_message import ApiMessage

from kafscale.errors import MalformedRequest
from kafscale.protocol import messages
from kafscale.protocol.api import ApiKey, is_readable
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.schema import message_schema
from kafscale.protocol.strict import StrictReader


class MessagePair(NamedTuple):
    """The request and the response class of one API."""

    request: type[ApiMessage]
    response: type[ApiMessage]


def _message_pairs() -> dict[ApiKey, MessagePair]:
    found = [value for value in vars(messages).values() if isinstance(value, type) and issubclass(value, ApiMessage)]
    classes = {(message.API_KEY, message.is_request()): message for message in found}
    keys = sorted(key for key, is_request in classes if is_request)
    return {ApiKey(key): MessagePair(classes[key, True], classes[key, False]) for key in keys}


MESSAGES: Final[Mapping[ApiKey, MessagePair]] = MappingProxyType(_message_pairs())

# Filled once per (message class, version) there is, never beyond.
_readers: Final[dict[tuple[type[ApiMessage], int], StrictReader]] = {}


def decode_request(key: int, version: int, body: memoryview | bytearray | bytes) -> ApiMessage:
    """Return the request whose body these bytes are; raises MalformedRequest if they are not, or version is unknown."""
    return _decode(_pair(key, version).request, version, body)


def decode_response(key: int, version: int, body: memoryview | bytearray | bytes) -> ApiMessage:
    """Return the response whose body these bytes are, as `decode_request` does.

    An ApiVersions response that says UNSUPPORTED_VERSION is of version 0, whatever was asked for (KIP-511).
    """
    unsupported = ErrorCode.UNSUPPORTED_VERSION.to_bytes(2, "big")
    readable = 0 if key == ApiKey.API_VERSIONS and body[:2] == unsupported else version
    return _decode(_pair(key, readable).response, readable, body)


def encode_request(message: ApiMessage, version: int) -> bytearray:
    """Return the body of a request; a value its field cannot hold raises whatever kafka-python's encoder raises."""
    return _encode(message, version)


def encode_response(message: ApiMessage, version: int) -> bytearray:
    """Return the body of a response, as `encode_request` does."""
    return _encode(message, version)


def _pair(key: int, version: int) -> MessagePair:
    if not is_readable(key, version) or key not in MESSAGES:
        raise MalformedRequest(f"no schema for API key {key} in version {version}")
    return MESSAGES[ApiKey(key)]


def _decode(message: type[ApiMessage], version: int, body: memoryview | bytearray | bytes) -> ApiMessage:
    reader = _readers.get((message, version))
    if reader is None:
        reader = _readers[message, version] = StrictReader(message_schema(message, version), version)
    # Slices of bytes decode faster than slices of a view, and outlive the frame's buffer.
    decoded: ApiMessage = reader(body if isinstance(body, bytes) else bytes(body))
    return decoded


def _encode(message: ApiMessage, version: int) -> bytearray:
    return message.encode(version=version)
