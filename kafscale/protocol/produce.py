"""Produce requests and replies, read and written by hand: the generic codec copies record bytes, this one never does.

Versions 3 to 13. Tested against the generic codec on the same bytes. The reader is strict by construction: every
length is checked against the bytes left and nothing may trail.
"""

from struct import Struct, error
from typing import Final, NamedTuple

from kafscale.errors import MalformedRequest
from kafscale.protocol.strict import ELEMENTS_MAX
from kafscale.protocol.varint import append_unsigned, read_unsigned

FLEXIBLE_FROM: Final = 9
TOPIC_ID_FROM: Final = 13
_RECORD_ERRORS_FROM: Final = 8
_LOG_START_FROM: Final = 5
_APPEND_TIME_FROM: Final = 2
_THROTTLE_FROM: Final = 1

_I16: Final = Struct(">h")
_I32: Final = Struct(">i")
_ACKS_AND_TIMEOUT: Final = Struct(">hi")
_RESULT: Final = Struct(">ihqqq")
_RESULT_BEFORE_LOG_START: Final = Struct(">ihqq")
_RESULT_BEFORE_APPEND_TIME: Final = Struct(">ihq")

TOPIC_ID_BYTES: Final = 16

NO_DATA: Final = memoryview(b"")


class ProducedPartition(NamedTuple):
    """Records for one partition; `data` is a view of the frame, None for a null field."""

    partition: int
    data: memoryview | None


class ProducedTopic(NamedTuple):
    """Records for one topic; `name` before version 13, `topic_id` (16 bytes) from it on."""

    name: str
    topic_id: bytes
    partitions: list[ProducedPartition]


class ProduceRequest(NamedTuple):
    """A produce request."""

    transactional_id: str | None
    acks: int
    timeout_ms: int
    topics: list[ProducedTopic]


class PartitionReply(NamedTuple):
    """The answer for one partition."""

    partition: int
    error_code: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    error_message: str | None


class TopicReply(NamedTuple):
    """The answers for one topic."""

    name: str
    topic_id: bytes
    partitions: list[PartitionReply]


class _Reader:
    """Reads the primitive types of one request body."""

    __slots__ = ("data", "end", "flexible", "position", "room")

    def __init__(self, data: memoryview, flexible: bool) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.room = ELEMENTS_MAX
        self.flexible = flexible

    def take(self, size: int) -> memoryview:
        start = self.position
        self.position = start + size
        if self.position > self.end:
            raise MalformedRequest(f"Produce: {size} bytes wanted at byte {start} of {self.end}")
        return self.data[start : self.position]

    def int16(self) -> int:
        value: int = _I16.unpack(self.take(2))[0]
        return value

    def int32(self) -> int:
        value: int = _I32.unpack(self.take(4))[0]
        return value

    def varint(self) -> int:
        try:
            value, self.position = read_unsigned(self.data, self.position)
        except IndexError as reason:
            raise MalformedRequest("Produce: cut off in a varint") from reason
        return value

    def length(self, *, wide: bool) -> int:
        """Return the length of a string (16 bits before flexible versions) or of bytes (32 bits); -1 is null."""
        if self.flexible:
            return self.varint() - 1
        length = self.int32() if wide else self.int16()
        if length < -1:
            raise MalformedRequest(f"Produce: length {length}")
        return length

    def nullable_string(self) -> str | None:
        length = self.length(wide=False)
        if length < 0:
            return None
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError as reason:
            raise MalformedRequest("Produce: a string is not UTF-8") from reason

    def string(self) -> str:
        value = self.nullable_string()
        if value is None:
            raise MalformedRequest("Produce: a string is null")
        return value

    def count(self, element_bytes_min: int) -> int:
        count = self.length(wide=True)
        if not 0 <= count <= (self.end - self.position) // element_bytes_min:
            raise MalformedRequest(f"Produce: an array of {count} in {self.end - self.position} bytes")
        self.room -= count
        if self.room < 0:
            raise MalformedRequest(f"Produce: more than {ELEMENTS_MAX} topics and partitions")
        return count

    def tags(self) -> None:
        """Skip tagged fields; no version of Produce has any that a client sends."""
        if not self.flexible:
            return
        previous = -1
        for _ in range(self.varint()):
            tag = self.varint()
            self.take(self.varint())
            if tag <= previous:
                raise MalformedRequest(f"Produce: tag {tag} after tag {previous}")
            previous = tag


def decode_produce_request(version: int, body: memoryview) -> ProduceRequest:
    """Return the request in `body`; records are views of it. Raises `MalformedRequest`."""
    reader = _Reader(body, version >= FLEXIBLE_FROM)
    transactional_id = reader.nullable_string()
    try:
        acks, timeout_ms = _ACKS_AND_TIMEOUT.unpack(reader.take(_ACKS_AND_TIMEOUT.size))
    except error as reason:
        raise MalformedRequest("Produce: cut off before the topics") from reason
    topics = [_read_topic(reader, version) for _ in range(reader.count(2))]
    reader.tags()
    if reader.position != reader.end:
        raise MalformedRequest(f"Produce: {reader.end - reader.position} bytes too many")
    return ProduceRequest(transactional_id, acks, timeout_ms, topics)


def _read_topic(reader: _Reader, version: int) -> ProducedTopic:
    if version >= TOPIC_ID_FROM:
        name, topic_id = "", bytes(reader.take(TOPIC_ID_BYTES))
    else:
        name, topic_id = reader.string(), b""
    partitions = [_read_partition(reader) for _ in range(reader.count(5))]
    reader.tags()
    return ProducedTopic(name, topic_id, partitions)


def _read_partition(reader: _Reader) -> ProducedPartition:
    index = reader.int32()
    length = reader.length(wide=True)
    data = None if length < 0 else reader.take(length)
    reader.tags()
    return ProducedPartition(index, data)


def encode_produce_response(version: int, topics: list[TopicReply]) -> bytearray:
    """Return the body of a produce response of `version` (0 and up: old versions get a proper refusal)."""
    flexible = version >= FLEXIBLE_FROM
    out = bytearray()
    _write_count(out, len(topics), flexible)
    for topic in topics:
        if version >= TOPIC_ID_FROM:
            out += topic.topic_id
        else:
            _write_string(out, topic.name, flexible)
        _write_count(out, len(topic.partitions), flexible)
        for partition in topic.partitions:
            _write_partition(out, partition, version, flexible)
        if flexible:
            out.append(0)
    if version >= _THROTTLE_FROM:
        out += _I32.pack(0)
    if flexible:
        out.append(0)
    return out


def _write_partition(out: bytearray, reply: PartitionReply, version: int, flexible: bool) -> None:
    head = reply[:4]
    if version >= _LOG_START_FROM:
        out += _RESULT.pack(*head, reply.log_start_offset)
    elif version >= _APPEND_TIME_FROM:
        out += _RESULT_BEFORE_LOG_START.pack(*head)
    else:
        out += _RESULT_BEFORE_APPEND_TIME.pack(*head[:3])
    if version >= _RECORD_ERRORS_FROM:
        _write_count(out, 0, flexible)
        _write_nullable_string(out, reply.error_message, flexible)
    if flexible:
        out.append(0)


def _write_count(out: bytearray, count: int, flexible: bool) -> None:
    if flexible:
        append_unsigned(out, count + 1)
    else:
        out += _I32.pack(count)


def _write_string(out: bytearray, value: str, flexible: bool) -> None:
    data = value.encode()
    if flexible:
        append_unsigned(out, len(data) + 1)
    else:
        out += _I16.pack(len(data))
    out += data


def _write_nullable_string(out: bytearray, value: str | None, flexible: bool) -> None:
    if value is not None:
        _write_string(out, value, flexible)
    elif flexible:
        out.append(0)
    else:
        out += _I16.pack(-1)
