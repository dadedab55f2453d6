"""SyncGroup: members wait for the leader's assignment, which is an entry before it is an answer."""

from collections.abc import Mapping

from kafscale.broker.groups.calls import SyncCall, SyncResult
from kafscale.broker.groups.group import ClassicGroup, SyncFuture, answer
from kafscale.broker.groups.journal import Journal, Written, fitting
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.rebalance import Rebalancer, Spawn
from kafscale.protocol.error_codes import ErrorCode


class Syncs:
    """Decides about SyncGroup requests and records completed rebalances."""

    def __init__(self, journal: Journal, rebalancer: Rebalancer, spawn: Spawn) -> None:
        self._journal = journal
        self._rebalancer = rebalancer
        self._spawn = spawn

    def sync(self, group: ClassicGroup, call: SyncCall, future: SyncFuture) -> None:
        """Give a member its assignment, now or when there is one."""
        error = _check(group, call)
        if error is not ErrorCode.NONE:
            answer(future, SyncResult(error=error))
            return
        self._rebalancer.sync_arrived(group, call.member_id)
        if group.phase is Phase.STABLE:
            answer(future, group.synced(call.member_id))
            return
        group.park_sync(call.member_id, future)
        if group.leader_id == call.member_id:
            self._spawn(group, self._record(group, call.generation, dict(call.assignments)))

    async def _record(self, group: ClassicGroup, generation: int, assignments: dict[str, bytes]) -> None:
        """Make a completed rebalance durable, then hand out the assignments.

        Another rebalance may have begun when our turn comes, or while the entry is on its way: then nobody waits
        for this one any more, and an entry already written is simply a generation that the next one follows.
        """
        async with group.write_lock:
            if not _completes(group, generation):
                return
            written = await self._journal.write(group, fitting(group, assignments))
        if not _completes(group, generation):
            return
        if written is Written.APPLIED:
            self._hand_out(group, assignments)
        else:
            self._rebalancer.withdraw_assignments(group, written.value)
            self._rebalancer.rebalance(group, f"the assignment could not be stored: {written.name}")

    def _hand_out(self, group: ClassicGroup, assignments: Mapping[str, bytes]) -> None:
        group.transition(Phase.STABLE)
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            if group.answer_sync(member.member_id, group.synced(member.member_id)):
                self._rebalancer.renew_session(group, member)


def _completes(group: ClassicGroup, generation: int) -> bool:
    return group.phase is Phase.COMPLETING_REBALANCE and group.generation == generation


def _check(group: ClassicGroup, call: SyncCall) -> ErrorCode:
    error = group.check_generation(call.member_id, call.instance_id, call.generation)
    if error is not ErrorCode.NONE:
        return error
    if call.protocol_type not in (None, group.protocol_type) or call.protocol not in (None, group.protocol):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.phase is Phase.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE
