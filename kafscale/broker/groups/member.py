"""One member of a classic group, as memory has it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kafscale.metadata.entries import GroupMember, MemberProtocol


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """`is_new` until the first rebalance it takes part in completes: such a member cannot know yet that it must
    send heartbeats, so its parked JoinGroup is what expires."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[MemberProtocol, ...]
    assignment: bytes = b""
    is_new: bool = False

    @classmethod
    def stored(cls, member: GroupMember) -> "Member":
        """Return the member as the state has it."""
        return cls(
            member_id=member.member_id,
            instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            session_timeout_ms=member.session_timeout_ms,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            protocols=tuple(member.protocols),
            assignment=member.assignment,
        )

    def to_store(self, assignment: bytes, only_protocol: str | None = None) -> GroupMember:
        """Return the member for an entry, with all its protocols or just the one named."""
        return GroupMember(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            session_timeout_ms=self.session_timeout_ms,
            protocols=[protocol for protocol in self.protocols if only_protocol in (None, protocol.name)],
            assignment=assignment,
        )

    def renamed(self, member_id: str) -> "Member":
        """Return a copy under another member id."""
        return replace(self, member_id=member_id)

    def metadata(self, protocol: str) -> bytes:
        """Return the subscription for a protocol; empty for one the member does not have."""
        return next((one.metadata for one in self.protocols if one.name == protocol), b"")

    def vote(self, candidates: Iterable[str]) -> str:
        """Return the first of the member's protocols, in its order of preference, that is a candidate."""
        return next(one.name for one in self.protocols if one.name in candidates)

    def protocol_names(self) -> set[str]:
        return {protocol.name for protocol in self.protocols}
