"""Brokers with one mechanism switched off each. The simulation must notice every one of them.

A mutant is a context manager under which the broker is wrong.
"""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from msgspec import structs

from kafscale.errors import OutcomeUnknown, StorageUnavailable
from kafscale.metadata import checkpointer, checkpoints
from kafscale.metadata.appender import UNKNOWN_RETRY_SECONDS, Appender
from kafscale.metadata.entries import CommitOffsets, GroupRebalanced, decode_entry, encode_entry
from kafscale.metadata.log import AppendUid, LoadedLog, LogEntry
from kafscale.metadata.replica import Replica
from kafscale.metadata.state import encoding, groups, producers
from kafscale.metadata.state.groups import Groups, GroupState
from kafscale.metadata.state.outcomes import BatchVerdict, SimpleOutcome, Verdict
from kafscale.metadata.state.partition import Partition
from kafscale.storage import cache, write_path
from kafscale.storage.cache import CachedRun
from kafscale.storage.write_path import BatchResult, WritePath
from tests.simulation.log import SimulatedLog
from tests.simulation.store import SimulatedStore

Mutant: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def replaced(home: Any, name: str, replacement: Any) -> Generator[None, None, None]:
    """Replace an attribute inside the block."""
    original = getattr(home, name)
    setattr(home, name, replacement)
    try:
        yield
    finally:
        setattr(home, name, original)


def ack_before_commit() -> contextlib.AbstractContextManager[None]:
    """Acknowledge what is stored before the log has it."""
    original: Any = WritePath._submit

    def submit(self: Any, flush: Any, stretches: Any, *, is_last: bool) -> None:
        original(self, flush, stretches, is_last=is_last)
        for stretch in stretches:
            for part in stretch.parts:
                part.settle(BatchResult(Verdict.ACCEPTED, -1, -1))

    return replaced(WritePath, "_submit", submit)


def ack_without_object() -> contextlib.AbstractContextManager[None]:
    """Take a failed PUT for a successful one."""
    original: Any = SimulatedStore.put

    async def put(self: Any, key: str, parts: Any) -> None:
        with contextlib.suppress(StorageUnavailable):
            await original(self, key, parts)

    return replaced(SimulatedStore, "put", put)


def failed_senders_go_on() -> contextlib.AbstractContextManager[None]:
    """Let later batches of a sender overtake a failed one that were taken before it failed."""
    return replaced(WritePath, "_fail_senders", lambda _self, _senders, _later: None)


def late_batches_overtake() -> contextlib.AbstractContextManager[None]:
    """Let later batches of a sender overtake a failed one that arrive after it failed."""
    return replaced(WritePath, "_overtakes", lambda *_: False)


def _judging(ignored: Verdict) -> contextlib.AbstractContextManager[None]:
    original = producers.judge

    def judge(memory: bytes | None, epoch: int, base_sequence: int, count: int) -> BatchVerdict | None:
        rejected = original(memory, epoch, base_sequence, count)
        return None if rejected is not None and rejected.verdict is ignored else rejected

    return replaced(producers, "judge", judge)


def duplicates_accepted() -> contextlib.AbstractContextManager[None]:
    """Take a repeated batch for a new one."""
    return _judging(Verdict.DUPLICATE)


def old_epochs_accepted() -> contextlib.AbstractContextManager[None]:
    """Take batches of a fenced epoch."""
    return _judging(Verdict.FENCED_PRODUCER_EPOCH)


def any_sequence_accepted() -> contextlib.AbstractContextManager[None]:
    """Take batches whose sequence does not follow."""
    return _judging(Verdict.OUT_OF_ORDER_SEQUENCE)


def commits_overtake() -> contextlib.AbstractContextManager[None]:
    """Commit a flush as soon as it is stored, whatever was flushed before it."""

    def commit_stored(self: Any) -> None:
        for flush in [flush for flush in self._uncommitted if flush.stored]:
            self._uncommitted.remove(flush)
            self._commit(flush)

    return replaced(WritePath, "_commit_stored", commit_stored)


def new_uid_after_unknown() -> contextlib.AbstractContextManager[None]:
    """Repeat an append of unknown outcome as another append."""

    async def append_until_decided(self: Any, uid: AppendUid, payload: bytes) -> None:
        while True:
            try:
                await self._log.append(uid, payload)
            except OutcomeUnknown:
                await asyncio.sleep(UNKNOWN_RETRY_SECONDS)
                callback = self._replica._expected.pop(uid.number, None)
                self._number += 1
                uid = AppendUid(uid.incarnation, self._number)
                payload = encode_entry(structs.replace(decode_entry(payload), number=uid.number))
                if callback is not None:
                    self._replica.expect(uid.number, callback)
            else:
                return

    return replaced(Appender, "_append_until_decided", append_until_decided)


def refusal_after_unknown() -> contextlib.AbstractContextManager[None]:
    """Take a refused append for not written, though an attempt before it may be."""

    async def append_until_decided(self: Any, uid: AppendUid, payload: bytes) -> None:
        while True:
            try:
                await self._log.append(uid, payload)
            except OutcomeUnknown:
                await asyncio.sleep(UNKNOWN_RETRY_SECONDS)
            else:
                return

    return replaced(Appender, "_append_until_decided", append_until_decided)


def old_generations_commit() -> contextlib.AbstractContextManager[None]:
    """Let the log take offset commits of an older generation."""
    original = groups.judge_commit

    def judge_commit(group: GroupState | None, command: CommitOffsets) -> Verdict:
        verdict = original(group, command)
        return Verdict.ACCEPTED if verdict in (Verdict.ILLEGAL_GENERATION, Verdict.UNKNOWN_MEMBER) else verdict

    return replaced(groups, "judge_commit", judge_commit)


def two_coordinators() -> contextlib.AbstractContextManager[None]:
    """Let the log take a rebalance that follows another revision than the newest."""
    original = Groups.rebalanced

    def rebalanced(self: Groups, command: GroupRebalanced, time_ms: int) -> SimpleOutcome:
        group = self.get(command.group_id)
        revision = 0 if group is None else group.revision
        return original(self, structs.replace(command, follows_revision=revision), time_ms)

    return replaced(Groups, "rebalanced", rebalanced)


def runs_not_split() -> contextlib.AbstractContextManager[None]:
    """Count the bytes of a rejected batch to the run around it."""

    def append(
        self: Partition, object_index: int, position: int, facts: Iterator[tuple[int, ...]], time_ms: int
    ) -> tuple[list[BatchVerdict], int]:
        self.digest = None
        verdicts: list[BatchVerdict] = []
        before, start, offset, newest = len(self.run_offsets), position, self.high_watermark, -1
        for length, count, timestamp, producer_id, epoch, sequence in facts:
            position += length
            memory = self.producers.get(producer_id)
            rejected = producers.judge(memory, epoch, sequence, count) if producer_id >= 0 else None
            verdicts.append(rejected or BatchVerdict(Verdict.ACCEPTED, offset))
            if rejected is None:
                if producer_id >= 0:
                    self.producers[producer_id] = producers.remember(memory, epoch, sequence, count, offset, time_ms)
                offset, newest = offset + count, max(newest, timestamp)
        self._add_run(self.high_watermark, object_index, start, position, newest, offset)
        self.high_watermark = offset
        return verdicts, len(self.run_offsets) - before

    return replaced(Partition, "append", append)


def cached_runs_not_split() -> contextlib.AbstractContextManager[None]:
    """Put a rejected batch into the tail cache with those around it."""

    original: Any = WritePath._cache_accepted

    def cache_accepted(self: Any, flush: Any, stretch: Any, verdicts: list[BatchVerdict], **options: Any) -> None:
        accepted = [one for one in verdicts if one.verdict is Verdict.ACCEPTED]
        original(self, flush, stretch, accepted[:1] * len(verdicts) or verdicts, **options)

    return replaced(WritePath, "_cache_accepted", cache_accepted)


def cached_offsets_not_set() -> contextlib.AbstractContextManager[None]:
    """Serve from the tail cache the base offsets that producers wrote."""
    original = cache.place_run

    def place_run(data: memoryview, base_offset: int) -> CachedRun:
        placed = original(memoryview(bytearray(data)), base_offset)
        return CachedRun(data, base_offset, placed._index)

    return replaced(write_path, "place_run", place_run)


def checkpoints_without_producers() -> contextlib.AbstractContextManager[None]:
    """Leave producers out of checkpoints and of the hash that guards them."""
    original = encoding._partition_page

    def partition_page(partition: Partition) -> bytes:
        kept, partition.producers = partition.producers, {}
        try:
            return original(partition)
        finally:
            partition.producers = kept

    return replaced(encoding, "_partition_page", partition_page)


def checkpoints_without_last_entry() -> contextlib.AbstractContextManager[None]:
    """Leave the newest entry out of checkpoints, and do not compare hashes."""
    advance = checkpoints.advance_checkpoint
    stack = contextlib.ExitStack()

    def advance_checkpoint(previous: bytes | None, entries: list[LogEntry], position: int) -> bytes:
        return advance(previous, entries[:-1], position)

    async def hash_at_seal(_self: Replica, _position: int) -> bytes:
        return b"same"

    stack.enter_context(replaced(checkpointer, "advance_checkpoint", advance_checkpoint))
    stack.enter_context(replaced(checkpointer, "checkpoint_hash", lambda _data: b"same"))
    stack.enter_context(replaced(Replica, "hash_at_seal", hash_at_seal))
    return _closing(stack)


def last_entry_lost_at_start() -> contextlib.AbstractContextManager[None]:
    """Cut the newest entry off whenever a broker starts."""
    load, past = SimulatedLog.load, SimulatedLog.past
    stack = contextlib.ExitStack()

    async def short_load(self: SimulatedLog) -> LoadedLog:
        loaded = await load(self)
        newest = loaded.checkpoints[0].position if loaded.checkpoints else 0
        return LoadedLog(checkpoints=loaded.checkpoints, end=max(newest, loaded.end - 1))

    def short_past(self: SimulatedLog, after: int) -> Sequence[LogEntry]:
        return past(self, after)[:-1]

    stack.enter_context(replaced(SimulatedLog, "load", short_load))
    stack.enter_context(replaced(SimulatedLog, "past", short_past))
    return _closing(stack)


def barriers_do_not_wait() -> contextlib.AbstractContextManager[None]:
    """Answer from what a broker has applied, whatever was acknowledged elsewhere."""

    async def barrier(_self: Replica) -> None:
        await asyncio.sleep(0)

    return replaced(Replica, "barrier", barrier)


@contextlib.contextmanager
def _closing(stack: contextlib.ExitStack) -> Generator[None, None, None]:
    with stack:
        yield


MUTANTS: Final[Mapping[str, Mutant]] = MappingProxyType(
    {
        mutant.__name__: mutant
        for mutant in (
            ack_before_commit,
            ack_without_object,
            failed_senders_go_on,
            late_batches_overtake,
            duplicates_accepted,
            old_epochs_accepted,
            any_sequence_accepted,
            commits_overtake,
            new_uid_after_unknown,
            refusal_after_unknown,
            old_generations_commit,
            two_coordinators,
            runs_not_split,
            cached_runs_not_split,
            cached_offsets_not_set,
            checkpoints_without_producers,
            checkpoints_without_last_entry,
            last_entry_lost_at_start,
            barriers_do_not_wait,
        )
    }
)
"""Every mutant by its name."""
