"""What admin requests see of a group: DescribeGroups and ListGroups."""

from dataclasses import dataclass
from typing import NamedTuple

from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.phases import Phase
from kafscale.metadata.state.groups import GroupState


class DescribedMember(NamedTuple):
    """One member. `metadata` is its subscription, shown while the group is Stable."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """A group with its members; `protocol` is empty unless it is Stable."""

    group_id: str
    phase: Phase
    protocol_type: str
    protocol: str
    members: tuple[DescribedMember, ...]


class GroupListing(NamedTuple):
    """A group as a line of a list. `protocol_type` is empty for one that only commits offsets."""

    group_id: str
    phase: Phase
    protocol_type: str


def describe(group: ClassicGroup) -> GroupDescription:
    protocol = group.protocol if group.phase is Phase.STABLE else ""
    return GroupDescription(
        group_id=group.group_id,
        phase=group.phase,
        protocol_type=group.protocol_type,
        protocol=protocol,
        members=tuple(
            DescribedMember(
                member.member_id,
                member.instance_id,
                member.client_id,
                member.client_host,
                member.metadata(protocol),
                member.assignment,
            )
            for member in group.members.values()
        ),
    )


def listing(group: ClassicGroup) -> GroupListing:
    return GroupListing(group.group_id, group.phase, group.protocol_type)


def stored_listing(state: GroupState) -> GroupListing:
    return GroupListing(state.group_id, Phase.EMPTY if state.is_empty else Phase.STABLE, state.protocol_type)
