"""CreateTopics (19), versions 2-7; DeleteTopics (20), 1-6; CreatePartitions (37), 0-3.

KIP-464 (defaults by -1), KIP-525 (configs in the reply), KIP-516 (topic ids). Replication factors above 1 are accepted
and one replica is shown, because the object store does the replication. A manual assignment must name this broker.
"""

import uuid
from collections import Counter
from collections.abc import Sequence

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import NO_ERROR, PARTITIONS_PER_REQUEST_MAX, NewTopic, TopicError, replicas_fault
from kafscale.broker.turns import Turns
from kafscale.errors import StorageUnavailable
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import describe_topic

CreatedTopic = CreateTopicsResponse.CreatableTopicResult
DeletedTopic = DeleteTopicsResponse.DeletableTopicResult
GrownTopic = CreatePartitionsResponse.CreatePartitionsTopicResult

_SHOWN_REPLICATION_FACTOR = 1
_DELETE_BY_ID_FROM = 6
_DETAILS_FROM = 5
_DELETE_DISABLED_FROM = 3

TOPICS_PER_TURN = 100
"""Topics judged in one step of the event loop, some 2 ms."""

_UNKNOWN_TOPIC = TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.")


async def create_topics(
    services: Services, context: RequestContext, request: CreateTopicsRequest
) -> CreateTopicsResponse:
    """Create each topic, or say why not; one topic's failure is not another's."""
    names = Counter(topic.name for topic in request.topics)
    by_name = {topic.name: topic for topic in request.topics}
    await services.replica.barrier()
    budget = PARTITIONS_PER_REQUEST_MAX
    results = []
    turns = Turns(TOPICS_PER_TURN)
    for name, asked in by_name.items():
        await turns.done()
        if names[name] > 1:
            error = TopicError(ErrorCode.INVALID_REQUEST, "Found multiple entries for this topic.")
            results.append(_created(services, context.api_version, name, error, None))
            continue
        budget -= max(0, _asked_partitions(services, asked))
        results.append(await _create_topic(services, context.api_version, asked, request, within_limit=budget >= 0))
    return CreateTopicsResponse(version=context.api_version, throttle_time_ms=0, topics=results)


async def _create_topic(
    services: Services,
    version: int,
    asked: CreateTopicsRequest.CreatableTopic,
    request: CreateTopicsRequest,
    *,
    within_limit: bool,
) -> CreatedTopic:
    new = NewTopic(
        asked.name,
        _asked_partitions(services, asked),
        asked.replication_factor,
        {config.name: config.value for config in asked.configs},
    )
    error = _check_assignments(services, asked) if asked.assignments else NO_ERROR
    if error.code is ErrorCode.NONE:
        error = services.topics.check_new(new)
    if error.code is ErrorCode.NONE and not within_limit:
        error = TopicError(
            ErrorCode.POLICY_VIOLATION,
            f"Excessively large number of partitions per request: the limit is {PARTITIONS_PER_REQUEST_MAX}.",
        )
    topic_id = b""
    if error.code is ErrorCode.NONE and not request.validate_only:
        error, topic_id = await services.topics.create(new)
    return _created(services, version, asked.name, error, new, topic_id)


def _asked_partitions(services: Services, asked: CreateTopicsRequest.CreatableTopic) -> int:
    if asked.assignments:
        return len(asked.assignments)
    return services.topics.partition_count(asked.num_partitions)


def _check_assignments(services: Services, asked: CreateTopicsRequest.CreatableTopic) -> TopicError:
    if asked.replication_factor != -1:
        return TopicError(
            ErrorCode.INVALID_REQUEST,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        )
    if asked.num_partitions != -1:
        return TopicError(
            ErrorCode.INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        )
    partitions = sorted(assignment.partition_index for assignment in asked.assignments)
    if partitions != list(range(len(partitions))):
        return TopicError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )
    return _check_replicas(services, [assignment.broker_ids for assignment in asked.assignments])


def _check_replicas(services: Services, replicas: Sequence[Sequence[int]]) -> TopicError:
    faults = (replicas_fault(brokers, services.node.node_id) for brokers in replicas)
    fault = next((fault for fault in faults if fault is not None), None)
    return NO_ERROR if fault is None else TopicError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, fault)


def _created(
    services: Services, version: int, name: str, error: TopicError, new: NewTopic | None, topic_id: bytes = b""
) -> CreatedTopic:
    result = CreatedTopic(version=version, name=name, error_code=int(error.code), error_message=error.message)
    if error.code is not ErrorCode.NONE or new is None:
        result.num_partitions = -1
        result.replication_factor = -1
        result.configs = []
        return result
    if topic_id:
        result.topic_id = uuid.UUID(bytes=topic_id)
    if version < _DETAILS_FROM:
        return result
    result.num_partitions = new.partition_count
    result.replication_factor = _SHOWN_REPLICATION_FACTOR
    configs = {key: value for key, value in new.configs.items() if value is not None}
    result.configs = [
        CreatedTopic.CreatableTopicConfigs(
            version=version,
            name=described.name,
            value=described.value,
            read_only=described.is_read_only,
            config_source=int(described.source),
            is_sensitive=described.is_sensitive,
        )
        for described in describe_topic(configs, services.loaded)
    ]
    return result


async def delete_topics(
    services: Services, context: RequestContext, request: DeleteTopicsRequest
) -> DeleteTopicsResponse:
    """Delete topics by name or, from version 6 on, by id."""
    await services.replica.barrier()
    asked = _asked_deletions(context.api_version, request)
    results = []
    turns = Turns(TOPICS_PER_TURN)
    for (name, topic_id), count in Counter(asked).items():
        await turns.done()
        results.append(await _delete_topic(services, context.api_version, name, topic_id, is_repeated=count > 1))
    return DeleteTopicsResponse(version=context.api_version, throttle_time_ms=0, responses=results)


def _asked_deletions(version: int, request: DeleteTopicsRequest) -> list[tuple[str | None, bytes | None]]:
    if version < _DELETE_BY_ID_FROM:
        return [(name, None) for name in request.topic_names]
    return [(topic.name, topic.topic_id.bytes if topic.topic_id else None) for topic in request.topics]


async def _delete_topic(
    services: Services, version: int, name: str | None, topic_id: bytes | None, *, is_repeated: bool
) -> DeletedTopic:
    topic, error = _to_delete(services, version, name, topic_id)
    if is_repeated:
        error = TopicError(ErrorCode.INVALID_REQUEST, "Duplicate topic name or id.")
    if topic is not None and error.code is ErrorCode.NONE:
        error = await services.topics.delete(topic.topic_id)
    known_id = topic.topic_id if topic is not None else topic_id
    result = DeletedTopic(
        version=version,
        name=topic.name if topic is not None else name,
        error_code=int(error.code),
        error_message=error.message,
    )
    if known_id:
        result.topic_id = uuid.UUID(bytes=known_id)
    return result


def _to_delete(
    services: Services, version: int, name: str | None, topic_id: bytes | None
) -> tuple[Topic | None, TopicError]:
    if not services.settings.delete_topic_enable:
        disabled = version >= _DELETE_DISABLED_FROM
        code = ErrorCode.TOPIC_DELETION_DISABLED if disabled else ErrorCode.INVALID_REQUEST
        return None, TopicError(code, "Topic deletion is disabled.")
    if name is not None and topic_id is not None:
        return None, TopicError(ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id.")
    if name is None and topic_id is None:
        return None, TopicError(ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified.")
    state = services.replica.state
    if topic_id is not None:
        topic = state.topics.get(topic_id)
        missing = TopicError(ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID.")
    else:
        topic = state.topic_named(name or "")
        missing = _UNKNOWN_TOPIC
    return topic, missing if topic is None else NO_ERROR


async def create_partitions(
    services: Services, context: RequestContext, request: CreatePartitionsRequest
) -> CreatePartitionsResponse:
    """Raise partition counts."""
    await services.replica.barrier()
    names = Counter(topic.name for topic in request.topics)
    by_name = {topic.name: topic for topic in request.topics}
    results = []
    turns = Turns(TOPICS_PER_TURN)
    for name, asked in by_name.items():
        await turns.done()
        if names[name] > 1:
            error = TopicError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        else:
            error = await _grow_topic(services, asked, validate_only=request.validate_only)
        results.append(
            GrownTopic(version=context.api_version, name=name, error_code=int(error.code), error_message=error.message)
        )
    return CreatePartitionsResponse(version=context.api_version, throttle_time_ms=0, results=results)


async def _grow_topic(
    services: Services, asked: CreatePartitionsRequest.CreatePartitionsTopic, *, validate_only: bool
) -> TopicError:
    topic = services.replica.state.topic_named(asked.name)
    if topic is None:
        return _UNKNOWN_TOPIC
    error = _check_growth(services, topic, asked)
    if error.code is not ErrorCode.NONE or validate_only:
        return error
    try:
        return await services.topics.grow(topic.topic_id, asked.count)
    except StorageUnavailable as failure:
        return TopicError(ErrorCode.REQUEST_TIMED_OUT, str(failure))


def _check_growth(services: Services, topic: Topic, asked: CreatePartitionsRequest.CreatePartitionsTopic) -> TopicError:
    present = topic.partition_count
    if asked.count == present:
        return TopicError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {present} partition(s).")
    if asked.count < present:
        return TopicError(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {present} partition(s); {asked.count} would not be an increase.",
        )
    missing = asked.count - present
    if missing > PARTITIONS_PER_REQUEST_MAX:
        return TopicError(
            ErrorCode.POLICY_VIOLATION,
            f"Excessively large number of partitions per request: the limit is {PARTITIONS_PER_REQUEST_MAX}.",
        )
    if asked.assignments is None:
        return NO_ERROR
    if len(asked.assignments) != missing:
        return TopicError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Attempted to add {missing} additional partition(s), but only {len(asked.assignments)} assignment(s) "
            "were specified.",
        )
    return _check_replicas(services, [assignment.broker_ids for assignment in asked.assignments])
