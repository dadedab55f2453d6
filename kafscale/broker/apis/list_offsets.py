"""ListOffsets (2), versions 1-10, and OffsetForLeaderEpoch (23), versions 2-4.

KIP-79 (by timestamp), KIP-734 (max timestamp), KIP-405 (earliest local, latest tiered: there is no local copy, so
these are log start and -1), KIP-207 and KIP-320 (leader epochs: always 0 here). Every answer passes a barrier.

A time is looked up by the runs' largest timestamps, then by batch headers, then in the records of one batch, of which
lengths and deltas alone are read. That is exact to the record within the limits below. Where they are reached, by a
batch that is too large or by headers that claim times which no record has, the answer is the header's time and the
first offset that was not looked at: never one behind the exact answer. For the largest time (-3) one batch is looked
into. The partition is walked by offset, because runs may go while one of them is read.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

from kafka.protocol.consumer import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.turns import Turns
from kafscale.errors import DataCorrupt, ObjectMissing, StorageUnavailable
from kafscale.metadata.state.cluster import Topic
from kafscale.metadata.state.partition import Partition, Run
from kafscale.protocol.batches import LEADER_EPOCH, LOG_APPEND_TIME_FLAG, BatchHeader
from kafscale.protocol.compression import DecompressionTooLarge
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.records import iterate_times
from kafscale.storage.read_path import PartitionReader

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5

_SPECIAL_FROM = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}
"""The version of ListOffsets from which on a special timestamp is known."""

LOOKUP_BYTES_MAX = 16 * 1024 * 1024
"""What one batch may decompress to in a lookup: 16 times the largest one by default, some 20 ms in one step."""

LOOKUP_RECORDS_MAX = 250_000
"""Records looked at in one lookup, some 0.5 s in turns; a batch of a default producer has a few thousand."""

LOOKUP_BATCHES_MAX = 16
"""Batches looked into in one lookup. One is enough where headers tell the truth, two where the log start cuts it."""

RECORDS_PER_TURN = 1000
HEADERS_PER_TURN = 1000
RUNS_PER_TURN = 10_000
PARTITIONS_PER_TURN = 100
"""What is looked at in one step of the event loop, some 1 to 3 ms each."""

PLANS_MAX = 2
"""Times a lookup is begun whose object is gone: after a barrier only one that is really lost is missing again."""

Answer = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
TopicAnswer = ListOffsetsResponse.ListOffsetsTopicResponse
Asked = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition
TimestampOffset = tuple[int, int]

_NOT_FOUND: TimestampOffset = (-1, -1)


async def list_offsets(services: Services, context: RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse:
    """Answer an offset for each partition's timestamp."""
    await services.replica.barrier()
    repeated = _repeated(request)
    turns = Turns(PARTITIONS_PER_TURN)
    topics = []
    for topic in request.topics:
        answers = []
        for asked in topic.partitions:
            if (topic.name, asked.partition_index) in repeated:
                answers.append(_error(context.api_version, asked, ErrorCode.INVALID_REQUEST))
            else:
                answers.append(await _answer(services, context.api_version, topic.name, asked))
            await turns.done()
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


async def _answer(services: Services, version: int, name: str, asked: Asked) -> Answer:
    if asked.timestamp < 0 and version < _SPECIAL_FROM.get(asked.timestamp, version + 1):
        return _error(version, asked, ErrorCode.UNSUPPORTED_VERSION)
    for plan in range(PLANS_MAX):
        if plan:
            # What is missing may have been released since: what is left, this broker knows after a barrier.
            await services.replica.barrier()
        topic = services.replica.state.topic_named(name)
        if topic is None or not 0 <= asked.partition_index < topic.partition_count:
            return _error(version, asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if asked.current_leader_epoch > LEADER_EPOCH:
            return _error(version, asked, ErrorCode.UNKNOWN_LEADER_EPOCH)
        partition = topic.partitions[asked.partition_index]
        reader = services.read_path.reader(topic.topic_id, asked.partition_index, partition)
        try:
            return _found(version, asked, await _lookup(reader, asked.timestamp))
        except ObjectMissing:
            continue
        except (StorageUnavailable, DataCorrupt):
            break
    return _error(version, asked, ErrorCode.KAFKA_STORAGE_ERROR)


def _found(version: int, asked: Asked, found: TimestampOffset) -> Answer:
    timestamp, offset = found
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
    if timestamp == MAX_TIMESTAMP or timestamp >= 0:
        turns = Turns(RUNS_PER_TURN)
        while not partition.prepare_newest(RUNS_PER_TURN):
            await turns.done(RUNS_PER_TURN)
    match timestamp:
        case -1:
            return -1, partition.high_watermark
        case -2 | -4:
            return -1, partition.log_start_offset
        case -3:
            return await _with_max_timestamp(reader)
        case -5:
            return _NOT_FOUND
        case _:
            return await _at_or_after(reader, timestamp)


async def _with_max_timestamp(reader: PartitionReader) -> TimestampOffset:
    """Return the largest time, and the oldest record that has it; both are from the batch whose header says so."""
    partition = reader.partition
    index = partition.run_with_max_timestamp()
    if index is None:
        return _NOT_FOUND
    newest: tuple[BatchHeader, memoryview] | None = None
    turns = Turns(HEADERS_PER_TURN)
    for batch in await reader.batches_of_run(partition.run(index)):
        is_readable = _end_offset(batch[0]) > partition.log_start_offset
        if is_readable and (newest is None or batch[0].max_timestamp > newest[0].max_timestamp):
            newest = batch
        await turns.done()
    if newest is None:
        return _NOT_FOUND
    return await _Lookup(partition).newest_record(*newest)


async def _at_or_after(reader: PartitionReader, timestamp: int) -> TimestampOffset:
    """Return the first readable record of `timestamp` or later."""
    partition = reader.partition
    lookup = _Lookup(partition)
    turns = Turns(HEADERS_PER_TURN)
    run = await _next_run(partition, 0, timestamp)
    while run is not None:
        for header, batch in await reader.batches_of_run(run):
            if header.max_timestamp >= timestamp:
                found = await lookup.first_record(header, batch, timestamp)
                if found is not None:
                    return found
            await turns.done()
        run = await _next_run(partition, run.end_offset, timestamp)
    return _NOT_FOUND


async def _next_run(partition: Partition, offset: int, timestamp: int) -> Run | None:
    """Return the oldest run that ends behind `offset` and has a time of `timestamp` or later by its headers."""
    first = partition.first_run_with_timestamp(timestamp)
    if first is None:
        return None
    run = partition.run(first)
    if run.end_offset > offset:
        return run
    while max(offset, partition.log_start_offset) < partition.high_watermark:
        start = partition.run_index_at(max(offset, partition.log_start_offset))
        stop = min(start + RUNS_PER_TURN, partition.run_count)
        found = partition.next_run_with_timestamp(timestamp, start, stop)
        if found is not None:
            return partition.run(found)
        offset = partition.run(stop - 1).end_offset
        await asyncio.sleep(0)
    return None


class _Lookup:
    """One lookup in the records of a partition, and how much it may still look at."""

    __slots__ = ("_batches_left", "_partition", "_records_left")

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._batches_left = LOOKUP_BATCHES_MAX
        self._records_left = LOOKUP_RECORDS_MAX

    async def first_record(self, header: BatchHeader, batch: memoryview, timestamp: int) -> TimestampOffset | None:
        """Return the batch's first readable record of `timestamp` or later."""
        if _end_offset(header) <= self._partition.log_start_offset:
            return None
        if header.attributes & LOG_APPEND_TIME_FLAG or not self._batches_left:
            return self._claimed(header, header.base_offset)
        self._batches_left -= 1
        offset = header.base_offset - 1
        times = iterate_times(batch, LOOKUP_BYTES_MAX)
        try:
            while part := self._part(times):
                for timestamp_delta, offset_delta in part:
                    offset = header.base_offset + offset_delta
                    own = header.base_timestamp + timestamp_delta
                    if own >= timestamp and offset >= self._partition.log_start_offset:
                        return own, offset
                await asyncio.sleep(0)
        except DecompressionTooLarge:
            return self._claimed(header, header.base_offset)
        return None if self._records_left else self._claimed(header, offset + 1)

    async def newest_record(self, header: BatchHeader, batch: memoryview) -> TimestampOffset:
        """Return the largest time of the batch's readable records, and the first record that has it."""
        if header.attributes & LOG_APPEND_TIME_FLAG:
            return self._claimed(header, header.base_offset)
        newest = _NOT_FOUND
        times = iterate_times(batch, LOOKUP_BYTES_MAX)
        try:
            while part := self._part(times):
                for timestamp_delta, offset_delta in part:
                    own, offset = header.base_timestamp + timestamp_delta, header.base_offset + offset_delta
                    if own > newest[0] and offset >= self._partition.log_start_offset:
                        newest = own, offset
                if newest[0] >= header.max_timestamp:
                    return newest
                await asyncio.sleep(0)
        except DecompressionTooLarge:
            return self._claimed(header, header.base_offset)
        return newest

    def _part(self, times: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
        part = list(islice(times, min(RECORDS_PER_TURN, self._records_left)))
        self._records_left -= len(part)
        return part

    def _claimed(self, header: BatchHeader, offset: int) -> TimestampOffset:
        return header.max_timestamp, max(offset, self._partition.log_start_offset)


def _end_offset(header: BatchHeader) -> int:
    return header.base_offset + header.last_offset_delta + 1


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
