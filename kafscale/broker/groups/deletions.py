"""What administrators delete: whole groups, and single committed offsets. Judged as Kafka's ClassicGroup does.

Memory judges first, because it knows of members that the log does not know yet; the log has the last word on whether a
group is empty.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kafscale.broker.groups.expiry import CONSUMER_PROTOCOL_TYPE, OFFSETS_PER_COMMAND, subscription_topics
from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.journal import Journal
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.services import GroupAppender
from kafscale.errors import Bug, FatalLogFailure, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.entries import CommittedOffsetKey, DeleteGroup, DeleteOffsets, TopicId
from kafscale.metadata.state.outcomes import SimpleOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode

_ERRORS: Final = {
    Verdict.ACCEPTED: ErrorCode.NONE,
    Verdict.UNKNOWN_GROUP: ErrorCode.GROUP_ID_NOT_FOUND,
    Verdict.GROUP_NOT_EMPTY: ErrorCode.NON_EMPTY_GROUP,
}


class OffsetToDelete(NamedTuple):
    """A committed offset of a topic that exists."""

    topic_id: TopicId
    topic: str
    partition: int


class Deletions:
    """Deletes for one coordinator. A `group` is the one in memory, else one made from the state, else None."""

    def __init__(self, journal: Journal, appender: GroupAppender, drop: Callable[[ClassicGroup], None]) -> None:
        self._journal = journal
        self._appender = appender
        self._drop = drop

    async def delete_group(self, group: ClassicGroup | None) -> ErrorCode:
        """Delete a group that has no members."""
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND
        if group.phase is Phase.EMPTY and group.emptying is not None:
            await asyncio.wait((group.emptying,))
        if group.phase is Phase.DEAD:
            return ErrorCode.NOT_COORDINATOR
        if group.phase is not Phase.EMPTY:
            return ErrorCode.NON_EMPTY_GROUP
        error = ErrorCode.NONE
        if self._journal.stored(group.group_id) is not None:
            error = await self._submit(DeleteGroup(group.group_id))
        if error is ErrorCode.NONE and group.phase is Phase.EMPTY:
            self._drop(group)
        return error

    async def delete_offsets(
        self, group: ClassicGroup | None, offsets: Sequence[OffsetToDelete]
    ) -> tuple[ErrorCode, ...] | ErrorCode:
        """Delete offsets; returns one error for each in order, or the one for the request."""
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND
        if group.phase is not Phase.EMPTY and group.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return ErrorCode.NON_EMPTY_GROUP
        subscribed = _subscribed_topics(group)
        errors = tuple(
            ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if subscribed is None or one.topic in subscribed else ErrorCode.NONE
            for one in offsets
        )
        keys = [
            CommittedOffsetKey(one.topic_id, one.partition)
            for one, error in zip(offsets, errors, strict=True)
            if error is ErrorCode.NONE
        ]
        if self._journal.stored(group.group_id) is None:
            return errors
        for first in range(0, len(keys), OFFSETS_PER_COMMAND):
            part = keys[first : first + OFFSETS_PER_COMMAND]
            failure = await self._submit(DeleteOffsets(group.group_id, part, keeps_group=True))
            if failure is not ErrorCode.NONE:
                return failure
        return errors

    async def _submit(self, command: DeleteGroup | DeleteOffsets) -> ErrorCode:
        try:
            outcome = await self._appender.submit(command)
        except (StorageUnavailable, OutcomeUnknown, FatalLogFailure):
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        if not isinstance(outcome, SimpleOutcome):
            raise Bug(f"{type(command).__name__} was answered with {outcome!r}")
        return _ERRORS[outcome.verdict]


def _subscribed_topics(group: ClassicGroup) -> set[str] | None:
    """Return the topics that members subscribe to, None where nobody can tell: those may be all topics."""
    if not group.members:
        return set()
    subscribed: set[str] = set()
    for member in group.members.values():
        topics = subscription_topics(member.metadata(group.protocol))
        if topics is None:
            return None
        subscribed.update(topics)
    return subscribed
