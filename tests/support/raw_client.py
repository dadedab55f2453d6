"""A Kafka client that does exactly what a test says: requests byte by byte, replies in the order they come.

Blocking, one socket, no retries, no knowledge of the cluster. Messages go through `kafscale.protocol.codec`; whatever a
test wants to be wrong it sends as bytes. Every wait is bounded by the client's timeout. Works against any Kafka server.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from kafka.protocol.api_message import ApiMessage

from kafscale.protocol.api import FLEXIBLE_FROM, NEVER, response_header_is_flexible
from kafscale.protocol.batches import iterate_batches
from kafscale.protocol.codec import decode_response, encode_request
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import (
    CreateTopicsRequest,
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    ProduceRequest,
)
from kafscale.protocol.records import iterate_records
from tests.support.server_process import LOOPBACK

TIMEOUT_S: Final = 15.0
"""Far above what any reply needs on a busy machine, so that only a real stall reaches it."""

EARLIEST: Final = -2
LATEST: Final = -1
"""Times with a meaning, in ListOffsets."""

BATCH_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bound for records taken apart here; tests write far smaller ones."""

_SIZE: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(">hhih")


class ConnectionClosed(Exception):
    """The server closed the connection."""


def frame(payload: bytes | bytearray) -> bytes:
    """Return `payload` with its size in front."""
    return _SIZE.pack(len(payload)) + payload


def request_header(key: int, version: int, correlation_id: int, client_id: bytes = b"raw") -> bytes:
    """Return a request header, v2 from the API's first flexible version on, else v1."""
    tags = b"\0" if version >= FLEXIBLE_FROM.get(key, NEVER) else b""
    return _HEADER.pack(key, version, correlation_id, len(client_id)) + client_id + tags


class RawClient:
    """One connection to the server on a loopback port. Use as a context manager."""

    def __init__(self, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=timeout_s)
        self._correlation_id = 0
        self._expected: list[tuple[int, int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        self._socket.close()

    # Messages

    def call(self, message: ApiMessage, version: int) -> Any:
        """Send a request and return its reply. Raises `ConnectionClosed`, `TimeoutError`."""
        self.send(message, version)
        return self.receive()

    def send(self, message: ApiMessage, version: int) -> None:
        """Send a request; `receive` returns its reply in its turn."""
        self.send_body(int(message.API_KEY), version, encode_request(message, version))

    def receive(self) -> Any:
        """Return the reply to the oldest request that has none yet; its correlation id must be that request's."""
        key, version, _ = self._expected[0]
        return decode_response(key, version, self.receive_body())

    # Bytes

    def send_body(self, key: int, version: int, body: bytes | bytearray) -> None:
        """Send a request with this body, right or wrong."""
        self._correlation_id += 1
        self._expected.append((key, version, self._correlation_id))
        self.send_bytes(frame(request_header(key, version, self._correlation_id) + body))

    def receive_body(self) -> bytes:
        """Return the body of the next reply, not decoded."""
        reply = self.receive_frame()
        key, version, correlation_id = self._expected.pop(0)
        if _SIZE.unpack_from(reply)[0] != correlation_id:
            raise AssertionError(f"a reply to request {_SIZE.unpack_from(reply)[0]}, not to {correlation_id}")
        return reply[_SIZE.size + response_header_is_flexible(key, version) :]

    def send_bytes(self, data: bytes | bytearray) -> None:
        """Send bytes as they are. A connection that the server has closed already is noticed when reading."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def receive_frame(self) -> bytes:
        """Return the next frame without its size. Raises `ConnectionClosed`, `TimeoutError`."""
        (size,) = _SIZE.unpack(self._receive_exactly(_SIZE.size))
        return self._receive_exactly(size)

    def is_closed_by_server(self) -> bool:
        """Wait for the end of the connection; False when a frame comes instead."""
        try:
            self.receive_frame()
        except ConnectionClosed:
            return True
        return False

    def _receive_exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            try:
                chunk = self._socket.recv(size - len(received))
            except ConnectionError as error:
                raise ConnectionClosed(str(error)) from error
            if not chunk:
                raise ConnectionClosed(f"closed after {len(received)} of {size} bytes")
            received += chunk
        return bytes(received)


# Requests that many tests make


def produce_request(
    topic: str, partitions: dict[int, bytes | None], *, acks: int = -1, transactional_id: str | None = None
) -> ProduceRequest:
    """Return a produce request for one topic by name: version 3 to 12."""
    data = ProduceRequest.TopicProduceData
    sent = [data.PartitionProduceData(index=index, records=records) for index, records in partitions.items()]
    topics = [data(name=topic, partition_data=sent)]
    return ProduceRequest(transactional_id=transactional_id, acks=acks, timeout_ms=10_000, topic_data=topics)


def fetch_request(
    topic: str, positions: dict[int, int], *, bytes_max: int = 1 << 20, max_wait_ms: int = 0, min_bytes: int = 1
) -> FetchRequest:
    """Return a fetch of one topic by name and without a session: version 4 to 12."""
    asked = [
        FetchRequest.FetchTopic.FetchPartition(
            partition=index,
            current_leader_epoch=-1,
            fetch_offset=offset,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=bytes_max,
        )
        for index, offset in positions.items()
    ]
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=50 << 20,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=asked)],
        forgotten_topics_data=[],
        rack_id="",
    )


def list_offsets_request(topic: str, partitions: Sequence[int], timestamp_ms: int) -> ListOffsetsRequest:
    """Return a ListOffsets request for one topic."""
    asked = [
        ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
            partition_index=index, current_leader_epoch=-1, timestamp=timestamp_ms
        )
        for index in partitions
    ]
    topics = [ListOffsetsRequest.ListOffsetsTopic(name=topic, partitions=asked)]
    return ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=topics)


def metadata_request(topics: Sequence[str], *, create: bool = False) -> MetadataRequest:
    """Return a Metadata request for topics by name."""
    asked = [MetadataRequest.MetadataRequestTopic(name=topic) for topic in topics]
    return MetadataRequest(topics=asked, allow_auto_topic_creation=create)


def create_topics_request(name: str, partitions: int, configs: Mapping[str, str] | None = None) -> CreateTopicsRequest:
    """Return a CreateTopics request for one topic."""
    entries = [
        CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
        for key, value in (configs or {}).items()
    ]
    topic = CreateTopicsRequest.CreatableTopic(
        name=name, num_partitions=partitions, replication_factor=1, assignments=[], configs=entries
    )
    return CreateTopicsRequest(topics=[topic], timeout_ms=10_000, validate_only=False)


def create_topic(client: RawClient, name: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
    """Make a topic and wait until every partition can be asked for its offsets."""
    (created,) = client.call(create_topics_request(name, partitions, configs), 5).topics
    if created.error_code:
        raise AssertionError(f"CreateTopics of {name}: {ErrorCode(created.error_code).name}: {created.error_message}")
    deadline = time.monotonic() + TIMEOUT_S
    asked = list_offsets_request(name, range(partitions), LATEST)
    while any(found.error_code for found in client.call(asked, 5).topics[0].partitions):
        if time.monotonic() > deadline:
            raise AssertionError(f"{name} has no leaders")
        time.sleep(0.05)


def bound(client: RawClient, topic: str, partition: int, which: int) -> int:
    """Return a partition's first offset (`EARLIEST`) or its high watermark (`LATEST`)."""
    found = client.call(list_offsets_request(topic, [partition], which), 5).topics[0].partitions[0]
    if found.error_code:
        raise AssertionError(f"ListOffsets of {topic}-{partition}: {ErrorCode(found.error_code).name}")
    return int(found.offset)


def end_offset(client: RawClient, topic: str, partition: int = 0) -> int:
    """Return a partition's high watermark."""
    return bound(client, topic, partition, LATEST)


def records_of(data: bytes | None, position: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield (offset, value) of every record at or after `position` in a fetched partition."""
    for header, batch in iterate_batches(memoryview(data or b"")):
        for record in iterate_records(batch, BATCH_BYTES_MAX):
            if header.base_offset + record.offset_delta >= position:
                yield header.base_offset + record.offset_delta, record.value
