"""The invariants of the cluster state as checks of a history. Tests run them; so do the mutants, which must fail them.

Each check keeps a model of its own, made of plain lists and dicts from the commands and their outcomes, and compares.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from msgspec import structs

from kafscale.metadata.entries import (
    BATCH_FACTS,
    AdvanceLogStart,
    AppendBatches,
    CommitOffsets,
    DeleteTopic,
    Entry,
    GroupRebalanced,
    PartitionBatches,
)
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state, state_hash
from kafscale.metadata.state.groups import GroupState
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.outcomes import (
    AppendOutcome,
    CommitOutcome,
    LogStartOutcome,
    Outcome,
    PartitionVerdicts,
    SimpleOutcome,
    Verdict,
)
from kafscale.metadata.state.partition import Partition
from tests.unit.metadata.histories import SEQUENCES, Batch

Place = tuple[bytes, int]
"""Topic id and partition."""


class Written(NamedTuple):
    """A batch in the log, and where its bytes are."""

    offset: int
    object_name: ObjectName
    position: int
    batch: Batch


def rows(batches: PartitionBatches) -> list[Batch]:
    return [Batch(*row) for row in BATCH_FACTS.iter_unpack(batches.facts)]


def judged(entry: Entry, outcomes: list[Outcome]) -> Iterator[tuple[ObjectName, PartitionBatches, PartitionVerdicts]]:
    """Yield each lane of the entry with its verdicts."""
    for command, outcome in zip(entry.commands, outcomes, strict=True):
        if isinstance(command, AppendBatches):
            assert isinstance(outcome, AppendOutcome)
            name = ObjectName(entry.incarnation, command.object_number)
            for batches, verdicts in zip(command.partitions, outcome.partitions, strict=True):
                yield name, batches, verdicts


def written(name: ObjectName, batches: PartitionBatches, verdicts: PartitionVerdicts) -> list[Written]:
    """Return the accepted batches of one lane."""
    result: list[Written] = []
    position = batches.position
    for batch, verdict in zip(rows(batches), verdicts.batches, strict=True):
        if verdict.verdict is Verdict.ACCEPTED:
            result.append(Written(verdict.base_offset, name, position, batch))
        position += batch.length
    return result


def logs_of(entries: list[Entry]) -> dict[Place, list[Written]]:
    """Apply a history without deletions and return the batches of every partition, as they were accepted."""
    state = ClusterState()
    logs: dict[Place, list[Written]] = {}
    for one in entries:
        for name, batches, verdicts in judged(one, state.apply(one)):
            logs.setdefault((batches.topic_id, batches.partition), []).extend(written(name, batches, verdicts))
    return logs


def check_exactly_once(entries: list[Entry]) -> None:
    """I1: no batch with a producer is in the log twice, and a retry of a recent one gets the original offset."""
    state = ClusterState()
    recent: dict[tuple[Place, int], list[Written]] = {}
    taken: set[tuple[Place, int]] = set()
    for one in entries:
        for name, batches, verdicts in judged(one, state.apply(one)):
            place = (batches.topic_id, batches.partition)
            for batch, verdict in zip(rows(batches), verdicts.batches, strict=True):
                if batch.producer_id < 0:
                    continue
                of_producer = recent.setdefault((place, batch.producer_id), [])
                same = [one for one in of_producer[-5:] if one.batch == batch]
                if same and of_producer[-1].batch.epoch == batch.epoch:
                    assert (verdict.verdict, verdict.base_offset) == (Verdict.DUPLICATE, same[0].offset)
                if verdict.verdict is Verdict.ACCEPTED:
                    assert (place, batch.timestamp) not in taken, "written twice"
                    taken.add((place, batch.timestamp))
                    of_producer.append(Written(verdict.base_offset, name, 0, batch))


def check_applied_once(entries: list[Entry]) -> None:
    """I1: an entry that comes again, at once or much later, changes nothing and answers nothing."""
    state = ClusterState()
    for index, one in enumerate(entries):
        state.apply(one)
        before = state_hash(state)
        for again in (one, entries[index // 2], entries[0]):
            assert state.apply(again) == []
            assert state_hash(state) == before


def check_order(entries: list[Entry]) -> None:
    """I3: in offset order, each producer's batches follow one another without a gap, and its epochs only rise."""
    for log in logs_of(entries).values():
        for producer_id in {one.batch.producer_id for one in log} - {-1}:
            batches = [one.batch for one in sorted(log) if one.batch.producer_id == producer_id]
            for before, after in pairwise(batches):
                if after.epoch == before.epoch:
                    assert after.base_sequence == (before.base_sequence + before.records) % SEQUENCES
                else:
                    assert after.epoch > before.epoch
                    assert after.base_sequence == 0


@dataclass(slots=True)
class DenseLogs:
    """I2 and I6, kept up over a history: what is written where, and which objects are in use."""

    logs: dict[Place, list[Written]] = field(default_factory=dict)
    named: set[ObjectName] = field(default_factory=set)
    unused_since: dict[ObjectName, int] = field(default_factory=dict)

    def follow(self, entry: Entry, outcomes: list[Outcome], state: ClusterState) -> None:
        """Take an applied entry into the model and compare the state with it."""
        touched: set[ObjectName] = set()
        for command, outcome in zip(entry.commands, outcomes, strict=True):
            if isinstance(command, AppendBatches):
                touched.add(ObjectName(entry.incarnation, command.object_number))
                self._write(entry, command, outcome)
            elif isinstance(command, DeleteTopic) and outcome == SimpleOutcome(verdict=Verdict.ACCEPTED):
                self.logs = {place: log for place, log in self.logs.items() if place[0] != command.topic_id}
        for topic in state.topics.values():
            for number, partition in enumerate(topic.partitions):
                self._compare(state, partition, self.logs.get((topic.topic_id, number), []))
        self._compare_objects(state, touched, entry.time_ms)

    def _write(self, entry: Entry, command: AppendBatches, outcome: Outcome) -> None:
        for name, batches, verdicts in judged(structs.replace(entry, commands=[command]), [outcome]):
            log = self.logs.setdefault((batches.topic_id, batches.partition), [])
            for one in written(name, batches, verdicts):
                assert one.offset == (log[-1].offset + log[-1].batch.records if log else 0), "offsets are not dense"
                log.append(one)

    def _compare(self, state: ClusterState, partition: Partition, log: list[Written]) -> None:
        end = log[-1].offset + log[-1].batch.records if log else 0
        assert partition.high_watermark == end
        runs = [partition.run(index) for index in range(partition.run_count)]
        assert partition.size_bytes == sum(run.length for run in runs)
        covered = partition.log_start_offset
        assert bool(runs) == (covered < end), "runs without records, or records without runs"
        for index, run in enumerate(runs):
            assert run.end_offset > run.base_offset
            assert run.end_offset > partition.log_start_offset, "a run wholly below the log start"
            assert run.base_offset <= covered if index == 0 else run.base_offset == covered, "a gap between runs"
            covered = run.end_offset
            inside = [one for one in log if run.base_offset <= one.offset < run.end_offset]
            position = run.position
            for one in inside:
                assert (one.object_name, one.position) == (state.objects.names[run.object_index], position)
                position += one.batch.length
            assert position == run.position + run.length
            assert run.max_timestamp == max(one.batch.timestamp for one in inside)
        assert covered == end

    def _compare_objects(self, state: ClusterState, touched: set[ObjectName], time_ms: int) -> None:
        objects = state.objects
        used = Counter(
            index for topic in state.topics.values() for one in topic.partitions for index in one.run_objects
        )
        assert objects.references == dict(used), "references are not the number of runs"
        assert {name: index for index, name in objects.names.items()} == objects.indexes
        assert set(objects.references) == set(objects.names)
        self.named |= touched
        unused = self.named - set(objects.indexes)
        self.unused_since = {
            name: time_ms if name in touched else self.unused_since.get(name, time_ms) for name in unused
        }
        assert objects.released == self.unused_since


def check_dense(entries: list[Entry]) -> None:
    """I2 (and the counting that I6 rests on): see `DenseLogs`."""
    state, model = ClusterState(), DenseLogs()
    for one in entries:
        model.follow(one, state.apply(one), state)


def check_never_back(entries: list[Entry]) -> None:
    """I4: while a topic lives, its log starts and high watermarks only rise; a log start is what was asked for."""
    state = ClusterState()
    known: dict[Place, tuple[Partition, int, int]] = {}
    for one in entries:
        starts = {place: start for place, (_, start, _) in known.items()}
        outcomes = state.apply(one)
        found: dict[Place, tuple[Partition, int, int]] = {}
        for topic in state.topics.values():
            for number, partition in enumerate(topic.partitions):
                start, end = partition.log_start_offset, partition.high_watermark
                assert 0 <= start <= end
                place = (topic.topic_id, number)
                found[place] = (partition, start, end)
                if place in known and known[place][0] is partition:
                    assert known[place][1] <= start, "a log start went back"
                    assert known[place][2] <= end, "a high watermark went back"
        _check_log_starts(one, outcomes, starts)
        known = found


def _check_log_starts(entry: Entry, outcomes: list[Outcome], starts: dict[Place, int]) -> None:
    """Compare the log starts answered with those before the entry, unless it deletes or creates."""
    for command, outcome in zip(entry.commands, outcomes, strict=True):
        if not isinstance(command, AdvanceLogStart):
            starts = starts if isinstance(command, AppendBatches) else {}
            continue
        assert isinstance(outcome, LogStartOutcome)
        for wanted, verdict in zip(command.partitions, outcome.partitions, strict=True):
            place = (wanted.topic_id, wanted.partition)
            if verdict.verdict is Verdict.ACCEPTED and place in starts:
                assert verdict.log_start_offset == max(starts[place], wanted.offset)
                starts[place] = verdict.log_start_offset


def _is_rejected(outcome: Outcome) -> bool:
    match outcome:
        case SimpleOutcome(verdict=verdict):
            return verdict is not Verdict.ACCEPTED
        case CommitOutcome(verdict=verdict, offsets=offsets):
            return verdict is not Verdict.ACCEPTED or Verdict.ACCEPTED not in offsets
        case LogStartOutcome(partitions=partitions):
            return all(one.verdict is not Verdict.ACCEPTED for one in partitions)
        case _:
            return False


def check_total(entries: list[Entry]) -> None:
    """Applying never raises, and a command that is rejected leaves no trace."""
    state = ClusterState()
    number = 0
    for one in entries:
        for command in one.commands:
            number += 1
            alone = structs.replace(one, incarnation=5, number=number, commands=[command])
            empty = decode_state(encode_state(state))
            empty.apply(structs.replace(alone, commands=[]))
            (outcome,) = state.apply(alone)
            if _is_rejected(outcome):
                assert state_hash(state) == state_hash(empty)


def check_sliced(entries: list[Entry]) -> None:
    """Applying in slices gives what applying at once gives, and between two slices the state is a valid prefix."""
    whole, sliced = ClusterState(), ClusterState()
    for one in entries:
        outcomes: list[Outcome] = []
        for _ in sliced.steps(one, outcomes):
            _check_prefix(sliced)
        assert outcomes == whole.apply(one)
        assert encode_state(sliced) == encode_state(whole)


def _check_prefix(state: ClusterState) -> None:
    """Every run lies in a known object, which has a reference for it (and one more while it is being applied)."""
    used: Counter[int] = Counter()
    for topic in state.topics.values():
        for partition in topic.partitions:
            used.update(partition.run_objects)
            runs = [partition.run(index) for index in range(partition.run_count)]
            assert all(before.end_offset == after.base_offset for before, after in pairwise(runs))
            assert partition.high_watermark == (runs[-1].end_offset if runs else partition.log_start_offset)
    extra = {index: count - used[index] for index, count in state.objects.references.items() if count != used[index]}
    assert list(extra.values()) == [1]


class GroupModel(NamedTuple):
    """A group as a list of its accepted membership entries gives it."""

    revision: int = 0
    generation: int = 0
    member_ids: tuple[str, ...] = ()


def check_commits(entries: list[Entry]) -> None:
    """I9: a commit counts from a member in the current generation, or without a generation while there are no members;
    a membership entry counts if it follows the newest."""
    state = ClusterState()
    groups: dict[str, GroupModel] = {}
    for one in entries:
        for command, outcome in zip(one.commands, state.apply(one), strict=True):
            if isinstance(command, GroupRebalanced):
                group = groups.get(command.group_id, GroupModel())
                follows = command.follows_revision == group.revision and command.generation >= group.generation
                assert outcome == SimpleOutcome(verdict=Verdict.ACCEPTED if follows else Verdict.GROUP_CHANGED)
                if follows:
                    member_ids = tuple(member.member_id for member in command.members)
                    groups[command.group_id] = GroupModel(group.revision + 1, command.generation, member_ids)
            elif isinstance(command, CommitOffsets):
                assert isinstance(outcome, CommitOutcome)
                group = groups.get(command.group_id, GroupModel())
                current = command.member_id in group.member_ids and command.generation == group.generation
                alone = command.generation < 0 and not group.member_ids
                assert (outcome.verdict is Verdict.ACCEPTED) == (current or alone)
                assert outcome.offsets or outcome.verdict is not Verdict.ACCEPTED or not command.offsets
        # What deleted a group has emptied it before; then the model forgets it too.
        groups = {group_id: group for group_id, group in groups.items() if state.groups.get(group_id) is not None}
        for group_id, group in groups.items():
            _check_group(group, state.groups.by_id[group_id])


def _check_group(model: GroupModel, group: GroupState) -> None:
    member_ids = tuple(member.member_id for member in group.members)
    assert GroupModel(group.revision, group.generation, member_ids) == model
