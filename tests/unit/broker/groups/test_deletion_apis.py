"""DeleteGroups and OffsetDelete handlers, through the codec."""

import asyncio

import pytest
from kafka.protocol.admin import DeleteGroupsRequest, DeleteGroupsResponse
from kafka.protocol.consumer import OffsetDeleteRequest, OffsetDeleteResponse

from kafscale.broker.apis import group_deletion as apis
from kafscale.broker.groups.calls import JoinResult
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import DeleteGroup
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.wire import call
from tests.unit.broker.groups.world import GROUP, TOPIC, TOPIC_ID, FakeTopic, World, steps

NONE, UNKNOWN = ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
OTHER_ID = b"O" * 16
SUBSCRIBED = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
TO_TOPIC = b"\0\0\0\0\0\1" + len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + b"\xff\xff\xff\xff"


async def delete(world: World, *group_ids: str, version: int = 2) -> dict[str, int]:
    request = DeleteGroupsRequest(groups_names=list(group_ids))
    answer = await call(world, apis.delete_groups, request, version, DeleteGroupsResponse)
    return {one.group_id: one.error_code for one in answer.results}


async def delete_offsets(world: World, *places: tuple[str, int], group_id: str = GROUP) -> int | list[int]:
    """Return the errors in the order of the request, or the error of the request."""
    wanted = OffsetDeleteRequest.OffsetDeleteRequestTopic
    topics = [
        wanted(name=name, partitions=[wanted.OffsetDeleteRequestPartition(partition_index=index)])
        for name, index in places
    ]
    request = OffsetDeleteRequest(group_id=group_id, topics=topics)
    answer = await call(world, apis.offset_delete, request, 0, OffsetDeleteResponse)
    if answer.error_code:
        assert not answer.topics
        return int(answer.error_code)
    return [one.error_code for topic in answer.topics for one in topic.partitions]


async def consumer(world: World) -> JoinResult:
    (joined,) = await world.stable(protocols=(("range", TO_TOPIC),))
    return joined


@pytest.mark.parametrize("version", [0, 1, 2])
@on_virtual_time
async def test_only_an_empty_group_is_deleted(version: int) -> None:
    world = World()
    (joined,) = await world.stable()
    assert await delete(world, GROUP, "unknown", "", version=version) == {
        GROUP: ErrorCode.NON_EMPTY_GROUP,
        "unknown": ErrorCode.GROUP_ID_NOT_FOUND,
        "": ErrorCode.GROUP_ID_NOT_FOUND,
    }
    await world.leave(joined)
    assert await delete(world, GROUP, GROUP, version=version) == {GROUP: NONE}
    assert world.replica.state.groups.get(GROUP) is None
    assert world.phase() == "Dead"
    assert await delete(world, GROUP, version=version) == {GROUP: ErrorCode.GROUP_ID_NOT_FOUND}


@on_virtual_time
async def test_a_group_that_only_committed_is_deleted_with_its_offsets() -> None:
    world = World()
    await world.commit()
    assert await delete(world, GROUP) == {GROUP: NONE}
    assert world.replica.state.groups.get(GROUP) is None


@on_virtual_time
async def test_a_group_that_only_memory_knows_is_deleted_without_an_entry() -> None:
    world = World()
    await world.join(member_id_required=True)
    assert await delete(world, GROUP) == {GROUP: NONE}
    assert (world.phase(), world.appender.applied) == ("Dead", [])


@on_virtual_time
async def test_a_group_that_is_just_filling_is_not_empty() -> None:
    world = World()
    joining = world.joining()
    await steps()
    assert await delete(world, GROUP) == {GROUP: ErrorCode.NON_EMPTY_GROUP}
    assert (await joining).error is NONE


@on_virtual_time
async def test_a_member_that_comes_while_its_group_is_deleted_finds_a_group_again() -> None:
    world = World()
    (joined,) = await world.stable()
    await world.leave(joined)
    world.appender.gate.clear()
    deleting = asyncio.create_task(delete(world, GROUP))
    await steps()
    joining = world.joining()
    await steps()
    world.appender.gate.set()
    assert await deleting == {GROUP: NONE}
    assert (await joining).error is ErrorCode.NOT_COORDINATOR
    await world.stable()


@on_virtual_time
async def test_the_log_may_be_gone() -> None:
    world = World()
    await world.commit()
    world.appender.fault = lambda one: StorageUnavailable("down") if isinstance(one, DeleteGroup) else None
    assert await delete(world, GROUP) == {GROUP: ErrorCode.COORDINATOR_NOT_AVAILABLE}
    await world.group_coordinator.close()
    assert await delete(world, GROUP) == {GROUP: ErrorCode.COORDINATOR_NOT_AVAILABLE}


@on_virtual_time
async def test_offsets_go_and_the_group_stays() -> None:
    world = World()
    await world.commit()
    places = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 9), ("unknown", 0)]
    assert await delete_offsets(world, *places) == [NONE, NONE, UNKNOWN, UNKNOWN]
    assert not world.stored.offsets
    assert await delete_offsets(world, (TOPIC, 0)) == [NONE]


@on_virtual_time
async def test_offsets_of_subscribed_topics_stay() -> None:
    world = World()
    world.replica.state.topics[OTHER_ID] = FakeTopic(topic_id=OTHER_ID, name="other")
    joined = await consumer(world)
    await world.commit(joined)
    assert await delete_offsets(world, (TOPIC, 0), (TOPIC, 9), ("other", 0)) == [SUBSCRIBED, UNKNOWN, NONE]
    assert (TOPIC_ID, 0) in world.stored.offsets
    await world.leave(joined)
    assert await delete_offsets(world, (TOPIC, 0)) == [NONE]
    assert not world.stored.offsets


@on_virtual_time
async def test_an_unreadable_subscription_may_be_to_every_topic() -> None:
    world = World()
    await world.stable(protocols=(("range", b"?"),))
    assert await delete_offsets(world, (TOPIC, 0)) == [SUBSCRIBED]


@on_virtual_time
async def test_a_group_of_something_else_than_consumers_keeps_its_offsets() -> None:
    world = World()
    (joined,) = await world.stable(protocol_type="connect")
    assert await delete_offsets(world, (TOPIC, 0)) == ErrorCode.NON_EMPTY_GROUP
    await world.leave(joined)
    assert await delete_offsets(world, (TOPIC, 0)) == [NONE]


@on_virtual_time
async def test_offsets_of_no_group() -> None:
    world = World()
    assert await delete_offsets(world, (TOPIC, 0)) == ErrorCode.GROUP_ID_NOT_FOUND
    assert await delete_offsets(world, (TOPIC, 0), group_id="") == ErrorCode.INVALID_GROUP_ID
    assert await delete_offsets(world, ("unknown", 0)) == [UNKNOWN]
