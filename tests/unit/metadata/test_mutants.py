"""The invariants' checks notice when a mechanism behind them is switched off.

Each mutant breaks one mechanism; the check of that invariant, the same function the other tests run, must fail.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from msgspec import structs

from kafscale.errors import OutcomeUnknown
from kafscale.metadata.appender import UNKNOWN_RETRY_SECONDS, Appender
from kafscale.metadata.checkpointer import Checkpointer
from kafscale.metadata.entries import CommitOffsets, Entry, GroupRebalanced, LogStart, decode_entry, encode_entry
from kafscale.metadata.log import AppendUid
from kafscale.metadata.memory import MemoryLogStorage
from kafscale.metadata.replica import Replica
from kafscale.metadata.state import encoding, groups, producers
from kafscale.metadata.state.cluster import ClusterState, Topic
from kafscale.metadata.state.groups import Groups, GroupState
from kafscale.metadata.state.objects import Objects
from kafscale.metadata.state.outcomes import BatchVerdict, LogStartVerdict, Outcome, SimpleOutcome, Verdict
from kafscale.metadata.state.partition import Partition
from tests.support.virtual_loop import VirtualLoop
from tests.unit.metadata import checks
from tests.unit.metadata.digest_machine import MACHINE_SETTINGS, DigestMachine
from tests.unit.metadata.histories import commits, histories, histories_of, holds, membership, produced
from tests.unit.metadata.test_appender import unknown_outcome_is_repeated
from tests.unit.metadata.test_checkpointer import live_log_is_bounded
from tests.unit.metadata.test_encoding import check_canonical, check_going_on_from_a_checkpoint
from tests.unit.metadata.test_replica import barrier_sees_what_was_acknowledged

Patch = pytest.MonkeyPatch


def exactly_once() -> None:
    holds(checks.check_exactly_once, produced, shrinks=False)


def applied_once() -> None:
    holds(checks.check_applied_once, histories, shrinks=False)


def dense() -> None:
    holds(checks.check_dense, histories, examples=200, shrinks=False)


def in_order() -> None:
    holds(checks.check_order, produced, shrinks=False)


def never_back() -> None:
    holds(checks.check_never_back, histories, shrinks=False)


def current_generation() -> None:
    holds(checks.check_commits, histories_of(membership, commits), shrinks=False)


def canonical() -> None:
    holds(check_canonical, st.tuples(histories, st.integers(0, 9)), shrinks=False)


def going_on() -> None:
    holds(check_going_on_from_a_checkpoint, st.tuples(histories, st.integers(0, 12)), shrinks=False)


def fresh_digests() -> None:
    run_state_machine_as_test(DigestMachine, settings=MACHINE_SETTINGS)


def _on_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    return run


asked_again = _on_virtual_time(lambda: unknown_outcome_is_repeated(written=True))
after_barriers = _on_virtual_time(barrier_sees_what_was_acknowledged)
bounded = _on_virtual_time(live_log_is_bounded)


def _ignore(patch: Patch, ignored: Verdict) -> None:
    judge = producers.judge

    def mutant(memory: bytes | None, epoch: int, base_sequence: int, count: int) -> BatchVerdict | None:
        rejected = judge(memory, epoch, base_sequence, count)
        return None if rejected is not None and rejected.verdict is ignored else rejected

    patch.setattr(producers, "judge", mutant)


def duplicates_accepted(patch: Patch) -> None:
    _ignore(patch, Verdict.DUPLICATE)


def four_batches_remembered(patch: Patch) -> None:
    patch.setattr(producers, "_KEPT_BYTES", 3 * 16)


def duplicates_by_sequence_only(patch: Patch) -> None:
    """Answer a duplicate with the offset of the newest batch."""
    judge = producers.judge

    def mutant(memory: bytes | None, epoch: int, base_sequence: int, count: int) -> BatchVerdict | None:
        rejected = judge(memory, epoch, base_sequence, count)
        if memory is None or rejected is None or rejected.verdict is not Verdict.DUPLICATE:
            return rejected
        return BatchVerdict(Verdict.DUPLICATE, int.from_bytes(memory[-8:]))

    patch.setattr(producers, "judge", mutant)


def repeated_entries_applied(patch: Patch) -> None:
    steps = ClusterState.steps

    def mutant(self: ClusterState, entry: Entry, outcomes: list[Outcome]) -> Iterator[None]:
        self.appended.pop(entry.incarnation, None)
        return steps(self, entry, outcomes)

    patch.setattr(ClusterState, "steps", mutant)


def new_uid_after_unknown(patch: Patch) -> None:
    async def mutant(self: Appender, uid: AppendUid, payload: bytes) -> None:
        while True:
            try:
                await self._log.append(uid, payload)
            except OutcomeUnknown:
                await asyncio.sleep(UNKNOWN_RETRY_SECONDS)
                uid = AppendUid(uid.incarnation, uid.number + 1)
                payload = encode_entry(structs.replace(decode_entry(payload), number=uid.number))
                self._number = uid.number
            else:
                return

    patch.setattr(Appender, "_append_until_decided", mutant)


def runs_not_split(patch: Patch) -> None:
    """Count the bytes of rejected batches to the run around them."""
    append = Partition.append

    def mutant(
        self: Partition, object_index: int, position: int, facts: Iterator[tuple[int, ...]], time_ms: int
    ) -> tuple[list[BatchVerdict], int]:
        rows = list(facts)
        size = sum(row[0] for row in rows)
        before, start = self.run_count, self.high_watermark
        verdicts, _ = append(self, object_index, position, iter(rows), time_ms)
        if self.run_count == before:
            return verdicts, 0
        newest = max(self.run_timestamps[before:])
        for values in (self.run_offsets, self.run_objects, self.run_positions, self.run_lengths, self.run_timestamps):
            del values[before:]
        self._add_run(start, object_index, position, position + size, newest, self.high_watermark)
        return verdicts, 1

    patch.setattr(Partition, "append", mutant)


def offsets_by_batch(patch: Patch) -> None:
    """Give every batch one offset, however many records it has."""
    append = Partition.append

    def mutant(
        self: Partition, object_index: int, position: int, facts: Iterator[tuple[int, ...]], time_ms: int
    ) -> tuple[list[BatchVerdict], int]:
        rows = ((length, 1, *others) for length, _, *others in facts)
        return append(self, object_index, position, rows, time_ms)

    patch.setattr(Partition, "append", mutant)


def references_by_command(patch: Patch) -> None:
    refer = Objects.refer
    patch.setattr(Objects, "refer", lambda self, index, count: refer(self, index, min(count, 1)))


def any_sequence_accepted(patch: Patch) -> None:
    _ignore(patch, Verdict.OUT_OF_ORDER_SEQUENCE)


def old_epochs_accepted(patch: Patch) -> None:
    _ignore(patch, Verdict.FENCED_PRODUCER_EPOCH)


def sequences_do_not_wrap(patch: Patch) -> None:
    """Let the sequence wrap one too late, as counting modulo 2^31 - 1 would do too early."""
    patch.setattr(producers, "sequence_after", lambda base, count: (base + count) % producers.SEQUENCE_MAX)


def log_start_goes_back(patch: Patch) -> None:
    def mutant(self: ClusterState, wanted: LogStart, _time_ms: int) -> LogStartVerdict:
        partition = self.partition(wanted.topic_id, wanted.partition)
        if partition is None or not 0 <= wanted.offset <= partition.high_watermark:
            return LogStartVerdict(Verdict.OFFSET_OUT_OF_RANGE, -1)
        partition.log_start_offset = wanted.offset
        return LogStartVerdict(Verdict.ACCEPTED, wanted.offset)

    patch.setattr(ClusterState, "_advance", mutant)


def barriers_do_not_wait(patch: Patch) -> None:
    async def mutant(_self: Replica) -> None:
        await asyncio.sleep(0)

    patch.setattr(Replica, "barrier", mutant)


def barriers_shared_too_late(patch: Patch) -> None:
    """Let a caller join a barrier that has read the log's end."""
    barrier = Replica.barrier

    async def mutant(self: Replica) -> None:
        await (barrier(self) if self._barrier is None else asyncio.shield(self._barrier))

    patch.setattr(Replica, "barrier", mutant)


def digests_kept_after_append(patch: Patch) -> None:
    append = Partition.append

    def mutant(self: Partition, *arguments: Any) -> tuple[list[BatchVerdict], int]:
        digest = self.digest
        result = append(self, *arguments)
        self.digest = digest
        return result

    patch.setattr(Partition, "append", mutant)


def digests_kept_after_deleting_records(patch: Patch) -> None:
    advance = Partition.advance_log_start

    def mutant(self: Partition, offset: int) -> list[int]:
        digest = self.digest
        released = advance(self, offset)
        self.digest = digest
        return released

    patch.setattr(Partition, "advance_log_start", mutant)


def digests_kept_after_expiry(patch: Patch) -> None:
    expire = Partition.expire_producers

    def mutant(self: Partition, before_ms: int) -> None:
        digest = self.digest
        expire(self, before_ms)
        self.digest = digest

    patch.setattr(Partition, "expire_producers", mutant)


def topics_not_sorted(patch: Patch) -> None:
    def mutant(state: ClusterState) -> list[Topic]:
        return list(state.topics.values())

    patch.setattr(encoding, "_topics", mutant)


def producers_left_out(patch: Patch) -> None:
    """Leave producers out of checkpoints and of the hash that guards them."""
    page = encoding._partition_page

    def mutant(partition: Partition) -> bytes:
        kept, partition.producers = partition.producers, {}
        try:
            return page(partition)
        finally:
            partition.producers = kept

    patch.setattr(encoding, "_partition_page", mutant)


def old_generations_commit(patch: Patch) -> None:
    judge = groups.judge_commit

    def mutant(group: GroupState | None, command: CommitOffsets) -> Verdict:
        verdict = judge(group, command)
        return Verdict.ACCEPTED if verdict is Verdict.ILLEGAL_GENERATION else verdict

    patch.setattr(groups, "judge_commit", mutant)


def strangers_commit(patch: Patch) -> None:
    patch.setattr(GroupState, "has_member", lambda _self, _member_id: True)


def two_coordinators(patch: Patch) -> None:
    rebalanced = Groups.rebalanced

    def mutant(self: Groups, command: GroupRebalanced, time_ms: int) -> SimpleOutcome:
        group = self.get(command.group_id)
        revision = 0 if group is None else group.revision
        return rebalanced(self, structs.replace(command, follows_revision=revision), time_ms)

    patch.setattr(Groups, "rebalanced", mutant)


def no_checkpoints(patch: Patch) -> None:
    patch.setattr(Checkpointer, "_due", lambda _self: False)


def no_truncation(patch: Patch) -> None:
    patch.setattr(MemoryLogStorage, "floor", 0)


class Mutant(NamedTuple):
    """What is switched off, which invariant that breaks, and the check that must notice."""

    invariant: str
    switch_off: Callable[[Patch], None]
    check: Callable[[], None]


MUTANTS: Final = (
    Mutant("I1", duplicates_accepted, exactly_once),
    Mutant("I1", four_batches_remembered, exactly_once),
    Mutant("I1", duplicates_by_sequence_only, exactly_once),
    Mutant("I1", repeated_entries_applied, applied_once),
    Mutant("I1", new_uid_after_unknown, asked_again),
    Mutant("I2", runs_not_split, dense),
    Mutant("I2", offsets_by_batch, dense),
    Mutant("I3", any_sequence_accepted, in_order),
    Mutant("I3", old_epochs_accepted, in_order),
    Mutant("I3", sequences_do_not_wrap, in_order),
    Mutant("I4", log_start_goes_back, never_back),
    Mutant("I4", barriers_do_not_wait, after_barriers),
    Mutant("I4", barriers_shared_too_late, after_barriers),
    Mutant("I6", references_by_command, dense),
    Mutant("I7", digests_kept_after_append, fresh_digests),
    Mutant("I7", digests_kept_after_deleting_records, fresh_digests),
    Mutant("I7", digests_kept_after_expiry, fresh_digests),
    Mutant("I7", topics_not_sorted, canonical),
    Mutant("I7", producers_left_out, going_on),
    Mutant("I9", old_generations_commit, current_generation),
    Mutant("I9", strangers_commit, current_generation),
    Mutant("I9", two_coordinators, current_generation),
    Mutant("I10", no_checkpoints, bounded),
    Mutant("I10", no_truncation, bounded),
)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{mutant.invariant}-{mutant.switch_off.__name__}" for mutant in MUTANTS]
)
def test_the_check_fails(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        mutant.check()


def test_every_invariant_has_a_mutant() -> None:
    assert {mutant.invariant for mutant in MUTANTS} >= {"I1", "I2", "I3", "I4", "I7", "I9"}
