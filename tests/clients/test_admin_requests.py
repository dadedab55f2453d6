"""Administrative requests on the wire: the answers of Apache Kafka 4.1, case by case, with their messages.

Where no client library sends such a request, or each shows less than the answer says.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import (
    AlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DescribeConfigsRequest,
    DescribeLogDirsRequest,
    DescribeProducersRequest,
    DescribeTopicPartitionsRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest,
    ListPartitionReassignmentsRequest,
)
from kafscale.protocol.records import Record, encode_batch
from tests.support.raw_client import EARLIEST, RawClient, fetch_request, list_offsets_request, produce_request

TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)
SETTLE_SECONDS = 10.0
"""Apache Kafka's broker learns of what its controller has answered a little later."""

Operation = tuple[str, int, str | None]
POLICY = "cleanup.policy"
OTHER_CHARACTERS = "characters other than ASCII alphanumerics, '.', '_' and '-'"
THROTTLED = "leader.replication.throttled.replicas"


@pytest.fixture
def client(bootstrap: str) -> Iterator[RawClient]:
    with RawClient(int(bootstrap.rpartition(":")[2])) as connected:
        yield connected


@pytest.fixture
def topic(client: RawClient, unique_name: Callable[[str], str]) -> str:
    """A topic of three partitions."""
    return create(client, unique_name("admin"), 3)


def create(client: RawClient, name: str, partitions: int = 1, configs: dict[str, str] | None = None) -> str:
    wanted = CreateTopicsRequest.CreatableTopic
    topic = wanted(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        assignments=[],
        configs=[wanted.CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()],
    )
    answer = client.call(CreateTopicsRequest(topics=[topic], timeout_ms=10_000, validate_only=False), 7)
    assert [one.error_code for one in answer.topics] == [0]
    settled(lambda: [list_offset(client, name, partition=index) for index in range(partitions)], [0] * partitions)
    return name


def settled(read: Callable[[], Any], expected: Any) -> None:
    """Wait until a read gives what it must."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected


def list_offset(client: RawClient, topic: str, timestamp: int = EARLIEST, partition: int = 0) -> int:
    answer = client.call(list_offsets_request(topic, [partition], timestamp), 7)
    (found,) = answer.topics[0].partitions
    return int(found.offset if found.error_code == 0 else -found.error_code)


def record_batch(values: list[bytes], **fields: Any) -> bytes:
    """Return a batch of now: what is older than the retention may be deleted at any time."""
    records = [Record(offset, value=value) for offset, value in enumerate(values)]
    return encode_batch(records, base_timestamp=int(time.time() * 1000), **fields)


def error(code: int) -> str:
    return ErrorCode(code).name


# Configs


def incremental_request(
    resources: Sequence[tuple[int, str, Sequence[Operation]]], *, validate_only: bool = False
) -> IncrementalAlterConfigsRequest:
    wanted = IncrementalAlterConfigsRequest.AlterConfigsResource
    asked = [
        wanted(
            resource_type=kind,
            resource_name=name,
            configs=[
                wanted.AlterableConfig(name=key, config_operation=operation, value=value)
                for key, operation, value in operations
            ],
        )
        for kind, name, operations in resources
    ]
    return IncrementalAlterConfigsRequest(resources=asked, validate_only=validate_only)


def incremental(
    client: RawClient, *resources: tuple[int, str, Sequence[Operation]], validate_only: bool = False, version: int = 1
) -> list[tuple[str, str | None]]:
    answer = client.call(incremental_request(resources, validate_only=validate_only), version)
    assert [(one.resource_type, one.resource_name) for one in answer.responses] == [one[:2] for one in resources]
    return [(error(one.error_code), one.error_message) for one in answer.responses]


def replace(
    client: RawClient, kind: int, name: str, configs: Sequence[tuple[str, str | None]], version: int = 2
) -> tuple[str, str | None]:
    wanted = AlterConfigsRequest.AlterConfigsResource
    asked = wanted(
        resource_type=kind,
        resource_name=name,
        configs=[wanted.AlterableConfig(name=key, value=value) for key, value in configs],
    )
    answer = client.call(AlterConfigsRequest(resources=[asked], validate_only=False), version)
    return error(answer.responses[0].error_code), answer.responses[0].error_message


def own_configs(client: RawClient, topic: str) -> dict[str, str]:
    wanted = DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=TOPIC, resource_name=topic, configuration_keys=None
    )
    request = DescribeConfigsRequest(resources=[wanted], include_synonyms=False, include_documentation=False)
    (answer,) = client.call(request, 4).results
    assert (answer.error_code, answer.error_message) == (0, "")
    return {config.name: config.value for config in answer.configs if config.config_source == 1}


DONE = ("NONE", None)


@pytest.mark.parametrize("version", [0, 1])
def test_incremental_changes_add_up(client: RawClient, topic: str, version: int) -> None:
    steps: list[tuple[Operation, dict[str, str]]] = [
        (("retention.ms", SET, " 500 "), {"retention.ms": "500"}),
        ((POLICY, APPEND, "compact"), {"retention.ms": "500", POLICY: "delete,compact"}),
        ((POLICY, SUBTRACT, "delete"), {"retention.ms": "500", POLICY: "compact"}),
        (("retention.ms", DELETE, "1"), {POLICY: "compact"}),
        (("no.such.config", DELETE, None), {POLICY: "compact"}),
        ((POLICY, SUBTRACT, "compact"), {POLICY: ""}),
        ((POLICY, DELETE, None), {}),
        ((THROTTLED, APPEND, "0:1"), {THROTTLED: "0:1"}),
        ((THROTTLED, APPEND, "1:1,0:1"), {THROTTLED: "0:1,1:1"}),
    ]
    for operation, expected in steps:
        assert incremental(client, (TOPIC, topic, [operation]), version=version) == [DONE], operation
        settled(lambda: own_configs(client, topic), expected)


@pytest.mark.parametrize(
    ("operations", "code", "message"),
    [
        ([("foo", SET, "1"), ("retention.ms", SET, "7")], "INVALID_CONFIG", "Unknown topic config name: foo"),
        ([("foo", APPEND, "x")], "INVALID_CONFIG", "Can't APPEND to key foo because its type is not LIST."),
        (
            [("retention.ms", SUBTRACT, "x")],
            "INVALID_CONFIG",
            "Can't SUBTRACT to key retention.ms because its type is not LIST.",
        ),
        (
            [("retention.ms", SET, "abc")],
            "INVALID_CONFIG",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            [("retention.ms", SET, None), (POLICY, APPEND, None)],
            "INVALID_REQUEST",
            f"Null value not supported for : retention.ms, {POLICY}",
        ),
        (
            [("retention.ms", SET, "1"), ("retention.ms", DELETE, None)],
            "INVALID_REQUEST",
            "Error due to duplicate config keys",
        ),
        (
            [(POLICY, APPEND, "zzz")],
            "INVALID_CONFIG",
            f"Invalid value zzz for configuration {POLICY}: String must be one of: compact, delete",
        ),
        (
            [("min.compaction.lag.ms", SET, "10"), ("max.compaction.lag.ms", SET, "5")],
            "INVALID_CONFIG",
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
        ),
    ],
)
def test_changes_that_are_refused(
    client: RawClient, topic: str, operations: list[Operation], code: str, message: str
) -> None:
    assert incremental(client, (TOPIC, topic, operations)) == [(code, message)]
    assert incremental(client, (TOPIC, topic, operations), validate_only=True) == [(code, message)]
    assert own_configs(client, topic) == {}


def test_each_resource_is_judged_by_itself(client: RawClient, topic: str, unique_name: Callable[[str], str]) -> None:
    missing = unique_name("missing")
    twice = ("INVALID_REQUEST", "Each resource must appear at most once.")
    fine: list[Operation] = [("retention.ms", SET, "9")]
    other = create(client, unique_name("other"))
    assert incremental(
        client,
        (TOPIC, topic, fine),
        (TOPIC, topic, fine),
        (TOPIC, missing, fine),
        (TOPIC, "no/pe", fine),
        (TOPIC, "", fine),
        (99, "1", fine),
        (TOPIC, other, fine),
    ) == [
        twice,
        twice,
        ("UNKNOWN_TOPIC_OR_PARTITION", f"The topic '{missing}' does not exist."),
        (
            "INVALID_TOPIC_EXCEPTION",
            f"Topic name is invalid: 'no/pe' contains one or more {OTHER_CHARACTERS}",
        ),
        ("INVALID_REQUEST", "Default topic resources are not allowed."),
        ("INVALID_REQUEST", "Unknown resource type 99"),
        DONE,
    ]
    settled(lambda: own_configs(client, other), {"retention.ms": "9"})
    assert own_configs(client, topic) == {}
    assert incremental(client) == []


def test_changes_at_the_same_time_are_not_lost(client: RawClient, topic: str, bootstrap: str) -> None:
    elements = [f"{index}:1" for index in range(8)]
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(int(bootstrap.rpartition(":")[2]))) for _ in elements]
        for one, element in zip(clients, elements, strict=True):
            one.send(incremental_request([(TOPIC, topic, [(THROTTLED, APPEND, element)])]), 1)
        assert [one.receive().responses[0].error_code for one in clients] == [0] * len(clients)
    settled(lambda: sorted(own_configs(client, topic)[THROTTLED].split(",")), elements)


def test_validating_changes_nothing(client: RawClient, topic: str) -> None:
    assert incremental(client, (TOPIC, topic, [("retention.ms", SET, "9")]), validate_only=True) == [DONE]
    assert incremental(client, (TOPIC, topic, [])) == [DONE]
    assert own_configs(client, topic) == {}


@pytest.mark.parametrize("version", [0, 1, 2])
def test_replacing_leaves_nothing_that_is_not_named(client: RawClient, topic: str, version: int) -> None:
    assert replace(client, TOPIC, topic, [("retention.ms", "1000"), ("retention.bytes", "1")], version) == DONE
    settled(lambda: own_configs(client, topic), {"retention.ms": "1000", "retention.bytes": "1"})
    assert replace(client, TOPIC, topic, [("retention.ms", "2000")], version) == DONE
    settled(lambda: own_configs(client, topic), {"retention.ms": "2000"})
    refused = ("INVALID_REQUEST", "Null value not supported for : retention.ms")
    assert replace(client, TOPIC, topic, [("retention.ms", None)], version) == refused
    assert replace(client, TOPIC, topic, [], version) == DONE
    settled(lambda: own_configs(client, topic), {})


@pytest.mark.parametrize(
    ("kind", "name", "operations", "code", "message"),
    [
        (
            BROKER,
            "1",
            [("node.id", SET, "5")],
            "INVALID_REQUEST",
            "Cannot update these configs dynamically: Set(node.id)",
        ),
        (
            BROKER,
            "",
            [("node.id", SET, "5")],
            "INVALID_REQUEST",
            "Cannot update these configs dynamically: Set(node.id)",
        ),
        (BROKER, "1", [("node.id", DELETE, None)], "NONE", None),
        (BROKER, "1", [], "NONE", None),
        (BROKER, "9", [("node.id", SET, "5")], "INVALID_REQUEST", "Unexpected broker id, expected 1, but received 9"),
        (BROKER, "abc", [("node.id", SET, "5")], "INVALID_REQUEST", "Node id must be an integer, but it is: abc"),
        (
            BROKER,
            "1",
            [("node.id", APPEND, "5")],
            "INVALID_CONFIG",
            "Config value append is not allowed for config key: node.id",
        ),
        (LOGGER, "1", [("no.such.logger", SET, "DEBUG")], "INVALID_CONFIG", "Logger no.such.logger does not exist!"),
        (LOGGER, "9", [("root", SET, "DEBUG")], "INVALID_REQUEST", "Unexpected node id. Expected 1, but received 9"),
        (
            LOGGER,
            "1",
            [("root", APPEND, "DEBUG")],
            "INVALID_REQUEST",
            "APPEND operation is not allowed for the BROKER_LOGGER resource",
        ),
    ],
)
def test_configs_of_brokers(
    client: RawClient, kind: int, name: str, operations: list[Operation], code: str, message: str | None
) -> None:
    assert incremental(client, (kind, name, operations)) == [(code, message)]


def test_lists_of_resources_with_configs(client: RawClient, topic: str) -> None:
    def listed(*types: int, version: int = 1) -> tuple[str, set[tuple[int, str]]]:
        answer = client.call(ListConfigResourcesRequest(resource_types=list(types)), version)
        return error(answer.error_code), {(one.resource_type, one.resource_name) for one in answer.config_resources}

    assert listed(BROKER) == ("NONE", {(BROKER, "1")})
    for types in ((), (TOPIC, BROKER)):
        code, found = listed(*types)
        assert code == "NONE"
        assert {(TOPIC, topic), (BROKER, "1")} <= found
    assert {kind for kind, _ in listed(TOPIC)[1]} == {TOPIC}
    assert listed(16) == listed(version=0) == ("NONE", set())
    assert listed(TOPIC, 99) == ("UNSUPPORTED_VERSION", set())


# Records


def delete_records(client: RawClient, *asked: tuple[str, int, int], version: int = 2) -> dict[tuple[str, int], Any]:
    """Return the new log start, or the error, of each partition."""
    wanted = DeleteRecordsRequest.DeleteRecordsTopic
    topics = [
        wanted(name=name, partitions=[wanted.DeleteRecordsPartition(partition_index=index, offset=offset)])
        for name, index, offset in asked
    ]
    answer = client.call(DeleteRecordsRequest(topics=topics, timeout_ms=10_000), version)
    return {
        (one.name, partition.partition_index): error(partition.error_code)
        if partition.error_code
        else partition.low_watermark
        for one in answer.topics
        for partition in one.partitions
    }


@pytest.mark.parametrize("version", [0, 1, 2])
def test_deleted_records_are_gone(client: RawClient, topic: str, version: int) -> None:
    for _ in range(3):
        produced = client.call(produce_request(topic, {0: record_batch([b"a", b"b"])}), 9)
        assert produced.responses[0].partition_responses[0].error_code == 0
    there = (topic, 0)
    assert delete_records(client, (topic, 0, 3), version=version) == {there: 3}
    assert delete_records(client, (topic, 0, 1), version=version) == {there: 3}
    for beyond in (7, -2):
        assert delete_records(client, (topic, 0, beyond), version=version) == {there: "OFFSET_OUT_OF_RANGE"}
    assert list_offset(client, topic) == 3
    (below,) = client.call(fetch_request(topic, {0: 2}), 11).responses[0].partitions
    (within,) = client.call(fetch_request(topic, {0: 3}), 11).responses[0].partitions
    assert (error(below.error_code), error(within.error_code)) == ("OFFSET_OUT_OF_RANGE", "NONE")
    assert (within.log_start_offset, within.high_watermark) == (3, 6)
    assert within.records
    assert delete_records(client, (topic, 0, 4), (topic, 0, -1), (topic, 1, -1)) == {there: 6, (topic, 1): 0}
    client.call(produce_request(topic, {0: record_batch([b"c"])}), 9)
    assert (list_offset(client, topic), list_offset(client, topic, -1)) == (6, 7)


def test_records_that_cannot_be_deleted(client: RawClient, topic: str, unique_name: Callable[[str], str]) -> None:
    compacted = create(client, unique_name("compacted"), configs={POLICY: "compact"})
    both = create(client, unique_name("both"), configs={POLICY: "compact,delete"})
    missing = unique_name("missing")
    unknown = "UNKNOWN_TOPIC_OR_PARTITION"
    asked = [(compacted, 0, 0), (compacted, 9, 0), (both, 0, 0), (topic, 9, 0), (topic, -1, 0), (missing, 0, 0)]
    assert delete_records(client, *asked) == {
        (compacted, 0): "POLICY_VIOLATION",
        (compacted, 9): unknown,
        (both, 0): 0,
        (topic, 9): unknown,
        (topic, -1): unknown,
        (missing, 0): unknown,
    }


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_log_dirs_have_sizes(client: RawClient, topic: str, version: int) -> None:
    def sizes(topics: Any) -> dict[tuple[str, int], int]:
        answer = client.call(DescribeLogDirsRequest(topics=topics), version)
        (log_dir,) = answer.results
        assert (answer.error_code, log_dir.error_code) == (0, 0)
        assert log_dir.log_dir.startswith("/")
        assert (log_dir.total_bytes > log_dir.usable_bytes > 0) is (version >= 4)
        return {
            (one.name, part.partition_index): part.partition_size
            for one in log_dir.topics
            for part in one.partitions
            if one.name == topic
        }

    batch = record_batch([b"a"])
    client.call(produce_request(topic, {1: batch}), 9)
    wanted = DescribeLogDirsRequest.DescribableLogDirTopic
    expected = {(topic, 0): 0, (topic, 1): len(batch), (topic, 2): 0}
    assert sizes(None) == expected
    assert sizes([wanted(topic=topic, partitions=[1, 9]), wanted(topic="missing", partitions=[0])]) == {
        (topic, 1): len(batch)
    }
    assert sizes([]) == {}


def test_producers_of_partitions(client: RawClient, topic: str) -> None:
    def described(name: str, *partitions: int) -> list[tuple[str, str | None, list[tuple[int, ...]]]]:
        asked = DescribeProducersRequest.TopicRequest(name=name, partition_indexes=list(partitions))
        (answer,) = client.call(DescribeProducersRequest(topics=[asked]), 0).topics
        return [
            (
                error(one.error_code),
                one.error_message,
                [
                    (
                        producer.producer_id,
                        producer.producer_epoch,
                        producer.last_sequence,
                        producer.coordinator_epoch,
                        producer.current_txn_start_offset,
                    )
                    for producer in one.active_producers
                ],
            )
            for one in answer.partitions
        ]

    client.call(
        produce_request(topic, {0: record_batch([b"a", b"b"], producer_id=7, producer_epoch=3, base_sequence=0)}), 9
    )
    unknown = "UNKNOWN_TOPIC_OR_PARTITION"
    assert described(topic, 0, 1, 9) == [
        ("NONE", None, [(7, 3, 1, -1, -1)]),
        ("NONE", None, []),
        (unknown, None, []),
    ]
    assert described("missing", 0) == [(unknown, "This server does not host this topic-partition.", [])]
    assert described("", 0)[0][0] == "INVALID_TOPIC_EXCEPTION"


# Partitions and replicas


def test_pages_of_partitions(client: RawClient, topic: str) -> None:
    def page(
        names: list[str], limit: int = 2000, cursor: tuple[str, int] | None = None
    ) -> tuple[list[tuple[str, str, list[int]]], tuple[str, int] | None]:
        asked = DescribeTopicPartitionsRequest
        request = asked(
            topics=[asked.TopicRequest(name=name) for name in names],
            response_partition_limit=limit,
            cursor=None if cursor is None else asked.Cursor(topic_name=cursor[0], partition_index=cursor[1]),
        )
        answer = client.call(request, 0)
        for partition in (one for found in answer.topics for one in found.partitions):
            assert (partition.leader_id, partition.replica_nodes, partition.isr_nodes) == (1, [1], [1])
        following = answer.next_cursor
        return (
            [
                (error(one.error_code), one.name, [part.partition_index for part in one.partitions])
                for one in answer.topics
            ],
            following and (following.topic_name, following.partition_index),
        )

    before, behind = topic[:-1], topic + "x"
    unknown = "UNKNOWN_TOPIC_OR_PARTITION"
    assert page([topic]) == ([("NONE", topic, [0, 1, 2])], None)
    assert page([behind, topic, topic, before]) == (
        [(unknown, before, []), ("NONE", topic, [0, 1, 2]), (unknown, behind, [])],
        None,
    )
    assert page([before, topic], 2) == ([(unknown, before, []), ("NONE", topic, [0, 1])], (topic, 2))
    assert page([topic, behind], 3) == ([("NONE", topic, [0, 1, 2])], (behind, 0))
    assert page([topic, behind], 3, (topic, 1)) == ([("NONE", topic, [1, 2]), (unknown, behind, [])], None)
    assert page([topic], 0) == ([("NONE", topic, [0])], (topic, 1))
    assert page([topic], 5, (topic, 9)) == ([("NONE", topic, [])], None)
    refused: list[tuple[str, str, list[int]]] = [("INVALID_REQUEST", topic, [])]
    assert page([topic], 5, (before, 0)) == page([topic], 5, (topic, -1)) == (refused, None)
    assert page([], 1, (topic, 2))[0][0] == ("NONE", topic, [2])
    assert page(["no/pe"]) == ([("INVALID_TOPIC_EXCEPTION", "no/pe", [])], None)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_no_election_is_needed(client: RawClient, topic: str, version: int) -> None:
    def elect(election_type: int, partitions: list[tuple[str, list[int]]] | None) -> tuple[str, dict[str, list[Any]]]:
        wanted = ElectLeadersRequest.TopicPartitions
        asked = None if partitions is None else [wanted(topic=name, partitions=some) for name, some in partitions]
        request = ElectLeadersRequest(election_type=election_type, topic_partitions=asked, timeout_ms=10_000)
        answer = client.call(request, version)
        return error(answer.error_code), {
            one.topic: [(error(part.error_code), part.error_message) for part in one.partition_result]
            for one in answer.replica_election_results
        }

    unknown = "UNKNOWN_TOPIC_OR_PARTITION"
    for election_type in (0, 1):
        assert elect(election_type, [(topic, [0, 9]), ("missing", [0])]) == (
            "NONE",
            {
                topic: [
                    ("ELECTION_NOT_NEEDED", "Leader election not needed for topic partition."),
                    (unknown, f"No such partition as {topic}-9"),
                ],
                "missing": [(unknown, "No such topic as missing")],
            },
        )
        code, all_topics = elect(election_type, None)
        assert (code, all_topics[topic]) == ("NONE", [])
    if version >= 1:
        assert elect(9, [(topic, [0])]) == (
            "INVALID_REQUEST",
            {topic: [("INVALID_REQUEST", "Unknown election type 9")]},
        )


@pytest.mark.parametrize("version", [0, 1])
def test_reassignments(client: RawClient, topic: str, version: int) -> None:
    def reassign(name: str, *partitions: tuple[int, list[int] | None]) -> list[tuple[str, str | None]]:
        wanted = AlterPartitionReassignmentsRequest.ReassignableTopic
        asked = [wanted.ReassignablePartition(partition_index=index, replicas=some) for index, some in partitions]
        request = AlterPartitionReassignmentsRequest(
            timeout_ms=10_000, topics=[wanted(name=name, partitions=asked)], allow_replication_factor_change=True
        )
        answer = client.call(request, version)
        assert (answer.error_code, answer.error_message) == (0, None)
        return [(error(one.error_code), one.error_message) for one in answer.responses[0].partitions]

    assignment, invalid = "The manual partition assignment includes", "INVALID_REPLICA_ASSIGNMENT"
    assert reassign(topic, (0, [1]), (1, None), (0, [1, 2]), (0, [3, 2]), (1, [1, 1, 2]), (2, []), (9, [1])) == [
        DONE,
        ("NO_REASSIGNMENT_IN_PROGRESS", None),
        (invalid, f"{assignment} broker 2, but no such broker is registered."),
        (invalid, f"{assignment} broker 2, but no such broker is registered."),
        (invalid, f"{assignment} the broker 1 more than once."),
        (invalid, f"{assignment} an empty replica list."),
        ("UNKNOWN_TOPIC_OR_PARTITION", f"Unable to find partition {topic}:9."),
    ]
    unknown = ("UNKNOWN_TOPIC_OR_PARTITION", "Unable to find a topic named missing.")
    assert reassign("missing", (0, [1])) == [unknown]


def test_nothing_is_being_reassigned(client: RawClient, topic: str) -> None:
    wanted = ListPartitionReassignmentsRequest.ListPartitionReassignmentsTopics
    for topics in (
        None,
        [],
        [wanted(name=topic, partition_indexes=[0, 9]), wanted(name="missing", partition_indexes=[0])],
    ):
        answer = client.call(ListPartitionReassignmentsRequest(timeout_ms=10_000, topics=topics), 0)
        assert (answer.error_code, answer.error_message, answer.topics) == (0, None, [])
