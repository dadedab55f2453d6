"""The cluster state: what applying the metadata log in order gives.

Pure Python: no I/O, no clock, no randomness, no iteration over sets, no floats; time is the entry's. `apply` is total:
a command is judged whole and then changes the state in place, or answers a verdict and changes nothing. An exception
here is a bug and must stop the process, because half an entry must never stay applied. Keeps I7 (the state at a
position is the same on every broker, by replay or from a checkpoint).
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from kafscale.errors import Bug
from kafscale.metadata.entries import (
    BATCH_FACTS,
    SCHEMA_LEVEL,
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
    LogStart,
    PartitionBatches,
    TopicId,
)
from kafscale.metadata.state.groups import Groups
from kafscale.metadata.state.objects import ObjectName, Objects
from kafscale.metadata.state.outcomes import (
    AppendOutcome,
    BatchVerdict,
    LogStartOutcome,
    LogStartVerdict,
    Outcome,
    PartitionVerdicts,
    ProducerIdsOutcome,
    SimpleOutcome,
    Verdict,
)
from kafscale.metadata.state.partition import Partition, facts_rows

SLICE_BATCHES = 256
"""Batches applied between two steps of a large AppendBatches: well under 2 ms of event loop."""

SLICE_RUNS = 512
"""Runs released between two steps of a command that drops many: about a millisecond of event loop."""

_ACCEPTED = SimpleOutcome(verdict=Verdict.ACCEPTED)
_UNKNOWN_TOPIC = SimpleOutcome(verdict=Verdict.UNKNOWN_TOPIC)
_REJECTED_TOPIC = BatchVerdict(Verdict.UNKNOWN_TOPIC, -1)


def folded_name(name: str) -> str:
    """Return a topic name with '.' and '_' made one, as Kafka does before it compares for collisions."""
    return name.replace(".", "_")


class Topic:
    """A topic and its partitions."""

    __slots__ = ("configs", "name", "partitions", "topic_id")

    def __init__(self, topic_id: TopicId, name: str, partition_count: int, configs: dict[str, str]) -> None:
        self.topic_id = topic_id
        self.name = name
        self.configs = configs
        self.partitions = [Partition() for _ in range(partition_count)]

    @property
    def partition_count(self) -> int:
        return len(self.partitions)


class ClusterState:
    """Everything the metadata log says, in memory."""

    __slots__ = ("appended", "folded_names", "groups", "names", "next_producer_id", "objects", "resolved", "topics")

    def __init__(self) -> None:
        self.topics: dict[TopicId, Topic] = {}
        self.names: dict[str, TopicId] = {}
        self.folded_names: dict[str, str] = {}
        """Topic names as Kafka folds them for metrics, to refuse two that would become one there."""
        self.objects = Objects()
        self.groups = Groups()
        self.next_producer_id = 0
        self.appended: dict[int, int] = {}
        """Last append number of each incarnation; an entry at or below it was applied before."""
        self.resolved: dict[int, int] = {}
        """`resolved_below` of each incarnation."""

    def topic_named(self, name: str) -> Topic | None:
        topic_id = self.names.get(name)
        return None if topic_id is None else self.topics[topic_id]

    def partition(self, topic_id: TopicId, index: int) -> Partition | None:
        """Return a partition, or None where the topic or the partition does not exist."""
        topic = self.topics.get(topic_id)
        if topic is None or not 0 <= index < len(topic.partitions):
            return None
        return topic.partitions[index]

    def apply(self, entry: Entry) -> list[Outcome]:
        """Apply a whole entry and return one outcome per command; an entry applied before gives an empty list."""
        outcomes: list[Outcome] = []
        for _ in self.steps(entry, outcomes):
            pass
        return outcomes

    def steps(self, entry: Entry, outcomes: list[Outcome]) -> Iterator[None]:
        """Apply an entry in slices, yielding between them; outcomes are complete when it ends.

        Nothing else may be applied meanwhile. Between two slices the state is valid: a prefix of the batches is in;
        what is deleted is not seen any more, though some of its objects still count references from it.
        """
        if entry.level > SCHEMA_LEVEL:
            raise Bug(f"entry of schema level {entry.level}, this broker knows {SCHEMA_LEVEL}: upgrade it")
        if entry.number <= self.appended.get(entry.incarnation, 0):
            return
        self.appended[entry.incarnation] = entry.number
        self.resolved[entry.incarnation] = max(entry.resolved_below, self.resolved.get(entry.incarnation, 0))
        for command in entry.commands:
            outcome = yield from self._command_steps(command, entry)
            outcomes.append(outcome)

    def _command_steps(self, command: Command, entry: Entry) -> Generator[None, None, Outcome]:
        match command:
            case AppendBatches():
                return (yield from self._append_steps(command, entry))
            case DeleteTopic():
                return (yield from self._delete_topic_steps(command, entry.time_ms))
            case AdvanceLogStart():
                return (yield from self._advance_steps(command, entry.time_ms))
            case _:
                return self._apply_command(command, entry.time_ms)

    def _append_steps(self, command: AppendBatches, entry: Entry) -> Generator[None, None, AppendOutcome]:
        verdicts: list[PartitionVerdicts] = []
        index = self.objects.add(ObjectName(entry.incarnation, command.object_number))
        # A reference of the command's own keeps the object while it is being applied.
        self.objects.refer(index, 1)
        done = 0
        for batches in command.partitions:
            rows = len(batches.facts) // BATCH_FACTS.size
            partition = self.partition(batches.topic_id, batches.partition)
            if partition is None:
                verdicts.append(PartitionVerdicts([_REJECTED_TOPIC] * rows, -1))
                continue
            verdicts.append(self._append_partition(partition, index, batches, entry.time_ms))
            done += rows
            if done >= SLICE_BATCHES:
                done = 0
                yield
        self.objects.release(index, 1, entry.time_ms)
        return AppendOutcome(partitions=verdicts)

    def _append_partition(
        self, partition: Partition, index: int, batches: PartitionBatches, time_ms: int
    ) -> PartitionVerdicts:
        judged, runs = partition.append(index, batches.position, facts_rows(batches.facts), time_ms)
        self.objects.refer(index, runs)
        return PartitionVerdicts(judged, partition.log_start_offset)

    def _release_steps(self, indexes: Iterable[int], time_ms: int) -> Iterator[None]:
        """Release one reference for each index, yielding after every `SLICE_RUNS`."""
        for done, index in enumerate(indexes, start=1):
            self.objects.release(index, 1, time_ms)
            if done % SLICE_RUNS == 0:
                yield

    def _apply_command(self, command: Command, time_ms: int) -> Outcome:
        match command:
            case CommitOffsets():
                return self.groups.commit(command, time_ms, self._partition_count)
            case GroupRebalanced():
                return self.groups.rebalanced(command, time_ms)
            case CreateTopic():
                return self._create_topic(command)
            case CreatePartitions():
                return self._create_partitions(command)
            case AllocateProducerIds():
                first = self.next_producer_id
                self.next_producer_id += command.count
                return ProducerIdsOutcome(first=first, count=command.count)
            case ExpireProducers():
                return self._expire_producers(command)
            case DeleteOffsets():
                return self.groups.delete_offsets(command)
            case DeleteGroup():
                return self.groups.delete_group(command)
            case AlterConfigs():
                return self._alter_configs(command)
            case AppendBatches() | DeleteTopic() | AdvanceLogStart():
                raise Bug(f"{type(command).__name__} is applied in steps")

    def _partition_count(self, topic_id: TopicId) -> int | None:
        topic = self.topics.get(topic_id)
        return None if topic is None else topic.partition_count

    def _create_topic(self, command: CreateTopic) -> SimpleOutcome:
        if command.name in self.names or command.topic_id in self.topics:
            return SimpleOutcome(verdict=Verdict.TOPIC_EXISTS)
        folded = folded_name(command.name)
        if folded in self.folded_names:
            return SimpleOutcome(verdict=Verdict.TOPIC_NAME_COLLIDES)
        self.folded_names[folded] = command.name
        self.topics[command.topic_id] = Topic(command.topic_id, command.name, command.partition_count, command.configs)
        self.names[command.name] = command.topic_id
        return _ACCEPTED

    def _delete_topic_steps(self, command: DeleteTopic, time_ms: int) -> Generator[None, None, SimpleOutcome]:
        """Take the topic out of sight at once, then release its runs."""
        topic = self.topics.pop(command.topic_id, None)
        if topic is None:
            return _UNKNOWN_TOPIC
        del self.names[topic.name]
        del self.folded_names[folded_name(topic.name)]
        self.groups.drop_topic(command.topic_id)
        runs = chain.from_iterable(partition.run_objects for partition in topic.partitions)
        yield from self._release_steps(runs, time_ms)
        return _ACCEPTED

    def _create_partitions(self, command: CreatePartitions) -> SimpleOutcome:
        topic = self.topics.get(command.topic_id)
        if topic is None:
            return _UNKNOWN_TOPIC
        missing = command.partition_count - topic.partition_count
        if missing <= 0:
            return SimpleOutcome(verdict=Verdict.INVALID_PARTITION_COUNT)
        topic.partitions.extend(Partition() for _ in range(missing))
        return _ACCEPTED

    def _alter_configs(self, command: AlterConfigs) -> SimpleOutcome:
        topic = self.topics.get(command.topic_id)
        if topic is None:
            return _UNKNOWN_TOPIC
        if any(topic.configs.get(config.name) != config.value for config in command.seen):
            return SimpleOutcome(verdict=Verdict.CONFIGS_CHANGED)
        # A new dict, never the old one changed: what is worked out from configs is renewed when it is another object.
        configs = {} if command.replaces_all else dict(topic.configs)
        for change in command.changes:
            if change.value is None:
                configs.pop(change.name, None)
            else:
                configs[change.name] = change.value
        topic.configs = configs
        return _ACCEPTED

    def _advance_steps(self, command: AdvanceLogStart, time_ms: int) -> Generator[None, None, LogStartOutcome]:
        """Advance every log start at once, then release the runs below them."""
        released: list[int] = []
        verdicts = [self._advance(wanted, released) for wanted in command.partitions]
        yield from self._release_steps(released, time_ms)
        return LogStartOutcome(partitions=verdicts)

    def _advance(self, wanted: LogStart, released: list[int]) -> LogStartVerdict:
        partition = self.partition(wanted.topic_id, wanted.partition)
        if partition is None:
            return LogStartVerdict(Verdict.UNKNOWN_TOPIC, -1)
        if not 0 <= wanted.offset <= partition.high_watermark:
            return LogStartVerdict(Verdict.OFFSET_OUT_OF_RANGE, -1)
        if wanted.offset > partition.log_start_offset:
            released += partition.advance_log_start(wanted.offset)
        return LogStartVerdict(Verdict.ACCEPTED, partition.log_start_offset)

    def _expire_producers(self, command: ExpireProducers) -> SimpleOutcome:
        for topic in self.topics.values():
            for partition in topic.partitions:
                partition.expire_producers(command.before_ms)
        return _ACCEPTED
