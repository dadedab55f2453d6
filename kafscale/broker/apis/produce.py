"""Produce (0), versions 3-13; 0-2 are advertised for librdkafka and answered UNSUPPORTED_VERSION (KAFKA-18659).

KIP-98 (magic 2, idempotence), KIP-467 (error messages, v8), KIP-516 (topic ids, v13). acks=1 is acks=all; acks=0 gets
no reply, is written all the same, and an error closes its connection.
Not done: transactions (a transactional id is refused), recompression for a topic's compression.type. Timestamps are
judged by the batch header's base and largest timestamp, not record by record.

`begin_produce` runs from frame to open flush without an await: that is what keeps a connection's order.
"""

from collections.abc import Callable
from enum import Enum

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.metadata.state.cluster import Topic
from kafscale.metadata.state.outcomes import Verdict
from kafscale.protocol.batches import BatchFault, BatchHeader, check_produced, stamp_append_time
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.produce import (
    TOPIC_ID_FROM,
    PartitionReply,
    ProducedTopic,
    ProduceRequest,
    TopicReply,
    decode_produce_request,
    encode_produce_response,
)
from kafscale.storage.write_path import AppendFailure, BatchResult, ProducedBatch

VERSION_MIN = 3
_ZSTD_FROM = 7

TIMEOUT_MS_MIN = 5_000
"""Kafka appends whatever the timeout says, it limits only replication there: 0 must not mean "do not write"."""

_VALID_ACKS = (-1, 0, 1)


class NoReply(Enum):
    """What becomes of the connection of a request that wants no reply (acks=0)."""

    KEEP = "keep"
    CLOSE = "close"
    """Something failed, and this is how Kafka says so."""


Respond = Callable[[bytearray | NoReply], None]
"""Takes the reply's body, or what there is instead. Called exactly once."""


_FAULTS = {
    BatchFault.CORRUPT: (ErrorCode.CORRUPT_MESSAGE, "The record batch is corrupt: its length, magic or CRC is wrong."),
    BatchFault.INVALID: (
        ErrorCode.INVALID_RECORD,
        (
            "Exactly one record batch of magic 2 is allowed for a partition, with base offset 0, no control records, "
            "and a record count that fits its last offset delta."
        ),
    ),
    BatchFault.TOO_LARGE: (
        ErrorCode.MESSAGE_TOO_LARGE,
        "The record batch is larger than the topic's max.message.bytes.",
    ),
    BatchFault.UNKNOWN_CODEC: (
        ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        "This compression type is unknown, or needs a newer version of Produce.",
    ),
}

_RESULTS = {
    Verdict.ACCEPTED: ErrorCode.NONE,
    Verdict.DUPLICATE: ErrorCode.NONE,
    Verdict.OUT_OF_ORDER_SEQUENCE: ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    Verdict.FENCED_PRODUCER_EPOCH: ErrorCode.INVALID_PRODUCER_EPOCH,
    Verdict.UNKNOWN_TOPIC: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    AppendFailure.STORAGE: ErrorCode.KAFKA_STORAGE_ERROR,
    AppendFailure.TIMED_OUT: ErrorCode.REQUEST_TIMED_OUT,
}

_NO_TIME = -1


def begin_produce(services: Services, context: RequestContext, body: memoryview, respond: Respond) -> None:
    """Take a produce request; `respond` is called when every batch is in the log or refused.

    Raises `MalformedRequest`.
    """
    if context.api_version < VERSION_MIN:
        respond(_unsupported_version(context.api_version, body))
        return
    request = decode_produce_request(context.api_version, body)
    pending = _Pending(services, context, request, respond)
    pending.begin()


class _Pending:
    """One produce request between its batches and its reply."""

    __slots__ = ("_batches", "_context", "_replies", "_request", "_respond", "_services", "_slots", "_time_ms")

    def __init__(self, services: Services, context: RequestContext, request: ProduceRequest, respond: Respond) -> None:
        self._services = services
        self._context = context
        self._request = request
        self._respond = respond
        self._time_ms = services.clock.wall_ms()
        self._batches: list[ProducedBatch] = []
        self._slots: list[tuple[list[PartitionReply], int]] = []
        self._replies: list[TopicReply] = []

    def begin(self) -> None:
        refusal = self._refusal()
        for produced in self._request.topics:
            replies: list[PartitionReply] = []
            topic = self._topic(produced)
            self._replies.append(TopicReply(produced.name, produced.topic_id, replies))
            for index, data in produced.partitions:
                error = refusal or self._add(topic, index, data, replies)
                if error is not None:
                    replies.append(_error_reply(index, *error))
        if not self._batches:
            self._finish()
            return
        timeout_seconds = max(TIMEOUT_MS_MIN, self._request.timeout_ms) / 1000
        batches, self._batches = self._batches, []
        self._services.write_path.append(batches, self._context.connection_id, timeout_seconds, self._decided)

    def _refusal(self) -> tuple[ErrorCode, str | None] | None:
        if self._request.acks not in _VALID_ACKS:
            return ErrorCode.INVALID_REQUIRED_ACKS, None
        if self._request.transactional_id is not None:
            return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "This broker has no transactions yet."
        return None

    def _topic(self, produced: ProducedTopic) -> Topic | None:
        state = self._services.replica.state
        if self._context.api_version >= TOPIC_ID_FROM:
            return state.topics.get(produced.topic_id)
        return state.topic_named(produced.name)

    def _add(
        self, topic: Topic | None, index: int, data: memoryview | None, replies: list[PartitionReply]
    ) -> tuple[ErrorCode, str | None] | None:
        """Add a partition's batch to the flush, or return why not."""
        if topic is None:
            by_id = self._context.api_version >= TOPIC_ID_FROM
            return (ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), None
        if not 0 <= index < topic.partition_count:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None
        if data is None:
            return _FAULTS[BatchFault.INVALID]
        limits = self._services.topic_limits.of(topic)
        allow_zstd = self._context.api_version >= _ZSTD_FROM
        fault, header, data = check_produced(data, limits.batch_bytes_max, allow_zstd=allow_zstd)
        if fault is not BatchFault.NONE:
            return _FAULTS[fault]
        if limits.is_log_append_time:
            data, header = stamp_append_time(data, header, self._time_ms)
        elif not self._timestamps_fit(header, limits.timestamp_before_max_ms, limits.timestamp_after_max_ms):
            return ErrorCode.INVALID_TIMESTAMP, "A record's timestamp is too far from the broker's time."
        append_time_ms = self._time_ms if limits.is_log_append_time else _NO_TIME
        self._slots.append((replies, len(replies)))
        replies.append(PartitionReply(index, ErrorCode.NONE, -1, append_time_ms, -1, None))
        self._batches.append(ProducedBatch(topic.topic_id, topic.name, index, data, header))
        return None

    def _timestamps_fit(self, header: BatchHeader, before_max_ms: int, after_max_ms: int) -> bool:
        if header.max_timestamp - self._time_ms > after_max_ms:
            return False
        return header.base_timestamp < 0 or self._time_ms - header.base_timestamp <= before_max_ms

    def _decided(self, results: list[BatchResult]) -> None:
        for (replies, slot), result in zip(self._slots, results, strict=True):
            replies[slot] = replies[slot]._replace(
                error_code=_RESULTS[result.verdict],
                base_offset=result.base_offset,
                log_start_offset=result.log_start_offset,
            )
        self._finish()

    def _finish(self) -> None:
        if self._request.acks != 0:
            self._respond(encode_produce_response(self._context.api_version, self._replies))
        elif any(reply.error_code for topic in self._replies for reply in topic.partitions):
            self._respond(NoReply.CLOSE)
        else:
            self._respond(NoReply.KEEP)


def _error_reply(index: int, error: ErrorCode, message: str | None) -> PartitionReply:
    return PartitionReply(index, error, -1, _NO_TIME, -1, message)


def _unsupported_version(version: int, body: memoryview) -> bytearray:
    """Answer versions 0 to 2: every partition UNSUPPORTED_VERSION, in the old reply's shape."""
    # Versions 0-2 are version 3 without the transactional id; a null one in front makes them readable.
    request = decode_produce_request(VERSION_MIN, memoryview(b"\xff\xff" + body))
    replies = [
        TopicReply(
            topic.name,
            b"",
            [_error_reply(index, ErrorCode.UNSUPPORTED_VERSION, None) for index, _ in topic.partitions],
        )
        for topic in request.topics
    ]
    return encode_produce_response(version, replies)
