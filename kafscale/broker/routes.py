"""The table of every API this broker serves."""

from collections.abc import Sequence

from kafscale.broker.apis import (
    alter_configs,
    api_versions,
    configs,
    fetch,
    group_deletion,
    groups,
    list_offsets,
    log_dirs,
    metadata,
    offsets,
    partitions,
    producer_ids,
    producers,
    records,
    topic_partitions,
    topics,
)
from kafscale.broker.request import RequestContext
from kafscale.broker.router import Route, Router, body_route, message_route
from kafscale.broker.services import Services
from kafscale.errors import Bug
from kafscale.protocol.api import ApiKey
from kafscale.protocol.codec import decode_request, encode_response
from kafscale.protocol.fetch import Buffer


def build_router() -> Router:
    """Return the router with every route."""

    async def handle_api_versions(services: Services, context: RequestContext, body: memoryview) -> Sequence[Buffer]:
        request = decode_request(ApiKey.API_VERSIONS, context.api_version, body)
        response = api_versions.api_versions_reply(router, context, request)
        return (encode_response(response, context.api_version),)

    routes: list[Route] = [
        body_route(ApiKey.PRODUCE, _produce_elsewhere),
        body_route(ApiKey.FETCH, fetch.fetch),
        message_route(ApiKey.LIST_OFFSETS, list_offsets.list_offsets),
        message_route(ApiKey.METADATA, metadata.metadata),
        message_route(ApiKey.OFFSET_COMMIT, offsets.offset_commit),
        message_route(ApiKey.OFFSET_FETCH, offsets.offset_fetch),
        message_route(ApiKey.FIND_COORDINATOR, groups.find_coordinator),
        message_route(ApiKey.JOIN_GROUP, groups.join_group),
        message_route(ApiKey.HEARTBEAT, groups.heartbeat),
        message_route(ApiKey.LEAVE_GROUP, groups.leave_group),
        message_route(ApiKey.SYNC_GROUP, groups.sync_group),
        message_route(ApiKey.DESCRIBE_GROUPS, groups.describe_groups),
        message_route(ApiKey.LIST_GROUPS, groups.list_groups),
        body_route(ApiKey.API_VERSIONS, handle_api_versions),
        message_route(ApiKey.CREATE_TOPICS, topics.create_topics),
        message_route(ApiKey.DELETE_TOPICS, topics.delete_topics),
        message_route(ApiKey.CREATE_PARTITIONS, topics.create_partitions),
        message_route(ApiKey.DELETE_GROUPS, group_deletion.delete_groups),
        message_route(ApiKey.OFFSET_DELETE, group_deletion.offset_delete),
        message_route(ApiKey.DESCRIBE_CONFIGS, configs.describe_configs),
        message_route(ApiKey.ALTER_CONFIGS, alter_configs.alter_configs),
        message_route(ApiKey.INCREMENTAL_ALTER_CONFIGS, alter_configs.incremental_alter_configs),
        message_route(ApiKey.LIST_CONFIG_RESOURCES, configs.list_config_resources),
        message_route(ApiKey.DESCRIBE_LOG_DIRS, log_dirs.describe_log_dirs),
        message_route(ApiKey.ELECT_LEADERS, partitions.elect_leaders),
        message_route(ApiKey.ALTER_PARTITION_REASSIGNMENTS, partitions.alter_partition_reassignments),
        message_route(ApiKey.LIST_PARTITION_REASSIGNMENTS, partitions.list_partition_reassignments),
        message_route(ApiKey.DESCRIBE_PRODUCERS, producers.describe_producers),
        message_route(ApiKey.DESCRIBE_TOPIC_PARTITIONS, topic_partitions.describe_topic_partitions),
        message_route(ApiKey.DELETE_RECORDS, records.delete_records),
        message_route(ApiKey.INIT_PRODUCER_ID, producer_ids.init_producer_id),
        message_route(ApiKey.OFFSET_FOR_LEADER_EPOCH, list_offsets.offset_for_leader_epoch),
        message_route(ApiKey.DESCRIBE_CLUSTER, metadata.describe_cluster),
    ]
    router = Router(routes)
    return router


async def _produce_elsewhere(services: Services, context: RequestContext, body: memoryview) -> Sequence[Buffer]:
    """Produce is begun by the connection itself, without an await; its route only says which versions there are."""
    raise Bug("Produce went through the router")
