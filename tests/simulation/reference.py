"""A second opinion on the metadata log: what each command must answer, worked out again as simply as possible.

Written from the design's rules and from Kafka's, not from `kafscale.metadata.state`: batches are kept one by one,
nothing is packed, nothing is encoded. Only the entries' message classes are shared.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kafscale.metadata.entries import (
    BATCH_FACTS,
    AdvanceLogStart,
    AllocateProducerIds,
    AlterConfigs,
    AppendBatches,
    Command,
    CommitOffsets,
    CreatePartitions,
    CreateTopic,
    DeleteGroup,
    DeleteOffsets,
    DeleteTopic,
    Entry,
    ExpireProducers,
    GroupRebalanced,
)
from kafscale.metadata.state.outcomes import Verdict

BATCHES_REMEMBERED: Final = 5
SEQUENCES: Final = 2**31

Answer = list[tuple[Verdict, int]]
"""One (verdict, number) per batch or offset of a command, or just one; the number is an offset or an id, else -1."""


class PlacedBatch(NamedTuple):
    """An accepted batch: its first offset, how many records, and where its bytes are."""

    base_offset: int
    records: int
    incarnation: int
    object_number: int
    position: int
    length: int


@dataclass(slots=True)
class Memory:
    """An idempotent producer on one partition; `batches` are (sequence, count, offset), oldest first."""

    epoch: int
    changed_ms: int
    batches: list[tuple[int, int, int]]


@dataclass(slots=True)
class ReferencePartition:
    """One partition. `batches` are all there ever were; records below `start` are deleted."""

    start: int = 0
    end: int = 0
    batches: list[PlacedBatch] = field(default_factory=list)
    producers: dict[int, Memory] = field(default_factory=dict)

    def judge(self, producer_id: int, epoch: int, sequence: int, count: int) -> tuple[Verdict, int]:
        """Return the verdict on a batch, with the original offset of a duplicate."""
        memory = self.producers.get(producer_id)
        if producer_id < 0 or memory is None:
            return Verdict.ACCEPTED, self.end
        if epoch < memory.epoch:
            return Verdict.FENCED_PRODUCER_EPOCH, -1
        if epoch > memory.epoch:
            return (Verdict.ACCEPTED, self.end) if sequence == 0 else (Verdict.OUT_OF_ORDER_SEQUENCE, -1)
        last_sequence, last_count, _ = memory.batches[-1]
        if sequence == (last_sequence + last_count) % SEQUENCES:
            return Verdict.ACCEPTED, self.end
        for known_sequence, known_count, offset in memory.batches:
            if (known_sequence, known_count) == (sequence, count):
                return Verdict.DUPLICATE, offset
        return Verdict.OUT_OF_ORDER_SEQUENCE, -1

    def remember(self, producer_id: int, epoch: int, batch: tuple[int, int, int], time_ms: int) -> None:
        """Note an accepted batch of a producer."""
        memory = self.producers.get(producer_id)
        known = memory.batches if memory is not None and memory.epoch == epoch else []
        self.producers[producer_id] = Memory(epoch, time_ms, [*known, batch][-BATCHES_REMEMBERED:])


@dataclass(slots=True)
class ReferenceGroup:
    """One group; `offsets` maps (topic id, partition) to (offset, time of the commit)."""

    revision: int = 0
    generation: int = 0
    members: list[str] = field(default_factory=list)
    offsets: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)


class Reference:
    """Everything the log says."""

    def __init__(self) -> None:
        self.topics: dict[bytes, list[ReferencePartition]] = {}
        self.names: dict[bytes, str] = {}
        self.configs: dict[bytes, dict[str, str]] = {}
        self.groups: dict[str, ReferenceGroup] = {}
        self._next_producer_id = 0
        self._applied: dict[int, int] = {}

    def apply(self, entry: Entry) -> list[Answer]:
        """Apply an entry and return what each of its commands answers; nothing for one that was applied before."""
        if entry.number <= self._applied.get(entry.incarnation, 0):
            return []
        self._applied[entry.incarnation] = entry.number
        return [self._apply(command, entry) for command in entry.commands]

    def _apply(self, command: Command, entry: Entry) -> Answer:  # noqa: C901 (one arm per command)
        match command:
            case AppendBatches():
                return list(self._append(command, entry))
            case CreateTopic():
                return [(self._create_topic(command), -1)]
            case DeleteTopic():
                return [(self._delete_topic(command), -1)]
            case CreatePartitions():
                return [(self._grow_topic(command), -1)]
            case AllocateProducerIds():
                self._next_producer_id += command.count
                return [(Verdict.ACCEPTED, self._next_producer_id - command.count)]
            case ExpireProducers():
                self._expire_producers(command.before_ms)
                return [(Verdict.ACCEPTED, -1)]
            case CommitOffsets():
                return self._commit(command, entry.time_ms)
            case GroupRebalanced():
                return [(self._rebalance(command), -1)]
            case DeleteOffsets():
                return [(self._delete_offsets(command), -1)]
            case DeleteGroup():
                return [(self._delete_group(command), -1)]
            case AlterConfigs():
                return [(self._alter_configs(command), -1)]
            case AdvanceLogStart():
                return [self._advance(one.topic_id, one.partition, one.offset) for one in command.partitions]

    def _append(self, command: AppendBatches, entry: Entry) -> Iterator[tuple[Verdict, int]]:
        for batches in command.partitions:
            position = batches.position
            partitions = self.topics.get(batches.topic_id, [])
            for length, count, _, producer_id, epoch, sequence in BATCH_FACTS.iter_unpack(batches.facts):
                if not 0 <= batches.partition < len(partitions):
                    yield Verdict.UNKNOWN_TOPIC, -1
                    continue
                partition = partitions[batches.partition]
                verdict, offset = partition.judge(producer_id, epoch, sequence, count)
                if verdict is Verdict.ACCEPTED:
                    placed = PlacedBatch(offset, count, entry.incarnation, command.object_number, position, length)
                    partition.batches.append(placed)
                    partition.end += count
                    if producer_id >= 0:
                        partition.remember(producer_id, epoch, (sequence, count, offset), entry.time_ms)
                yield verdict, offset
                position += length

    def _create_topic(self, command: CreateTopic) -> Verdict:
        if command.name in self.names.values() or command.topic_id in self.topics:
            return Verdict.TOPIC_EXISTS
        if command.name.replace(".", "_") in [name.replace(".", "_") for name in self.names.values()]:
            return Verdict.TOPIC_NAME_COLLIDES
        self.names[command.topic_id] = command.name
        self.topics[command.topic_id] = [ReferencePartition() for _ in range(command.partition_count)]
        self.configs[command.topic_id] = dict(command.configs)
        return Verdict.ACCEPTED

    def _delete_topic(self, command: DeleteTopic) -> Verdict:
        if command.topic_id not in self.topics:
            return Verdict.UNKNOWN_TOPIC
        del self.topics[command.topic_id], self.names[command.topic_id], self.configs[command.topic_id]
        for group_id, group in list(self.groups.items()):
            kept = {key: value for key, value in group.offsets.items() if key[0] != command.topic_id}
            has_lost = len(kept) < len(group.offsets)
            group.offsets = kept
            if has_lost and group.revision == 0:
                self._drop_if_unused(group_id)
        return Verdict.ACCEPTED

    def _grow_topic(self, command: CreatePartitions) -> Verdict:
        partitions = self.topics.get(command.topic_id)
        if partitions is None:
            return Verdict.UNKNOWN_TOPIC
        if command.partition_count <= len(partitions):
            return Verdict.INVALID_PARTITION_COUNT
        while len(partitions) < command.partition_count:
            partitions.append(ReferencePartition())
        return Verdict.ACCEPTED

    def _alter_configs(self, command: AlterConfigs) -> Verdict:
        configs = self.configs.get(command.topic_id)
        if configs is None:
            return Verdict.UNKNOWN_TOPIC
        if [configs.get(one.name) for one in command.seen] != [one.value for one in command.seen]:
            return Verdict.CONFIGS_CHANGED
        altered: dict[str, str | None] = {} if command.replaces_all else {**configs}
        altered.update((one.name, one.value) for one in command.changes)
        self.configs[command.topic_id] = {name: value for name, value in altered.items() if value is not None}
        return Verdict.ACCEPTED

    def _advance(self, topic_id: bytes, index: int, offset: int) -> tuple[Verdict, int]:
        partitions = self.topics.get(topic_id, [])
        if not 0 <= index < len(partitions):
            return Verdict.UNKNOWN_TOPIC, -1
        partition = partitions[index]
        if not 0 <= offset <= partition.end:
            return Verdict.OFFSET_OUT_OF_RANGE, -1
        partition.start = max(partition.start, offset)
        return Verdict.ACCEPTED, partition.start

    def _expire_producers(self, before_ms: int) -> None:
        for partition in (one for partitions in self.topics.values() for one in partitions):
            partition.producers = {
                producer_id: memory
                for producer_id, memory in partition.producers.items()
                if memory.changed_ms >= before_ms
            }

    def _rebalance(self, command: GroupRebalanced) -> Verdict:
        group = self.groups.get(command.group_id, ReferenceGroup())
        if command.follows_revision != group.revision or command.generation < group.generation:
            return Verdict.GROUP_CHANGED
        self.groups[command.group_id] = group
        group.revision += 1
        group.generation = command.generation
        group.members = [member.member_id for member in command.members]
        return Verdict.ACCEPTED

    def _commit(self, command: CommitOffsets, time_ms: int) -> Answer:
        known = self.groups.get(command.group_id)
        group = ReferenceGroup() if known is None else known
        if command.generation >= 0 or group.members:
            if known is None:
                return [(Verdict.UNKNOWN_GROUP, -1)]
            if command.member_id not in group.members:
                return [(Verdict.UNKNOWN_MEMBER, -1)]
            if command.generation != group.generation:
                return [(Verdict.ILLEGAL_GENERATION, -1)]
        answer: Answer = []
        for asked in command.offsets:
            partitions = self.topics.get(asked.topic_id)
            if partitions is None:
                answer.append((Verdict.UNKNOWN_TOPIC, -1))
            elif not 0 <= asked.partition < len(partitions):
                answer.append((Verdict.UNKNOWN_PARTITION, -1))
            else:
                answer.append((Verdict.ACCEPTED, -1))
                group.offsets[asked.topic_id, asked.partition] = (asked.offset, time_ms)
                self.groups[command.group_id] = group
        return answer

    def _delete_offsets(self, command: DeleteOffsets) -> Verdict:
        group = self.groups.get(command.group_id)
        if group is None:
            return Verdict.UNKNOWN_GROUP
        for key in command.offsets:
            committed = group.offsets.get((key.topic_id, key.partition))
            if committed is not None and key.commit_ms in (-1, committed[1]):
                del group.offsets[key.topic_id, key.partition]
        if not command.keeps_group:
            self._drop_if_unused(command.group_id)
        return Verdict.ACCEPTED

    def _delete_group(self, command: DeleteGroup) -> Verdict:
        group = self.groups.get(command.group_id)
        if group is None:
            return Verdict.UNKNOWN_GROUP
        if group.members:
            return Verdict.GROUP_NOT_EMPTY
        del self.groups[command.group_id]
        return Verdict.ACCEPTED

    def _drop_if_unused(self, group_id: str) -> None:
        group = self.groups[group_id]
        if not group.members and not group.offsets:
            del self.groups[group_id]
