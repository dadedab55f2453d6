"""What moves a group from one generation to the next, and every timer that can.

A rebalance goes: prepare (members are asked to join again, JoinGroup requests park), complete the join (everyone is
there, or the time is up), and then wait for the leader's SyncGroup, which `syncs` records. All timers of a group are
here: ("session", member id) for members and for ids given out, "join" for the end of waiting for members, "sync" for
the end of waiting for their SyncGroup, "empty" for the next attempt to record that nobody is left.

Everything but the recording is synchronous: between two awaits of this package a group is consistent.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final

from kafscale.broker.groups.calls import JoinCall, SyncResult
from kafscale.broker.groups.group import ClassicGroup, JoinFuture
from kafscale.broker.groups.journal import Journal, Written
from kafscale.broker.groups.member import Member
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.services import GroupSettings
from kafscale.protocol.error_codes import ErrorCode

_log = logging.getLogger(__name__)

NEW_MEMBER_JOIN_TIMEOUT_MS: Final = 5 * 60 * 1000
"""How long the first JoinGroup of a member may be parked. Nobody hears when its client gives up and comes again under
another id, so without an end such members would pile up in a long rebalance. Kafka's value."""

EMPTY_RETRY_MS: Final = 1000
"""Pause before becoming Empty is recorded again: only the expiry of offsets and the next restart wait for it."""

Spawn = Callable[[ClassicGroup, Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Rebalancer:
    """Applies to any group; keeps no state of its own.

    `spawn` runs a coroutine for a group in the background, `drop` forgets a group's memory.
    """

    def __init__(
        self, settings: GroupSettings, journal: Journal, spawn: Spawn, drop: Callable[[ClassicGroup], None]
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._spawn = spawn
        self._drop = drop

    # Members and their sessions

    def add_member(self, group: ClassicGroup, call: JoinCall, member_id: str, future: JoinFuture) -> None:
        """Take a new member in and rebalance."""
        member = Member(
            member_id=member_id,
            instance_id=call.instance_id,
            client_id=call.client_id,
            client_host=call.client_host,
            session_timeout_ms=call.session_timeout_ms,
            rebalance_timeout_ms=call.rebalance_timeout_ms,
            protocols=call.protocols,
            is_new=True,
        )
        if group.phase is Phase.PREPARING_REBALANCE and group.previous_phase is Phase.EMPTY:
            group.new_member_added = True
        group.add(member, call.protocol_type)
        group.park_join(member_id, future)
        self._start_session(group, member_id, NEW_MEMBER_JOIN_TIMEOUT_MS)
        self.rebalance(group, f"member {member_id} joined: {call.reason}")

    def update_member(self, group: ClassicGroup, call: JoinCall, member: Member, future: JoinFuture) -> None:
        """Take a known member's new facts, park its JoinGroup and rebalance."""
        group.update(member, call.protocols, call.rebalance_timeout_ms, call.session_timeout_ms)
        group.park_join(member.member_id, future)
        self.rebalance(group, f"member {member.member_id} joined again: {call.reason}")

    def expect_member(self, group: ClassicGroup, member_id: str, timeout_ms: int) -> None:
        """Remember a member id that was given out, for as long as a session of it would last."""
        group.pending[member_id] = None
        self._start_session(group, member_id, timeout_ms)

    def renew_session(self, group: ClassicGroup, member: Member) -> None:
        """Note that a member was heard of."""
        self._start_session(group, member.member_id, member.session_timeout_ms)

    def members_left(self, group: ClassicGroup, reason: str) -> None:
        """React to the removal of members or of pending ones."""
        match group.phase:
            case Phase.STABLE | Phase.COMPLETING_REBALANCE:
                self.rebalance(group, reason)
            case Phase.PREPARING_REBALANCE:
                self.complete_join_if_all_joined(group)
            case Phase.EMPTY:
                self.drop_if_unused(group)
            case Phase.DEAD:
                pass

    def drop_if_unused(self, group: ClassicGroup) -> None:
        """Forget a group of which memory knows nothing that the durable state does not."""
        busy = group.pending or group.phase is not Phase.EMPTY or group.write_lock.locked()
        if not busy and self._journal.is_recorded_empty(group):
            self._drop(group)

    def _start_session(self, group: ClassicGroup, member_id: str, timeout_ms: int) -> None:
        self._start_timer(group, ("session", member_id), timeout_ms, lambda: self._session_expired(group, member_id))

    def _start_timer(self, group: ClassicGroup, name: Hashable, delay_ms: int, action: Callable[[], None]) -> None:
        """Run `action` later, unless the state has gone on without this memory by then: it must not act on it."""

        def over() -> None:
            if self._journal.is_stale(group):
                self._drop(group)
            else:
                action()

        group.timers.start(name, delay_ms, over)

    def _session_expired(self, group: ClassicGroup, member_id: str) -> None:
        member = group.members.get(member_id)
        if member is not None and group.is_heard_from(member):
            # It waits for us. Whatever answers it starts its session again.
            return
        _log.info("group %r: member %r was not heard of in time", group.group_id, member_id)
        was_pending = member_id in group.pending
        group.remove(member_id)
        if not was_pending:
            self.members_left(group, f"member {member_id} expired")
        elif group.phase is Phase.PREPARING_REBALANCE and group.all_joined:
            self.complete_join(group)
        else:
            self.drop_if_unused(group)

    # The join phase

    def rebalance(self, group: ClassicGroup, reason: str) -> None:
        """Begin a rebalance, or go on with the one that waits for members."""
        if group.can_rebalance:
            self.prepare(group, reason)
        else:
            self.complete_join_if_all_joined(group)

    def prepare(self, group: ClassicGroup, reason: str) -> None:
        """Ask every member to join again."""
        _log.info("group %r: preparing to rebalance after generation %d: %r", group.group_id, group.generation, reason)
        if group.phase is Phase.COMPLETING_REBALANCE:
            self.withdraw_assignments(group, ErrorCode.REBALANCE_IN_PROGRESS)
        group.unsynced.clear()
        group.timers.cancel("sync")
        is_initial = group.phase is Phase.EMPTY
        group.transition(Phase.PREPARING_REBALANCE)
        if is_initial:
            delay_ms = self._settings.group_initial_rebalance_delay_ms
            self._wait_for_first_members(group, delay_ms, max(group.rebalance_timeout_ms - delay_ms, 0))
        elif group.all_joined:
            self.complete_join(group)
        else:
            self._start_timer(group, "join", group.rebalance_timeout_ms, lambda: self.complete_join(group))

    def withdraw_assignments(self, group: ClassicGroup, error: ErrorCode) -> None:
        """Take back what the generation in the making would have handed out, and answer who waits for it."""
        for member in group.members.values():
            member.assignment = b""
            if group.answer_sync(member.member_id, SyncResult(error=error)):
                self.renew_session(group, member)

    def complete_join_if_all_joined(self, group: ClassicGroup) -> None:
        """End the join phase when nobody is missing, except the first one of a group, which waits for its delay."""
        is_waiting = group.phase is Phase.PREPARING_REBALANCE and group.previous_phase is not Phase.EMPTY
        if is_waiting and group.all_joined:
            self.complete_join(group)

    def complete_join(self, group: ClassicGroup) -> None:
        """End the join phase: without the dynamic members that have not come, and with a leader that has."""
        group.timers.cancel("join")
        for member_id in group.absent_dynamic_members():
            _log.info("group %r: member %r did not join in time", group.group_id, member_id)
            group.remove(member_id)
        if not group.members:
            self._become_empty(group)
        elif group.elect_joined_leader():
            self._start_generation(group)
        else:
            # Only static members are left and none is here. Their sessions decide, or the next one to come.
            self._start_timer(group, "join", group.rebalance_timeout_ms, lambda: self.complete_join(group))

    def _wait_for_first_members(self, group: ClassicGroup, delay_ms: int, remaining_ms: int) -> None:
        """Wait `delay_ms`, and again while members keep coming, until the rebalance timeout is used up."""

        def over() -> None:
            if group.new_member_added and remaining_ms:
                group.new_member_added = False
                next_ms = min(self._settings.group_initial_rebalance_delay_ms, remaining_ms)
                self._wait_for_first_members(group, next_ms, max(remaining_ms - delay_ms, 0))
            else:
                self.complete_join(group)

        self._start_timer(group, "join", delay_ms, over)

    def _start_generation(self, group: ClassicGroup) -> None:
        group.start_generation()
        _log.info("group %r: generation %d has %d members", group.group_id, group.generation, len(group.members))
        for member in group.members.values():
            is_leader = member.member_id == group.leader_id
            group.answer_join(member.member_id, group.joined(member.member_id, members=is_leader))
            member.is_new = False
            group.unsynced[member.member_id] = None
            self.renew_session(group, member)
        self._start_timer(group, "sync", group.rebalance_timeout_ms, lambda: self._sync_expired(group))

    # The sync phase

    def sync_arrived(self, group: ClassicGroup, member_id: str) -> None:
        """Note that a member has sent its SyncGroup for this generation."""
        group.unsynced.pop(member_id, None)
        if not group.unsynced:
            group.timers.cancel("sync")

    def _sync_expired(self, group: ClassicGroup) -> None:
        absent = list(group.unsynced)
        for member_id in absent:
            group.remove(member_id)
        if absent:
            self.prepare(group, f"no SyncGroup in time from {', '.join(absent)}")

    # Nobody left

    def _become_empty(self, group: ClassicGroup) -> None:
        group.start_generation()
        _log.info("group %r: generation %d is empty", group.group_id, group.generation)
        self._record_empty(group)

    def _record_empty(self, group: ClassicGroup) -> None:
        group.emptying = self._spawn(group, self._write_empty(group, group.generation))

    async def _write_empty(self, group: ClassicGroup, generation: int) -> None:
        async with group.write_lock:
            if group.phase is not Phase.EMPTY or group.generation != generation:
                return
            written = Written.APPLIED
            if self._journal.stored(group.group_id) is not None:
                written = await self._journal.write(group, group.to_store())
        if group.phase is not Phase.EMPTY or group.generation != generation:
            return
        if written is Written.APPLIED:
            self.drop_if_unused(group)
        else:
            self._start_timer(group, "empty", EMPTY_RETRY_MS, lambda: self._record_empty(group))
