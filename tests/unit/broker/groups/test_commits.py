"""Offset commits: memory's judgement, the log's, and what counts as a sign of life."""

import asyncio
from typing import Any

import pytest

from kafscale.broker.groups import commits as commits_module
from kafscale.errors import OutcomeUnknown, StorageUnavailable
from kafscale.metadata.entries import CommitOffsets, GroupRebalanced, OffsetToCommit
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import TOPIC_ID, World, after, steps


@on_virtual_time
async def test_a_member_commits_in_its_generation() -> None:
    world = World()
    (member,) = await world.stable()
    result = await world.commit(member, offset=42)
    assert (result.error, result.offsets) == (ErrorCode.NONE, (ErrorCode.NONE,))
    committed = world.stored.offsets[(TOPIC_ID, 0)]
    assert (committed.offset, committed.leader_epoch, committed.metadata) == (42, -1, "")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"generation": 0}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation": 2}, ErrorCode.ILLEGAL_GENERATION),
        ({"generation": -1}, ErrorCode.ILLEGAL_GENERATION),
        ({"member_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "", "generation": -1}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "", "generation": -1, "instance_id": "i"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_id": "g" * 1025}, ErrorCode.INVALID_GROUP_ID),
    ],
)
@on_virtual_time
async def test_a_commit_that_does_not_fit_a_group_with_members(changes: dict[str, Any], error: ErrorCode) -> None:
    world = World()
    (member,) = await world.stable()
    assert (await world.commit(member, **changes)).error is error
    assert not world.stored.offsets


@on_virtual_time
async def test_without_membership_while_there_are_no_members() -> None:
    world = World()
    assert (await world.commit()).error is ErrorCode.NONE
    assert (await world.commit(member_id="somebody")).error is ErrorCode.NONE
    assert (await world.commit(group_id="")).error is ErrorCode.NONE
    assert (world.phase(), world.stored.revision) == ("Empty", 0)


@on_virtual_time
async def test_without_membership_while_the_first_members_join() -> None:
    world = World()
    world.joining()
    await steps()
    assert (await world.commit()).error is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_an_unknown_group_has_two_names_for_it() -> None:
    world = World()
    assert (await world.commit(generation=3, member_id="m")).error is ErrorCode.ILLEGAL_GENERATION
    newer = await world.commit(generation=3, member_id="m", unknown_group_error=ErrorCode.GROUP_ID_NOT_FOUND)
    assert newer.error is ErrorCode.GROUP_ID_NOT_FOUND


@on_virtual_time
async def test_an_empty_group_knows_no_member() -> None:
    world = World()
    (member,) = await world.stable()
    await world.leave(member)
    assert (await world.commit(member)).error is ErrorCode.UNKNOWN_MEMBER_ID
    assert (await world.commit()).error is ErrorCode.NONE


@on_virtual_time
async def test_the_old_generation_commits_until_the_next_one_is_known() -> None:
    world = World()
    leader, follower = await world.stable(2)
    parked = world.joining(member_id=leader.member_id)
    await steps()
    assert (await world.commit(follower)).error is ErrorCode.NONE
    again = await world.join(member_id=follower.member_id)
    await parked
    assert (await world.commit(follower)).error is ErrorCode.ILLEGAL_GENERATION
    assert (await world.commit(again)).error is ErrorCode.REBALANCE_IN_PROGRESS


@on_virtual_time
async def test_a_generation_that_was_overtaken_before_it_was_synced_commits_nothing() -> None:
    world = World()
    (leader,) = await world.stable()
    again = await world.join(member_id=leader.member_id)
    newcomer = world.joining()
    await steps()
    assert world.phase() == "PreparingRebalance"
    assert (await world.commit(again)).error is ErrorCode.REBALANCE_IN_PROGRESS
    newcomer.cancel()


@on_virtual_time
async def test_a_commit_is_a_sign_of_life() -> None:
    world = World()
    (member,) = await world.stable()
    for _ in range(3):
        await asyncio.sleep(9)
        assert (await world.commit(member)).error is ErrorCode.NONE
    await asyncio.sleep(10.1)
    assert world.phase() == "Empty"


@on_virtual_time
async def test_a_zombie_coordinator_cannot_commit() -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.gate.clear()
    waiting = asyncio.create_task(world.commit(member))
    await steps()
    world.take_over()
    world.appender.gate.set()
    assert (await waiting).error is ErrorCode.NOT_COORDINATOR
    assert not world.stored.offsets


@pytest.mark.parametrize("fault", [StorageUnavailable("down"), OutcomeUnknown("lost reply")])
@on_virtual_time
async def test_a_commit_that_was_not_written_may_be_repeated(fault: Exception) -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.fault = lambda _command: fault
    assert (await world.commit(member)).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    world.appender.fault = lambda _command: None
    assert (await world.commit(member)).error is ErrorCode.NONE


@on_virtual_time
async def test_commits_do_not_wait_for_each_other_and_keep_their_order() -> None:
    world = World()
    (member,) = await world.stable()
    world.appender.gate.clear()
    waiting = [asyncio.create_task(world.commit(member, offset=offset)) for offset in range(1, 6)]
    await steps()
    world.appender.gate.set()
    assert [(await one).error for one in waiting] == [ErrorCode.NONE] * 5
    assert world.stored.offsets[(TOPIC_ID, 0)].offset == 5


@on_virtual_time
async def test_partitions_that_went_away_fail_alone() -> None:
    world = World()
    offsets = tuple(OffsetToCommit(topic, partition, 1, -1, "") for topic, partition in [(TOPIC_ID, 0), (TOPIC_ID, 9)])
    offsets += (OffsetToCommit(b"?" * 16, 0, 1, -1, ""),)
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert (await world.commit(offsets=offsets)).offsets == (ErrorCode.NONE, unknown, unknown)
    assert list(world.stored.offsets) == [(TOPIC_ID, 0)]


@on_virtual_time
async def test_a_large_commit_becomes_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits_module, "COMMAND_BYTES_TARGET", 1000)
    world = World()
    offsets = tuple(OffsetToCommit(TOPIC_ID, partition, 1, -1, "m" * 200) for partition in (0, 1, 9))
    result = await world.commit(offsets=offsets)
    assert result.offsets == (ErrorCode.NONE, ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert [len(one.offsets) for one in world.appender.applied if isinstance(one, CommitOffsets)] == [1, 1, 1]
    faults = iter([None, StorageUnavailable("down"), StorageUnavailable("down")])
    world.appender.fault = lambda _command: next(faults)
    result = await world.commit(offsets=offsets)
    unavailable = ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert result.offsets == (ErrorCode.NONE, unavailable, unavailable)


@on_virtual_time
async def test_a_request_with_nothing_to_store_is_judged_and_keeps_the_session_alive() -> None:
    world = World()
    (member,) = await world.stable()
    await asyncio.sleep(9)
    assert (await world.commit(member, offsets=())).error is ErrorCode.NONE
    await asyncio.sleep(9)
    assert await world.heartbeat(member) is ErrorCode.NONE
    assert (await world.commit(member, offsets=(), generation=7)).error is ErrorCode.ILLEGAL_GENERATION


@on_virtual_time
async def test_after_a_restart_and_without_any_other_request_a_member_commits() -> None:
    world = World()
    (member,) = await world.stable()
    await world.group_coordinator.close()
    assert (await world.commit(member)).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    world.group_coordinator = type(world.group_coordinator)(world)
    world.replica.fault = StorageUnavailable("down")
    assert (await world.commit(member)).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    world.replica.fault = None
    assert (await after(0, asyncio.create_task(world.commit(member)))).error is ErrorCode.NONE
    assert [type(one) for one in world.appender.applied] == [GroupRebalanced, CommitOffsets]
