"""SyncGroup: waiting for the leader, the entry behind an assignment, and what happens when it cannot be written."""

import asyncio
from typing import Any

import pytest

from kafscale.broker.groups import journal as journal_module
from kafscale.errors import FatalLogFailure, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.appender import CommandTooLarge
from kafscale.metadata.entries import Command, GroupRebalanced
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import World, after, steps


@on_virtual_time
async def test_followers_wait_for_the_leader_and_everybody_gets_a_share() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await steps()
    assert not waiting.done()
    led = await world.sync(leader, {leader.member_id: b"one", follower.member_id: b"two"})
    assert (led.assignment, led.protocol_type, led.protocol) == (b"one", "consumer", "range")
    assert (await waiting).assignment == b"two"
    assert world.phase() == "Stable"


@on_virtual_time
async def test_an_assignment_leaves_only_after_its_entry_was_applied() -> None:
    world = World()
    leader = await world.join()
    world.appender.gate.clear()
    waiting = world.syncing(leader, {leader.member_id: b"one"})
    await steps()
    assert not waiting.done()
    assert world.phase() == "CompletingRebalance"
    world.appender.gate.set()
    assert (await waiting).assignment == b"one"
    (entry,) = world.rebalances
    assert (entry.generation, entry.follows_revision, entry.leader) == (1, 0, leader.member_id)
    assert [(one.member_id, one.assignment) for one in entry.members] == [(leader.member_id, b"one")]


@on_virtual_time
async def test_a_member_the_leader_forgot_gets_an_empty_assignment() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await world.sync(leader, {leader.member_id: b"one", "stranger": b"two"})
    assert (await waiting).assignment == b""
    assert (await waiting).error is ErrorCode.NONE


@on_virtual_time
async def test_a_stable_group_answers_with_the_current_assignment() -> None:
    world = World()
    leader, follower = await world.stable(2)
    assert (await after(0, world.syncing(follower))).assignment == b"part-1"
    assert (await after(0, world.syncing(leader, {leader.member_id: b"other"}))).assignment == b"part-0"
    assert len(world.rebalances) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "unknown"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"instance_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation": 2}, ErrorCode.ILLEGAL_GENERATION),
        ({"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol": "other"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_type": None, "protocol": None}, ErrorCode.NONE),
    ],
)
@on_virtual_time
async def test_what_a_sync_must_agree_with(changes: dict[str, Any], error: ErrorCode) -> None:
    world = World()
    (member,) = await world.stable()
    assert (await world.sync(member, **changes)).error is error


@on_virtual_time
async def test_a_sync_while_members_join_again_asks_to_join_too() -> None:
    world = World()
    leader, follower = await world.stable(2)
    world.joining(member_id=leader.member_id)
    await steps()
    assert (await world.sync(follower)).error is ErrorCode.REBALANCE_IN_PROGRESS


@on_virtual_time
async def test_who_does_not_sync_in_time_is_removed() -> None:
    world = World()
    tasks = [world.joining(rebalance_timeout_ms=20_000, session_timeout_ms=300_000) for _ in range(2)]
    leader, follower = [await task for task in tasks]
    # The leader never syncs. The follower, which waits for it, is asked to join again.
    assert (await after(20, world.syncing(follower))).error is ErrorCode.REBALANCE_IN_PROGRESS
    assert await world.heartbeat(leader) is ErrorCode.UNKNOWN_MEMBER_ID
    again = await world.join(member_id=follower.member_id)
    assert (again.leader, again.generation) == (follower.member_id, 2)


@on_virtual_time
async def test_a_stable_group_too_removes_who_never_fetched_its_assignment() -> None:
    world = World()
    tasks = [world.joining(rebalance_timeout_ms=20_000, session_timeout_ms=300_000) for _ in range(2)]
    leader, follower = [await task for task in tasks]
    await world.sync(leader)
    await asyncio.sleep(20.1)
    assert await world.heartbeat(follower) is ErrorCode.UNKNOWN_MEMBER_ID
    assert await world.heartbeat(leader) is ErrorCode.REBALANCE_IN_PROGRESS


@on_virtual_time
async def test_a_sync_whose_connection_died_is_still_recorded_and_the_member_still_expires() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    world.appender.gate.clear()
    gone, waiting = world.syncing(leader, {follower.member_id: b"two"}), world.syncing(follower)
    await steps()
    gone.cancel()
    # Longer than the session: a member that waits for us does not expire.
    await asyncio.sleep(30)
    world.appender.gate.set()
    assert (await waiting).assignment == b"two"
    await asyncio.sleep(9)
    assert await world.heartbeat(follower) is ErrorCode.NONE
    await asyncio.sleep(1.1)
    assert await world.heartbeat(leader) is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_a_repeated_sync_releases_the_first_and_the_first_assignment_counts() -> None:
    world = World()
    leader = await world.join()
    world.appender.gate.clear()
    lost = world.syncing(leader, {leader.member_id: b"first"})
    await steps()
    repeated = world.syncing(leader, {leader.member_id: b"second"})
    assert (await lost).error is ErrorCode.REBALANCE_IN_PROGRESS
    world.appender.gate.set()
    assert (await repeated).assignment == b"first"
    assert len(world.rebalances) == 1


@on_virtual_time
async def test_when_storage_is_away_the_assignment_is_withdrawn_and_the_group_rebalances() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    leader, follower = [await task for task in tasks]
    world.appender.fault = lambda _command: StorageUnavailable("down")
    waiting = world.syncing(follower)
    assert (await world.sync(leader, {leader.member_id: b"one"})).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert (await waiting).error is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert world.phase() == "PreparingRebalance"
    world.appender.fault = lambda _command: None
    again = [world.joining(member_id=one.member_id) for one in (leader, follower)]
    assert [(await one).generation for one in again] == [2, 2]
    await world.sync(await again[0], {leader.member_id: b"one"})
    assert (world.phase(), world.stored.generation, world.stored.revision) == ("Stable", 2, 1)


@pytest.mark.parametrize("fault", [OutcomeUnknown("lost reply"), FatalLogFailure("broken")])
@on_virtual_time
async def test_when_nobody_knows_the_outcome_memory_is_dropped(fault: Exception) -> None:
    world = World()
    leader = await world.join()
    world.appender.fault = lambda _command: fault
    assert (await world.sync(leader)).error is ErrorCode.NOT_COORDINATOR
    assert await world.heartbeat(leader) is ErrorCode.UNKNOWN_MEMBER_ID


@on_virtual_time
async def test_an_overtaken_coordinator_drops_the_group_and_starts_from_the_state() -> None:
    world = World()
    (member,) = await world.stable()
    again = await world.join(member_id=member.member_id)
    world.appender.gate.clear()
    waiting = world.syncing(again, {again.member_id: b"ours"})
    await steps()
    parked = world.joining()
    await steps()
    world.take_over(generation=5)
    world.appender.gate.set()
    assert (await waiting).error is ErrorCode.REBALANCE_IN_PROGRESS
    assert (await parked).error is ErrorCode.NOT_COORDINATOR
    assert (world.phase(), world.stored.generation) == ("Stable", 5)
    assert await world.heartbeat(member) is ErrorCode.ILLEGAL_GENERATION
    assert await world.heartbeat(member, generation=5) is ErrorCode.NONE


@on_virtual_time
async def test_another_coordinator_is_noticed_at_the_next_request() -> None:
    world = World()
    leader, follower = await world.stable(2)
    parked = world.joining(member_id=leader.member_id)
    await steps()
    world.take_over(generation=9)
    assert await world.heartbeat(follower, generation=9) is ErrorCode.NONE
    assert (await parked).error is ErrorCode.NOT_COORDINATOR


@on_virtual_time
async def test_a_rebalance_that_begins_while_the_entry_is_on_its_way_wins() -> None:
    world = World()
    leader = await world.join()
    world.appender.gate.clear()
    waiting = world.syncing(leader, {leader.member_id: b"one"})
    await steps()
    newcomer = world.joining()
    assert (await waiting).error is ErrorCode.REBALANCE_IN_PROGRESS
    world.appender.gate.set()
    await steps()
    # The overtaken generation is in the log, and the next one follows it.
    assert (world.phase(), world.stored.generation) == ("PreparingRebalance", 1)
    again = await world.join(member_id=leader.member_id)
    await newcomer
    await world.sync(again, {again.member_id: b"all"})
    assert (world.stored.generation, world.stored.revision) == (2, 2)


@on_virtual_time
async def test_an_entry_that_became_moot_before_its_turn_is_not_written() -> None:
    world = World()
    (leader,) = await world.stable(instance_ids=["i"])
    world.appender.gate.clear()
    swapped = world.joining(instance_id="i")
    await steps()
    newcomer = world.joining()
    await steps()
    # The swap's write is under way; a rebalance took its request over and completes.
    await asyncio.wait((swapped, newcomer))
    again = await swapped
    waiting = world.syncing(again, {again.member_id: b"all"})
    await steps()
    third = world.joining()
    assert (await waiting).error is ErrorCode.REBALANCE_IN_PROGRESS
    world.appender.gate.set()
    await steps()
    assert [entry.generation for entry in world.rebalances] == [1, 1]
    third.cancel()
    assert leader.generation == 1


@on_virtual_time
async def test_a_group_that_does_not_fit_is_stored_with_the_chosen_protocol_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    joined = await world.join(protocols=(("range", b"r" * 900), ("sticky", b"s" * 900)))
    monkeypatch.setattr(journal_module, "COMMAND_BYTES_MAX", 1500)
    await world.sync(joined)
    (entry,) = world.rebalances
    assert [protocol.name for protocol in entry.members[0].protocols] == ["range"]


@on_virtual_time
async def test_a_group_that_does_not_fit_at_all_is_told_so() -> None:
    world = World()
    joined = await world.join()

    def refuse(command: Command) -> Exception | None:
        return CommandTooLarge("1 MiB") if isinstance(command, GroupRebalanced) else None

    world.appender.fault = refuse
    assert (await world.sync(joined)).error is ErrorCode.MESSAGE_TOO_LARGE
    assert world.phase() == "PreparingRebalance"


@on_virtual_time
async def test_closing_answers_parked_syncs() -> None:
    world = World()
    tasks = [world.joining(), world.joining()]
    _, follower = [await task for task in tasks]
    waiting = world.syncing(follower)
    await steps()
    await world.group_coordinator.close()
    assert (await waiting).error is ErrorCode.NOT_COORDINATOR
    assert (await world.sync(follower)).error is ErrorCode.COORDINATOR_NOT_AVAILABLE


@on_virtual_time
async def test_a_bug_behind_a_request_is_loud_and_leaves_nobody_waiting() -> None:
    world = World()
    leader = await world.join()
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["exception"]))
    world.appender.fault = lambda _command: ZeroDivisionError()
    assert (await world.sync(leader)).error is ErrorCode.NOT_COORDINATOR
    assert [type(one) for one in heard] == [ZeroDivisionError]
