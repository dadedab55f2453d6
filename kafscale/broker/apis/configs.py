"""DescribeConfigs (32), versions 1-4; ListConfigResources (74), 0-1.

KIP-226 (sources, synonyms), KIP-569 (types, documentation), KIP-1142 (every type of resource, v1 of
ListConfigResources; v0 lists client metrics). There are topics and brokers. Nothing is known of other
resources: lists of broker loggers, client metrics and groups are empty, a client metrics subscription has no configs,
and describing a logger or a group is INVALID_REQUEST. A resource asked for twice in the same words is described once,
where Kafka repeats itself: clients keep the answers by resource.
"""

import re
from typing import Final

from kafka.protocol.admin import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.turns import Turns
from kafscale.config.descriptions import ConfigDescription, describe_broker
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import describe_topic

RESOURCE_TOPIC = 2
RESOURCE_BROKER = 4
RESOURCE_BROKER_LOGGER = 8
RESOURCE_CLIENT_METRICS = 16
RESOURCE_GROUP = 32

LISTABLE: Final = frozenset(
    {RESOURCE_TOPIC, RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP}
)
_TYPES_FROM: Final = 1

CONFIGS_PER_TURN: Final = 200
"""Configs described in one step of the event loop: some 2 ms, a few topics or one broker."""

_NODE_ID: Final = re.compile(r"[+-]?[0-9]{1,10}")

Result = DescribeConfigsResponse.DescribeConfigsResult
Config = Result.DescribeConfigsResourceResult


async def describe_configs(
    services: Services, context: RequestContext, request: DescribeConfigsRequest
) -> DescribeConfigsResponse:
    """Answer every config of each resource, or those whose names were asked for."""
    await services.replica.barrier()
    turns = Turns(CONFIGS_PER_TURN)
    results = []
    for resource in _distinct(request):
        result = _describe(services, context.api_version, resource, request)
        results.append(result)
        await turns.done(len(result.configs))
    return DescribeConfigsResponse(version=context.api_version, throttle_time_ms=0, results=results)


def _distinct(request: DescribeConfigsRequest) -> list[DescribeConfigsRequest.DescribeConfigsResource]:
    resources: dict[tuple[int, str, frozenset[str] | None], DescribeConfigsRequest.DescribeConfigsResource] = {}
    for one in request.resources:
        wanted = None if one.configuration_keys is None else frozenset(one.configuration_keys)
        resources.setdefault((one.resource_type, one.resource_name, wanted), one)
    return list(resources.values())


def _describe(
    services: Services,
    version: int,
    resource: DescribeConfigsRequest.DescribeConfigsResource,
    request: DescribeConfigsRequest,
) -> Result:
    descriptions, error, message = _find(services, resource.resource_type, resource.resource_name)
    wanted = None if resource.configuration_keys is None else set(resource.configuration_keys)
    return Result(
        version=version,
        error_code=int(error),
        # Kafka's message is empty, not absent, where there is no error.
        error_message=message or "",
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        configs=[
            _config(version, description, request)
            for description in descriptions
            if wanted is None or description.name in wanted
        ],
    )


def _find(services: Services, resource_type: int, name: str) -> tuple[list[ConfigDescription], ErrorCode, str | None]:
    if resource_type == RESOURCE_TOPIC:
        topic = services.replica.state.topic_named(name)
        if topic is None:
            message = "This server does not host this topic-partition."
            return [], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message
        return describe_topic(topic.configs, services.loaded), ErrorCode.NONE, None
    if resource_type == RESOURCE_BROKER:
        if name in ("", str(services.node.node_id)):
            return describe_broker(services.loaded) if name else [], ErrorCode.NONE, None
        if _NODE_ID.fullmatch(name) is None:
            return [], ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}"
        message = f"Unexpected broker id, expected {services.node.node_id} or empty string, but received {name}"
        return [], ErrorCode.INVALID_REQUEST, message
    if resource_type == RESOURCE_CLIENT_METRICS and name:
        return [], ErrorCode.NONE, None
    return [], ErrorCode.INVALID_REQUEST, f"Unsupported resource type: {resource_type}"


def _config(version: int, description: ConfigDescription, request: DescribeConfigsRequest) -> Config:
    synonyms = description.synonyms if request.include_synonyms else ()
    return Config(
        version=version,
        name=description.name,
        value=description.value,
        read_only=description.is_read_only,
        config_source=int(description.source),
        is_sensitive=description.is_sensitive,
        synonyms=[
            Config.DescribeConfigsSynonym(
                version=version, name=synonym.name, value=synonym.value, source=int(synonym.source)
            )
            for synonym in synonyms
        ],
        config_type=int(description.kind),
        documentation=description.documentation if request.include_documentation else None,
    )


async def list_config_resources(
    services: Services, context: RequestContext, request: ListConfigResourcesRequest
) -> ListConfigResourcesResponse:
    """List the resources of the types asked for (none: of all) that have configs."""
    version = context.api_version
    types = set(request.resource_types) if version >= _TYPES_FROM else {RESOURCE_CLIENT_METRICS}
    if not types <= LISTABLE:
        unsupported = int(ErrorCode.UNSUPPORTED_VERSION)
        return ListConfigResourcesResponse(
            throttle_time_ms=0, error_code=unsupported, config_resources=[], version=version
        )
    await services.replica.barrier()
    found: list[tuple[int, str]] = []
    if not types or RESOURCE_TOPIC in types:
        found += [(RESOURCE_TOPIC, name) for name in sorted(services.replica.state.names)]
    if not types or RESOURCE_BROKER in types:
        found.append((RESOURCE_BROKER, str(services.node.node_id)))
    resources = [
        ListConfigResourcesResponse.ConfigResource(resource_name=name, resource_type=resource_type)
        for resource_type, name in found
    ]
    return ListConfigResourcesResponse(
        throttle_time_ms=0, error_code=int(ErrorCode.NONE), config_resources=resources, version=version
    )
