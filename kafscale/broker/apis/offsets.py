"""Committed offsets of consumer groups.

- OffsetCommit (8), versions 2-9: no retention time (v5, KIP-211), leader epochs (v6, KIP-320), static members (v7,
  KIP-345), GROUP_ID_NOT_FOUND (v9, KIP-848).
- OffsetFetch (9), versions 1-9: all topics (v2, KIP-88), leader epochs (v5, KIP-320), require stable (v7, KIP-447),
  several groups (v8, KIP-709), member and epoch (v9, KIP-848).

OffsetCommit: a topic or partition that does not exist, or metadata over `offset.metadata.max.bytes`, fails alone and
the rest is committed. Topics are named; the log keeps ids, so offsets of a deleted topic are not those of a new one of
that name. OffsetFetch passes a barrier first, so that it never shows less than was acknowledged; what was not committed
is offset -1 without an error, and so is everything of an unknown group. What is asked for more than once is answered
once, where Kafka repeats itself: clients keep the answers by group and partition. `require_stable` changes nothing
while there are no transactional commits. The member and epoch of v9 are those of KIP-848 and say nothing about classic
groups.

Not done: authorization, topic ids (v10, which Kafka 4.1 does not advertise), transactional commits.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from kafka.protocol.consumer import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)

from kafscale.broker.groups.calls import CommitCall, CommitResult
from kafscale.broker.groups.services import GroupApiServices, KnownTopic
from kafscale.broker.request import RequestContext
from kafscale.broker.turns import Turns
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import OffsetToCommit
from kafscale.metadata.state.groups import CommittedOffset, GroupState
from kafscale.protocol.error_codes import ErrorCode

NO_RETENTION: Final = -1

# Times are 64-bit numbers: a client that asks for "for ever" by the largest one gets the largest one.
TIME_MS_MAX: Final = 2**63 - 1

CommitTopic = OffsetCommitRequest.OffsetCommitRequestTopic
CommitPartition = CommitTopic.OffsetCommitRequestPartition
CommitTopicResponse = OffsetCommitResponse.OffsetCommitResponseTopic
CommitPartitionResponse = CommitTopicResponse.OffsetCommitResponsePartition
# Up to v7 topics stand in the response itself, from v8 on in its groups: two classes each for the same fields.
OldTopicResponse = OffsetFetchResponse.OffsetFetchResponseTopic
OldPartitionResponse = OldTopicResponse.OffsetFetchResponsePartition
GroupResponse = OffsetFetchResponse.OffsetFetchResponseGroup
TopicResponse = GroupResponse.OffsetFetchResponseTopics
PartitionResponse = TopicResponse.OffsetFetchResponsePartitions

AskedTopic = (
    OffsetFetchRequest.OffsetFetchRequestTopic | OffsetFetchRequest.OffsetFetchRequestGroup.OffsetFetchRequestTopics
)
Wanted = dict[str, dict[int, None]]
"""Partitions by name of their topic, each once, in the order in which they are asked for."""

OFFSETS_PER_TURN: Final = 500
"""Committed offsets looked up in one step of the event loop, some 2 ms."""


# OffsetCommit


async def offset_commit(
    services: GroupApiServices, context: RequestContext, request: OffsetCommitRequest
) -> OffsetCommitResponse:
    """Commit offsets, one verdict per partition."""
    topics = await _known_topics(services, [topic.name for topic in request.topics])
    errors = [_refusal(services, topics.get(topic.name), one) for topic in request.topics for one in topic.partitions]
    if ErrorCode.NONE in errors or ErrorCode.OFFSET_METADATA_TOO_LARGE in errors:
        offsets = tuple(_offsets(services, context, request, topics, errors))
        result = await services.group_coordinator.commit(_commit_call(context, request, offsets))
        errors = _merged(errors, result)
    return _commit_response(request, errors, context.api_version)


async def _known_topics(services: GroupApiServices, names: list[str]) -> dict[str, KnownTopic]:
    """Return the topics of these names; a topic just created elsewhere is found after a barrier."""
    state = services.replica.state
    if any(state.topic_named(name) is None for name in names):
        # Where the barrier is not met, the log cannot take the commit either: let the appender say so.
        with suppress(StorageUnavailable):
            await services.replica.barrier()
    found = ((name, services.replica.state.topic_named(name)) for name in names)
    return {name: topic for name, topic in found if topic is not None}


def _refusal(services: GroupApiServices, topic: KnownTopic | None, partition: CommitPartition) -> ErrorCode:
    if topic is None or not 0 <= partition.partition_index < topic.partition_count:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if _utf16_length(partition.committed_metadata or "") > services.settings.offset_metadata_max_bytes:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def _utf16_length(text: str) -> int:
    """Return the length as Java counts it."""
    return len(text) + sum(character > "\uffff" for character in text)


def _offsets(
    services: GroupApiServices,
    context: RequestContext,
    request: OffsetCommitRequest,
    topics: dict[str, KnownTopic],
    errors: Iterable[ErrorCode],
) -> Iterator[OffsetToCommit]:
    version = context.api_version
    retention_ms = request.retention_time_ms if version <= 4 else NO_RETENTION
    expire_ms = -1 if retention_ms == NO_RETENTION else min(services.clock.wall_ms() + retention_ms, TIME_MS_MAX)
    asked = ((topic, partition) for topic in request.topics for partition in topic.partitions)
    for (topic, partition), error in zip(asked, errors, strict=True):
        if error is ErrorCode.NONE:
            yield OffsetToCommit(
                topic_id=topics[topic.name].topic_id,
                partition=partition.partition_index,
                offset=partition.committed_offset,
                leader_epoch=partition.committed_leader_epoch if version >= 6 else -1,
                metadata=partition.committed_metadata or "",
                expire_ms=expire_ms,
            )


def _commit_call(
    context: RequestContext, request: OffsetCommitRequest, offsets: tuple[OffsetToCommit, ...]
) -> CommitCall:
    version = context.api_version
    return CommitCall(
        group_id=request.group_id,
        generation=request.generation_id_or_member_epoch,
        member_id=request.member_id,
        instance_id=request.group_instance_id if version >= 7 else None,
        offsets=offsets,
        unknown_group_error=ErrorCode.GROUP_ID_NOT_FOUND if version >= 9 else ErrorCode.ILLEGAL_GENERATION,
    )


def _merged(errors: list[ErrorCode], result: CommitResult) -> list[ErrorCode]:
    """Return the errors of all partitions: what the coordinator says of the request counts for each that exists."""
    if result.error:
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return [error if error is unknown else result.error for error in errors]
    judged = iter(result.offsets)
    return [next(judged) if error is ErrorCode.NONE else error for error in errors]


def _commit_response(request: OffsetCommitRequest, errors: Iterable[ErrorCode], version: int) -> OffsetCommitResponse:
    remaining = iter(errors)
    topics = [
        CommitTopicResponse(
            name=topic.name,
            partitions=[
                CommitPartitionResponse(partition_index=one.partition_index, error_code=next(remaining))
                for one in topic.partitions
            ],
        )
        for topic in request.topics
    ]
    return OffsetCommitResponse(topics=topics, version=version)


# OffsetFetch


class _Fetched(NamedTuple):
    """One partition's answer."""

    partition: int
    offset: int
    leader_epoch: int
    metadata: str


async def offset_fetch(
    services: GroupApiServices, context: RequestContext, request: OffsetFetchRequest
) -> OffsetFetchResponse:
    """Return committed offsets, of the partitions asked for or (topics null) of all there are."""
    version = context.api_version
    try:
        await services.replica.barrier()
    except StorageUnavailable:
        # Consumers before 3.9 do not know COORDINATOR_NOT_AVAILABLE as an answer to this.
        return _failed(request, version, ErrorCode.NOT_COORDINATOR)
    turns = Turns(OFFSETS_PER_TURN)
    if version >= 8:
        groups = []
        for group_id, wanted in _wanted_by_group(request).items():
            fetched = await _fetched(services, group_id, wanted, turns)
            groups.append(GroupResponse(group_id=group_id, topics=_new_topics(fetched)))
        return OffsetFetchResponse(groups=groups, version=version)
    fetched = await _fetched(services, request.group_id, _merged_wanted([request.topics]), turns)
    topics = [_old_topic(name, partitions) for name, partitions in fetched]
    return OffsetFetchResponse(topics=topics, version=version)


def _wanted_by_group(request: OffsetFetchRequest) -> dict[str, Wanted | None]:
    asked: dict[str, list[Sequence[AskedTopic] | None]] = {}
    for one in request.groups:
        asked.setdefault(one.group_id, []).append(one.topics)
    return {group_id: _merged_wanted(topics) for group_id, topics in asked.items()}


def _merged_wanted(asked: Iterable[Sequence[AskedTopic] | None]) -> Wanted | None:
    """Return what is asked for in any of the lists, each partition once; None where one of them asks for all."""
    wanted: Wanted = {}
    for topics in asked:
        if topics is None:
            return None
        for topic in topics:
            wanted.setdefault(topic.name, {}).update(dict.fromkeys(topic.partition_indexes))
    return wanted


def _new_topics(
    fetched: Iterable[tuple[str, list[_Fetched]]],
) -> list[OffsetFetchResponse.OffsetFetchResponseGroup.OffsetFetchResponseTopics]:
    return [
        TopicResponse(
            name=name,
            partitions=[
                PartitionResponse(
                    partition_index=one.partition,
                    committed_offset=one.offset,
                    committed_leader_epoch=one.leader_epoch,
                    metadata=one.metadata,
                )
                for one in partitions
            ],
        )
        for name, partitions in fetched
    ]


def _old_topic(
    name: str, partitions: Iterable[_Fetched], error: ErrorCode = ErrorCode.NONE
) -> OffsetFetchResponse.OffsetFetchResponseTopic:
    return OldTopicResponse(
        name=name,
        partitions=[
            OldPartitionResponse(
                partition_index=one.partition,
                committed_offset=one.offset,
                committed_leader_epoch=one.leader_epoch,
                metadata=one.metadata,
                error_code=error,
            )
            for one in partitions
        ],
    )


async def _fetched(
    services: GroupApiServices, group_id: str, wanted: Wanted | None, turns: Turns
) -> list[tuple[str, list[_Fetched]]]:
    """Return name and partitions of each topic asked for, or (None) of each with a committed offset."""
    if wanted is None:
        group = services.replica.state.groups.get(group_id)
        return [] if group is None else await _all_fetched(services, group, turns)
    fetched = []
    for name, partitions in wanted.items():
        fetched.append((name, _topic_fetched(services, group_id, name, partitions)))
        await turns.done(1 + len(partitions))
    return fetched


def _topic_fetched(services: GroupApiServices, group_id: str, name: str, partitions: Iterable[int]) -> list[_Fetched]:
    state = services.replica.state
    group, topic = state.groups.get(group_id), state.topic_named(name)
    if group is None or topic is None:
        return [_one(partition, None) for partition in partitions]
    return [_one(partition, group.offsets.get((topic.topic_id, partition))) for partition in partitions]


async def _all_fetched(services: GroupApiServices, group: GroupState, turns: Turns) -> list[tuple[str, list[_Fetched]]]:
    by_name: dict[str, list[_Fetched]] = {}
    for (topic_id, partition), committed in list(group.offsets.items()):
        await turns.done()
        topic = services.replica.state.topics.get(topic_id)
        if topic is not None:
            by_name.setdefault(topic.name, []).append(_one(partition, committed))
    return list(by_name.items())


def _one(partition: int, committed: CommittedOffset | None) -> _Fetched:
    if committed is None:
        return _Fetched(partition, -1, -1, "")
    return _Fetched(partition, committed.offset, committed.leader_epoch, committed.metadata)


def _failed(request: OffsetFetchRequest, version: int, error: ErrorCode) -> OffsetFetchResponse:
    if version >= 8:
        groups = [GroupResponse(group_id=one.group_id, topics=[], error_code=error) for one in request.groups]
        return OffsetFetchResponse(groups=groups, version=version)
    if version >= 2:
        return OffsetFetchResponse(topics=[], error_code=error, version=version)
    # v1 has an error code per partition only.
    topics = [
        _old_topic(topic.name, [_one(one, None) for one in topic.partition_indexes], error)
        for topic in request.topics or []
    ]
    return OffsetFetchResponse(topics=topics, version=version)
