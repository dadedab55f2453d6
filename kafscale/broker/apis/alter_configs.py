"""AlterConfigs (33), versions 0-2; IncrementalAlterConfigs (44), 0-1.

KIP-133 (AlterConfigs: what is not named goes back to its default), KIP-339 (set, delete, append to and subtract from
lists). Topics can be changed. Brokers have no dynamic configs: setting one is refused as Kafka refuses a config that is
not dynamic, deleting one is nothing. No logger can be set through here. Client metrics and groups have no configs, and
are unknown types.

Two requests at once do not lose each other's changes: the log refuses a list that was worked out from an older one.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from kafka.protocol.admin import (
    AlterConfigsRequest,
    AlterConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

from kafscale.broker.config_changes import (
    ConfigOperation,
    OperationType,
    broker_fault,
    list_fault,
    operations_fault,
    work_out,
)
from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.topics import NO_ERROR, TopicError, name_fault
from kafscale.config.settings import SETTINGS
from kafscale.config.values import ConfigType
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import InvalidTopicConfigError, validate_topic_configs

RESOURCE_TOPIC: Final = 2
RESOURCE_BROKER: Final = 4
RESOURCE_BROKER_LOGGER: Final = 8

ATTEMPTS_MAX: Final = 100
"""How often a change is worked out again because another was faster. Each time somebody's change went through, so
only a crowd of writers to one list gets there; its clients retry."""

_NODE_ID: Final = re.compile(r"[+-]?[0-9]{1,10}")


class _Resource(NamedTuple):
    """One resource of either request."""

    type: int
    name: str
    operations: Sequence[ConfigOperation]
    replaces_all: bool


async def alter_configs(
    services: Services, context: RequestContext, request: AlterConfigsRequest
) -> AlterConfigsResponse:
    """Replace all configs of each resource."""
    asked = [
        _Resource(
            resource.resource_type,
            resource.resource_name,
            [ConfigOperation(config.name, OperationType.SET, config.value) for config in resource.configs],
            True,
        )
        for resource in request.resources
    ]
    answers = await _alter_all(services, asked, validate_only=request.validate_only)
    result = AlterConfigsResponse.AlterConfigsResourceResponse
    responses = [
        result(
            error_code=int(error.code),
            error_message=error.message,
            resource_type=resource.type,
            resource_name=resource.name,
        )
        for resource, error in answers
    ]
    return AlterConfigsResponse(throttle_time_ms=0, responses=responses, version=context.api_version)


async def incremental_alter_configs(
    services: Services, context: RequestContext, request: IncrementalAlterConfigsRequest
) -> IncrementalAlterConfigsResponse:
    """Change the named configs of each resource."""
    asked = [
        _Resource(
            resource.resource_type,
            resource.resource_name,
            [ConfigOperation(config.name, config.config_operation, config.value) for config in resource.configs],
            False,
        )
        for resource in request.resources
    ]
    answers = await _alter_all(services, asked, validate_only=request.validate_only)
    result = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse
    responses = [
        result(
            error_code=int(error.code),
            error_message=error.message,
            resource_type=resource.type,
            resource_name=resource.name,
        )
        for resource, error in answers
    ]
    return IncrementalAlterConfigsResponse(throttle_time_ms=0, responses=responses, version=context.api_version)


async def _alter_all(
    services: Services, asked: Sequence[_Resource], *, validate_only: bool
) -> list[tuple[_Resource, TopicError]]:
    counts = Counter((resource.type, resource.name) for resource in asked)
    await services.replica.barrier()
    answers = []
    for resource in asked:
        if counts[resource.type, resource.name] > 1:
            error = TopicError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
        else:
            error = operations_fault(resource.operations)
        if error.code is ErrorCode.NONE:
            error = await _alter(services, resource, validate_only=validate_only)
        answers.append((resource, error))
    return answers


async def _alter(services: Services, resource: _Resource, *, validate_only: bool) -> TopicError:
    if resource.type == RESOURCE_TOPIC:
        error = list_fault(resource.operations)
        return error if error.code else await _alter_topic(services, resource, validate_only=validate_only)
    if resource.type == RESOURCE_BROKER:
        lists = (name for name, setting in SETTINGS.items() if setting.kind is ConfigType.LIST)
        error = _broker_id_fault(services, resource.name)
        return error if error.code else broker_fault(resource.operations, lists)
    if resource.type == RESOURCE_BROKER_LOGGER and not resource.replaces_all:
        return _logger_fault(services, resource)
    return TopicError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {resource.type}")


async def _alter_topic(services: Services, resource: _Resource, *, validate_only: bool) -> TopicError:
    if not resource.name:
        return TopicError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
    fault = name_fault(resource.name)
    if fault is not None:
        return TopicError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {fault}")
    for _ in range(ATTEMPTS_MAX):
        try:
            error = await _try_to_alter(services, resource, validate_only=validate_only)
        except InvalidTopicConfigError as invalid:
            return TopicError(ErrorCode.INVALID_CONFIG, str(invalid))
        if error is not None:
            return error
    return TopicError(ErrorCode.REQUEST_TIMED_OUT, "Others change the same configs all the time; try again.")


async def _try_to_alter(services: Services, resource: _Resource, *, validate_only: bool) -> TopicError | None:
    """Return what became of the change; None where another one came first."""
    topic = services.replica.state.topic_named(resource.name)
    if topic is None:
        validate_topic_configs({one.name: one.value for one in resource.operations if one.type == OperationType.SET})
        return TopicError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{resource.name}' does not exist.")
    command = work_out(
        topic.topic_id,
        topic.configs,
        resource.operations,
        services.settings,
        replaces_all=resource.replaces_all,
    )
    if validate_only or not (command.changes or command.replaces_all):
        return NO_ERROR
    return await services.topics.alter(command)


def _broker_id_fault(services: Services, name: str) -> TopicError:
    """Judge which broker is meant; the empty name stands for all of them."""
    if not name:
        return NO_ERROR
    if _NODE_ID.fullmatch(name) is None:
        return TopicError(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {name}")
    if int(name) != services.node.node_id:
        message = f"Unexpected broker id, expected {services.node.node_id}, but received {int(name)}"
        return TopicError(ErrorCode.INVALID_REQUEST, message)
    return NO_ERROR


def _logger_fault(services: Services, resource: _Resource) -> TopicError:
    if _NODE_ID.fullmatch(resource.name) is None:
        return TopicError(ErrorCode.INVALID_REQUEST, f"Node id must be an integer, but it is: {resource.name}")
    if int(resource.name) != services.node.node_id:
        message = f"Unexpected node id. Expected {services.node.node_id}, but received {int(resource.name)}"
        return TopicError(ErrorCode.INVALID_REQUEST, message)
    for name, kind, _ in resource.operations:
        if kind in (OperationType.APPEND, OperationType.SUBTRACT):
            message = f"{OperationType(kind).name} operation is not allowed for the BROKER_LOGGER resource"
            return TopicError(ErrorCode.INVALID_REQUEST, message)
        return TopicError(ErrorCode.INVALID_CONFIG, f"Logger {name} does not exist!")
    return NO_ERROR
