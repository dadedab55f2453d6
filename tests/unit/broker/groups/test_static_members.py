"""Static members (KIP-345): coming back under a new id, fencing the old one, and staying while they are away."""

import asyncio
from typing import Any

import pytest

from kafscale.broker.groups.calls import JoinResult
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import World, after, steps

INSTANCES = ["i0", "i1"]


async def two_members(world: World, **changes: Any) -> list[JoinResult]:
    """Return leader and follower of a Stable group of two static members; the leader is instance i0."""
    return await world.stable(2, instance_ids=INSTANCES, **changes)


@on_virtual_time
async def test_a_static_member_gets_an_id_from_its_instance_and_is_not_sent_back() -> None:
    world = World()
    joined = await world.join(instance_id="i0", member_id_required=True)
    assert joined.error is ErrorCode.NONE
    assert joined.member_id.startswith("i0-")
    assert joined.members[0].instance_id == "i0"


@on_virtual_time
async def test_a_static_member_comes_back_without_a_rebalance() -> None:
    world = World()
    leader, follower = await two_members(world)
    back = await after(0, world.joining(instance_id="i1"))
    assert back.error is ErrorCode.NONE
    assert back.member_id not in (leader.member_id, follower.member_id)
    assert (back.generation, back.leader, back.members, back.skip_assignment) == (1, leader.member_id, (), False)
    assert world.phase() == "Stable"
    assert (await world.sync(back)).assignment == b"part-1"
    entry = world.rebalances[-1]
    assert (entry.generation, entry.follows_revision) == (1, 1)
    assert [one.member_id for one in entry.members] == [leader.member_id, back.member_id]
    assert await world.heartbeat(leader) is ErrorCode.NONE


@on_virtual_time
async def test_a_leader_that_comes_back_must_not_assign_again() -> None:
    world = World()
    leader, follower = await two_members(world)
    back = await world.join(instance_id="i0")
    assert (back.leader, back.skip_assignment, len(back.members)) == (back.member_id, True, 2)
    older = await world.join(instance_id="i0", skip_assignment=False)
    # A client that cannot skip is told that its own former id leads, and so does not take itself for the leader.
    assert (older.leader, older.skip_assignment, older.members) == (back.member_id, False, ())
    assert world.stored.leader == older.member_id
    assert leader.member_id != follower.member_id


@on_virtual_time
async def test_the_answer_to_one_that_came_back_waits_for_its_entry() -> None:
    world = World()
    await two_members(world)
    world.appender.gate.clear()
    waiting = world.joining(instance_id="i1")
    await steps()
    assert not waiting.done()
    world.appender.gate.set()
    assert (await waiting).error is ErrorCode.NONE


@on_virtual_time
async def test_the_old_id_is_fenced_everywhere() -> None:
    world = World()
    _, follower = await two_members(world)
    back = await world.join(instance_id="i1")
    fenced = ErrorCode.FENCED_INSTANCE_ID
    assert await world.heartbeat(follower, instance_id="i1") is fenced
    assert (await world.sync(follower, instance_id="i1")).error is fenced
    assert (await world.commit(follower, instance_id="i1")).error is fenced
    assert (await world.join(member_id=follower.member_id, instance_id="i1")).error is fenced
    # Without its instance id it is simply somebody unknown.
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    assert await world.heartbeat(follower) is unknown
    assert (await world.commit(follower)).error is unknown
    assert await world.heartbeat(back, instance_id="i1") is ErrorCode.NONE
    assert await world.heartbeat(back, instance_id="other") is unknown
    assert (await world.commit(back, instance_id="i1")).error is ErrorCode.NONE


@on_virtual_time
async def test_what_the_old_id_has_parked_is_fenced() -> None:
    world = World()
    leader, _ = await two_members(world)
    parked = world.joining(member_id=leader.member_id, instance_id="i0")
    await steps()
    back = world.joining(instance_id="i0")
    assert (await parked).error is ErrorCode.FENCED_INSTANCE_ID
    other = world.joining(instance_id="i1")
    assert (await back).generation == (await other).generation == 2


@on_virtual_time
async def test_coming_back_while_the_leader_assigns_begins_again() -> None:
    world = World()
    tasks = [world.joining(instance_id=one) for one in INSTANCES]
    leader, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await steps()
    back = world.joining(instance_id="i1")
    assert (await waiting).error is ErrorCode.FENCED_INSTANCE_ID
    again = await world.join(member_id=leader.member_id, instance_id="i0")
    assert (again.generation, (await back).generation) == (2, 2)


@on_virtual_time
async def test_coming_back_with_a_change_of_the_chosen_protocol_rebalances() -> None:
    world = World()
    protocols = (("a", b""), ("b", b""))
    leader, follower = await two_members(world, protocols=protocols)
    assert follower.protocol == "a"
    back = world.joining(instance_id="i1", protocols=(("b", b""),))
    await steps()
    assert world.phase() == "PreparingRebalance"
    again = await world.join(member_id=leader.member_id, instance_id="i0", protocols=protocols)
    assert (again.protocol, (await back).protocol) == ("b", "b")


@on_virtual_time
async def test_coming_back_with_another_subscription_is_stored_without_a_rebalance() -> None:
    world = World()
    await two_members(world)
    await after(0, world.joining(instance_id="i1", protocols=(("range", b"more"),)))
    assert [one.protocols[0].metadata for one in world.stored.members] == [b"subscription", b"more"]
    assert world.phase() == "Stable"


@on_virtual_time
async def test_a_swap_that_cannot_be_written_is_taken_back() -> None:
    world = World()
    leader, follower = await two_members(world)
    world.appender.fault = lambda _command: StorageUnavailable("down")
    refused = await world.join(instance_id="i1", protocols=(("range", b"more"),))
    assert (refused.error, refused.member_id) == (ErrorCode.COORDINATOR_NOT_AVAILABLE, "")
    assert await world.heartbeat(follower, instance_id="i1") is ErrorCode.NONE
    world.appender.fault = lambda _command: None
    assert (await world.commit(follower, instance_id="i1")).error is ErrorCode.NONE
    back = await after(0, world.joining(instance_id="i1"))
    assert (back.error, back.leader) == (ErrorCode.NONE, leader.member_id)
    assert [one.protocols[0].metadata for one in world.stored.members] == [b"subscription"] * 2


@on_virtual_time
async def test_two_swaps_of_one_instance_leave_the_last_one() -> None:
    world = World()
    await two_members(world)
    world.appender.gate.clear()
    first = world.joining(instance_id="i1")
    await steps()
    second = world.joining(instance_id="i1")
    assert (await first).error is ErrorCode.FENCED_INSTANCE_ID
    world.appender.gate.set()
    back = await second
    assert back.member_id in [one.member_id for one in world.stored.members]
    assert await world.heartbeat(back, instance_id="i1") is ErrorCode.NONE


@on_virtual_time
async def test_two_swaps_that_both_fail_leave_the_one_in_the_log() -> None:
    world = World()
    _, follower = await two_members(world)
    world.appender.gate.clear()
    world.appender.fault = lambda _command: StorageUnavailable("down")
    first = world.joining(instance_id="i1")
    await steps()
    second = world.joining(instance_id="i1")
    await steps()
    world.appender.gate.set()
    assert (await first).error is ErrorCode.FENCED_INSTANCE_ID
    assert (await second).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert await world.heartbeat(follower, instance_id="i1") is ErrorCode.NONE


@on_virtual_time
async def test_swaps_of_several_instances_at_once() -> None:
    world = World()
    await two_members(world)
    world.appender.gate.clear()
    swaps = [world.joining(instance_id=one) for one in INSTANCES]
    await steps()
    world.appender.gate.set()
    back = [await swap for swap in swaps]
    assert [one.error for one in back] == [ErrorCode.NONE] * 2
    assert [one.member_id for one in world.stored.members] == [one.member_id for one in back]
    assert [(await world.sync(one)).assignment for one in back] == [b"part-0", b"part-1"]


@on_virtual_time
async def test_a_rebalance_that_begins_during_a_swap_takes_the_member_along() -> None:
    world = World()
    leader, _ = await two_members(world)
    world.appender.gate.clear()
    swap = world.joining(instance_id="i1")
    await steps()
    again = world.joining(member_id=leader.member_id, instance_id="i0")
    await steps()
    assert (await swap).generation == (await again).generation == 2
    world.appender.gate.set()
    synced = await world.sync(await again, {(await swap).member_id: b"new"})
    assert synced.error is ErrorCode.NONE
    assert (await world.sync(await swap)).assignment == b"new"


@on_virtual_time
async def test_another_coordinators_entry_ends_a_swap() -> None:
    world = World()
    await two_members(world)
    world.appender.gate.clear()
    swap = world.joining(instance_id="i1")
    await steps()
    world.take_over()
    world.appender.gate.set()
    assert (await swap).error is ErrorCode.NOT_COORDINATOR


@pytest.mark.parametrize("instance", INSTANCES)
@on_virtual_time
async def test_a_static_member_that_is_away_stays_through_a_rebalance_until_its_session_ends(instance: str) -> None:
    world = World()
    timeouts = {"session_timeout_ms": 30_000, "rebalance_timeout_ms": 10_000}
    members = await two_members(world, **timeouts)
    away = INSTANCES.index(instance)
    here = members[1 - away]
    changed = {"instance_id": INSTANCES[1 - away], "protocols": (("range", b"more"),), **timeouts}
    again = await after(10, world.joining(member_id=here.member_id, **changed))
    assert again.leader == here.member_id
    assert {one.instance_id for one in again.members} == set(INSTANCES)
    assert await world.heartbeat(members[away], generation=2) is ErrorCode.NONE


@on_virtual_time
async def test_when_every_static_member_is_away_their_sessions_decide() -> None:
    world = World()
    timeouts = {"session_timeout_ms": 30_000, "rebalance_timeout_ms": 6_000}
    await two_members(world, **timeouts)
    newcomer = world.joining(**timeouts)
    await steps()
    newcomer.cancel()
    await asyncio.sleep(100)
    assert (world.phase(), world.stored.is_empty) == ("Empty", True)


@on_virtual_time
async def test_a_static_member_is_known_after_a_restart() -> None:
    world = World()
    leader, _ = await two_members(world)
    await world.restart()
    back = await after(0, world.joining(instance_id="i1"))
    assert (back.error, back.leader, back.generation) == (ErrorCode.NONE, leader.member_id, 1)
    assert (await world.sync(back)).assignment == b"part-1"
