"""Metadata (3), versions 0-13, and DescribeCluster (60), versions 0-2.

KIP-4 (auto-creation flag), KIP-430 (authorized operations), KIP-516 (topic ids), KIP-700 (DescribeCluster),
KIP-919 (endpoint type). One broker, one replica of everything: it leads every partition, at leader epoch 0.
A topic that should be created automatically is there in the same answer, where Kafka answers
UNKNOWN_TOPIC_OR_PARTITION once and the client asks again. A topic asked for twice is answered once, as in Kafka.
"""

import uuid

from kafka.protocol.admin import DescribeClusterRequest, DescribeClusterResponse
from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import NewTopic, name_fault
from kafscale.broker.turns import Turns
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.batches import LEADER_EPOCH
from kafscale.protocol.error_codes import ErrorCode

CLUSTER_OPERATIONS = frozenset({5, 7, 8, 9, 10, 11, 12})
TOPIC_OPERATIONS = frozenset({3, 4, 5, 6, 7, 8, 10, 11})
"""Every operation there is on the resource, as Kafka answers without an authorizer (AclOperation's codes)."""

WEIGHT_PER_TURN = 1000
TOPIC_WEIGHT = 5
"""Partitions, or five times as many of them as topics, described in one step of the event loop."""

_TOPIC_ID_FROM = 10
_LOOKUP_BY_ID_FROM = 12
_ENDPOINT_BROKERS = 1

MetadataTopic = MetadataResponse.MetadataResponseTopic
MetadataPartition = MetadataTopic.MetadataResponsePartition


async def metadata(services: Services, context: RequestContext, request: MetadataRequest) -> MetadataResponse:
    """Answer which topics there are and who leads them."""
    version = context.api_version
    asks_all = request.topics is None or (version == 0 and not request.topics)
    if asks_all:
        await services.replica.barrier()
        topics = await _all_topics(services, version, request)
    else:
        topics = await _asked_topics(services, context, request)
    host, port = services.node.advertised_address(context)
    broker = MetadataResponse.MetadataResponseBroker(
        version=version, node_id=services.node.node_id, host=host, port=port, rack=None
    )
    response = MetadataResponse(
        version=version,
        throttle_time_ms=0,
        brokers=[broker],
        cluster_id=services.node.cluster_id,
        controller_id=services.node.node_id,
        topics=topics,
    )
    if request.include_cluster_authorized_operations:
        response.authorized_operations = set(CLUSTER_OPERATIONS)
    return response


async def _all_topics(services: Services, version: int, request: MetadataRequest) -> list[MetadataTopic]:
    state = services.replica.state
    turns = Turns(WEIGHT_PER_TURN)
    topics = []
    for name in sorted(state.names):
        topic = state.topic_named(name)
        if topic is not None:
            topics.append(_describe(services, version, topic, request))
            await turns.done(TOPIC_WEIGHT + topic.partition_count)
    return topics


async def _asked_topics(services: Services, context: RequestContext, request: MetadataRequest) -> list[MetadataTopic]:
    distinct = {(asked.name, asked.topic_id): asked for asked in request.topics or []}.values()
    if any(_find(services, asked) is None for asked in distinct):
        await services.replica.barrier()
    turns = Turns(WEIGHT_PER_TURN)
    topics = []
    for asked in distinct:
        topic = await _asked_topic(services, context.api_version, asked, request)
        topics.append(topic)
        await turns.done(TOPIC_WEIGHT + len(topic.partitions))
    return topics


def _find(services: Services, asked: MetadataRequest.MetadataRequestTopic) -> Topic | None:
    state = services.replica.state
    # Java's admin client sends an empty name, not null, beside an id (the zero id is None here).
    if asked.topic_id is not None:
        return state.topics.get(asked.topic_id.bytes)
    return state.topic_named(asked.name or "")


async def _asked_topic(
    services: Services, version: int, asked: MetadataRequest.MetadataRequestTopic, request: MetadataRequest
) -> MetadataTopic:
    topic = _find(services, asked)
    if topic is not None:
        return _describe(services, version, topic, request)
    if asked.topic_id is not None or asked.name is None:
        return _missing(version, ErrorCode.UNKNOWN_TOPIC_ID, None, asked.topic_id)
    if name_fault(asked.name) is not None:
        return _missing(version, ErrorCode.INVALID_TOPIC_EXCEPTION, asked.name, None)
    if not (services.settings.auto_create_topics_enable and request.allow_auto_topic_creation):
        return _missing(version, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, asked.name, None)
    error, _ = await _create(services, asked.name)
    created = services.replica.state.topic_named(asked.name)
    if created is None:
        return _missing(version, error, asked.name, None)
    return _describe(services, version, created, request)


async def _create(services: Services, name: str) -> tuple[ErrorCode, bytes]:
    new = NewTopic(name, -1, -1, {})
    error = services.topics.check_new(new)
    if error.code is not ErrorCode.NONE:
        return error.code, b""
    error, topic_id = await services.topics.create(new)
    return error.code, topic_id


def _describe(services: Services, version: int, topic: Topic, request: MetadataRequest) -> MetadataTopic:
    node_id = services.node.node_id
    described = MetadataTopic(
        version=version,
        error_code=int(ErrorCode.NONE),
        name=topic.name,
        topic_id=uuid.UUID(bytes=topic.topic_id),
        is_internal=False,
        partitions=[
            MetadataPartition(
                version=version,
                error_code=int(ErrorCode.NONE),
                partition_index=index,
                leader_id=node_id,
                leader_epoch=LEADER_EPOCH,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
                offline_replicas=[],
            )
            for index in range(topic.partition_count)
        ],
    )
    if request.include_topic_authorized_operations:
        described.authorized_operations = set(TOPIC_OPERATIONS)
    return described


def _missing(version: int, error: ErrorCode, name: str | None, topic_id: uuid.UUID | None) -> MetadataTopic:
    missing = MetadataTopic(version=version, error_code=int(error), name=name, is_internal=False, partitions=[])
    if topic_id is not None and version >= _TOPIC_ID_FROM:
        missing.topic_id = topic_id
    if name is None and version < _LOOKUP_BY_ID_FROM:
        missing.name = ""
    return missing


async def describe_cluster(
    services: Services, context: RequestContext, request: DescribeClusterRequest
) -> DescribeClusterResponse:
    """Answer which brokers there are."""
    version = context.api_version
    if version >= 1 and request.endpoint_type != _ENDPOINT_BROKERS:
        return DescribeClusterResponse(
            version=version,
            throttle_time_ms=0,
            error_code=int(ErrorCode.MISMATCHED_ENDPOINT_TYPE),
            error_message="The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type "
            "CONTROLLER",
            endpoint_type=_ENDPOINT_BROKERS,
            cluster_id="",
            brokers=[],
        )
    host, port = services.node.advertised_address(context)
    broker = DescribeClusterResponse.DescribeClusterBroker(
        version=version, broker_id=services.node.node_id, host=host, port=port, rack=None
    )
    response = DescribeClusterResponse(
        version=version,
        throttle_time_ms=0,
        error_code=int(ErrorCode.NONE),
        error_message=None,
        endpoint_type=_ENDPOINT_BROKERS,
        cluster_id=services.node.cluster_id,
        controller_id=services.node.node_id,
        brokers=[broker],
    )
    if request.include_cluster_authorized_operations:
        response.authorized_operations = set(CLUSTER_OPERATIONS)
    return response
