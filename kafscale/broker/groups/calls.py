"""Requests to the coordinator and its answers, free of message classes and API versions.

Times are milliseconds; -1 and the empty string stand for "none" where Kafka's protocol does the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kafscale.metadata.entries import MemberProtocol, OffsetToCommit
from kafscale.protocol.error_codes import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinCall:
    """JoinGroup. `member_id_required`: a new dynamic member is first given an id and sent back (v4, KIP-394);
    `skip_assignment`: the client understands a leader that must not assign (v9, KIP-814)."""

    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[MemberProtocol, ...]
    member_id_required: bool
    skip_assignment: bool
    reason: str = ""


class JoinedMember(NamedTuple):
    """One member as the leader sees it: its subscription under the chosen protocol."""

    member_id: str
    instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResult:
    """Answer to JoinGroup. `members` is filled for the leader only."""

    error: ErrorCode = ErrorCode.NONE
    member_id: str = ""
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCall:
    """Heartbeat, and what SyncGroup has in common with it: a member that names its generation."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCall(MemberCall):
    """SyncGroup. Protocol type and name are None where the version does not carry them."""

    protocol_type: str | None = None
    protocol: str | None = None
    assignments: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """Answer to SyncGroup."""

    error: ErrorCode = ErrorCode.NONE
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


class LeavingMember(NamedTuple):
    """One member of a LeaveGroup. With an instance id and no member id, an administrator removes a static member."""

    member_id: str
    instance_id: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveResult:
    """Answer to LeaveGroup: one error for the request, one per member in order (none when the request failed)."""

    error: ErrorCode = ErrorCode.NONE
    members: tuple[ErrorCode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitCall(MemberCall):
    """OffsetCommit of existing partitions. `unknown_group_error` is what this version calls a missing group."""

    offsets: tuple[OffsetToCommit, ...]
    unknown_group_error: ErrorCode = ErrorCode.ILLEGAL_GENERATION


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """Answer to OffsetCommit: an error for all offsets, or one per offset in order."""

    error: ErrorCode = ErrorCode.NONE
    offsets: tuple[ErrorCode, ...] = ()
