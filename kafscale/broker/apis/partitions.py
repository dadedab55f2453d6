"""What Kafka does with replicas, answered truthfully by a system that has none.

- ElectLeaders (43), versions 0-2: election types (v1, KIP-460). Every partition is led by its preferred leader.
- AlterPartitionReassignments (45), versions 0-1: replication factor flag (v1, KIP-860).
- ListPartitionReassignments (46), version 0.

KIP-183, KIP-455. A partition has one replica, this broker: no election is needed, a reassignment to this broker is done
already, one to any other broker names one that is not registered, and none is ever under way.
"""

from typing import Final

from kafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ElectLeadersRequest,
    ElectLeadersResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import NO_ERROR, TopicError, replicas_fault
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.error_codes import ErrorCode

ELECTION_TYPES: Final = frozenset({0, 1})
"""Preferred and unclean."""

ElectionResult = ElectLeadersResponse.ReplicaElectionResult
PartitionResult = ElectionResult.PartitionResult
ReassignedTopic = AlterPartitionReassignmentsResponse.ReassignableTopicResponse
ReassignedPartition = ReassignedTopic.ReassignablePartitionResponse


async def elect_leaders(
    services: Services, context: RequestContext, request: ElectLeadersRequest
) -> ElectLeadersResponse:
    """Say of each partition asked for that it needs no election; asked for all, name topics without partitions."""
    version = context.api_version
    await services.replica.barrier()
    is_known_type = version < 1 or request.election_type in ELECTION_TYPES
    if request.topic_partitions is not None:
        results = [
            _election(services, asked, request.election_type, is_known_type) for asked in request.topic_partitions
        ]
    elif is_known_type:
        names = sorted(services.replica.state.names)
        results = [ElectionResult(topic=name, partition_result=[]) for name in names]
    else:
        results = []
    error = ErrorCode.NONE if is_known_type else ErrorCode.INVALID_REQUEST
    return ElectLeadersResponse(
        throttle_time_ms=0, error_code=int(error), replica_election_results=results, version=version
    )


def _election(
    services: Services, asked: ElectLeadersRequest.TopicPartitions, election_type: int, is_known_type: bool
) -> ElectLeadersResponse.ReplicaElectionResult:
    topic = services.replica.state.topic_named(asked.topic)
    results = []
    for index in asked.partitions:
        if is_known_type:
            error = _election_error(asked.topic, topic, index)
        else:
            error = TopicError(ErrorCode.INVALID_REQUEST, f"Unknown election type {election_type}")
        results.append(PartitionResult(partition_id=index, error_code=int(error.code), error_message=error.message))
    return ElectionResult(topic=asked.topic, partition_result=results)


def _election_error(name: str, topic: Topic | None, index: int) -> TopicError:
    if topic is None:
        return TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
    if not 0 <= index < topic.partition_count:
        return TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
    return TopicError(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


async def alter_partition_reassignments(
    services: Services, context: RequestContext, request: AlterPartitionReassignmentsRequest
) -> AlterPartitionReassignmentsResponse:
    """Judge each partition's new replicas; where they are right, they are there already."""
    await services.replica.barrier()
    responses = [_reassigned(services, asked) for asked in request.topics]
    return AlterPartitionReassignmentsResponse(
        throttle_time_ms=0,
        allow_replication_factor_change=request.allow_replication_factor_change,
        error_code=int(ErrorCode.NONE),
        # Kafka's message is empty, not absent, where nothing was asked for.
        error_message=None if request.topics else "",
        responses=responses,
        version=context.api_version,
    )


def _reassigned(
    services: Services, asked: AlterPartitionReassignmentsRequest.ReassignableTopic
) -> AlterPartitionReassignmentsResponse.ReassignableTopicResponse:
    partitions = []
    for partition in asked.partitions:
        error = _reassignment_error(services, asked.name, partition.partition_index, partition.replicas)
        partitions.append(
            ReassignedPartition(
                partition_index=partition.partition_index, error_code=int(error.code), error_message=error.message
            )
        )
    return ReassignedTopic(name=asked.name, partitions=partitions)


def _reassignment_error(services: Services, name: str, index: int, replicas: list[int] | None) -> TopicError:
    topic = services.replica.state.topic_named(name)
    if topic is None:
        return TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
    if not 0 <= index < topic.partition_count:
        return TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{index}.")
    if replicas is None:
        return TopicError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, None)
    fault = replicas_fault(replicas, services.node.node_id)
    return NO_ERROR if fault is None else TopicError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, fault)


async def list_partition_reassignments(
    _services: Services, context: RequestContext, _request: ListPartitionReassignmentsRequest
) -> ListPartitionReassignmentsResponse:
    """Answer that nothing is being reassigned."""
    return ListPartitionReassignmentsResponse(
        throttle_time_ms=0,
        error_code=int(ErrorCode.NONE),
        error_message=None,
        topics=[],
        version=context.api_version,
    )
