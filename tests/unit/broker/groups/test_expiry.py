"""What is forgotten and when: offsets, and groups that have nothing left."""

import asyncio
import struct
from typing import Any

import pytest

from kafscale.broker.groups import expiry as expiry_module
from kafscale.broker.groups.expiry import subscription_topics
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import DeleteOffsets, OffsetToCommit
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.world import GROUP, TOPIC, TOPIC_ID, FakeTopic, World, steps

DAY = 24 * 60 * 60
RETENTION_DAYS = 7
OTHER_ID = b"O" * 16


def subscription(*topics: str, tail: bytes = b"\xff\xff\xff\xff") -> bytes:
    """Return the bytes of a ConsumerProtocolSubscription of version 1."""
    names = b"".join(struct.pack(">h", len(topic)) + topic.encode() for topic in topics)
    return struct.pack(">hi", 1, len(topics)) + names + tail


@on_virtual_time
async def test_offsets_without_a_group_expire_after_their_commit() -> None:
    world = World()
    await world.commit()
    await asyncio.sleep((RETENTION_DAYS - 1) * DAY)
    await world.commit(offsets=(OffsetToCommit(TOPIC_ID, 1, 1, -1, ""),))
    await world.group_coordinator.expire_offsets()
    assert len(world.stored.offsets) == 2
    await asyncio.sleep(DAY)
    await world.group_coordinator.expire_offsets()
    assert list(world.stored.offsets) == [(TOPIC_ID, 1)]
    await asyncio.sleep(RETENTION_DAYS * DAY)
    await world.group_coordinator.expire_offsets()
    assert world.phase() == "Dead"


@on_virtual_time
async def test_the_offsets_of_a_group_expire_together_after_it_became_empty() -> None:
    world = World()
    (member,) = await world.stable()
    await world.commit(member)
    for _ in range(RETENTION_DAYS * 2):
        await world.heartbeat(member)
        await asyncio.sleep(9)
    await world.leave(member)
    await asyncio.sleep(RETENTION_DAYS * DAY - 60)
    await world.commit(offset=9)
    await world.group_coordinator.expire_offsets()
    assert world.stored.offsets
    await asyncio.sleep(60)
    await world.group_coordinator.expire_offsets()
    assert GROUP not in world.replica.state.groups.by_id


@on_virtual_time
async def test_a_group_with_members_keeps_what_it_subscribes_to() -> None:
    world = World()
    world.replica.state.topics[OTHER_ID] = FakeTopic(topic_id=OTHER_ID, name="other")
    (member,) = await world.stable(protocols=(("range", subscription(TOPIC, "missing")),), session_timeout_ms=1_800_000)
    await world.commit(member, offsets=tuple(OffsetToCommit(one, 0, 1, -1, "") for one in (TOPIC_ID, OTHER_ID)))
    for _ in range(RETENTION_DAYS * 50):
        await asyncio.sleep(DAY / 50)
        await world.heartbeat(member)
    await world.group_coordinator.expire_offsets()
    assert list(world.stored.offsets) == [(TOPIC_ID, 0)]


@pytest.mark.parametrize("changes", [{"protocols": (("range", b"?"),)}, {"protocol_type": "connect"}])
@on_virtual_time
async def test_a_group_whose_subscription_nobody_can_read_keeps_everything(changes: dict[str, Any]) -> None:
    world = World(offsets_retention_minutes=1)
    (member,) = await world.stable(session_timeout_ms=300_000, **changes)
    await world.commit(member)
    await asyncio.sleep(200)
    await world.group_coordinator.expire_offsets()
    assert world.stored.offsets


@on_virtual_time
async def test_nothing_expires_during_a_rebalance() -> None:
    world = World(offsets_retention_minutes=1)
    (member,) = await world.stable(session_timeout_ms=300_000, protocols=(("range", subscription()),))
    await world.commit(member)
    await asyncio.sleep(100)
    newcomer = world.joining()
    await steps()
    await world.group_coordinator.expire_offsets()
    assert world.stored.offsets
    newcomer.cancel()
    await world.join(member_id=member.member_id)
    await world.group_coordinator.expire_offsets()
    assert world.stored.offsets


@on_virtual_time
async def test_an_explicit_expiry_replaces_the_retention() -> None:
    world = World()
    soon = OffsetToCommit(TOPIC_ID, 0, 1, -1, "", world.clock.wall_ms() + 60_000)
    late = OffsetToCommit(TOPIC_ID, 1, 1, -1, "", world.clock.wall_ms() + 30 * DAY * 1000)
    await world.commit(offsets=(soon, late))
    await asyncio.sleep(59)
    await world.group_coordinator.expire_offsets()
    assert len(world.stored.offsets) == 2
    await asyncio.sleep(1)
    await world.group_coordinator.expire_offsets()
    assert list(world.stored.offsets) == [(TOPIC_ID, 1)]
    await asyncio.sleep(RETENTION_DAYS * 2 * DAY)
    await world.group_coordinator.expire_offsets()
    assert list(world.stored.offsets) == [(TOPIC_ID, 1)]


@on_virtual_time
async def test_an_empty_group_without_offsets_goes_at_once() -> None:
    world = World()
    (member,) = await world.stable()
    await world.leave(member)
    assert world.phase() == "Empty"
    await world.group_coordinator.expire_offsets()
    assert world.phase() == "Dead"


@on_virtual_time
async def test_a_group_that_fills_again_is_not_deleted() -> None:
    world = World()
    (member,) = await world.stable()
    await world.leave(member)
    joining = world.joining()
    await steps()
    await world.group_coordinator.expire_offsets()
    assert (await joining).generation == 3


@on_virtual_time
async def test_an_offset_committed_again_meanwhile_stays() -> None:
    world = World(offsets_retention_minutes=1)
    await world.commit()
    await asyncio.sleep(61)
    world.appender.gate.clear()
    again = asyncio.create_task(world.commit(offset=2))
    await steps()
    # The old commit is all that can be seen yet, so the pass asks for its deletion, behind the new one.
    expiring = asyncio.create_task(world.group_coordinator.expire_offsets())
    await steps()
    world.appender.gate.set()
    await expiring
    assert (await again).error is ErrorCode.NONE
    assert any(isinstance(one, DeleteOffsets) for one in world.appender.applied)
    assert world.stored.offsets[(TOPIC_ID, 0)].offset == 2


@on_virtual_time
async def test_many_offsets_are_deleted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry_module, "OFFSETS_PER_COMMAND", 3)
    world = World(offsets_retention_minutes=1)
    await world.commit(offsets=tuple(OffsetToCommit(TOPIC_ID, one, 1, -1, "") for one in range(4)))
    await asyncio.sleep(61)
    await world.group_coordinator.expire_offsets()
    deleted = [one for one in world.appender.applied if isinstance(one, DeleteOffsets)]
    assert [len(one.offsets) for one in deleted] == [3, 1]
    assert world.phase() == "Dead"


@on_virtual_time
async def test_the_loop_goes_on_after_a_failure() -> None:
    world = World(offsets_retention_minutes=1)
    await world.commit()
    world.appender.fault = lambda _command: StorageUnavailable("down")
    loop = asyncio.create_task(world.group_coordinator.run_expiry())
    await asyncio.sleep(601)
    assert world.stored.offsets
    world.appender.fault = lambda _command: None
    await asyncio.sleep(600)
    assert world.phase() == "Dead"
    loop.cancel()


@pytest.mark.parametrize(
    ("metadata", "topics"),
    [
        (subscription(), []),
        (subscription("a", "bc"), ["a", "bc"]),
        (subscription("a", tail=b""), ["a"]),
        (b"", None),
        (b"\0\0\0\0\0", None),
        (struct.pack(">hi", 0, -1), None),
        (struct.pack(">hi", 0, 2**31 - 1), None),
        (struct.pack(">hih", 0, 1, -1), None),
        (struct.pack(">hih", 0, 1, 3) + b"ab", None),
    ],
)
def test_reading_a_subscription(metadata: bytes, topics: list[str] | None) -> None:
    assert subscription_topics(metadata) == topics
