"""DescribeConfigs (32), versions 1-4.

KIP-226 (sources, synonyms), KIP-569 (types, documentation). Topics and brokers; other resources, among them broker
loggers, are INVALID_REQUEST until they exist here. Changing configs comes with the next issue.
"""

from kafka.protocol.admin import DescribeConfigsRequest, DescribeConfigsResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.config.descriptions import ConfigDescription, describe_broker
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import describe_topic

RESOURCE_TOPIC = 2
RESOURCE_BROKER = 4

Result = DescribeConfigsResponse.DescribeConfigsResult
Config = Result.DescribeConfigsResourceResult


async def describe_configs(
    services: Services, context: RequestContext, request: DescribeConfigsRequest
) -> DescribeConfigsResponse:
    """Answer every config of each resource, or those whose names were asked for."""
    await services.replica.barrier()
    return DescribeConfigsResponse(
        version=context.api_version,
        throttle_time_ms=0,
        results=[_describe(services, context.api_version, resource, request) for resource in request.resources],
    )


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
        error_message=message,
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
        message = f"Unexpected broker id, expected {services.node.node_id} or empty string, but received {name}"
        return [], ErrorCode.INVALID_REQUEST, message
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
