"""Heartbeats, sessions, leaving, becoming Empty, and going on after a restart."""

import asyncio
from typing import Any

import pytest

from kafscale.broker.groups.calls import LeavingMember
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import GroupRebalanced
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import GROUP, World, after, steps


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, ErrorCode.NONE),
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "unknown"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation": 0}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation": 2}, ErrorCode.ILLEGAL_GENERATION),
    ],
)
@on_virtual_time
async def test_what_a_heartbeat_is_told(changes: dict[str, Any], error: ErrorCode) -> None:
    world = World()
    (member,) = await world.stable()
    assert await world.heartbeat(member, **changes) is error


@on_virtual_time
async def test_heartbeats_keep_a_session_alive_and_silence_ends_it() -> None:
    world = World()
    leader, follower = await world.stable(2)
    for _ in range(5):
        await asyncio.sleep(9)
        assert await world.heartbeat(leader) is ErrorCode.NONE
        assert await world.heartbeat(follower) is ErrorCode.NONE
    await asyncio.sleep(9)
    await world.heartbeat(follower)
    await asyncio.sleep(1.1)
    assert await world.heartbeat(follower) is ErrorCode.REBALANCE_IN_PROGRESS
    assert await world.heartbeat(leader) is ErrorCode.UNKNOWN_MEMBER_ID
    assert (await after(0, world.joining(member_id=follower.member_id))).leader == follower.member_id


@on_virtual_time
async def test_a_member_between_join_and_sync_may_heartbeat() -> None:
    world = World()
    joined = await world.join()
    assert await world.heartbeat(joined) is ErrorCode.NONE


@on_virtual_time
async def test_who_waits_in_a_rebalance_is_not_expired() -> None:
    world = World()
    leader, follower = await world.stable(2)
    await asyncio.sleep(0)
    parked = world.joining(member_id=leader.member_id)
    for _ in range(6):
        await asyncio.sleep(9)
        assert await world.heartbeat(follower) is ErrorCode.REBALANCE_IN_PROGRESS
    assert not parked.done()
    await world.join(member_id=follower.member_id)
    assert (await parked).error is ErrorCode.NONE


@on_virtual_time
async def test_the_last_member_to_expire_leaves_an_empty_group_in_the_log() -> None:
    world = World()
    await world.stable()
    await asyncio.sleep(10.1)
    assert world.phase() == "Empty"
    assert (world.stored.members, world.stored.generation, world.stored.revision) == ([], 2, 2)
    assert (world.stored.protocol_type, world.stored.protocol, world.stored.leader) == ("consumer", "", "")
    joined = await world.join()
    assert joined.generation == 3


@on_virtual_time
async def test_leaving_answers_after_the_empty_group_was_recorded() -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.delay_seconds = 0.5
    began = asyncio.get_running_loop().time()
    assert (await world.leave(member)).members == (ErrorCode.NONE,)
    assert asyncio.get_running_loop().time() - began >= 0.5
    assert world.stored.is_empty


@on_virtual_time
async def test_becoming_empty_is_recorded_again_until_it_succeeds() -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.fault = lambda _command: StorageUnavailable("down")
    assert (await world.leave(member)).members == (ErrorCode.NONE,)
    assert (world.phase(), world.stored.is_empty) == ("Empty", False)
    await asyncio.sleep(5)
    world.appender.fault = lambda _command: None
    await asyncio.sleep(1.1)
    assert world.stored.is_empty


@on_virtual_time
async def test_a_rebalance_replaces_an_empty_generation_that_was_never_recorded() -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.fault = lambda _command: StorageUnavailable("down")
    await world.leave(member)
    world.appender.fault = lambda _command: None
    joined = await after(3, world.joining())
    # Generations 2 (empty) and 3: memory counts on, although the log still has 1.
    assert (joined.generation, world.stored.generation) == (3, 1)
    await world.sync(joined)
    assert world.stored.generation == joined.generation


@on_virtual_time
async def test_leaving_in_a_batch_answers_each() -> None:
    world = World()
    leader, follower = await world.stable(2, instance_ids=["i0", "i1"])
    result = await world.leave(
        LeavingMember("", "i0", "administrator"),
        LeavingMember("", "unknown", None),
        LeavingMember("", None, None),
        LeavingMember("nobody", None, None),
        LeavingMember("nobody", "i1", None),
        LeavingMember(follower.member_id, "i1", None),
    )
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    fenced = ErrorCode.FENCED_INSTANCE_ID
    assert result.members == (ErrorCode.NONE, unknown, unknown, unknown, fenced, ErrorCode.NONE)
    assert world.stored.is_empty
    assert leader.error is ErrorCode.NONE


@on_virtual_time
async def test_leaving_an_unknown_group_or_with_an_invalid_one() -> None:
    world = World()
    member = LeavingMember("nobody", None, None)
    assert (await world.leave(member)).members == (ErrorCode.UNKNOWN_MEMBER_ID,)
    assert (await world.leave(member, group_id="")).error is ErrorCode.INVALID_GROUP_ID
    world.replica.fault = StorageUnavailable("down")
    assert (await world.leave(member)).error is ErrorCode.COORDINATOR_NOT_AVAILABLE


@on_virtual_time
async def test_a_member_that_leaves_makes_the_others_rebalance() -> None:
    world = World()
    leader, follower = await world.stable(2)
    await world.leave(leader)
    assert await world.heartbeat(follower) is ErrorCode.REBALANCE_IN_PROGRESS
    alone = await after(0, world.joining(member_id=follower.member_id))
    assert (alone.leader, alone.generation) == (follower.member_id, 2)


@on_virtual_time
async def test_leaving_answers_what_the_member_has_parked() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await steps()
    await world.leave(follower)
    assert (await waiting).error is ErrorCode.UNKNOWN_MEMBER_ID
    assert await world.heartbeat(leader) is ErrorCode.REBALANCE_IN_PROGRESS


@on_virtual_time
async def test_an_id_given_out_can_leave() -> None:
    world = World()
    refused = await world.join(member_id_required=True)
    assert (await world.leave(refused)).members == (ErrorCode.NONE,)
    assert world.phase() == "Dead"


@on_virtual_time
async def test_a_group_nobody_ever_synced_leaves_nothing_behind() -> None:
    world = World()
    joined = await world.join()
    await world.leave(joined)
    assert (world.phase(), world.appender.applied) == ("Dead", [])


@on_virtual_time
async def test_a_restart_is_not_a_rebalance() -> None:
    world = World()
    leader, follower = await world.stable(2, protocols=(("range", b"r"), ("sticky", b"s")))
    await world.restart()
    assert world.phase() == "Stable"
    assert await world.heartbeat(leader) is ErrorCode.NONE
    assert (await world.commit(follower)).error is ErrorCode.NONE
    assert (await world.sync(follower)).assignment == b"part-1"
    same = (("range", b"r"), ("sticky", b"s"))
    again = await after(0, world.joining(member_id=follower.member_id, protocols=same))
    assert (again.generation, again.leader) == (1, leader.member_id)
    assert len(world.rebalances) == 1


@on_virtual_time
async def test_a_restart_gives_sessions_to_the_dead() -> None:
    world = World()
    leader, follower = await world.stable(2)
    await world.restart()
    await asyncio.sleep(9)
    await world.heartbeat(follower)
    await asyncio.sleep(1.1)
    assert await world.heartbeat(follower) is ErrorCode.REBALANCE_IN_PROGRESS
    again = await after(0, world.joining(member_id=follower.member_id))
    assert [one.member_id for one in again.members] == [follower.member_id]
    assert leader.member_id != follower.member_id


@on_virtual_time
async def test_a_restart_empties_a_group_whose_members_are_all_dead() -> None:
    world = World()
    await world.stable(2)
    await world.restart()
    await asyncio.sleep(10.1)
    assert (world.phase(), world.stored.is_empty) == ("Empty", True)


@on_virtual_time
async def test_a_broker_that_was_not_asked_before_builds_the_group_when_it_is() -> None:
    world = World()
    (member,) = await world.stable()
    await world.group_coordinator.close()
    world.group_coordinator = type(world.group_coordinator)(world)
    assert await world.heartbeat(member) is ErrorCode.NONE
    assert world.replica.barriers > 0
    await asyncio.sleep(10.1)
    assert world.stored.is_empty


@on_virtual_time
async def test_another_generation_in_the_state_cannot_be_emptied_by_an_old_coordinator() -> None:
    world = World()
    await world.stable()
    members = world.stored.members
    world.take_over(generation=7, members=members)
    await asyncio.sleep(30)
    assert world.stored.generation == 7
    assert world.stored.members == members
    assert world.phase(GROUP) == "Stable"
    assert [type(one) for one in world.appender.applied] == [GroupRebalanced] * 2
