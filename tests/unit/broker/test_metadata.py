"""Metadata and DescribeCluster: which topics are answered, created on the way, or refused."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import DescribeClusterRequest, MetadataRequest
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld, running_broker

VERSIONS = range(14)
OTHER_ID = b"U" * 16


async def ask(
    world: BrokerWorld,
    *names: str,
    version: int = 13,
    everything: bool = False,
    ids: tuple[bytes, ...] = (),
    name_beside_id: str | None = None,
    may_create: bool = True,
    operations: bool = False,
) -> Any:
    topic = MetadataRequest.MetadataRequestTopic
    topics = [topic(version=version, name=name) for name in names]
    topics += [topic(version=version, name=name_beside_id, topic_id=UUID(bytes=each)) for each in ids]
    request = MetadataRequest(
        version=version,
        topics=None if everything else topics,
        allow_auto_topic_creation=may_create,
        include_cluster_authorized_operations=operations,
        include_topic_authorized_operations=operations,
    )
    return await world.call(request, version)


def described(response: Any) -> list[tuple[int, str | None, int]]:
    return [(topic.error_code, topic.name, len(topic.partitions)) for topic in response.topics]


@pytest.mark.parametrize("version", VERSIONS)
@on_virtual_time
async def test_every_version_describes_brokers_and_topics(version: int) -> None:
    async with running_broker({"node.id": "7"}) as world:
        response = await ask(world, TOPIC, version=version)
        (broker,) = response.brokers
        assert (broker.node_id, broker.host, broker.port) == (7, "broker.example", 9092)
        assert described(response) == [(0, TOPIC, 3)]
        (topic,) = response.topics
        for index, partition in enumerate(topic.partitions):
            assert (partition.partition_index, partition.leader_id, partition.error_code) == (index, 7, 0)
            assert (partition.replica_nodes, partition.isr_nodes) == ([7], [7])
        if version >= 1:
            assert response.controller_id == 7
        if version >= 2:
            assert response.cluster_id == "cluster"
        if version >= 10:
            assert topic.topic_id == UUID(bytes=TOPIC_ID)


@pytest.mark.parametrize("version", VERSIONS)
@on_virtual_time
async def test_all_topics(version: int) -> None:
    async with running_broker() as world:
        await world.create_topic("another", b"A" * 16)
        everything = await ask(world, version=version, everything=version > 0)
        assert described(everything) == [(0, "another", 3), (0, TOPIC, 3)]
        nothing = await ask(world, version=max(1, version))
        assert described(nothing) == []


@pytest.mark.parametrize("version", VERSIONS)
@on_virtual_time
async def test_unknown_topics_are_created_where_both_sides_allow_it(version: int) -> None:
    async with running_broker({"num.partitions": "5"}) as world:
        created = await ask(world, "new", TOPIC, version=version)
        assert described(created) == [(0, "new", 5), (0, TOPIC, 3)]
        if version >= 4:
            refused = await ask(world, "newer", version=version, may_create=False)
            assert described(refused) == [(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "newer", 0)]
            assert world.services.replica.state.topic_named("newer") is None
    async with running_broker({"auto.create.topics.enable": "false"}) as world:
        refused = await ask(world, "new", TOPIC, version=version)
        assert described(refused) == [(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "new", 0), (0, TOPIC, 3)]


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ü", "x" * 250, "a/b"])
@on_virtual_time
async def test_names_that_no_topic_can_have(name: str) -> None:
    async with running_broker() as world:
        assert described(await ask(world, name)) == [(ErrorCode.INVALID_TOPIC_EXCEPTION, name, 0)]


@on_virtual_time
async def test_a_name_that_collides_is_not_created() -> None:
    async with running_broker() as world:
        await world.create_topic("a.b", b"A" * 16)
        assert described(await ask(world, "a_b")) == [(ErrorCode.INVALID_TOPIC_EXCEPTION, "a_b", 0)]


@on_virtual_time
async def test_two_who_ask_for_a_new_topic_at_once_get_the_same() -> None:
    async with running_broker() as world:
        responses = await asyncio.gather(*(ask(world, "new") for _ in range(2)))
        assert [described(response) for response in responses] == [[(0, "new", 1)]] * 2
        assert len({response.topics[0].topic_id for response in responses}) == 1


@pytest.mark.parametrize("version", [12, 13])
@pytest.mark.parametrize("name", [None, ""])
@on_virtual_time
async def test_by_id(version: int, name: str | None) -> None:
    """Java's admin client sends an empty name beside the id."""
    async with running_broker() as world:
        response = await ask(world, version=version, ids=(TOPIC_ID, OTHER_ID), name_beside_id=name)
        assert described(response) == [(0, TOPIC, 3), (ErrorCode.UNKNOWN_TOPIC_ID, None, 0)]
        assert [topic.topic_id for topic in response.topics] == [UUID(bytes=TOPIC_ID), UUID(bytes=OTHER_ID)]
        assert len(world.services.replica.state.topics) == 1


@on_virtual_time
async def test_an_id_decides_before_a_name() -> None:
    async with running_broker() as world:
        unknown = await ask(world, ids=(OTHER_ID,), name_beside_id=TOPIC)
        assert unknown.topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


@on_virtual_time
async def test_authorized_operations_where_asked_for() -> None:
    async with running_broker() as world:
        plain = await ask(world, TOPIC, version=8)
        assert plain.authorized_operations is None
        assert plain.topics[0].authorized_operations is None
        asked = await ask(world, TOPIC, version=8, operations=True)
        assert asked.authorized_operations == {5, 7, 8, 9, 10, 11, 12}
        assert asked.topics[0].authorized_operations == {3, 4, 5, 6, 7, 8, 10, 11}


@pytest.mark.parametrize("version", [0, 1, 2])
@on_virtual_time
async def test_describe_cluster(version: int) -> None:
    async with running_broker({"node.id": "7"}) as world:
        request = DescribeClusterRequest(version=version, include_cluster_authorized_operations=True, endpoint_type=1)
        response = await world.call(request, version)
        assert (response.error_code, response.cluster_id, response.controller_id) == (0, "cluster", 7)
        assert [(each.broker_id, each.host, each.port) for each in response.brokers] == [(7, "broker.example", 9092)]
        assert response.authorized_operations == {5, 7, 8, 9, 10, 11, 12}
        if version >= 1:
            wrong = DescribeClusterRequest(version=version, endpoint_type=2)
            assert (await world.call(wrong, version)).error_code == ErrorCode.MISMATCHED_ENDPOINT_TYPE
