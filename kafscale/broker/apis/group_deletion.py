"""DeleteGroups (42), versions 0-2, and OffsetDelete (47), version 0.

KIP-229, KIP-496. Only a group without members is deleted (NON_EMPTY_GROUP). Offsets of a topic that members subscribe
to are not deleted (GROUP_SUBSCRIBED_TO_TOPIC), nor any of a group with members that are not consumers. Deleting an
offset that was never committed is a success. A group without offsets stays until it expires, as in Kafka.
"""

from collections.abc import Iterator
from typing import Final

from kafka.protocol.admin import DeleteGroupsRequest, DeleteGroupsResponse
from kafka.protocol.consumer import OffsetDeleteRequest, OffsetDeleteResponse

from kafscale.broker.groups.deletions import OffsetToDelete
from kafscale.broker.groups.services import GroupApiServices
from kafscale.broker.request import RequestContext
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode

GroupResult = DeleteGroupsResponse.DeletableGroupResult
TopicResponse = OffsetDeleteResponse.OffsetDeleteResponseTopic
PartitionResponse = TopicResponse.OffsetDeleteResponsePartition

_UNKNOWN: Final = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def delete_groups(
    services: GroupApiServices, context: RequestContext, request: DeleteGroupsRequest
) -> DeleteGroupsResponse:
    """Delete groups; one that is named twice is deleted once."""
    group_ids = list(dict.fromkeys(request.groups_names))
    if await _passed_barrier(services):
        errors = [await services.group_coordinator.delete_group(group_id) for group_id in group_ids]
    else:
        errors = [ErrorCode.COORDINATOR_NOT_AVAILABLE] * len(group_ids)
    results = [
        GroupResult(group_id=group_id, error_code=int(error)) for group_id, error in zip(group_ids, errors, strict=True)
    ]
    return DeleteGroupsResponse(throttle_time_ms=0, results=results, version=context.api_version)


async def offset_delete(
    services: GroupApiServices, context: RequestContext, request: OffsetDeleteRequest
) -> OffsetDeleteResponse:
    """Delete committed offsets; an error of the group is the response's, and leaves its topics out."""
    if not await _passed_barrier(services):
        return _failed(ErrorCode.COORDINATOR_NOT_AVAILABLE, context.api_version)
    known = list(_known(services, request))
    deleted: dict[tuple[str, int], ErrorCode] = {}
    if known or not request.topics:
        errors = await services.group_coordinator.delete_offsets(request.group_id, known)
        if isinstance(errors, ErrorCode):
            return _failed(errors, context.api_version)
        deleted = {(one.topic, one.partition): error for one, error in zip(known, errors, strict=True)}
    topics = [
        TopicResponse(
            name=topic.name,
            partitions=[
                PartitionResponse(
                    partition_index=one.partition_index,
                    error_code=int(deleted.get((topic.name, one.partition_index), _UNKNOWN)),
                )
                for one in topic.partitions
            ],
        )
        for topic in request.topics
        if topic.partitions
    ]
    return OffsetDeleteResponse(
        error_code=int(ErrorCode.NONE), throttle_time_ms=0, topics=topics, version=context.api_version
    )


def _known(services: GroupApiServices, request: OffsetDeleteRequest) -> Iterator[OffsetToDelete]:
    for asked in request.topics:
        topic = services.replica.state.topic_named(asked.name)
        for partition in asked.partitions:
            index = partition.partition_index
            if topic is not None and 0 <= index < topic.partition_count:
                yield OffsetToDelete(topic.topic_id, topic.name, index)


def _failed(error: ErrorCode, version: int) -> OffsetDeleteResponse:
    return OffsetDeleteResponse(error_code=int(error), throttle_time_ms=0, topics=[], version=version)


async def _passed_barrier(services: GroupApiServices) -> bool:
    try:
        await services.replica.barrier()
    except StorageUnavailable:
        return False
    return True
