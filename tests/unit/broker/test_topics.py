"""CreateTopics, DeleteTopics and CreatePartitions: what is refused, with which error, and what comes of the rest."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from kafscale.broker.topics import PARTITIONS_PER_REQUEST_MAX
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld, running_broker

Creatable = CreateTopicsRequest.CreatableTopic


def topic(
    name: str = "new",
    *,
    version: int = 7,
    partitions: int = 2,
    factor: int = 1,
    replicas: list[tuple[int, list[int]]] | None = None,
    **configs: str | None,
) -> Any:
    return Creatable(
        version=version,
        name=name,
        num_partitions=-1 if replicas is not None else partitions,
        replication_factor=-1 if replicas is not None else factor,
        assignments=[
            Creatable.CreatableReplicaAssignment(version=version, partition_index=index, broker_ids=brokers)
            for index, brokers in replicas or ()
        ],
        configs=[
            Creatable.CreatableTopicConfig(version=version, name=key.replace("_", "."), value=value)
            for key, value in configs.items()
        ],
    )


async def create(world: BrokerWorld, *topics: Any, version: int = 7, validate_only: bool = False) -> list[Any]:
    request = CreateTopicsRequest(version=version, topics=list(topics), timeout_ms=100, validate_only=validate_only)
    results: list[Any] = (await world.call(request, version)).topics
    return results


def errors(results: list[Any]) -> list[int]:
    return [result.error_code for result in results]


def count(world: BrokerWorld, name: str) -> int | None:
    found = world.services.replica.state.topic_named(name)
    return None if found is None else found.partition_count


@pytest.mark.parametrize("version", range(2, 8))
@on_virtual_time
async def test_create(version: int) -> None:
    async with running_broker() as world:
        made = topic(version=version, retention_ms="1000")
        (result,) = await create(world, made, version=version)
        assert (result.name, result.error_code) == ("new", 0)
        assert count(world, "new") == 2
        created = world.services.replica.state.topic_named("new")
        assert created is not None
        assert created.configs == {"retention.ms": "1000"}
        if version >= 5:
            assert (result.num_partitions, result.replication_factor) == (2, 1)
            shown = {config.name: (config.value, config.config_source) for config in result.configs}
            assert shown["retention.ms"] == ("1000", 1)
            assert shown["cleanup.policy"] == ("delete", 5)
        if version >= 7:
            assert result.topic_id == UUID(bytes=created.topic_id)


@pytest.mark.parametrize("version", [2, 7])
@on_virtual_time
async def test_validate_only_creates_nothing_and_says_what_would_be(version: int) -> None:
    async with running_broker() as world:
        results = await create(world, topic(version=version), topic(TOPIC), version=version, validate_only=True)
        assert errors(results) == [0, ErrorCode.TOPIC_ALREADY_EXISTS]
        assert count(world, "new") is None


@on_virtual_time
async def test_defaults() -> None:
    async with running_broker({"num.partitions": "4"}) as world:
        (result,) = await create(world, topic(partitions=-1, factor=-1))
        assert (result.num_partitions, result.replication_factor) == (4, 1)
        (result,) = await create(world, topic("replicated", factor=3))
        assert (result.error_code, result.replication_factor) == (0, 1)


REFUSED = {
    "empty name": (topic(""), ErrorCode.INVALID_TOPIC_EXCEPTION),
    "odd name": (topic("a b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
    "long name": (topic("x" * 250), ErrorCode.INVALID_TOPIC_EXCEPTION),
    "dots": (topic(".."), ErrorCode.INVALID_TOPIC_EXCEPTION),
    "collision": (topic("under.score"), ErrorCode.INVALID_TOPIC_EXCEPTION),
    "taken": (topic(TOPIC), ErrorCode.TOPIC_ALREADY_EXISTS),
    "no partitions": (topic(partitions=0), ErrorCode.INVALID_PARTITIONS),
    "negative partitions": (topic(partitions=-2), ErrorCode.INVALID_PARTITIONS),
    "no replicas": (topic(factor=0), ErrorCode.INVALID_REPLICATION_FACTOR),
    "negative replicas": (topic(factor=-2), ErrorCode.INVALID_REPLICATION_FACTOR),
    "unknown config": (topic(no_such="1"), ErrorCode.INVALID_CONFIG),
    "bad config": (topic(retention_ms="soon"), ErrorCode.INVALID_CONFIG),
    "null config": (topic(retention_ms=None), ErrorCode.INVALID_CONFIG),
    "unknown broker": (topic(replicas=[(0, [99])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    "empty replicas": (topic(replicas=[(0, [])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    "repeated replica": (topic(replicas=[(0, [1, 1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    "gap in the assignment": (topic(replicas=[(0, [1]), (2, [1])]), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
}


@pytest.mark.parametrize("case", REFUSED)
@on_virtual_time
async def test_refused(case: str) -> None:
    refused, error = REFUSED[case]
    async with running_broker({"node.id": "1"}) as world:
        await world.create_topic("under_score", b"A" * 16)
        results = await create(world, refused, topic("good"))
        assert errors(results) == [error, 0]
        assert results[0].error_message
        assert (results[0].num_partitions, results[0].replication_factor) == (-1, -1)
        assert len(world.services.replica.state.topics) == 3


@on_virtual_time
async def test_assignments_to_this_broker() -> None:
    async with running_broker({"node.id": "1"}) as world:
        (result,) = await create(world, topic(replicas=[(1, [1]), (0, [1]), (2, [1])]))
        assert (result.error_code, result.num_partitions) == (0, 3)
        both = topic("both", replicas=[(0, [1])])
        both.num_partitions = 1
        assert errors(await create(world, both)) == [ErrorCode.INVALID_REQUEST]


@on_virtual_time
async def test_a_name_twice_in_one_request() -> None:
    async with running_broker() as world:
        results = await create(world, topic("twice"), topic("once"), topic("twice"))
        assert {result.name: result.error_code for result in results} == {"twice": ErrorCode.INVALID_REQUEST, "once": 0}
        assert count(world, "twice") is None


@on_virtual_time
async def test_partitions_of_a_request_are_limited_together() -> None:
    async with running_broker() as world:
        half = PARTITIONS_PER_REQUEST_MAX // 2
        results = await create(world, *(topic(name, partitions=half) for name in "abc"), validate_only=True)
        assert errors(results) == [0, 0, ErrorCode.POLICY_VIOLATION]
        too_many = topic(partitions=PARTITIONS_PER_REQUEST_MAX + 1)
        assert errors(await create(world, too_many)) == [ErrorCode.POLICY_VIOLATION]


@on_virtual_time
async def test_two_create_the_same_topic_at_once() -> None:
    async with running_broker() as world:
        outcomes = await asyncio.gather(*(create(world, topic()) for _ in range(2)))
        assert sorted(errors([result for results in outcomes for result in results])) == [
            0,
            ErrorCode.TOPIC_ALREADY_EXISTS,
        ]


@on_virtual_time
async def test_a_log_that_refuses() -> None:
    async with running_broker() as world:
        world.log.refusal = StorageUnavailable("disk full")
        assert errors(await create(world, topic())) == [ErrorCode.REQUEST_TIMED_OUT]
        assert errors(await delete(world, TOPIC)) == [ErrorCode.REQUEST_TIMED_OUT]
        assert errors(await grow(world, (TOPIC, 9))) == [ErrorCode.REQUEST_TIMED_OUT]
        world.log.refusal = None
        assert count(world, TOPIC) == 3


# Deleting


async def delete(world: BrokerWorld, *names: str, version: int = 5) -> list[Any]:
    if version < 6:
        request = DeleteTopicsRequest(version=version, topic_names=list(names), timeout_ms=100)
    else:
        states = [DeleteTopicsRequest.DeleteTopicState(version=version, name=name, topic_id=None) for name in names]
        request = DeleteTopicsRequest(version=version, topics=states, timeout_ms=100)
    results: list[Any] = (await world.call(request, version)).responses
    return results


async def delete_states(world: BrokerWorld, *states: tuple[str | None, bytes | None]) -> list[Any]:
    asked = [
        DeleteTopicsRequest.DeleteTopicState(version=6, name=name, topic_id=UUID(bytes=topic_id) if topic_id else None)
        for name, topic_id in states
    ]
    request = DeleteTopicsRequest(version=6, topics=asked, timeout_ms=100)
    results: list[Any] = (await world.call(request, 6)).responses
    return results


@pytest.mark.parametrize("version", range(1, 7))
@on_virtual_time
async def test_delete_by_name(version: int) -> None:
    async with running_broker() as world:
        results = await delete(world, TOPIC, "other", version=version)
        assert {result.name: result.error_code for result in results} == {
            TOPIC: 0,
            "other": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        }
        assert count(world, TOPIC) is None


@on_virtual_time
async def test_delete_by_id() -> None:
    async with running_broker() as world:
        results = await delete_states(world, (None, TOPIC_ID), (None, b"U" * 16), (None, None), (TOPIC, TOPIC_ID))
        assert errors(results) == [
            0,
            ErrorCode.UNKNOWN_TOPIC_ID,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.INVALID_REQUEST,
        ]
        assert (results[0].name, results[0].topic_id) == (TOPIC, UUID(bytes=TOPIC_ID))
        assert results[1].topic_id == UUID(bytes=b"U" * 16)
        assert count(world, TOPIC) is None


@on_virtual_time
async def test_delete_twice_in_one_request() -> None:
    async with running_broker() as world:
        assert errors(await delete(world, TOPIC, TOPIC)) == [ErrorCode.INVALID_REQUEST]
        assert count(world, TOPIC) == 3


@pytest.mark.parametrize(("version", "error"), [(2, ErrorCode.INVALID_REQUEST), (3, ErrorCode.TOPIC_DELETION_DISABLED)])
@on_virtual_time
async def test_delete_where_it_is_disabled(version: int, error: ErrorCode) -> None:
    async with running_broker({"delete.topic.enable": "false"}) as world:
        assert errors(await delete(world, TOPIC, version=version)) == [error]
        assert count(world, TOPIC) == 3


# Growing


async def grow(
    world: BrokerWorld,
    *topics: tuple[str, int],
    version: int = 3,
    assignments: list[list[int]] | None = None,
    validate_only: bool = False,
) -> list[Any]:
    topic_class = CreatePartitionsRequest.CreatePartitionsTopic
    assigned = (
        None
        if assignments is None
        else [topic_class.CreatePartitionsAssignment(version=version, broker_ids=brokers) for brokers in assignments]
    )
    asked = [topic_class(version=version, name=name, count=total, assignments=assigned) for name, total in topics]
    request = CreatePartitionsRequest(version=version, topics=asked, timeout_ms=100, validate_only=validate_only)
    results: list[Any] = (await world.call(request, version)).results
    return results


@pytest.mark.parametrize("version", range(4))
@on_virtual_time
async def test_grow(version: int) -> None:
    async with running_broker() as world:
        assert errors(await grow(world, (TOPIC, 5), version=version, validate_only=True)) == [0]
        assert count(world, TOPIC) == 3
        assert errors(await grow(world, (TOPIC, 5), ("other", 2), version=version)) == [
            0,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ]
        assert count(world, TOPIC) == 5


@on_virtual_time
async def test_growth_that_is_none() -> None:
    async with running_broker() as world:
        for total in (3, 2, 0, -1):
            assert errors(await grow(world, (TOPIC, total))) == [ErrorCode.INVALID_PARTITIONS]
        assert errors(await grow(world, (TOPIC, 4), (TOPIC, 5))) == [ErrorCode.INVALID_REQUEST]
        too_many = 3 + PARTITIONS_PER_REQUEST_MAX + 1
        assert errors(await grow(world, (TOPIC, too_many))) == [ErrorCode.POLICY_VIOLATION]
        assert count(world, TOPIC) == 3


@on_virtual_time
async def test_growth_with_assignments() -> None:
    async with running_broker({"node.id": "1"}) as world:
        wrong: list[list[list[int]]] = [[[1]], [[1], [1], [1]], [[1], [2]], [[1], []], [[1], [1, 1]]]
        for assignments in wrong:
            results = await grow(world, (TOPIC, 5), assignments=assignments)
            assert errors(results) == [ErrorCode.INVALID_REPLICA_ASSIGNMENT]
        assert errors(await grow(world, (TOPIC, 5), assignments=[[1], [1]])) == [0]
        assert count(world, TOPIC) == 5
