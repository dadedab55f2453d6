"""Offset commits: judged in memory first, as Kafka's coordinator does, then by the log, which has the last word (I9).

Memory knows what the log cannot: that a rebalance is under way, that a static member's id is fenced, that members have
joined a group that was empty. The log knows what memory may not: that another coordinator has been faster. Commits do
not wait for each other; the log keeps their order.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kafscale.broker.groups.calls import CommitCall, CommitResult
from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.services import GroupAppender
from kafscale.errors import Bug, FatalLogFailure, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.entries import CommitOffsets, OffsetToCommit
from kafscale.metadata.state.groups import GroupState
from kafscale.metadata.state.outcomes import CommitOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode

COMMAND_BYTES_TARGET: Final = 256 * 1024
"""A commit larger than this becomes several commands, so that each fits an entry beside others. One offset with
Kafka's default metadata limit takes 12 KiB at most."""

_ERRORS: Final[Mapping[Verdict, ErrorCode]] = MappingProxyType(
    {
        Verdict.ACCEPTED: ErrorCode.NONE,
        Verdict.UNKNOWN_MEMBER: ErrorCode.UNKNOWN_MEMBER_ID,
        Verdict.ILLEGAL_GENERATION: ErrorCode.ILLEGAL_GENERATION,
        Verdict.UNKNOWN_TOPIC: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        Verdict.UNKNOWN_PARTITION: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    }
)


def judge(group: ClassicGroup, stored: GroupState | None, call: CommitCall) -> ErrorCode:
    """Return what memory says about a commit to a group it knows."""
    if call.generation < 0 and group.phase is Phase.EMPTY:
        return ErrorCode.NONE
    if call.generation < 0 and not call.member_id and call.instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_generation(call.member_id, call.instance_id, call.generation)
    if error is not ErrorCode.NONE:
        return error
    if group.phase is Phase.COMPLETING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    if stored is None or stored.generation != group.generation:
        # The rebalance that gave this generation out was overtaken by the next one before anybody had its assignment.
        # Kafka, which counts generations in memory, would take the commit; the log cannot know of it.
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


async def append(appender: GroupAppender, call: CommitCall) -> CommitResult:
    """Hand the commit to the log, in as many commands as it takes, and return its verdicts."""
    if not call.offsets:
        return CommitResult()
    parts = list(_parts(call.offsets))
    results = await asyncio.gather(*(_append_part(appender, call, part) for part in parts))
    if len(results) == 1:
        return results[0]
    return CommitResult(
        offsets=tuple(
            error
            for part, result in zip(parts, results, strict=True)
            for error in (result.offsets or (result.error,) * len(part))
        )
    )


async def _append_part(appender: GroupAppender, call: CommitCall, offsets: Sequence[OffsetToCommit]) -> CommitResult:
    command = CommitOffsets(
        group_id=call.group_id, generation=call.generation, member_id=call.member_id, offsets=list(offsets)
    )
    try:
        outcome = await appender.submit(command)
    except (StorageUnavailable, OutcomeUnknown, FatalLogFailure):
        # A commit may be repeated, so it does not matter that an unknown one may have happened.
        return CommitResult(error=ErrorCode.COORDINATOR_NOT_AVAILABLE)
    if not isinstance(outcome, CommitOutcome):
        raise Bug(f"CommitOffsets was answered with {outcome!r}")
    if outcome.verdict is Verdict.UNKNOWN_GROUP:
        return CommitResult(error=call.unknown_group_error)
    return CommitResult(error=_ERRORS[outcome.verdict], offsets=tuple(_ERRORS[one] for one in outcome.offsets))


def _parts(offsets: Sequence[OffsetToCommit]) -> Iterator[list[OffsetToCommit]]:
    part: list[OffsetToCommit] = []
    size = 0
    for offset in offsets:
        # As long as in MessagePack, or longer: the id, three integers and the text.
        length = 64 + 4 * len(offset.metadata)
        if part and size + length > COMMAND_BYTES_TARGET:
            yield part
            part, size = [], 0
        part.append(offset)
        size += length
    yield part
