"""Group state that survives brokers: members as of the last completed rebalance, and committed offsets.

Pure: no clock, no I/O. Keeps I9 (offset commits only from the current generation). What a coordinator keeps in memory
besides (pending joins, heartbeats) lives in `kafscale.broker.groups`.
"""

from collections.abc import Callable
from typing import NamedTuple

from kafscale.metadata.entries import (
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    GroupMember,
    GroupRebalanced,
    OffsetToCommit,
    TopicId,
)
from kafscale.metadata.state.outcomes import CommitOutcome, SimpleOutcome, Verdict

PartitionCount = Callable[[TopicId], int | None]
"""Looks up how many partitions a topic has; None for an unknown topic."""


class CommittedOffset(NamedTuple):
    """A committed position. `commit_ms` is the entry's time, `expire_ms` -1 or the explicit expiry asked for."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int
    expire_ms: int


class GroupState:
    """One consumer group. `revision` counts accepted membership entries; 0 means only offsets were committed."""

    __slots__ = (
        "changed_ms",
        "generation",
        "group_id",
        "leader",
        "members",
        "offsets",
        "protocol",
        "protocol_type",
        "revision",
    )

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.revision = 0
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.leader = ""
        self.members: list[GroupMember] = []
        self.changed_ms = 0
        """Entry time of the last membership change: since when an Empty group is empty."""
        self.offsets: dict[tuple[TopicId, int], CommittedOffset] = {}

    @property
    def is_empty(self) -> bool:
        return not self.members

    def has_member(self, member_id: str) -> bool:
        return any(member.member_id == member_id for member in self.members)


class Groups:
    """All groups of the cluster."""

    __slots__ = ("by_id",)

    def __init__(self) -> None:
        self.by_id: dict[str, GroupState] = {}

    def get(self, group_id: str) -> GroupState | None:
        return self.by_id.get(group_id)

    def rebalanced(self, command: GroupRebalanced, time_ms: int) -> SimpleOutcome:
        """Apply a membership entry, unless another one came first. A generation never goes back."""
        group = self.by_id.get(command.group_id)
        revision, generation = (0, 0) if group is None else (group.revision, group.generation)
        if command.follows_revision != revision or command.generation < generation:
            return SimpleOutcome(verdict=Verdict.GROUP_CHANGED)
        if group is None:
            group = self.by_id[command.group_id] = GroupState(command.group_id)
        group.revision += 1
        group.generation = command.generation
        group.protocol_type = command.protocol_type
        group.protocol = command.protocol
        group.leader = command.leader
        group.members = command.members
        group.changed_ms = time_ms
        return SimpleOutcome(verdict=Verdict.ACCEPTED)

    def commit(self, command: CommitOffsets, time_ms: int, partition_count: PartitionCount) -> CommitOutcome:
        """Apply an offset commit from the current generation, or without membership while there are no members."""
        group = self.by_id.get(command.group_id)
        verdict = judge_commit(group, command)
        if verdict is not Verdict.ACCEPTED:
            return CommitOutcome(verdict=verdict, offsets=[])
        verdicts = [_judge_offset(offset, partition_count) for offset in command.offsets]
        if Verdict.ACCEPTED in verdicts and group is None:
            group = self.by_id[command.group_id] = GroupState(command.group_id)
            group.changed_ms = time_ms
        for offset, offset_verdict in zip(command.offsets, verdicts, strict=True):
            if group is not None and offset_verdict is Verdict.ACCEPTED:
                group.offsets[(offset.topic_id, offset.partition)] = CommittedOffset(
                    offset.offset, offset.leader_epoch, offset.metadata, time_ms, offset.expire_ms
                )
        return CommitOutcome(verdict=Verdict.ACCEPTED, offsets=verdicts)

    def delete_offsets(self, command: DeleteOffsets) -> SimpleOutcome:
        """Delete the named offsets where they are still the ones meant."""
        group = self.by_id.get(command.group_id)
        if group is None:
            return SimpleOutcome(verdict=Verdict.UNKNOWN_GROUP)
        for key in command.offsets:
            committed = group.offsets.get((key.topic_id, key.partition))
            if committed is not None and key.commit_ms in (-1, committed.commit_ms):
                del group.offsets[(key.topic_id, key.partition)]
        if not command.keeps_group:
            self._drop_if_unused(group)
        return SimpleOutcome(verdict=Verdict.ACCEPTED)

    def delete_group(self, command: DeleteGroup) -> SimpleOutcome:
        """Delete a group that has no members."""
        group = self.by_id.get(command.group_id)
        if group is None:
            return SimpleOutcome(verdict=Verdict.UNKNOWN_GROUP)
        if not group.is_empty:
            return SimpleOutcome(verdict=Verdict.GROUP_NOT_EMPTY)
        del self.by_id[command.group_id]
        return SimpleOutcome(verdict=Verdict.ACCEPTED)

    def drop_topic(self, topic_id: TopicId) -> None:
        """Forget every group's offsets for a deleted topic.

        A group that ever had members stays, with its generation: its coordinator may be filling it again right now.
        The expiry of offsets deletes it when nobody does.
        """
        for group in list(self.by_id.values()):
            keys = [key for key in group.offsets if key[0] == topic_id]
            for key in keys:
                del group.offsets[key]
            if keys and group.revision == 0:
                self._drop_if_unused(group)

    def _drop_if_unused(self, group: GroupState) -> None:
        if group.is_empty and not group.offsets:
            del self.by_id[group.group_id]


def judge_commit(group: GroupState | None, command: CommitOffsets) -> Verdict:
    """Judge a commit as ClassicGroup.validateOffsetCommit does, on the durable part of the group."""
    if command.generation < 0 and (group is None or group.is_empty):
        # An admin client or a consumer without group management: fine while nobody else owns the partitions.
        return Verdict.ACCEPTED
    if group is None:
        return Verdict.UNKNOWN_GROUP
    if not group.has_member(command.member_id):
        return Verdict.UNKNOWN_MEMBER
    return Verdict.ACCEPTED if group.generation == command.generation else Verdict.ILLEGAL_GENERATION


def _judge_offset(offset: OffsetToCommit, partition_count: PartitionCount) -> Verdict:
    count = partition_count(offset.topic_id)
    if count is None:
        return Verdict.UNKNOWN_TOPIC
    return Verdict.ACCEPTED if 0 <= offset.partition < count else Verdict.UNKNOWN_PARTITION
