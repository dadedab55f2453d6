"""DescribeTopicPartitions (75), version 0.

KIP-966: topics by name, partitions in pages with a cursor. There are no eligible leader replicas to show, because the
one replica is always in sync.
"""

import uuid
from typing import Final

from kafka.protocol.admin import DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse

from kafscale.broker.apis.metadata import TOPIC_OPERATIONS
from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import name_fault
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.batches import LEADER_EPOCH
from kafscale.protocol.error_codes import ErrorCode

PARTITIONS_PER_RESPONSE_MAX: Final = 2000
"""Kafka's default of `max.request.partition.size.limit`, and the client's of what it asks for."""

OPERATIONS_BITS: Final = sum(1 << operation for operation in TOPIC_OPERATIONS)
OPERATIONS_UNKNOWN: Final = -(2**31)

TopicAnswer = DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic
PartitionAnswer = TopicAnswer.DescribeTopicPartitionsResponsePartition
AnswerCursor = DescribeTopicPartitionsResponse.Cursor


async def describe_topic_partitions(
    services: Services, context: RequestContext, request: DescribeTopicPartitionsRequest
) -> DescribeTopicPartitionsResponse:
    """Describe the named topics, or all, from the cursor on; a page ends after the limit's number of partitions."""
    await services.replica.barrier()
    fault = _fault(request)
    if fault is not None:
        topics = [_refused(topic.name, fault) for topic in request.topics]
        return _response(topics, None, context.api_version)
    topics, cursor = _page(services, request)
    return _response(topics, cursor, context.api_version)


def _response(
    topics: list[DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic],
    cursor: DescribeTopicPartitionsResponse.Cursor | None,
    version: int,
) -> DescribeTopicPartitionsResponse:
    return DescribeTopicPartitionsResponse(throttle_time_ms=0, topics=topics, next_cursor=cursor, version=version)


def _fault(request: DescribeTopicPartitionsRequest) -> ErrorCode | None:
    """Return what is wrong with the request as a whole."""
    names = {topic.name for topic in request.topics}
    cursor = request.cursor
    if cursor is not None and (cursor.partition_index < 0 or (names and cursor.topic_name not in names)):
        return ErrorCode.INVALID_REQUEST
    return None


def _refused(name: str, error: ErrorCode) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic:
    return TopicAnswer(error_code=int(error), name=name, partitions=[], topic_authorized_operations=OPERATIONS_UNKNOWN)


def _page(
    services: Services, request: DescribeTopicPartitionsRequest
) -> tuple[
    list[DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic],
    DescribeTopicPartitionsResponse.Cursor | None,
]:
    state = services.replica.state
    cursor = request.cursor
    from_name, from_partition = ("", 0) if cursor is None else (cursor.topic_name, cursor.partition_index)
    names = {topic.name for topic in request.topics} or state.names.keys()
    left = max(1, min(request.response_partition_limit, PARTITIONS_PER_RESPONSE_MAX))
    answers: list[DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic] = []
    for name in sorted(name for name in names if name >= from_name):
        if left == 0:
            return answers, AnswerCursor(topic_name=name, partition_index=0)
        topic = state.topic_named(name)
        if topic is None:
            answers.append(_missing(name))
            continue
        first = from_partition if name == from_name else 0
        end = min(topic.partition_count, first + left)
        answers.append(_described(topic, range(first, end), services.node.node_id))
        if end < topic.partition_count:
            return answers, AnswerCursor(topic_name=name, partition_index=end)
        left -= max(0, end - first)
    return answers, None


def _missing(name: str) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic:
    is_valid = name_fault(name) is None
    error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_valid else ErrorCode.INVALID_TOPIC_EXCEPTION
    return TopicAnswer(error_code=int(error), name=name, partitions=[], topic_authorized_operations=OPERATIONS_BITS)


def _described(
    topic: Topic, partitions: range, node_id: int
) -> DescribeTopicPartitionsResponse.DescribeTopicPartitionsResponseTopic:
    return TopicAnswer(
        error_code=int(ErrorCode.NONE),
        name=topic.name,
        topic_id=uuid.UUID(bytes=topic.topic_id),
        is_internal=False,
        partitions=[
            PartitionAnswer(
                error_code=int(ErrorCode.NONE),
                partition_index=index,
                leader_id=node_id,
                leader_epoch=LEADER_EPOCH,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
                eligible_leader_replicas=[],
                last_known_elr=[],
                offline_replicas=[],
            )
            for index in partitions
        ],
        topic_authorized_operations=OPERATIONS_BITS,
    )
