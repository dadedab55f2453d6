"""Working out what a request to change a topic's configs comes to: the rules of Kafka's ConfigurationControlManager.

No I/O. Elements of lists are compared as they stand, blanks included, as Kafka does.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from kafscale.broker.topics import NO_ERROR, TopicError
from kafscale.config import BrokerSettings
from kafscale.config.values import ConfigType, format_value
from kafscale.metadata.entries import AlterConfigs, ConfigChange, TopicId
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import TOPIC_CONFIGS, topic_value, validate_topic_configs

JUDGED_TOGETHER: Final = ("max.compaction.lag.ms", "min.compaction.lag.ms")
"""Configs whose values must fit each other: a change of one is worked out from both."""


class OperationType(IntEnum):
    """What to do with a config; the numbers are IncrementalAlterConfigs' `config_operation`."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


OPERATION_TYPES: Final = frozenset(int(kind) for kind in OperationType)


class ConfigOperation(NamedTuple):
    """One operation on one config; `value` is None for DELETE only (see `operations_fault`)."""

    name: str
    type: int
    value: str | None


def operations_fault(operations: Sequence[ConfigOperation]) -> TopicError:
    """Judge operations without looking at what they apply to."""
    names = [operation.name for operation in operations]
    if len(set(names)) < len(names):
        return TopicError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    unknown = [operation.type for operation in operations if operation.type not in OPERATION_TYPES]
    if unknown:
        return TopicError(ErrorCode.INVALID_REQUEST, f"Unknown config operation {unknown[0]}")
    valueless = [one.name for one in operations if one.value is None and one.type != OperationType.DELETE]
    if valueless:
        return TopicError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(valueless)}")
    return NO_ERROR


def list_fault(operations: Iterable[ConfigOperation]) -> TopicError:
    """Refuse to add to or take from what is not a list."""
    for name, kind, _ in operations:
        if kind in (OperationType.APPEND, OperationType.SUBTRACT) and not _is_list(name):
            message = f"Can't {OperationType(kind).name} to key {name} because its type is not LIST."
            return TopicError(ErrorCode.INVALID_CONFIG, message)
    return NO_ERROR


def _is_list(name: str) -> bool:
    config = TOPIC_CONFIGS.get(name)
    return config is not None and config.kind is ConfigType.LIST


def work_out(
    topic_id: TopicId,
    configs: Mapping[str, str],
    operations: Sequence[ConfigOperation],
    settings: BrokerSettings,
    *,
    replaces_all: bool,
) -> AlterConfigs:
    """Return the command for operations that `operations_fault` and `list_fault` have passed.

    Raises InvalidTopicConfigError when the topic's configs would not be valid together.
    """
    changes = {one.name: _new_value(one, configs, settings) for one in operations}
    changed = {} if replaces_all else dict(configs)
    changed.update({name: value for name, value in changes.items() if value is not None})
    for name in [name for name, value in changes.items() if value is None]:
        changed.pop(name, None)
    validate_topic_configs(changed)
    used = {one.name for one in operations if one.type in (OperationType.APPEND, OperationType.SUBTRACT)}
    if not replaces_all and not changes.keys().isdisjoint(JUDGED_TOGETHER):
        used.update(JUDGED_TOGETHER)
    return AlterConfigs(
        topic_id=topic_id,
        # A name that is none can only be deleted here, and nothing has it.
        changes=[ConfigChange(name, value) for name, value in changes.items() if name in TOPIC_CONFIGS],
        seen=[ConfigChange(name, configs.get(name)) for name in sorted(used)],
        replaces_all=replaces_all,
    )


def _new_value(operation: ConfigOperation, configs: Mapping[str, str], settings: BrokerSettings) -> str | None:
    if operation.type == OperationType.DELETE or operation.value is None:
        return None
    if operation.type == OperationType.SET:
        return operation.value
    present = configs.get(operation.name)
    if present is None:
        present = format_value(topic_value(operation.name, configs, settings)) or ""
    elements = [element for element in present.split(",") if element]
    for element in _elements(operation.value):
        if operation.type == OperationType.APPEND and element not in elements:
            elements.append(element)
        elif operation.type == OperationType.SUBTRACT and element in elements:
            elements.remove(element)
    return ",".join(elements)


def _elements(text: str) -> list[str]:
    """Split like Java: nothing behind the last comma that has something behind it, but all of an empty text."""
    elements = text.split(",")
    while len(elements) > 1 and not elements[-1]:
        elements.pop()
    return elements if elements != [""] or not text else []


def broker_fault(operations: Iterable[ConfigOperation], lists: Iterable[str]) -> TopicError:
    """Judge operations on a broker's configs, none of which can change while it runs; `lists` names the LISTs.

    Deleting a dynamic value that is not there is nothing.
    """
    known_lists = set(lists)
    changed = []
    for name, kind, _ in operations:
        if kind in (OperationType.APPEND, OperationType.SUBTRACT) and name not in known_lists:
            word = OperationType(kind).name.lower()
            message = f"Config value {word} is not allowed for config key: {name}"
            return TopicError(ErrorCode.INVALID_CONFIG, message)
        if kind != OperationType.DELETE:
            changed.append(name)
    if changed:
        message = f"Cannot update these configs dynamically: Set({', '.join(changed)})"
        return TopicError(ErrorCode.INVALID_REQUEST, message)
    return NO_ERROR
