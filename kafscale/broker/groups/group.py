"""One classic group in memory: its members, its generation, who is parked, and the rules over them. No I/O.

Invariants: the leader is a member, or there is neither; a parked request belongs to a member; a member id is either
pending or a member; `support` counts, per protocol name, the members that have it.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from kafscale.broker.groups.calls import JoinedMember, JoinResult, SyncResult
from kafscale.broker.groups.member import Member
from kafscale.broker.groups.phases import PREDECESSORS, Phase
from kafscale.broker.groups.timers import Timers
from kafscale.errors import Bug
from kafscale.metadata.entries import GroupRebalanced, MemberProtocol
from kafscale.metadata.state.groups import GroupState
from kafscale.protocol.error_codes import ErrorCode

JoinFuture = asyncio.Future[JoinResult]
SyncFuture = asyncio.Future[SyncResult]
T = TypeVar("T")


class ClassicGroup:
    """State of one group. `revision` is that of the durable state it follows."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.phase = Phase.EMPTY
        self.previous_phase = Phase.DEAD
        self.generation = 0
        self.revision = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader_id = ""
        self.members: dict[str, Member] = {}
        self.static_ids: dict[str, str] = {}
        """Member id of each instance id."""
        self.pending: dict[str, None] = {}
        """Member ids that were given out and have not joined yet (a dict, for its order)."""
        self.joins: dict[str, JoinFuture] = {}
        self.syncs: dict[str, SyncFuture] = {}
        self.unsynced: dict[str, None] = {}
        """Members of the current generation that have not sent their SyncGroup."""
        self.new_member_added = False
        """Somebody joined since the delay of the initial rebalance was last extended."""
        self.support: Counter[str] = Counter()
        self.timers = Timers()
        self.write_lock = asyncio.Lock()
        self.emptying: asyncio.Task[None] | None = None
        """The last attempt to record that the group became Empty."""

    @classmethod
    def stored(cls, state: GroupState) -> "ClassicGroup":
        """Return the group as the durable state has it: Stable with its members, or Empty."""
        group = cls(state.group_id)
        group.generation = state.generation
        group.revision = state.revision
        group.protocol_type = state.protocol_type
        if state.members:
            group.phase = Phase.STABLE
            group.protocol = state.protocol
            group.leader_id = state.leader
        for member in state.members:
            group._insert(Member.stored(member))
        return group

    # Membership

    def add(self, member: Member, protocol_type: str) -> None:
        """Add a member that was pending or unknown. A group without members takes the type of whoever comes first."""
        if not self.members:
            self.protocol_type = protocol_type
        self.pending.pop(member.member_id, None)
        self._insert(member)

    def update(
        self, member: Member, protocols: tuple[MemberProtocol, ...], rebalance_timeout_ms: int, session_timeout_ms: int
    ) -> None:
        """Take over what a member says of itself when it joins again."""
        self.support.subtract(member.protocol_names())
        member.protocols = protocols
        self.support.update(member.protocol_names())
        member.rebalance_timeout_ms = rebalance_timeout_ms
        member.session_timeout_ms = session_timeout_ms

    def remove(self, member_id: str) -> None:
        """Remove a member or a pending one. What it has parked is answered: its client may join again."""
        self.pending.pop(member_id, None)
        self.unsynced.pop(member_id, None)
        self.timers.cancel(("session", member_id))
        self.answer_join(member_id, JoinResult(error=ErrorCode.UNKNOWN_MEMBER_ID))
        self.answer_sync(member_id, SyncResult(error=ErrorCode.UNKNOWN_MEMBER_ID))
        member = self.members.pop(member_id, None)
        if member is None:
            return
        self.support.subtract(member.protocol_names())
        if member.instance_id is not None:
            del self.static_ids[member.instance_id]
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), "")

    def replace_static(self, old_id: str, replacement: Member) -> None:
        """Put `replacement` (same instance id) where `old_id` stood, and fence what the old one has parked."""
        self.answer_join(old_id, JoinResult(error=ErrorCode.FENCED_INSTANCE_ID, member_id=old_id))
        self.answer_sync(old_id, SyncResult(error=ErrorCode.FENCED_INSTANCE_ID))
        self.timers.cancel(("session", old_id))
        old = self.members[old_id]
        if replacement.instance_id is None or replacement.instance_id != old.instance_id:
            raise Bug(f"{replacement.member_id} is not the same static member as {old_id}")
        self.members = {
            member.member_id: member for member in (replacement if one is old else one for one in self.members.values())
        }
        self.support.subtract(old.protocol_names())
        self.support.update(replacement.protocol_names())
        self.static_ids[replacement.instance_id] = replacement.member_id
        if self.leader_id == old_id:
            self.leader_id = replacement.member_id
        if old_id in self.unsynced:
            del self.unsynced[old_id]
            self.unsynced[replacement.member_id] = None

    def _insert(self, member: Member) -> None:
        self.members[member.member_id] = member
        self.support.update(member.protocol_names())
        if member.instance_id is not None:
            self.static_ids[member.instance_id] = member.member_id
        if not self.leader_id:
            self.leader_id = member.member_id

    def check_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Return whether this is a member of the group: NONE, UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID (KIP-345)."""
        if instance_id is not None:
            known = self.static_ids.get(instance_id)
            if known is not None and known != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
            if known is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def check_generation(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Return the same for a member that says in which generation it is."""
        error = self.check_member(member_id, instance_id)
        if error is ErrorCode.NONE and generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        return error

    # Protocols

    def supports(self, protocol_type: str, protocols: Iterable[MemberProtocol]) -> bool:
        """Return whether a member with these protocols could be in the group."""
        names = [protocol.name for protocol in protocols]
        if self.phase is Phase.EMPTY:
            return bool(protocol_type) and bool(names)
        return protocol_type == self.protocol_type and any(self.support[name] == len(self.members) for name in names)

    def select_protocol(self) -> str:
        """Return the protocol with the most votes among those every member has; in a tie, the first one voted for."""
        candidates = {name for name, count in self.support.items() if count == len(self.members)}
        votes = Counter(member.vote(candidates) for member in self.members.values())
        return max(votes, key=votes.__getitem__)

    # Parked requests

    def park_join(self, member_id: str, future: JoinFuture) -> None:
        """Park a JoinGroup. One parked before can only be of a connection that is gone."""
        self.answer_join(member_id, JoinResult(error=ErrorCode.REBALANCE_IN_PROGRESS, member_id=member_id))
        self.joins[member_id] = future

    def park_sync(self, member_id: str, future: SyncFuture) -> None:
        self.answer_sync(member_id, SyncResult(error=ErrorCode.REBALANCE_IN_PROGRESS))
        self.syncs[member_id] = future

    def answer_join(self, member_id: str, result: JoinResult) -> bool:
        """Answer the member's parked JoinGroup. Return whether there was one, heard or not."""
        return _answer_parked(self.joins.pop(member_id, None), result)

    def answer_sync(self, member_id: str, result: SyncResult) -> bool:
        return _answer_parked(self.syncs.pop(member_id, None), result)

    def answer_all(self, error: ErrorCode) -> None:
        """Answer everything that is parked with an error."""
        for member_id in list(self.joins):
            self.answer_join(member_id, JoinResult(error=error, member_id=member_id))
        for member_id in list(self.syncs):
            self.answer_sync(member_id, SyncResult(error=error))

    def is_heard_from(self, member: Member) -> bool:
        """Return whether a member that is silent is silent because of us."""
        return not member.is_new and (member.member_id in self.joins or member.member_id in self.syncs)

    # Rebalances

    def transition(self, phase: Phase) -> None:
        if self.phase not in PREDECESSORS[phase]:
            raise Bug(f"group {self.group_id!r} cannot go from {self.phase.value} to {phase.value}")
        self.previous_phase, self.phase = self.phase, phase

    @property
    def can_rebalance(self) -> bool:
        return self.phase in PREDECESSORS[Phase.PREPARING_REBALANCE]

    @property
    def all_joined(self) -> bool:
        return len(self.joins) == len(self.members) and not self.pending

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def absent_dynamic_members(self) -> list[str]:
        """Return the members that a completed join leaves behind: a static one may come back under its own name."""
        return [
            member.member_id
            for member in self.members.values()
            if member.member_id not in self.joins and member.instance_id is None
        ]

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is one that joined. Return False when nobody did."""
        if self.leader_id not in self.joins:
            self.leader_id = next((one for one in self.members if one in self.joins), self.leader_id)
        return self.leader_id in self.joins

    def start_generation(self) -> None:
        """Go to the next generation with the members there are."""
        self.generation += 1
        self.unsynced.clear()
        self.protocol = self.select_protocol() if self.members else ""
        self.transition(Phase.COMPLETING_REBALANCE if self.members else Phase.EMPTY)

    def joined(self, member_id: str, *, members: bool, skip_assignment: bool = False) -> JoinResult:
        """Return the answer to JoinGroup that puts a member into the current generation."""
        return JoinResult(
            member_id=member_id,
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol=self.protocol,
            leader=self.leader_id,
            skip_assignment=skip_assignment,
            members=self._subscriptions() if members else (),
        )

    def synced(self, member_id: str) -> SyncResult:
        """Return the answer to SyncGroup that gives a member its assignment."""
        return SyncResult(
            protocol_type=self.protocol_type,
            protocol=self.protocol,
            assignment=self.members[member_id].assignment,
        )

    def to_store(self, assignments: Mapping[str, bytes] | None = None, *, lean: bool = False) -> GroupRebalanced:
        """Return the entry that makes the group as it is now durable; `lean` leaves out the protocols not chosen."""
        only_protocol = self.protocol if lean else None
        return GroupRebalanced(
            group_id=self.group_id,
            follows_revision=self.revision,
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol=self.protocol,
            leader=self.leader_id,
            members=[
                member.to_store(
                    member.assignment if assignments is None else assignments.get(member.member_id, b""), only_protocol
                )
                for member in self.members.values()
            ],
        )

    def _subscriptions(self) -> tuple[JoinedMember, ...]:
        return tuple(
            JoinedMember(member.member_id, member.instance_id, member.metadata(self.protocol))
            for member in self.members.values()
        )


def answer(future: asyncio.Future[T], result: T) -> None:
    """Answer a request, unless nobody waits any more (its connection is gone)."""
    if not future.done():
        future.set_result(result)


def _answer_parked(future: asyncio.Future[T] | None, result: T) -> bool:
    if future is None:
        return False
    answer(future, result)
    return True
