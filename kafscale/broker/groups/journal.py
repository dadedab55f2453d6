"""Membership entries of groups: writes them, and says what became of each.

An entry names the revision memory follows, never the newest one in the state: that is what lets the log refuse a
coordinator that has been overtaken.
"""

from collections.abc import Callable
from enum import Enum

from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.services import GroupAppender, GroupReplica
from kafscale.errors import Bug, FatalLogFailure, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.appender import COMMAND_BYTES_MAX, CommandTooLarge
from kafscale.metadata.entries import GroupRebalanced, encoded_size
from kafscale.metadata.state.groups import GroupState
from kafscale.metadata.state.outcomes import SimpleOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode


class Written(Enum):
    """What became of an entry. The value is the error a client that waits for it gets."""

    APPLIED = ErrorCode.NONE
    UNAVAILABLE = ErrorCode.COORDINATOR_NOT_AVAILABLE
    """Certainly not written: memory is still right, and the client may try again."""
    TOO_LARGE = ErrorCode.MESSAGE_TOO_LARGE
    """The group does not fit an entry. Kafka says UNKNOWN_SERVER_ERROR, which tells an operator nothing."""
    LOST = ErrorCode.NOT_COORDINATOR
    """Another coordinator was faster, or nobody knows: memory has been dropped."""


class Journal:
    """The way from a group in memory to the metadata log. Calls for one group are made under its `write_lock`."""

    def __init__(self, replica: GroupReplica, appender: GroupAppender, drop: Callable[[ClassicGroup], None]) -> None:
        self._replica = replica
        self._appender = appender
        self._drop = drop

    def stored(self, group_id: str) -> GroupState | None:
        """Return the durable state of a group as far as this broker has applied the log."""
        return self._replica.state.groups.get(group_id)

    def is_stale(self, group: ClassicGroup) -> bool:
        """Return whether somebody else has written the group's membership (not known while a write is in flight)."""
        return not group.write_lock.locked() and self._stored_revision(group) != group.revision

    def is_recorded_empty(self, group: ClassicGroup) -> bool:
        """Return whether the durable state says too that an Empty group has no members."""
        stored = self.stored(group.group_id)
        return stored is None or stored.is_empty

    async def write(self, group: ClassicGroup, command: GroupRebalanced) -> Written:
        """Append the entry; on return it is applied, or it has not been and will not be (or memory is dropped)."""
        try:
            outcome = await self._appender.submit(command)
        except CommandTooLarge:
            return Written.TOO_LARGE
        except StorageUnavailable:
            return Written.UNAVAILABLE
        except (OutcomeUnknown, FatalLogFailure):
            self._drop(group)
            return Written.LOST
        if not isinstance(outcome, SimpleOutcome):
            raise Bug(f"GroupRebalanced was answered with {outcome!r}")
        if outcome.verdict is not Verdict.ACCEPTED:
            self._drop(group)
            return Written.LOST
        group.revision += 1
        return Written.APPLIED

    def _stored_revision(self, group: ClassicGroup) -> int:
        stored = self.stored(group.group_id)
        return 0 if stored is None else stored.revision


def fitting(group: ClassicGroup, assignments: dict[str, bytes] | None = None) -> GroupRebalanced:
    """Return the group's entry, without the protocols that were not chosen when it does not fit with them.

    Kafka never stores those. What they are good for: after a restart, a member that joins again with an unchanged
    subscription is recognised, and there is no rebalance.
    """
    command = group.to_store(assignments)
    return command if encoded_size(command) <= COMMAND_BYTES_MAX else group.to_store(assignments, lean=True)
