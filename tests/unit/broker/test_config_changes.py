"""What operations on configs come to. The expected values and words are Apache Kafka 4.1's."""

import pytest

from kafscale.broker.config_changes import (
    ConfigOperation,
    OperationType,
    broker_fault,
    list_fault,
    operations_fault,
    work_out,
)
from kafscale.config import BrokerSettings
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import InvalidTopicConfigError

TOPIC = b"T" * 16
SET, DELETE, APPEND, SUBTRACT = OperationType
POLICY = "cleanup.policy"
THROTTLED = "leader.replication.throttled.replicas"


def changed(
    configs: dict[str, str], *operations: tuple[str, int, str | None], replaces_all: bool = False
) -> dict[str, str | None]:
    asked = [ConfigOperation(*operation) for operation in operations]
    command = work_out(TOPIC, configs, asked, BrokerSettings(), replaces_all=replaces_all)
    assert command.replaces_all is replaces_all
    return {change.name: change.value for change in command.changes}


@pytest.mark.parametrize(
    ("present", "kind", "value", "expected"),
    [
        (None, APPEND, "compact", "delete,compact"),
        ("delete,compact", APPEND, "compact", "delete,compact"),
        ("delete,compact", SUBTRACT, "delete", "compact"),
        ("compact", SUBTRACT, "delete", "compact"),
        ("compact", SUBTRACT, "compact", ""),
        ("", APPEND, "delete,compact", "delete,compact"),
        (None, SUBTRACT, "delete", ""),
        ("delete", SET, "compact", "compact"),
        ("delete", DELETE, "compact", None),
        ("delete", DELETE, None, None),
    ],
)
def test_a_list(present: str | None, kind: int, value: str | None, expected: str | None) -> None:
    configs = {} if present is None else {POLICY: present}
    assert changed(configs, (POLICY, kind, value)) == {POLICY: expected}


@pytest.mark.parametrize(
    ("present", "kind", "value", "expected"),
    [
        ("0:1", APPEND, " 3:1 , 4:1", "0:1, 3:1 , 4:1"),
        ("0:1, 3:1", SUBTRACT, "3:1", "0:1, 3:1"),
        ("0:1", APPEND, "", "0:1,"),
        ("", APPEND, ",", ""),
        ("", APPEND, ",1:1,,", ",1:1"),
    ],
)
def test_elements_are_split_as_java_does(present: str, kind: int, value: str, expected: str) -> None:
    assert changed({THROTTLED: present}, (THROTTLED, kind, value)) == {THROTTLED: expected}


def test_only_what_a_new_value_was_worked_out_from_must_not_have_changed() -> None:
    configs = {POLICY: "delete", "retention.ms": "5"}
    operations = [
        ConfigOperation(POLICY, APPEND, "compact"),
        ConfigOperation(THROTTLED, APPEND, "*"),
        ConfigOperation("retention.ms", SET, "6"),
    ]
    command = work_out(TOPIC, configs, operations, BrokerSettings(), replaces_all=False)
    assert [(one.name, one.value) for one in command.seen] == [(POLICY, "delete"), (THROTTLED, None)]
    lag = [ConfigOperation("min.compaction.lag.ms", SET, "6")]
    seen = work_out(TOPIC, {}, lag, BrokerSettings(), replaces_all=False).seen
    assert [one.name for one in seen] == ["max.compaction.lag.ms", "min.compaction.lag.ms"]
    assert work_out(TOPIC, configs, lag, BrokerSettings(), replaces_all=True).seen == []


def test_configs_are_judged_together() -> None:
    with pytest.raises(InvalidTopicConfigError, match="conflict topic config"):
        changed({"min.compaction.lag.ms": "10"}, ("max.compaction.lag.ms", SET, "5"))
    assert changed({"min.compaction.lag.ms": "10"}, ("max.compaction.lag.ms", SET, "5"), replaces_all=True)


def test_a_name_that_is_none_can_be_deleted_but_not_set() -> None:
    assert changed({}, ("foo", DELETE, None)) == {}
    with pytest.raises(InvalidTopicConfigError, match="Unknown topic config name: foo"):
        changed({}, ("foo", SET, "1"))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([("a", SET, "1"), ("a", DELETE, None)], "Error due to duplicate config keys"),
        ([("a", SET, None), ("b", APPEND, None)], "Null value not supported for : a, b"),
        ([("a", 9, "1")], "Unknown config operation 9"),
        ([("a", DELETE, None)], None),
    ],
)
def test_faults_of_operations(operations: list[tuple[str, int, str | None]], message: str | None) -> None:
    error = operations_fault([ConfigOperation(*one) for one in operations])
    assert error == ((ErrorCode.NONE, None) if message is None else (ErrorCode.INVALID_REQUEST, message))


def test_only_lists_can_be_added_to() -> None:
    error = list_fault([ConfigOperation(POLICY, APPEND, "x"), ConfigOperation("retention.ms", SUBTRACT, "x")])
    assert error.message == "Can't SUBTRACT to key retention.ms because its type is not LIST."
    assert list_fault([ConfigOperation(POLICY, APPEND, "x")]).code is ErrorCode.NONE


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([("node.id", SET, "5"), ("rack", APPEND, "a")], "Config value append is not allowed for config key: rack"),
        ([("a", SET, "5"), ("b", SET, "6")], "Cannot update these configs dynamically: Set(a, b)"),
        ([("list", APPEND, "5")], "Cannot update these configs dynamically: Set(list)"),
        ([("a", DELETE, None)], None),
        ([], None),
    ],
)
def test_no_config_of_a_broker_is_dynamic(operations: list[tuple[str, int, str | None]], message: str | None) -> None:
    assert broker_fault([ConfigOperation(*one) for one in operations], ["list"]).message == message
