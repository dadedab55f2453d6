"""The face of the group coordinator: one method per request, over the groups in memory and in the state.

Keeps: at most one `ClassicGroup` per group id is registered, and only a registered one has timers or parked requests.
All methods run on one event loop; `start` comes after the replica has caught up, `close` answers everything parked.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from kafscale.broker.groups import commits, views
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
from kafscale.broker.groups.deletions import Deletions, OffsetToDelete
from kafscale.broker.groups.expiry import OffsetExpiry
from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.joins import Joins
from kafscale.broker.groups.journal import Journal
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.rebalance import Rebalancer
from kafscale.broker.groups.services import GroupServices
from kafscale.broker.groups.syncs import Syncs
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import MemberProtocol
from kafscale.protocol.error_codes import ErrorCode

_log = logging.getLogger(__name__)

ID_LENGTH_MAX: Final = 1024
"""Longest group id and group instance id. Kafka has no limit but the protocol's 32,767 bytes; every entry about a
group carries these."""

SUBSCRIPTIONS_BYTES_MAX: Final = 256 * 1024
"""Largest sum of one member's protocol names and subscriptions: they have to fit an entry with everybody else's."""


class GroupCoordinator:
    """Coordinates every group of the cluster that clients bring to this broker."""

    def __init__(self, services: GroupServices) -> None:
        self._services = services
        self._groups: dict[str, ClassicGroup] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._journal = Journal(services.replica, services.appender, self._drop)
        self._rebalancer = Rebalancer(services.settings, self._journal, self._spawn, self._drop)
        self._joins = Joins(services.settings, services.clock, self._journal, self._rebalancer, self._spawn, self._drop)
        self._syncs = Syncs(self._journal, self._rebalancer, self._spawn)
        self._deletions = Deletions(self._journal, services.appender, self._drop)
        self._expiry = OffsetExpiry(services, self._phase_in_memory)

    # Life

    def start(self) -> None:
        """Give every stored member a session: one that died with the last broker must not own partitions for ever."""
        for group_id, state in list(self._services.replica.state.groups.by_id.items()):
            if state.members:
                self._load(group_id)

    async def close(self) -> None:
        """Answer everything parked with NOT_COORDINATOR and stop."""
        self._closed = True
        for group in list(self._groups.values()):
            self._drop(group)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Membership

    async def join(self, call: JoinCall) -> JoinResult:
        """JoinGroup: returns when the client is in a generation, or is refused."""
        error = self._refusal(call.group_id) or _join_refusal(call, self._services)
        if error:
            return JoinResult(error=error, member_id=call.member_id)
        try:
            group = await self._find(call.group_id)
        except StorageUnavailable:
            return JoinResult(error=ErrorCode.COORDINATOR_NOT_AVAILABLE, member_id=call.member_id)
        if group is None and call.member_id:
            return JoinResult(error=ErrorCode.UNKNOWN_MEMBER_ID, member_id=call.member_id)
        group = self._register(group or ClassicGroup(call.group_id))
        future: asyncio.Future[JoinResult] = asyncio.get_running_loop().create_future()
        self._joins.join(group, call, future)
        self._rebalancer.drop_if_unused(group)
        return await future

    async def sync(self, call: SyncCall) -> SyncResult:
        """SyncGroup: returns when there is an assignment for the member, or is refused."""
        group = await self._find_for(call)
        if isinstance(group, ErrorCode):
            return SyncResult(error=group)
        future: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        self._syncs.sync(group, call, future)
        return await future

    async def heartbeat(self, call: MemberCall) -> ErrorCode:
        """Heartbeat: REBALANCE_IN_PROGRESS asks the member to join again."""
        group = await self._find_for(call)
        if isinstance(group, ErrorCode):
            return group
        error = group.check_generation(call.member_id, call.instance_id, call.generation)
        if error is not ErrorCode.NONE:
            return error
        self._rebalancer.renew_session(group, group.members[call.member_id])
        return ErrorCode.REBALANCE_IN_PROGRESS if group.phase is Phase.PREPARING_REBALANCE else ErrorCode.NONE

    async def leave(self, group_id: str, members: Sequence[LeavingMember]) -> LeaveResult:
        """LeaveGroup: removes members. When nobody is left, returns after that was recorded, or could not be."""
        error = self._refusal(group_id)
        if error:
            return LeaveResult(error=error)
        try:
            group = await self._find(group_id)
        except StorageUnavailable:
            return LeaveResult(error=ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if group is None:
            return LeaveResult(members=(ErrorCode.UNKNOWN_MEMBER_ID,) * len(members))
        errors = tuple(self._leave_one(group, member) for member in members)
        if ErrorCode.NONE in errors:
            self._rebalancer.members_left(group, "members left")
        if group.phase is Phase.EMPTY and group.emptying is not None:
            await asyncio.wait((group.emptying,))
        return LeaveResult(members=errors)

    def _leave_one(self, group: ClassicGroup, leaving: LeavingMember) -> ErrorCode:
        member_id = leaving.member_id
        if not member_id and leaving.instance_id is not None:
            member_id = group.static_ids.get(leaving.instance_id, "")
        if member_id not in group.pending:
            error = group.check_member(member_id, leaving.instance_id)
            if error is not ErrorCode.NONE:
                return error
        _log.info("group %r: member %r left: %r", group.group_id, member_id, leaving.reason)
        group.remove(member_id)
        return ErrorCode.NONE

    # Offsets

    async def commit(self, call: CommitCall) -> CommitResult:
        """OffsetCommit of partitions that exist. A commit of a member counts as its heartbeat."""
        error = ErrorCode.COORDINATOR_NOT_AVAILABLE if self._closed else _id_refusal(call.group_id)
        if error:
            return CommitResult(error=error)
        try:
            group = await self._find_for_commit(call.group_id)
        except StorageUnavailable:
            return CommitResult(error=ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if group is not None:
            error = commits.judge(group, self._journal.stored(call.group_id), call)
            if error is not ErrorCode.NONE:
                return CommitResult(error=error)
            member = group.members.get(call.member_id)
            if member is not None:
                self._rebalancer.renew_session(group, member)
        result = await commits.append(self._services.appender, call)
        if result.error and group is not None and self._is_overtaken(group):
            return CommitResult(error=ErrorCode.NOT_COORDINATOR)
        return result

    async def expire_offsets(self) -> None:
        """Delete expired offsets and groups that have nothing left. Raises StorageUnavailable."""
        for group in list(self._groups.values()):
            self._rebalancer.drop_if_unused(group)
        await self._expiry.run_once()

    async def run_expiry(self) -> None:
        """Expire offsets every `offsets.retention.check.interval.ms`, until cancelled."""
        while True:
            await asyncio.sleep(self._services.settings.offsets_retention_check_interval_ms / 1000)
            try:
                await self.expire_offsets()
            except StorageUnavailable as error:
                _log.warning("expired offsets could not be deleted, next try in the next interval: %s", error)

    # What administrators delete (after a barrier, which is the caller's)

    async def delete_group(self, group_id: str) -> ErrorCode:
        """DeleteGroups of one group."""
        if self._closed:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        return await self._deletions.delete_group(self._current(group_id) or self._from_state(group_id))

    async def delete_offsets(
        self, group_id: str, offsets: Sequence[OffsetToDelete]
    ) -> tuple[ErrorCode, ...] | ErrorCode:
        """OffsetDelete of partitions that exist: one error for each, or one for the request."""
        error = self._refusal(group_id)
        if error:
            return error
        group = self._current(group_id) or self._from_state(group_id)
        return await self._deletions.delete_offsets(group, offsets)

    # What admin requests see (after a barrier, which is the caller's)

    def describe(self, group_id: str) -> views.GroupDescription | None:
        """Return the group, None when there is no such group."""
        group = self._current(group_id) or self._from_state(group_id)
        return None if group is None else views.describe(group)

    def list_groups(self) -> list[views.GroupListing]:
        """Return every group there is: those of the state, and those only memory knows yet."""
        stored = self._services.replica.state.groups.by_id
        listed: list[views.GroupListing] = []
        for group_id, state in stored.items():
            group = self._current(group_id)
            listed.append(views.stored_listing(state) if group is None else views.listing(group))
        listed.extend(views.listing(group) for group_id, group in self._groups.items() if group_id not in stored)
        return listed

    # Groups in memory

    def _current(self, group_id: str) -> ClassicGroup | None:
        """Return the group in memory, unless the state has gone on without it."""
        group = self._groups.get(group_id)
        if group is not None and self._is_overtaken(group):
            return None
        return group

    def _is_overtaken(self, group: ClassicGroup) -> bool:
        if group.phase is not Phase.DEAD and self._journal.is_stale(group):
            self._drop(group)
        return group.phase is Phase.DEAD

    async def _find(self, group_id: str) -> ClassicGroup | None:
        """Return the group, from memory or from the state. Raises StorageUnavailable."""
        group = self._current(group_id)
        if group is None:
            await self._services.replica.barrier()
            if self._closed:
                raise StorageUnavailable("the coordinator is closed")
            group = self._current(group_id) or self._load(group_id)
        return group

    async def _find_for(self, call: MemberCall) -> ClassicGroup | ErrorCode:
        """Return the group that a member names in a request that only members send, or the answer to it."""
        error = self._refusal(call.group_id)
        if error:
            return error
        try:
            group = await self._find(call.group_id)
        except StorageUnavailable:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        return ErrorCode.UNKNOWN_MEMBER_ID if group is None else group

    async def _find_for_commit(self, group_id: str) -> ClassicGroup | None:
        """Return the group, None when only the log need judge: it has no members, here or in the state."""
        group = self._current(group_id)
        stored = self._journal.stored(group_id)
        if group is None and stored is not None and stored.members:
            return await self._find(group_id)
        return group

    def _from_state(self, group_id: str) -> ClassicGroup | None:
        stored = self._journal.stored(group_id)
        return None if stored is None else ClassicGroup.stored(stored)

    def _load(self, group_id: str) -> ClassicGroup | None:
        """Build a group from the state. With members it is registered, and each gets a fresh session."""
        group = self._from_state(group_id)
        if group is not None and group.members:
            self._register(group)
            for member in group.members.values():
                self._rebalancer.renew_session(group, member)
        return group

    def _register(self, group: ClassicGroup) -> ClassicGroup:
        return self._groups.setdefault(group.group_id, group)

    def _drop(self, group: ClassicGroup) -> None:
        """Forget a group's memory; who is parked has to find the coordinator again."""
        if self._groups.get(group.group_id) is group:
            del self._groups[group.group_id]
        group.transition(Phase.DEAD)
        group.timers.cancel_all()
        group.answer_all(ErrorCode.NOT_COORDINATOR)

    def _phase_in_memory(self, group_id: str) -> Phase | None:
        group = self._current(group_id)
        return None if group is None else group.phase

    def _spawn(self, group: ClassicGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for a group that must not end with a request's connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(group, done))
        return task

    def _finished(self, group: ClassicGroup, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            # A bug of ours: be loud about it, and do not leave the group's clients waiting.
            self._drop(group)
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"work for group {group.group_id!r} failed", "exception": error, "task": task}
            )

    def _refusal(self, group_id: str) -> ErrorCode:
        """Return why a request for membership cannot be served at all."""
        if self._closed:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        return _id_refusal(group_id) if group_id else ErrorCode.INVALID_GROUP_ID


def _id_refusal(group_id: str) -> ErrorCode:
    # The empty id is allowed for offsets only: consumers of old had it.
    return ErrorCode.NONE if len(group_id) <= ID_LENGTH_MAX else ErrorCode.INVALID_GROUP_ID


def _join_refusal(call: JoinCall, services: GroupServices) -> ErrorCode:
    settings = services.settings
    if not settings.group_min_session_timeout_ms <= call.session_timeout_ms <= settings.group_max_session_timeout_ms:
        return ErrorCode.INVALID_SESSION_TIMEOUT
    if call.instance_id is not None and len(call.instance_id) > ID_LENGTH_MAX:
        return ErrorCode.INVALID_REQUEST
    if sum(_size(protocol) for protocol in call.protocols) > SUBSCRIPTIONS_BYTES_MAX:
        return ErrorCode.MESSAGE_TOO_LARGE
    return ErrorCode.NONE


def _size(protocol: MemberProtocol) -> int:
    return len(protocol.name) + len(protocol.metadata)
