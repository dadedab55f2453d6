"""A simulated member of a consumer group, with the classic protocol: joins, owns, reads, commits, leaves.

The leader assigns partitions round robin. Every assignment is noted as owned, every commit and every look at a
committed offset is an operation of the history.
"""

from typing import Any, Final

from kafka.protocol.consumer.metadata import (  # type: ignore[import-untyped]
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
)
from tests.simulation.client import Rpc, SimClient, Unavailable
from tests.simulation.consumer import SimConsumer
from tests.simulation.loop import SimulationFailure
from tests.simulation.network import ConnectionLost
from tests.support.history import (
    NO_OFFSET,
    CommitOffset,
    Committed,
    CommittedFound,
    FetchCommitted,
    History,
    Owned,
    TopicPartition,
)

SESSION_TIMEOUTS_MS: Final = (1_500, 6_000, 10_000)
REBALANCE_TIMEOUTS_MS: Final = (1_000, 5_000, 20_000)
"""What members are configured to; short ones give many generations, and members that are thrown out."""

JOIN_TIMEOUT_SECONDS: Final = 40.0
"""A join is answered when the group is complete, at the latest after the rebalance timeout."""

ASSIGNOR: Final = "roundrobin"

FORGOTTEN: Final = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID})
"""Errors after which a member joins as a new one."""

REJOIN: Final = frozenset({*FORGOTTEN, ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION})
MOVED: Final = frozenset(
    {
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
NOT_COMMITTED: Final = frozenset({*REJOIN, *MOVED})
"""Errors after which a commit certainly had no effect."""


class Rejoin(Exception):
    """The member must join again."""


class SimMember:
    """One member."""

    def __init__(
        self, client: SimClient, history: History, group: str, partitions: list[TopicPartition], *, keep: bool = False
    ) -> None:
        self.client = client
        self.consumer = SimConsumer(client, history)
        self.owned: list[TopicPartition] = []
        self._history = history
        self._group = group
        self._partitions = partitions
        self._leave = not keep
        self._session_timeout_ms = client.random.choice(SESSION_TIMEOUTS_MS)
        self._rebalance_timeout_ms = client.random.choice(REBALANCE_TIMEOUTS_MS)
        self._member_id = ""
        self._generation = -1
        self._stopping = False

    def stop(self) -> None:
        """Leave after the current turn (or just go, if made with `keep`)."""
        self._stopping = True

    async def run(self) -> None:
        """Take part in the group until stopped."""
        while not self._stopping:
            try:
                rpc = await self.client.coordinator(self._group)
                await self._join(rpc)
                await self._work(rpc)
            except (Rejoin, Unavailable, ConnectionLost):
                await self.client.pause()
        await self._leave_group()

    async def _join(self, rpc: Rpc) -> None:
        joined = await self.client.call(rpc, self._join_request(), JOIN_TIMEOUT_SECONDS)
        error = ErrorCode(joined.error_code)
        if error is ErrorCode.MEMBER_ID_REQUIRED:
            self._member_id = joined.member_id
            raise Rejoin
        self._check(error)
        self._member_id, self._generation = joined.member_id, joined.generation_id
        assignments = self._assign(joined) if joined.leader == joined.member_id else []
        synced = await self.client.call(rpc, self._sync_request(assignments), JOIN_TIMEOUT_SECONDS)
        self._check(ErrorCode(synced.error_code))
        self._own(synced.assignment)
        await self._find_positions(rpc)

    async def _work(self, rpc: Rpc) -> None:
        while not self._stopping:
            await self.consumer.poll()
            await self._commit(rpc)
            await self._heartbeat(rpc)
            await self.client.pause()

    def _own(self, assignment: bytes) -> None:
        partitions: list[TopicPartition] = []
        if assignment:
            decoded: Any = ConsumerProtocolAssignment.decode(assignment)
            known = {at: at for at in self._partitions}
            named = [TopicPartition(t.topic, number) for t in decoded.assigned_partitions for number in t.partitions]
            partitions = [known[at] for at in named]
        self.owned = partitions
        self._history.note(self.client.name, Owned(self._group, self._generation, self._member_id, partitions))

    async def _find_positions(self, rpc: Rpc) -> None:
        positions: dict[TopicPartition, int] = {}
        for at in self.owned:
            operation = self._history.invoke(self.client.name, FetchCommitted(self._group, at))
            topic = OffsetFetchRequest.OffsetFetchRequestTopic(name=at.topic, partition_indexes=[at.partition])
            request = OffsetFetchRequest(group_id=self._group, topics=[topic], require_stable=False)
            try:
                reply = await self.client.call(rpc, request)
            except ConnectionLost as lost:
                self._history.unknown(operation, str(lost))
                raise
            found = reply.topics[0].partitions[0]
            error = ErrorCode(found.error_code or getattr(reply, "error_code", 0))
            if error is not ErrorCode.NONE:
                self._history.fail(operation, error.name)
                raise Rejoin
            self._history.ok(operation, CommittedFound(found.committed_offset))
            positions[at] = max(found.committed_offset, 0) if found.committed_offset != NO_OFFSET else 0
        self.consumer.assign(positions)

    async def _commit(self, rpc: Rpc) -> None:
        for at in self.owned:
            offset = self.consumer.positions[at]
            operation = self._history.invoke(self.client.name, CommitOffset(self._group, at, offset))
            try:
                reply = await self.client.call(rpc, self._commit_request(at, offset))
            except ConnectionLost as lost:
                self._history.unknown(operation, str(lost))
                raise
            error = ErrorCode(reply.topics[0].partitions[0].error_code)
            if error is ErrorCode.NONE:
                self._history.ok(operation, Committed())
                continue
            (self._history.fail if error in NOT_COMMITTED else self._history.unknown)(operation, error.name)
            self._check(error)

    async def _heartbeat(self, rpc: Rpc) -> None:
        request = HeartbeatRequest(
            group_id=self._group, generation_id=self._generation, member_id=self._member_id, group_instance_id=None
        )
        self._check(ErrorCode((await self.client.call(rpc, request)).error_code))

    async def _leave_group(self) -> None:
        if not self._leave or not self._member_id:
            return
        member = LeaveGroupRequest.MemberIdentity(member_id=self._member_id, group_instance_id=None)
        try:
            rpc = await self.client.coordinator(self._group)
            request = LeaveGroupRequest(group_id=self._group, member_id=self._member_id, members=[member])
            await self.client.call(rpc, request)
        except (Unavailable, ConnectionLost):
            return

    def _check(self, error: ErrorCode) -> None:
        if error in FORGOTTEN:
            self._member_id = ""
        if error in REJOIN:
            raise Rejoin
        if error in MOVED or error is ErrorCode.REQUEST_TIMED_OUT:
            raise Unavailable(error.name)
        if error is not ErrorCode.NONE:
            raise SimulationFailure(f"{self.client.name} got {error.name} from the group {self._group}")

    def _assign(self, joined: Any) -> list[Any]:
        members = sorted(member.member_id for member in joined.members)
        assignments = []
        for number, member_id in enumerate(members):
            mine = self._partitions[number :: len(members)]
            topics = [
                ConsumerProtocolAssignment.TopicPartition(topic=at.topic, partitions=[at.partition]) for at in mine
            ]
            encoded = ConsumerProtocolAssignment(assigned_partitions=topics, user_data=b"").encode(version=1)
            assignments.append(SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=encoded))
        return assignments

    def _join_request(self) -> JoinGroupRequest:
        topics = sorted({at.topic for at in self._partitions})
        subscription = ConsumerProtocolSubscription(topics=topics, user_data=b"", owned_partitions=[])
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(name=ASSIGNOR, metadata=subscription.encode(version=1))
        return JoinGroupRequest(
            group_id=self._group,
            session_timeout_ms=self._session_timeout_ms,
            rebalance_timeout_ms=self._rebalance_timeout_ms,
            member_id=self._member_id,
            group_instance_id=None,
            protocol_type="consumer",
            protocols=[protocol],
        )

    def _sync_request(self, assignments: list[Any]) -> SyncGroupRequest:
        return SyncGroupRequest(
            group_id=self._group,
            generation_id=self._generation,
            member_id=self._member_id,
            group_instance_id=None,
            protocol_type="consumer",
            protocol_name=ASSIGNOR,
            assignments=assignments,
        )

    def _commit_request(self, at: TopicPartition, offset: int) -> OffsetCommitRequest:
        topic = OffsetCommitRequest.OffsetCommitRequestTopic
        partition = topic.OffsetCommitRequestPartition(
            partition_index=at.partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
        )
        return OffsetCommitRequest(
            group_id=self._group,
            generation_id_or_member_epoch=self._generation,
            member_id=self._member_id,
            group_instance_id=None,
            retention_time_ms=-1,
            topics=[topic(name=at.topic, partitions=[partition])],
        )
