"""DeleteRecords (21), versions 0-2.

KIP-107. Offset -1 is the high watermark. An offset the partition has not reached is OFFSET_OUT_OF_RANGE, one below its
log start a success that changes nothing. A topic without `delete` in its `cleanup.policy` is POLICY_VIOLATION. The
timeout is not needed: the answer comes with the log's entry, there are no followers to wait for.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from kafka.protocol.admin import DeleteRecordsRequest, DeleteRecordsResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.errors import Bug, StorageUnavailable
from kafscale.metadata.entries import AdvanceLogStart, LogStart
from kafscale.metadata.state.cluster import Topic
from kafscale.metadata.state.outcomes import LogStartOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import topic_value

HIGH_WATERMARK: Final = -1

PARTITIONS_PER_COMMAND: Final = 1000
"""Partitions in one command: some 30 KiB of an entry."""

TopicResult = DeleteRecordsResponse.DeleteRecordsTopicResult
PartitionResult = TopicResult.DeleteRecordsPartitionResult

_ERRORS: Final = {
    Verdict.ACCEPTED: ErrorCode.NONE,
    Verdict.UNKNOWN_TOPIC: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    Verdict.OFFSET_OUT_OF_RANGE: ErrorCode.OFFSET_OUT_OF_RANGE,
}


class _Key(NamedTuple):
    """A partition as the request names it."""

    topic: str
    partition: int


class _Result(NamedTuple):
    """What became of one partition. `low_watermark` is -1 with an error."""

    error: ErrorCode
    low_watermark: int


async def delete_records(
    services: Services, context: RequestContext, request: DeleteRecordsRequest
) -> DeleteRecordsResponse:
    """Advance log starts; one partition's failure is not another's."""
    await services.replica.barrier()
    # Of a partition named twice Kafka takes the last offset.
    asked = {
        _Key(topic.name, partition.partition_index): partition.offset
        for topic in request.topics
        for partition in topic.partitions
    }
    results: dict[_Key, _Result] = {}
    starts: dict[_Key, LogStart] = {}
    for key, offset in asked.items():
        judged = _judge(services, key, offset)
        if isinstance(judged, ErrorCode):
            results[key] = _Result(judged, -1)
        else:
            starts[key] = judged
    results |= await _advance(services, starts)
    return _response(results, context.api_version)


def _judge(services: Services, key: _Key, offset: int) -> LogStart | ErrorCode:
    topic = services.replica.state.topic_named(key.topic)
    if topic is None or not 0 <= key.partition < topic.partition_count:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if not _may_delete(services, topic):
        return ErrorCode.POLICY_VIOLATION
    high_watermark = topic.partitions[key.partition].high_watermark
    if offset == HIGH_WATERMARK:
        offset = high_watermark
    if not 0 <= offset <= high_watermark:
        return ErrorCode.OFFSET_OUT_OF_RANGE
    return LogStart(topic.topic_id, key.partition, offset)


def _may_delete(services: Services, topic: Topic) -> bool:
    policies = topic_value("cleanup.policy", topic.configs, services.settings)
    return isinstance(policies, tuple) and "delete" in policies


async def _advance(services: Services, starts: Mapping[_Key, LogStart]) -> dict[_Key, _Result]:
    keys = list(starts)
    results: dict[_Key, _Result] = {}
    for first in range(0, len(keys), PARTITIONS_PER_COMMAND):
        part = keys[first : first + PARTITIONS_PER_COMMAND]
        try:
            outcome = await services.appender.submit(AdvanceLogStart([starts[key] for key in part]))
        except StorageUnavailable:
            results |= dict.fromkeys(part, _Result(ErrorCode.REQUEST_TIMED_OUT, -1))
            continue
        if not isinstance(outcome, LogStartOutcome):
            raise Bug(f"AdvanceLogStart was answered with {outcome!r}")
        for key, (verdict, log_start_offset) in zip(part, outcome.partitions, strict=True):
            results[key] = _Result(_ERRORS[verdict], log_start_offset)
    return results


def _response(results: Mapping[_Key, _Result], version: int) -> DeleteRecordsResponse:
    topics: dict[str, TopicResult] = {}
    for (name, partition), (error, low_watermark) in results.items():
        topic = topics.setdefault(name, TopicResult(name=name, partitions=[], version=version))
        topic.partitions.append(
            PartitionResult(
                partition_index=partition, low_watermark=low_watermark, error_code=int(error), version=version
            )
        )
    return DeleteRecordsResponse(throttle_time_ms=0, topics=list(topics.values()), version=version)
