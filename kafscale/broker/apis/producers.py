"""DescribeProducers (61), version 0: the idempotent producers that partitions remember (KIP-664).

Not done: transactions, so no producer has one open. `last_timestamp` is when the broker appended the producer's last
batch; Kafka shows the largest timestamp in it, which the log does not keep by producer. A partition named twice is
answered once, where Kafka repeats itself: clients keep the answers by partition.
"""

from typing import Final

from kafka.protocol.admin import DescribeProducersRequest, DescribeProducersResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import name_fault
from kafscale.broker.turns import Turns
from kafscale.metadata.state.cluster import Topic
from kafscale.metadata.state.partition import Partition
from kafscale.metadata.state.producers import describe
from kafscale.protocol.error_codes import ErrorCode

WEIGHT_PER_TURN: Final = 500
"""Partitions and producers described in one step of the event loop, some 2 ms."""

TopicAnswer = DescribeProducersResponse.TopicResponse
PartitionAnswer = TopicAnswer.PartitionResponse


async def describe_producers(
    services: Services, context: RequestContext, request: DescribeProducersRequest
) -> DescribeProducersResponse:
    """Answer the producers of each partition asked for."""
    await services.replica.barrier()
    asked: dict[str, dict[int, None]] = {}
    for topic in request.topics:
        asked.setdefault(topic.name, {}).update(dict.fromkeys(topic.partition_indexes))
    turns = Turns(WEIGHT_PER_TURN)
    topics = []
    for name, indexes in asked.items():
        answers = []
        for index in indexes:
            answer = _answer(services, name, index)
            answers.append(answer)
            await turns.done(1 + len(answer.active_producers))
        topics.append(TopicAnswer(name=name, partitions=answers))
    return DescribeProducersResponse(throttle_time_ms=0, topics=topics, version=context.api_version)


def _answer(services: Services, name: str, index: int) -> DescribeProducersResponse.TopicResponse.PartitionResponse:
    topic = services.replica.state.topic_named(name)
    error, message = _fault(name, topic, index)
    producers = [] if topic is None or error else _producers(topic.partitions[index])
    return PartitionAnswer(
        partition_index=index, error_code=int(error), error_message=message, active_producers=producers
    )


def _fault(name: str, topic: Topic | None, index: int) -> tuple[ErrorCode, str | None]:
    fault = name_fault(name)
    if fault is not None:
        return ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {fault}"
    if topic is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."
    if not 0 <= index < topic.partition_count:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None
    return ErrorCode.NONE, None


def _producers(
    partition: Partition,
) -> list[DescribeProducersResponse.TopicResponse.PartitionResponse.ProducerState]:
    described = [(producer_id, describe(memory)) for producer_id, memory in partition.producers.items()]
    return [
        PartitionAnswer.ProducerState(
            producer_id=producer_id,
            producer_epoch=producer.epoch,
            last_sequence=producer.last_sequence,
            last_timestamp=producer.last_append_ms,
            coordinator_epoch=-1,
            current_txn_start_offset=-1,
        )
        for producer_id, producer in described
    ]
