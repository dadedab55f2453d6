"""ListOffsets (2), versions 1-10, and OffsetForLeaderEpoch (23), versions 2-4.

KIP-79 (by timestamp), KIP-734 (max timestamp), KIP-405 (earliest local, latest tiered: there is no local copy, so
these are log start and -1), KIP-207 and KIP-320 (leader epochs: always 0 here). Every answer passes a barrier.
The time lookup is exact to the record: runs by largest timestamp, then batch headers, then one decompressed batch.
"""

from collections.abc import Sequence

from kafka.protocol.consumer import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.errors import DataCorrupt, ObjectMissing, StorageUnavailable
from kafscale.metadata.state.cluster import Topic
from kafscale.metadata.state.partition import Partition
from kafscale.protocol.batches import LEADER_EPOCH, LOG_APPEND_TIME_FLAG, BatchHeader
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.records import iterate_records
from kafscale.storage.read_path import PartitionReader

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5

_SPECIAL_FROM = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}
"""The version of ListOffsets from which on a special timestamp is known."""

LOOKUP_BYTES_MAX = 64 * 1024 * 1024
"""What one batch may decompress to in a lookup: far above any batch a default client builds, far below a bomb."""

Answer = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
TopicAnswer = ListOffsetsResponse.ListOffsetsTopicResponse
Asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition
TimestampOffset = tuple[int, int]

_NOT_FOUND: TimestampOffset = (-1, -1)


async def list_offsets(services: Services, context: RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse:
    """Answer an offset for each partition's timestamp."""
    await services.replica.barrier()
    repeated = _repeated(request)
    topics = []
    for topic in request.topics:
        known = services.replica.state.topic_named(topic.name)
        answers = []
        for asked in topic.partitions:
            if (topic.name, asked.partition_index) in repeated:
                answers.append(_error(context.api_version, asked, ErrorCode.INVALID_REQUEST))
            else:
                answers.append(await _answer(services, context.api_version, known, asked))
        topics.append(TopicAnswer(version=context.api_version, name=topic.name, partitions=answers))
    return ListOffsetsResponse(version=context.api_version, throttle_time_ms=0, topics=topics)


def _repeated(request: ListOffsetsRequest) -> set[tuple[str, int]]:
    seen: set[tuple[str, int]] = set()
    repeated: set[tuple[str, int]] = set()
    for topic in request.topics:
        for asked in topic.partitions:
            key = (topic.name, asked.partition_index)
            (repeated if key in seen else seen).add(key)
    return repeated


async def _answer(services: Services, version: int, topic: Topic | None, asked: Asked) -> Answer:
    if asked.timestamp < 0 and version < _SPECIAL_FROM.get(asked.timestamp, version + 1):
        return _error(version, asked, ErrorCode.UNSUPPORTED_VERSION)
    if topic is None or not 0 <= asked.partition_index < topic.partition_count:
        return _error(version, asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if asked.current_leader_epoch > LEADER_EPOCH:
        return _error(version, asked, ErrorCode.UNKNOWN_LEADER_EPOCH)
    partition = topic.partitions[asked.partition_index]
    reader = services.read_path.reader(topic.topic_id, asked.partition_index, partition)
    try:
        timestamp, offset = await _lookup(reader, asked.timestamp)
    except (StorageUnavailable, ObjectMissing, DataCorrupt):
        return _error(version, asked, ErrorCode.KAFKA_STORAGE_ERROR)
    return Answer(
        version=version,
        partition_index=asked.partition_index,
        error_code=int(ErrorCode.NONE),
        timestamp=timestamp,
        offset=offset,
        leader_epoch=LEADER_EPOCH if offset >= 0 else -1,
    )


def _error(version: int, asked: Asked, error: ErrorCode) -> Answer:
    return Answer(
        version=version,
        partition_index=asked.partition_index,
        error_code=int(error),
        timestamp=-1,
        offset=-1,
        leader_epoch=-1,
    )


async def _lookup(reader: PartitionReader, timestamp: int) -> TimestampOffset:
    partition = reader.partition
    match timestamp:
        case -1:
            return -1, partition.high_watermark
        case -2 | -4:
            return -1, partition.log_start_offset
        case -3:
            return await _with_max_timestamp(reader, partition)
        case -5:
            return _NOT_FOUND
        case _:
            return await _at_or_after(reader, partition, timestamp)


async def _with_max_timestamp(reader: PartitionReader, partition: Partition) -> TimestampOffset:
    run_index = partition.run_with_max_timestamp()
    if run_index is None:
        return _NOT_FOUND
    best = _NOT_FOUND
    for header, batch in await reader.batches_of_run(run_index):
        if header.max_timestamp > best[0]:
            found = _first_record(header, batch, header.max_timestamp, partition.log_start_offset)
            best = found if found is not None else best
    return best


async def _at_or_after(reader: PartitionReader, partition: Partition, timestamp: int) -> TimestampOffset:
    first = partition.first_run_with_timestamp(timestamp)
    if first is None:
        return _NOT_FOUND
    # One run is enough where headers tell the truth; a producer whose header claims too late a time costs another.
    for run_index in range(first, partition.run_count):
        if partition.run_timestamps[run_index] < timestamp:
            continue
        for header, batch in await reader.batches_of_run(run_index):
            if header.max_timestamp >= timestamp:
                found = _first_record(header, batch, timestamp, partition.log_start_offset)
                if found is not None:
                    return found
    return _NOT_FOUND


def _first_record(
    header: BatchHeader, batch: memoryview, timestamp: int, log_start_offset: int
) -> TimestampOffset | None:
    """Return the batch's first readable record of `timestamp` or later."""
    for record in iterate_records(batch, LOOKUP_BYTES_MAX):
        is_append_time = header.attributes & LOG_APPEND_TIME_FLAG
        own = header.max_timestamp if is_append_time else header.base_timestamp + record.timestamp_delta
        offset = header.base_offset + record.offset_delta
        if own >= timestamp and offset >= log_start_offset:
            return own, offset
    return None


async def offset_for_leader_epoch(
    services: Services, context: RequestContext, request: OffsetForLeaderEpochRequest
) -> OffsetForLeaderEpochResponse:
    """Answer where an epoch ends: there is one epoch, 0, and it ends at the high watermark."""
    await services.replica.barrier()
    version = context.api_version
    result = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
    topics = [
        result(
            version=version,
            topic=topic.topic,
            partitions=_epoch_ends(services.replica.state.topic_named(topic.topic), topic.partitions, version),
        )
        for topic in request.topics
    ]
    return OffsetForLeaderEpochResponse(version=version, throttle_time_ms=0, topics=topics)


EpochAsked = OffsetForLeaderEpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition
EpochAnswer = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult.EpochEndOffset


def _epoch_ends(topic: Topic | None, partitions: Sequence[EpochAsked], version: int) -> list[EpochAnswer]:
    return [_epoch_end(topic, asked, version) for asked in partitions]


def _epoch_end(topic: Topic | None, asked: EpochAsked, version: int) -> EpochAnswer:
    error, epoch, end_offset = ErrorCode.NONE, -1, -1
    if topic is None or not 0 <= asked.partition < topic.partition_count:
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    elif asked.current_leader_epoch > LEADER_EPOCH:
        error = ErrorCode.UNKNOWN_LEADER_EPOCH
    elif asked.leader_epoch == LEADER_EPOCH:
        epoch, end_offset = LEADER_EPOCH, topic.partitions[asked.partition].high_watermark
    return EpochAnswer(
        version=version,
        error_code=int(error),
        partition=asked.partition,
        leader_epoch=epoch,
        end_offset=end_offset,
    )
