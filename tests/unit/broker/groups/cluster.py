"""Two coordinators over one log, each with a state that may lag behind, and clients that go to either.

`Log` keeps what was appended and judges it by itself, from the rules alone: that is what the coordinators and `Groups`
are compared with. A coordinator sees its own entries when it gets their outcome, and everybody's after a barrier.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kafscale.broker.groups.calls import (
    CommitCall,
    JoinCall,
    JoinResult,
    LeaveResult,
    LeavingMember,
    MemberCall,
    SyncCall,
    SyncResult,
)
from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.clock import SeededClock
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import Command, CommitOffsets, GroupRebalanced, MemberProtocol, OffsetToCommit, TopicId
from kafscale.metadata.state.outcomes import CommitOutcome, Outcome, SimpleOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode
from tests.unit.broker.groups.world import GROUP, TOPIC_ID, FakeState, Settings

PARTITIONS = 4
RETRY_FROM_SCRATCH = frozenset(
    {ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID, ErrorCode.ILLEGAL_GENERATION}
)


@dataclass(kw_only=True)
class Expected:
    """The group as the log alone says it is."""

    revision: int = 0
    generation: int = 0
    members: frozenset[str] = frozenset()
    owners: dict[tuple[int, int], str] = field(default_factory=dict)

    def judge(self, command: Command) -> bool:
        """Return whether the command must be accepted, and follow it if so. Checks I9's one-owner part on the way."""
        if isinstance(command, CommitOffsets):
            if command.generation < 0 and not self.members:
                return True
            return command.member_id in self.members and command.generation == self.generation
        assert isinstance(command, GroupRebalanced)
        if command.follows_revision != self.revision:
            return False
        assert command.generation >= self.generation, "a generation went back"
        self.revision += 1
        self.generation = command.generation
        self.members = frozenset(member.member_id for member in command.members)
        for member in command.members:
            for partition in member.assignment:
                owner = member.instance_id or member.member_id
                known = self.owners.setdefault((command.generation, partition), owner)
                assert known == owner, f"partition {partition} of generation {command.generation} has two owners"
        return True


class Log:
    """What was appended, in order. Refuses everything while `is_down`; keeps it waiting while `gate` is closed."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.expected = Expected()
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()


class Broker:
    """One broker with a coordinator. Appender and replica in one."""

    def __init__(self, log: Log, clock: SeededClock, settings: Settings) -> None:
        self.log = log
        self.clock = clock
        self.settings = settings
        self.state = FakeState()
        self.position = 0
        self.replica = self
        self.appender = self
        self._order = asyncio.Lock()
        self.group_coordinator = GroupCoordinator(self)

    def catch_up(self) -> Outcome | None:
        """Apply what is in the log, and return the last outcome."""
        outcome: Outcome | None = None
        while self.position < len(self.log.commands):
            command = self.log.commands[self.position]
            self.position += 1
            if isinstance(command, CommitOffsets):
                outcome = self.state.groups.commit(command, self.clock.wall_ms(), self._partition_count)
            elif isinstance(command, GroupRebalanced):
                outcome = self.state.groups.rebalanced(command, self.clock.wall_ms())
        return outcome

    async def barrier(self) -> None:
        await asyncio.sleep(0)
        if self.log.is_down:
            raise StorageUnavailable("down")
        self.catch_up()

    async def submit(self, command: Command) -> Outcome:
        async with self._order:
            await self.log.gate.wait()
            await asyncio.sleep(0)
            if self.log.is_down:
                raise StorageUnavailable("down")
            must_be_accepted = self.log.expected.judge(command)
            self.log.commands.append(command)
            outcome = self.catch_up()
        assert isinstance(outcome, CommitOutcome | SimpleOutcome)
        assert (outcome.verdict is Verdict.ACCEPTED) == must_be_accepted, (command, outcome)
        await asyncio.sleep(0)
        return outcome

    async def restart(self) -> None:
        await self.group_coordinator.close()
        self.catch_up()
        self.group_coordinator = GroupCoordinator(self)
        self.group_coordinator.start()

    def _partition_count(self, topic_id: TopicId) -> int | None:
        return PARTITIONS if topic_id == TOPIC_ID else None


class Client:
    """A consumer that follows the protocol, and remembers what it was before, to try that too."""

    def __init__(self, name: str, instance_id: str | None) -> None:
        self.name = name
        self.instance_id = instance_id
        self.member_id = ""
        self.joined: JoinResult | None = None
        self.synced: SyncResult | None = None
        self.past: list[tuple[str, int]] = []
        """Every (member id, generation) it ever was in."""
        self.busy: asyncio.Task[Any] | None = None

    @property
    def identity(self) -> str:
        return self.instance_id or self.member_id

    def run(self, work: Callable[[], Any]) -> None:
        """Send a request, unless one is on its way."""
        if self.busy is None or self.busy.done():
            self.busy = asyncio.get_running_loop().create_task(work())

    async def join(self, broker: Broker, subscription: bytes) -> None:
        self.joined = self.synced = None
        result = await broker.group_coordinator.join(self._join_call(subscription))
        if result.error is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = result.member_id
            result = await broker.group_coordinator.join(self._join_call(subscription))
        if result.error is ErrorCode.NONE:
            self.member_id, self.joined = result.member_id, result
            self.past.append((result.member_id, result.generation))
        else:
            self._failed(result.error)

    def _join_call(self, subscription: bytes) -> JoinCall:
        return JoinCall(
            group_id=GROUP,
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.name,
            client_host="/10.0.0.1",
            session_timeout_ms=10_000,
            rebalance_timeout_ms=20_000,
            protocol_type="consumer",
            protocols=(MemberProtocol("range", subscription),),
            member_id_required=True,
            skip_assignment=True,
        )

    async def sync(self, broker: Broker) -> None:
        joined = self.joined
        if joined is None:
            return
        call = SyncCall(
            group_id=GROUP,
            generation=joined.generation,
            member_id=self.member_id,
            instance_id=self.instance_id,
            protocol_type=joined.protocol_type,
            protocol=joined.protocol,
            assignments={} if joined.skip_assignment else _assignments(joined),
        )
        result = await broker.group_coordinator.sync(call)
        if result.error is ErrorCode.NONE:
            self.synced = result
            for partition in result.assignment:
                owner = broker.log.expected.owners.get((joined.generation, partition))
                assert owner == self.identity, "an assignment was handed out that is not in the log"
        else:
            self._failed(result.error)

    async def heartbeat(self, broker: Broker) -> None:
        if self.joined is not None:
            call = MemberCall(
                group_id=GROUP,
                generation=self.joined.generation,
                member_id=self.member_id,
                instance_id=self.instance_id,
            )
            self._failed(await broker.group_coordinator.heartbeat(call))

    async def commit(self, broker: Broker, which: int) -> None:
        """Commit as what the client is now, or as something it was."""
        if not self.past:
            return
        member_id, generation = self.past[-1 - which % len(self.past)]
        # Without its instance id, so that nothing but generation and member id can refuse it.
        call = CommitCall(
            group_id=GROUP,
            generation=generation,
            member_id=member_id,
            offsets=(OffsetToCommit(TOPIC_ID, 0, which, -1, ""),),
        )
        await broker.group_coordinator.commit(call)

    async def leave(self, broker: Broker) -> None:
        leaving = LeavingMember(self.member_id, self.instance_id, None)
        result: LeaveResult = await broker.group_coordinator.leave(GROUP, [leaving])
        if result.error is ErrorCode.NONE:
            self.forget()

    def forget(self) -> None:
        """Become a new process."""
        self.member_id = ""
        self.joined = self.synced = None

    def _failed(self, error: ErrorCode) -> None:
        if error in RETRY_FROM_SCRATCH:
            self.forget()


def _assignments(joined: JoinResult) -> dict[str, bytes]:
    """Give every partition, a byte each, to one of the members the leader was told of."""
    shares: dict[str, bytearray] = {member.member_id: bytearray() for member in joined.members}
    for partition in range(PARTITIONS if shares else 0):
        shares[joined.members[partition % len(joined.members)].member_id].append(partition)
    return {member_id: bytes(share) for member_id, share in shares.items()}
