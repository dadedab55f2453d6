"""What a client cannot see: the metadata log, the brokers' states and the bucket, checked against each other.

- I7: applying the whole log from the beginning, loading a checkpoint and applying the rest, and what a broker has in
  memory are one state, in every field and in its hash.
- Every command in the log was answered as `reference` says (I1, I2, I3, I9: producers, offsets, generations).
- What a broker has called certainly not written is not in the log (I1).
- I4: a broker that starts knows at least what any broker before it knew.
- I2, I6: the runs of each partition cover its batches exactly, and the bytes are in the bucket, with the right CRCs.
"""

from array import array
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from crc32c import crc32c

from kafscale.broker.broker import Broker
from kafscale.metadata.checkpoints import decode_checkpoint
from kafscale.metadata.entries import Entry, decode_entry
from kafscale.metadata.log import AppendUid, LogEntry
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import state_hash
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.outcomes import (
    AppendOutcome,
    CommitOutcome,
    LogStartOutcome,
    Outcome,
    ProducerIdsOutcome,
    Verdict,
)
from kafscale.metadata.state.partition import Partition
from kafscale.storage.format.paths import flush_key
from kafscale.storage.format.segment import FOOTER_BYTES, HEAD, HEAD_BYTES, decode_footer, decode_index
from tests.simulation.log import LogDisk
from tests.simulation.loop import SimulationFailure
from tests.simulation.reference import Answer, PlacedBatch, Reference, ReferencePartition
from tests.simulation.store import Bucket

NOT_STATE: Final = frozenset({"digest", "pages", "released_pages", "run_newest"})
"""Attributes of the state's objects that only cache what the others say."""

LENGTH_AT, MAGIC_AT, CRC_AT, CHECKED_FROM, COUNT_AT = 8, 16, 17, 21, 57
"""Where the fields of a record batch header are (KIP-98)."""


class ArchivingDisk(LogDisk):
    """A log's disk that also keeps every entry for ever."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.archive: list[LogEntry] = []

    def write(self, uid: AppendUid, payload: bytes) -> int:
        position = super().write(uid, payload)
        if position > len(self.archive):
            self.archive.append(LogEntry(position, payload))
        return position


class Auditor:
    """Looks at brokers when they start, and at everything in the end. Raises `SimulationFailure`."""

    def __init__(self, disk: ArchivingDisk, bucket: Bucket) -> None:
        self._disk = disk
        self._bucket = bucket
        self._known_ends: dict[tuple[bytes, int], tuple[int, int]] = {}
        self._refused: set[tuple[int, int]] = set()
        """Appends, by incarnation and number, of which a broker has said that they are certainly not written."""

    def check_started(self, broker: Broker) -> None:
        """Check a broker that has loaded its state."""
        replica = broker.services.replica
        self._watch_refusals(broker)
        _check_same(f"loaded at {replica.position}", self._replayed(replica.position), replica.state)
        state = replica.state
        for (topic_id, index), (start, end) in self._known_ends.items():
            partition = state.partition(topic_id, index)
            if partition is not None and (partition.log_start_offset < start or partition.high_watermark < end):
                shown = f"{partition.log_start_offset}..{partition.high_watermark}"
                raise SimulationFailure(f"I4: partition {index} is {shown} after a start, before it was {start}..{end}")

    def note_bounds(self, broker: Broker) -> None:
        """Remember how far a running broker's partitions reach."""
        for topic in broker.services.replica.state.topics.values():
            for index, partition in enumerate(topic.partitions):
                start, end = self._known_ends.get((topic.topic_id, index), (0, 0))
                bounds = (max(start, partition.log_start_offset), max(end, partition.high_watermark))
                self._known_ends[topic.topic_id, index] = bounds

    def check_end(self, brokers: list[Broker]) -> None:
        """Check everything: no broker is doing anything any more."""
        entries = self._disk.archive
        for broker in brokers:
            replica = broker.services.replica
            if replica.position != len(entries):
                raise SimulationFailure(f"a broker stands at {replica.position}, the log ends at {len(entries)}")
            _check_same("in memory", self._replayed(len(entries)), replica.state)
            for topic in replica.state.topics.values():
                for partition in topic.partitions:
                    _check_newest(topic.name, partition)
        for pointer in self._disk.storage.checkpoints:
            checkpoint = decode_checkpoint(self._object(pointer.key))
            _check_same(f"checkpoint at {pointer.position}", self._replayed(pointer.position), checkpoint.state)
        reference = self._judge_again()
        self._check_storage(self._replayed(len(entries)), reference)

    def _watch_refusals(self, broker: Broker) -> None:
        replica, incarnation = broker.services.replica, broker.services.appender._incarnation
        original = replica.forget

        def forget(number: int) -> bool:
            self._refused.add((incarnation, number))
            return original(number)

        replica.forget = forget  # type: ignore[method-assign]

    def _replayed(self, position: int) -> ClusterState:
        state = ClusterState()
        for entry in self._disk.archive[:position]:
            state.apply(decode_entry(entry.payload))
        return state

    def _judge_again(self) -> Reference:
        reference, state = Reference(), ClusterState()
        for stored in self._disk.archive:
            entry = decode_entry(stored.payload)
            if (entry.incarnation, entry.number) in self._refused:
                raise SimulationFailure(f"entry {stored.position} is in the log, but its broker said that it is not")
            outcomes, expected = state.apply(entry), reference.apply(entry)
            if len(outcomes) != len(expected):
                raise SimulationFailure(f"{stored.position}: {len(outcomes)} outcomes, expected {len(expected)}")
            for number, (outcome, answer) in enumerate(zip(outcomes, expected, strict=True)):
                if list(_answer(outcome)) != answer:
                    raise SimulationFailure(_difference(stored.position, entry, number, outcome, answer))
        return reference

    def _check_storage(self, state: ClusterState, reference: Reference) -> None:
        if {topic_id: topic.name for topic_id, topic in state.topics.items()} != reference.names:
            raise SimulationFailure(f"topics {state.names}, expected {reference.names}")
        for topic_id, expected in reference.topics.items():
            topic = state.topics[topic_id]
            for partition, wanted in zip(topic.partitions, expected, strict=True):
                _check_runs(topic.name, state, partition, wanted)
        _check_placed_once(reference)
        # Objects of deleted records may be gone, or going.
        kept = [
            batch
            for batch in _placed(reference)
            if ObjectName(batch.incarnation, batch.object_number) in state.objects.indexes
        ]
        for key in {flush_key(batch.incarnation, batch.object_number): None for batch in kept}:
            _check_segment(key, self._object(key))
        for batch in kept:
            _check_batch(self._object(flush_key(batch.incarnation, batch.object_number)), batch)

    def _object(self, key: str) -> bytes:
        stored = self._bucket.objects.get(key)
        if stored is None:
            raise SimulationFailure(f"I6: {key} is referenced, but it is not in the bucket")
        return stored.data


def _check_same(what: str, expected: ClusterState, found: ClusterState) -> None:
    wanted, shown = plain(expected), plain(found)
    if wanted != shown:
        raise SimulationFailure(f"I7: the state {what} differs from a replay: {first_difference(wanted, shown)}")
    if state_hash(expected) != state_hash(found):
        raise SimulationFailure(f"I7: the state {what} has another hash than an equal one")


def plain(value: Any) -> Any:
    """Return a state, or a part of one, as dictionaries and lists with every attribute it has."""
    match value:
        case array():
            return list(value)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _ if type(value).__module__.startswith("kafscale.metadata.state") and not isinstance(value, tuple):
            names = [name for name in type(value).__slots__ if name not in NOT_STATE]
            return {name: plain(getattr(value, name)) for name in names}
        case _:
            return value


def first_difference(expected: Any, found: Any, path: str = "state") -> str:
    """Return where two plain values differ first, and how."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *found]:
            if key not in expected or key not in found:
                return f"{path}[{key!r}] is only in {'the replay' if key in expected else 'the other'}"
            if expected[key] != found[key]:
                return first_difference(expected[key], found[key], f"{path}[{key!r}]")
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one != other:
                return first_difference(one, other, f"{path}[{index}]")
    return f"{path} is {found!r}, expected {expected!r}"


def _answer(outcome: Outcome) -> Iterator[tuple[Verdict, int]]:
    match outcome:
        case AppendOutcome():
            for verdicts in outcome.partitions:
                yield from ((verdict, offset) for verdict, offset in verdicts.batches)
        case ProducerIdsOutcome():
            yield Verdict.ACCEPTED, outcome.first
        case CommitOutcome(verdict=Verdict.ACCEPTED):
            yield from ((verdict, -1) for verdict in outcome.offsets)
        case LogStartOutcome():
            yield from outcome.partitions
        case _:
            yield outcome.verdict, -1


def _difference(position: int, entry: Entry, number: int, outcome: Outcome, expected: Answer) -> str:
    return f"entry {position}, {entry.commands[number]}: answered {outcome}, but it should be {expected}"


def _placed(reference: Reference) -> Iterator[PlacedBatch]:
    return (batch for partitions in reference.topics.values() for one in partitions for batch in one.batches)


def _check_placed_once(reference: Reference) -> None:
    seen: set[tuple[int, int, int]] = set()
    for batch in _placed(reference):
        place = (batch.incarnation, batch.object_number, batch.position)
        if place in seen:
            raise SimulationFailure(f"I1: these bytes have two offsets: {batch}")
        seen.add(place)


def _check_newest(name: str, partition: Partition) -> None:
    """Check what a partition has worked out for time lookups so far: the largest timestamp up to each run."""
    expected = list(accumulate(partition.run_timestamps, max))[: len(partition.run_newest)]
    if list(partition.run_newest) != expected:
        raise SimulationFailure(f"{name} takes {list(partition.run_newest)} for {expected}")


def _check_runs(name: str, state: ClusterState, partition: Partition, expected: ReferencePartition) -> None:
    """Check that the runs, taken apart into batches, are the batches there must be."""
    ends = (partition.log_start_offset, partition.high_watermark)
    if ends != (expected.start, expected.end):
        raise SimulationFailure(f"I2: {name} is {ends}, expected {expected.start, expected.end}")
    # The run in which a partition begins may hold records that are deleted already; nothing before it may be left.
    offset = partition.run(0).base_offset if partition.run_count else partition.high_watermark
    if partition.run_count and not offset <= expected.start < partition.run(0).end_offset:
        raise SimulationFailure(f"I2: {name} begins at {expected.start}, and its first run is {partition.run(0)}")
    batches = iter([batch for batch in expected.batches if batch.base_offset >= offset])
    for index in range(partition.run_count):
        run = partition.run(index)
        position = run.position
        object_name = state.objects.names.get(run.object_index)
        while position < run.position + run.length:
            batch = next(batches, None)
            found = (offset, object_name, position)
            if batch is None or found != (batch.base_offset, (batch.incarnation, batch.object_number), batch.position):
                raise SimulationFailure(f"I2: {name} has {found} in {run}, expected {batch}")
            offset += batch.records
            position += batch.length
        if (offset, position) != (run.end_offset, run.position + run.length):
            raise SimulationFailure(f"I2: {name}: {run} holds records up to {offset}, bytes up to {position}")
    left = next(batches, None)
    if left is not None:
        raise SimulationFailure(f"I2: {name}: no run has {left}")


def _check_segment(key: str, data: bytes) -> None:
    footer = decode_footer(data)
    end = footer.index_position
    if data[:HEAD_BYTES] != HEAD or crc32c(data[HEAD_BYTES:end]) != footer.body_crc:
        raise SimulationFailure(f"{key} is not what its footer says")
    position = HEAD_BYTES
    for run in decode_index(data[end : len(data) - FOOTER_BYTES], footer):
        if run.position != position:
            raise SimulationFailure(f"{key}: {run} does not begin at {position}")
        position += run.length
    if position != end or flush_key(footer.incarnation, footer.number) != key:
        raise SimulationFailure(f"{key}: its index ends at {position}, its body at {end}")


def _check_batch(data: bytes, batch: PlacedBatch) -> None:
    content = data[batch.position : batch.position + batch.length]
    length = int.from_bytes(content[LENGTH_AT : LENGTH_AT + 4], "big")
    checksum = int.from_bytes(content[CRC_AT : CRC_AT + 4], "big")
    count = int.from_bytes(content[COUNT_AT : COUNT_AT + 4], "big")
    if (length + 12, content[MAGIC_AT : MAGIC_AT + 1], count) != (batch.length, b"\x02", batch.records):
        raise SimulationFailure(f"I2: not the bytes of {batch}: length {length + 12}, {count} records")
    if crc32c(content[CHECKED_FROM:]) != checksum:
        raise SimulationFailure(f"I2: the bytes of {batch} do not have their CRC")
