"""JoinGroup of dynamic members: who gets in, when a rebalance begins, and when its join phase ends."""

import asyncio
from typing import Any

import pytest

from kafscale.broker.groups import joins as joins_module
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import World, after, steps


@on_virtual_time
async def test_the_first_member_waits_for_the_initial_delay_and_leads() -> None:
    world = World()
    joined = await after(3, world.joining())
    assert joined.error is ErrorCode.NONE
    assert joined.generation == 1
    assert joined.leader == joined.member_id
    assert joined.member_id.startswith("client-")
    assert (joined.protocol_type, joined.protocol) == ("consumer", "range")
    assert [(one.member_id, one.metadata) for one in joined.members] == [(joined.member_id, b"subscription")]
    assert world.phase() == "CompletingRebalance"
    assert not world.appender.applied


@on_virtual_time
async def test_the_initial_delay_is_extended_while_members_keep_coming() -> None:
    world = World()
    first = world.joining()
    await asyncio.sleep(2)
    second = world.joining()
    # The delay of 3 s ends at 3 s, is extended once to 6 s, and nobody came in between.
    assert (await after(4, second)).generation == 1
    leader = await first
    assert leader.leader == leader.member_id
    assert len(leader.members) == 2
    assert (await second).members == ()


@on_virtual_time
async def test_the_initial_delay_is_extended_no_further_than_the_rebalance_timeout() -> None:
    world = World()
    began = asyncio.get_running_loop().time()
    tasks = [world.joining(rebalance_timeout_ms=7_000)]
    for _ in range(8):
        await asyncio.sleep(1)
        if not tasks[0].done():
            tasks.append(world.joining(rebalance_timeout_ms=7_000))
    await asyncio.wait(tasks)
    results = [task.result() for task in tasks]
    assert all(one.error is ErrorCode.NONE for one in results)
    assert asyncio.get_running_loop().time() - began <= 8 + 3


@on_virtual_time
async def test_without_an_initial_delay_the_first_join_answers_at_once() -> None:
    world = World(group_initial_rebalance_delay_ms=0)
    assert (await after(0, world.joining())).generation == 1


@on_virtual_time
async def test_a_new_dynamic_member_is_sent_back_with_an_id() -> None:
    world = World()
    refused = await world.join(member_id_required=True)
    assert refused.error is ErrorCode.MEMBER_ID_REQUIRED
    assert world.phase() == "Empty"
    joined = await after(3, world.joining(member_id=refused.member_id, member_id_required=True))
    assert (joined.error, joined.member_id) == (ErrorCode.NONE, refused.member_id)


@on_virtual_time
async def test_an_id_given_out_is_forgotten_after_the_session_timeout() -> None:
    world = World()
    refused = await world.join(member_id_required=True, session_timeout_ms=6_000)
    await asyncio.sleep(6.1)
    assert world.phase() == "Dead"
    late = await world.join(member_id=refused.member_id)
    assert late.error is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_a_rebalance_waits_for_an_id_given_out_until_that_expires() -> None:
    world = World()
    (member,) = await world.stable()
    await world.join(member_id_required=True, session_timeout_ms=6_000)
    again = world.joining(member_id=member.member_id)
    assert (await after(6, again)).generation == 2


@on_virtual_time
async def test_ids_given_out_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins_module, "PENDING_MEMBERS_MAX", 2)
    world = World()
    errors = [(await world.join(member_id_required=True)).error for _ in range(3)]
    assert errors == [ErrorCode.MEMBER_ID_REQUIRED] * 2 + [ErrorCode.GROUP_MAX_SIZE_REACHED]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "g" * 1025}, ErrorCode.INVALID_GROUP_ID),
        ({"instance_id": "i" * 1025}, ErrorCode.INVALID_REQUEST),
        ({"session_timeout_ms": 5_999}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"protocols": ()}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_type": ""}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"member_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"protocols": (("range", b"x" * 300_000),)}, ErrorCode.MESSAGE_TOO_LARGE),
    ],
)
@on_virtual_time
async def test_a_join_that_is_refused(changes: dict[str, Any], error: ErrorCode) -> None:
    world = World()
    refused = await world.join(**changes)
    assert refused.error is error
    assert refused.generation == -1
    assert world.group_coordinator.list_groups() == []


@on_virtual_time
async def test_a_member_must_share_a_protocol_with_everybody() -> None:
    world = World()
    await world.stable(protocols=(("range", b""), ("sticky", b"")))
    assert (await world.join(protocols=(("other", b""),))).error is ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert (await world.join(protocol_type="connect")).error is ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert world.phase() == "Stable"


@on_virtual_time
async def test_the_protocol_with_the_most_votes_is_chosen() -> None:
    world = World()
    votes = [("a", "b", "x"), ("b", "a", "y"), ("b", "a")]
    tasks = [world.joining(protocols=tuple((name, name.encode()) for name in names)) for names in votes]
    results = [await task for task in tasks]
    assert {one.protocol for one in results} == {"b"}
    assert [one.metadata for one in results[0].members] == [b"b"] * 3


@on_virtual_time
async def test_a_group_has_at_most_its_maximal_size() -> None:
    world = World(group_max_size=2)
    first, second, third = world.joining(), world.joining(), world.joining()
    assert (await third).error is ErrorCode.GROUP_MAX_SIZE_REACHED
    joined = await first
    assert len(joined.members) == 2
    assert (await world.join()).error is ErrorCode.GROUP_MAX_SIZE_REACHED
    assert (await second).error is ErrorCode.NONE


@on_virtual_time
async def test_a_follower_that_joins_again_unchanged_stays_in_its_generation() -> None:
    world = World()
    leader, follower = await world.stable(2)
    again = await after(0, world.joining(member_id=follower.member_id))
    assert (again.generation, again.leader, again.members) == (1, leader.member_id, ())
    assert world.phase() == "Stable"
    assert (await world.sync(again)).assignment == b"part-1"


@on_virtual_time
async def test_a_follower_with_another_subscription_and_any_leader_rebalance() -> None:
    world = World()
    leader, follower = await world.stable(2)
    changed = world.joining(member_id=follower.member_id, protocols=(("range", b"more"),))
    await steps()
    assert world.phase() == "PreparingRebalance"
    assert await world.heartbeat(leader) is ErrorCode.REBALANCE_IN_PROGRESS
    assert (await after(0, world.joining(member_id=leader.member_id))).generation == 2
    assert (await changed).generation == 2
    await world.leave(follower)
    await steps()
    led = await world.join(member_id=leader.member_id)
    await world.sync(led)
    assert (await after(0, world.joining(member_id=leader.member_id))).generation == 4


@on_virtual_time
async def test_a_member_that_missed_its_answer_is_told_again() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    assert await world.join(member_id=leader.member_id) == leader
    assert await world.join(member_id=follower.member_id) == follower
    assert world.phase() == "CompletingRebalance"


@on_virtual_time
async def test_another_subscription_while_completing_begins_again() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await steps()
    changed = world.joining(member_id=leader.member_id, protocols=(("range", b"more"),))
    assert (await waiting).error is ErrorCode.REBALANCE_IN_PROGRESS
    assert (await world.join(member_id=follower.member_id)).generation == 2
    assert (await changed).generation == 2


@on_virtual_time
async def test_members_that_do_not_come_back_in_time_are_left_behind() -> None:
    world = World()
    leader, follower = await world.stable(2, session_timeout_ms=300_000, rebalance_timeout_ms=20_000)
    changed = {"protocols": (("range", b"more"),), "rebalance_timeout_ms": 20_000}
    again = await after(20, world.joining(member_id=follower.member_id, **changed))
    assert again.leader == again.member_id == follower.member_id
    assert len(again.members) == 1
    assert await world.heartbeat(leader) is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_the_rebalance_timeout_is_the_largest_of_the_members() -> None:
    world = World()
    world.joining(rebalance_timeout_ms=20_000, session_timeout_ms=300_000)
    slow = await world.join(rebalance_timeout_ms=40_000, session_timeout_ms=300_000)
    await asyncio.sleep(0)
    # Nobody syncs: both are pending until the larger of the two is over.
    await asyncio.sleep(39)
    assert await world.heartbeat(slow) is ErrorCode.NONE
    await asyncio.sleep(1.1)
    assert await world.heartbeat(slow) is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_a_parked_new_member_expires_when_its_first_rebalance_takes_too_long() -> None:
    world = World()
    await world.stable(session_timeout_ms=1_800_000, rebalance_timeout_ms=1_800_000)
    parked = world.joining()
    assert (await after(300, parked)).error is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_a_join_whose_connection_died_does_not_wedge_the_group() -> None:
    world = World()
    (member,) = await world.stable()
    gone = world.joining()
    await steps()
    gone.cancel()
    again = await world.join(member_id=member.member_id)
    assert (again.generation, len(again.members)) == (2, 2)
    first_sync = world.syncing(again, {again.member_id: b"mine"})
    assert (await first_sync).assignment == b"mine"
    # The dead one neither syncs nor heartbeats: its session ends, and the other one carries on alone.
    for _ in range(4):
        await asyncio.sleep(4)
        error = await world.heartbeat(again)
        if error is ErrorCode.REBALANCE_IN_PROGRESS:
            break
    alone = await after(0, world.joining(member_id=member.member_id))
    assert len(alone.members) == 1


@on_virtual_time
async def test_a_second_join_of_a_member_releases_the_first() -> None:
    world = World()
    leader, follower = await world.stable(2)
    lost = world.joining(member_id=leader.member_id)
    await steps()
    repeated = world.joining(member_id=leader.member_id)
    assert (await lost).error is ErrorCode.REBALANCE_IN_PROGRESS
    await world.join(member_id=follower.member_id)
    assert (await repeated).generation == 2


@on_virtual_time
async def test_the_state_must_be_readable() -> None:
    world = World()
    world.replica.fault = StorageUnavailable("down")
    assert (await world.join()).error is ErrorCode.COORDINATOR_NOT_AVAILABLE


@on_virtual_time
async def test_closing_answers_parked_joins_and_takes_no_more() -> None:
    world = World()
    parked = world.joining()
    await steps()
    await world.group_coordinator.close()
    assert (await parked).error is ErrorCode.NOT_COORDINATOR
    assert (await world.join()).error is ErrorCode.COORDINATOR_NOT_AVAILABLE


@on_virtual_time
async def test_closing_while_a_join_looks_the_group_up_parks_nobody() -> None:
    world = World()
    looking = world.joining()
    await asyncio.sleep(0)
    await world.group_coordinator.close()
    assert (await looking).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
