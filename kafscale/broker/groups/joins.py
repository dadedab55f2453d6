"""JoinGroup: what a joining client is, and what that means in the state the group is in.

A request without member id is a new member: static (with an instance id), or dynamic, which from v4 on is first sent
back with an id of its own (KIP-394), so that a client that never gets the answer leaves no member behind. A request
with one is a pending member, or a member that joins again. A static member whose id is new although its instance is
known replaces the old one (KIP-345); while the group is Stable and its protocol stays, that is an entry of its own and
no rebalance.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kafscale.broker.groups.calls import JoinCall, JoinResult
from kafscale.broker.groups.group import ClassicGroup, JoinFuture, answer
from kafscale.broker.groups.journal import Journal, Written, fitting
from kafscale.broker.groups.member import Member
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.rebalance import Rebalancer, Spawn
from kafscale.broker.groups.services import GroupSettings
from kafscale.clock import Clock
from kafscale.protocol.error_codes import ErrorCode

PENDING_MEMBERS_MAX: Final = 10_000
"""Ids given out to one group whose members have not joined yet. `group.max.size` bounds members only; a client that
asks for ids and never joins costs a timer each until its session would be over."""


class Joins:
    """Decides about JoinGroup requests. The future of each is answered now, by the rebalance, or by what ends it."""

    def __init__(
        self,
        settings: GroupSettings,
        clock: Clock,
        journal: Journal,
        rebalancer: Rebalancer,
        spawn: Spawn,
        drop: Callable[[ClassicGroup], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._journal = journal
        self._rebalancer = rebalancer
        self._spawn = spawn
        self._drop = drop

    def join(self, group: ClassicGroup, call: JoinCall, future: JoinFuture) -> None:
        """Let a client into the group, or tell it why not."""
        if not self._has_room(group, call.member_id):
            group.remove(call.member_id)
            self._rebalancer.complete_join_if_all_joined(group)
            answer(future, JoinResult(error=ErrorCode.GROUP_MAX_SIZE_REACHED))
        elif not group.supports(call.protocol_type, call.protocols):
            answer(future, JoinResult(error=ErrorCode.INCONSISTENT_GROUP_PROTOCOL, member_id=call.member_id))
        elif call.member_id:
            self._join_known(group, call, future)
        elif call.instance_id is not None:
            self._join_static(group, call, call.instance_id, future)
        else:
            self._join_dynamic(group, call, future)

    def _has_room(self, group: ClassicGroup, member_id: str) -> bool:
        match group.phase:
            case Phase.PREPARING_REBALANCE:
                # Who has not come back yet does not count: the last to come are turned away, should the limit have
                # been lowered.
                return member_id in group.joins or len(group.joins) < self._settings.group_max_size
            case Phase.COMPLETING_REBALANCE | Phase.STABLE:
                return member_id in group.members or len(group.members) < self._settings.group_max_size
            case Phase.EMPTY | Phase.DEAD:
                return True

    def _new_member_id(self, prefix: str) -> str:
        return f"{prefix}-{self._clock.random_uuid()}"

    # New members

    def _join_dynamic(self, group: ClassicGroup, call: JoinCall, future: JoinFuture) -> None:
        member_id = self._new_member_id(call.client_id)
        if not call.member_id_required:
            self._rebalancer.add_member(group, call, member_id, future)
        elif len(group.pending) >= PENDING_MEMBERS_MAX:
            answer(future, JoinResult(error=ErrorCode.GROUP_MAX_SIZE_REACHED))
        else:
            self._rebalancer.expect_member(group, member_id, call.session_timeout_ms)
            answer(future, JoinResult(error=ErrorCode.MEMBER_ID_REQUIRED, member_id=member_id))

    def _join_static(self, group: ClassicGroup, call: JoinCall, instance_id: str, future: JoinFuture) -> None:
        member_id = self._new_member_id(instance_id)
        replaced = group.static_ids.get(instance_id)
        if replaced is None:
            self._rebalancer.add_member(group, call, member_id, future)
        else:
            self._replace(group, call, replaced, member_id, future)

    def _replace(self, group: ClassicGroup, call: JoinCall, old_id: str, new_id: str, future: JoinFuture) -> None:
        old_leader = group.leader_id
        member = group.members[old_id].renamed(new_id)
        group.replace_static(old_id, member)
        group.update(member, call.protocols, call.rebalance_timeout_ms, call.session_timeout_ms)
        group.park_join(new_id, future)
        self._rebalancer.renew_session(group, member)
        match group.phase:
            case Phase.STABLE if group.select_protocol() == group.protocol:
                self._spawn(group, self._record_replacement(group, call, member, old_leader))
            case Phase.STABLE | Phase.COMPLETING_REBALANCE:
                # While the leader assigns, it assigns to the old id: only another generation gets this one its share.
                self._rebalancer.prepare(group, f"static member {new_id} replaced {old_id}: {call.reason}")
            case _:
                self._rebalancer.complete_join_if_all_joined(group)

    async def _record_replacement(self, group: ClassicGroup, call: JoinCall, member: Member, old_leader: str) -> None:
        """Make the swap durable, then answer; a rebalance that began meanwhile has taken the request over."""
        async with group.write_lock:
            if not _is_parked_in_stable(group, member):
                return
            written = await self._journal.write(group, fitting(group))
        if not _is_parked_in_stable(group, member):
            return
        if written is Written.APPLIED:
            self._rebalancer.renew_session(group, member)
            group.answer_join(member.member_id, _replaced(group, call, member.member_id, old_leader))
        else:
            self._take_back(group, member, written.value)

    def _take_back(self, group: ClassicGroup, member: Member, error: ErrorCode) -> None:
        """Put back the static member that the durable state still has under another id."""
        group.answer_join(member.member_id, JoinResult(error=error))
        stored = self._journal.stored(group.group_id)
        members = [] if stored is None else stored.members
        original = next((one for one in members if one.instance_id == member.instance_id), None)
        if original is None:
            self._drop(group)
            return
        restored = Member.stored(original)
        group.replace_static(member.member_id, restored)
        self._rebalancer.renew_session(group, restored)

    # Members that have an id

    def _join_known(self, group: ClassicGroup, call: JoinCall, future: JoinFuture) -> None:
        if call.member_id in group.pending and call.instance_id is None:
            self._rebalancer.add_member(group, call, call.member_id, future)
            return
        error = group.check_member(call.member_id, call.instance_id)
        if error is not ErrorCode.NONE:
            answer(future, JoinResult(error=error, member_id=call.member_id))
            return
        member = group.members[call.member_id]
        if _needs_rebalance(group, call, member):
            self._rebalancer.update_member(group, call, member, future)
        else:
            # It did not get the answer to its JoinGroup, or a follower just asks: it is in this generation already.
            is_leader = group.leader_id == call.member_id
            answer(future, group.joined(call.member_id, members=is_leader))


def _needs_rebalance(group: ClassicGroup, call: JoinCall, member: Member) -> bool:
    """Return whether a member that joins again changes something. A Stable group's leader always does: it joins when
    something its subscription does not show has changed, such as the number of partitions."""
    if group.phase is Phase.STABLE and group.leader_id == member.member_id:
        return True
    return group.phase is Phase.PREPARING_REBALANCE or member.protocols != call.protocols


def _is_parked_in_stable(group: ClassicGroup, member: Member) -> bool:
    return group.phase is Phase.STABLE and member.member_id in group.joins


def _replaced(group: ClassicGroup, call: JoinCall, member_id: str, old_leader: str) -> JoinResult:
    """Return the answer to a static member that came back in a Stable group.

    A leader must not assign again. A client that knows `skip_assignment` is told so; an older one is told that the
    leader is its own old id, and so takes itself for a follower.
    """
    is_leader = group.leader_id == member_id
    if call.skip_assignment:
        return group.joined(member_id, members=is_leader, skip_assignment=is_leader)
    return replace(group.joined(member_id, members=False), leader=old_leader)
