"""A group coordinator between a fake log and scripted clients, on virtual time.

The fake appender applies commands straight to a real `Groups`, after a round trip through the entry encoding; it can
be slow, refuse, or hold what it was given until told to go on.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafscale.broker.groups.calls import (
    CommitCall,
    CommitResult,
    JoinCall,
    JoinResult,
    LeaveResult,
    LeavingMember,
    MemberCall,
    SyncCall,
    SyncResult,
)
from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.broker.request import RequestContext
from kafscale.clock import SeededClock
from kafscale.metadata.entries import (
    SCHEMA_LEVEL,
    Command,
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    Entry,
    GroupRebalanced,
    MemberProtocol,
    OffsetToCommit,
    TopicId,
    decode_entry,
    encode_entry,
)
from kafscale.metadata.state.groups import Groups, GroupState
from kafscale.metadata.state.outcomes import Outcome
from kafscale.protocol.error_codes import ErrorCode

T = TypeVar("T")
GROUP = "group"
TOPIC = "topic"
TOPIC_ID = b"T" * 16
RANGE = (("range", b"subscription"),)

Protocols = tuple[tuple[str, bytes], ...]
Fault = Callable[[Command], Exception | None]


@dataclass(kw_only=True)
class Settings:
    """Kafka's defaults, but for a short initial delay."""

    group_min_session_timeout_ms: int = 6_000
    group_max_session_timeout_ms: int = 1_800_000
    group_initial_rebalance_delay_ms: int = 3_000
    group_max_size: int = 2**31 - 1
    offset_metadata_max_bytes: int = 4096
    offsets_retention_minutes: int = 10_080
    offsets_retention_check_interval_ms: int = 600_000


@dataclass(kw_only=True)
class FakeTopic:
    topic_id: TopicId = TOPIC_ID
    name: str = TOPIC
    partition_count: int = 4


@dataclass(kw_only=True)
class FakeState:
    groups: Groups = field(default_factory=Groups)
    topics: dict[TopicId, FakeTopic] = field(default_factory=lambda: {TOPIC_ID: FakeTopic()})

    def topic_named(self, name: str) -> FakeTopic | None:
        return next((topic for topic in self.topics.values() if topic.name == name), None)


@dataclass(kw_only=True)
class FakeReplica:
    state: FakeState = field(default_factory=FakeState)
    fault: Exception | None = None
    barriers: int = 0

    async def barrier(self) -> None:
        self.barriers += 1
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault


class FakeAppender:
    """Applies commands in the order of the calls. `fault` may refuse one; while `gate` is closed they wait."""

    def __init__(self, state: FakeState, wall_ms: Callable[[], int]) -> None:
        self.applied: list[Command] = []
        self.fault: Fault = lambda _command: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.delay_seconds = 0.0
        self._state = state
        self._wall_ms = wall_ms
        self._order = asyncio.Lock()

    async def submit(self, command: Command) -> Outcome:
        async with self._order:
            await self.gate.wait()
            await asyncio.sleep(self.delay_seconds)
            fault = self.fault(command)
            if fault is not None:
                raise fault
            outcome = self.apply(command)
        # Whoever waits for an outcome hears of it a step after it was applied.
        await asyncio.sleep(0)
        return outcome

    def apply(self, command: Command) -> Outcome:
        """Put a command into the log, as this or as another coordinator."""
        entry = Entry(SCHEMA_LEVEL, self._wall_ms(), 1, 1, 0, [command])
        (decoded,) = decode_entry(encode_entry(entry)).commands
        self.applied.append(decoded)
        groups = self._state.groups
        match decoded:
            case GroupRebalanced():
                return groups.rebalanced(decoded, entry.time_ms)
            case CommitOffsets():
                return groups.commit(decoded, entry.time_ms, self._partition_count)
            case DeleteOffsets():
                return groups.delete_offsets(decoded)
            case DeleteGroup():
                return groups.delete_group(decoded)
            case _:
                raise AssertionError(decoded)

    def _partition_count(self, topic_id: TopicId) -> int | None:
        topic = self._state.topics.get(topic_id)
        return None if topic is None else topic.partition_count


class FakeNode:
    node_id = 7

    def advertised_address(self, context: RequestContext) -> tuple[str, int]:
        return f"broker.{context.listener_name.lower()}", 9092


class World:
    """One broker at a time: `restart` loses everything but the log."""

    def __init__(self, **settings: int) -> None:
        loop = asyncio.get_running_loop()
        self.settings = Settings(**settings)
        self.clock = SeededClock(1, loop.time)
        self.replica = FakeReplica()
        self.appender = FakeAppender(self.replica.state, self.clock.wall_ms)
        self.node = FakeNode()
        self.group_coordinator = GroupCoordinator(self)

    # The log's view

    @property
    def stored(self) -> GroupState:
        group = self.replica.state.groups.get(GROUP)
        assert group is not None
        return group

    @property
    def rebalances(self) -> list[GroupRebalanced]:
        return [command for command in self.appender.applied if isinstance(command, GroupRebalanced)]

    def phase(self, group_id: str = GROUP) -> str:
        described = self.group_coordinator.describe(group_id)
        return "Dead" if described is None else described.phase.value

    async def restart(self) -> None:
        await self.group_coordinator.close()
        self.group_coordinator = GroupCoordinator(self)
        self.group_coordinator.start()

    def take_over(self, **changes: Any) -> None:
        """Write the group's membership as another coordinator would."""
        group = self.stored
        command = GroupRebalanced(
            group.group_id,
            group.revision,
            changes.get("generation", group.generation + 1),
            group.protocol_type,
            group.protocol,
            group.leader,
            changes.get("members", group.members),
        )
        self.appender.apply(command)

    # Clients

    def join_call(self, **changes: Any) -> JoinCall:
        protocols: Protocols = changes.pop("protocols", RANGE)
        call: dict[str, Any] = {
            "group_id": GROUP,
            "member_id": "",
            "instance_id": None,
            "client_id": "client",
            "client_host": "/10.0.0.1",
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 60_000,
            "protocol_type": "consumer",
            "protocols": tuple(MemberProtocol(name, metadata) for name, metadata in protocols),
            "member_id_required": False,
            "skip_assignment": True,
        }
        return JoinCall(**call | changes)

    async def join(self, **changes: Any) -> JoinResult:
        return await self.group_coordinator.join(self.join_call(**changes))

    def joining(self, **changes: Any) -> "asyncio.Task[JoinResult]":
        return asyncio.create_task(self.join(**changes))

    async def sync(
        self, joined: JoinResult, assignments: Mapping[str, bytes] | None = None, **changes: Any
    ) -> SyncResult:
        call: dict[str, Any] = {
            "group_id": GROUP,
            "generation": joined.generation,
            "member_id": joined.member_id,
            "protocol_type": joined.protocol_type,
            "protocol": joined.protocol,
            "assignments": assignments or {},
        }
        return await self.group_coordinator.sync(SyncCall(**call | changes))

    def syncing(
        self, joined: JoinResult, assignments: Mapping[str, bytes] | None = None, **changes: Any
    ) -> "asyncio.Task[SyncResult]":
        return asyncio.create_task(self.sync(joined, assignments, **changes))

    async def heartbeat(self, joined: JoinResult, **changes: Any) -> ErrorCode:
        call: dict[str, Any] = {
            "group_id": GROUP,
            "generation": joined.generation,
            "member_id": joined.member_id,
        }
        return await self.group_coordinator.heartbeat(MemberCall(**call | changes))

    async def leave(self, *members: JoinResult | LeavingMember, group_id: str = GROUP) -> LeaveResult:
        leaving = [
            one if isinstance(one, LeavingMember) else LeavingMember(one.member_id, None, None) for one in members
        ]
        return await self.group_coordinator.leave(group_id, leaving)

    async def commit(self, joined: JoinResult | None = None, offset: int = 1, **changes: Any) -> CommitResult:
        call: dict[str, Any] = {
            "group_id": GROUP,
            "generation": -1 if joined is None else joined.generation,
            "member_id": "" if joined is None else joined.member_id,
            "offsets": (OffsetToCommit(TOPIC_ID, 0, offset, -1, ""),),
        }
        return await self.group_coordinator.commit(CommitCall(**call | changes))

    async def stable(self, count: int = 1, **changes: Any) -> list[JoinResult]:
        """Bring `count` members into a Stable group, the leader first. Member i is assigned b"part-i"."""
        instances = changes.pop("instance_ids", [None] * count)
        joins = [self.joining(instance_id=instance_id, **changes) for instance_id in instances]
        joined = [await join for join in joins]
        joined.sort(key=lambda one: one.member_id != one.leader)
        assignments = {one.member_id: f"part-{index}".encode() for index, one in enumerate(joined)}
        syncs = [self.syncing(one, assignments if one is joined[0] else None) for one in joined]
        for sync in syncs:
            assert (await sync).error is ErrorCode.NONE
        return joined


async def steps(count: int = 20) -> None:
    """Let everything that is ready run, without letting time pass."""
    for _ in range(count):
        await asyncio.sleep(0)


async def after(seconds: float, waiting: "asyncio.Task[T]") -> T:
    """Return what `waiting` gives, which must take exactly so long (to a millisecond)."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await waiting
    assert abs(loop.time() - began - seconds) < 1e-3, loop.time() - began
    return result
