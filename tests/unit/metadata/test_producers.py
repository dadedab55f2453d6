"""Idempotent producers, against a model that keeps everything in lists."""

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from kafscale.metadata.state import producers
from kafscale.metadata.state.outcomes import BatchVerdict, Verdict
from kafscale.metadata.state.producers import (
    BATCHES_KEPT,
    SEQUENCE_MAX,
    judge,
    last_append_ms,
    remember,
    sequence_after,
)
from tests.unit.metadata.histories import SEQUENCES, Batch, Senders, holds, producer_sends

OUT_OF_ORDER = BatchVerdict(Verdict.OUT_OF_ORDER_SEQUENCE, -1)
FENCED = BatchVerdict(Verdict.FENCED_PRODUCER_EPOCH, -1)


@dataclass(slots=True)
class Model:
    """One producer of one partition by Kafka's words: every batch it ever got accepted, in order."""

    epochs: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def judge(self, batch: Batch) -> BatchVerdict | None:
        if not self.epochs:
            return None
        if batch.epoch < self.epochs[-1]:
            return FENCED
        if batch.epoch > self.epochs[-1]:
            return None if batch.base_sequence == 0 else OUT_OF_ORDER
        first_of_epoch = self.epochs.index(batch.epoch)
        for index in range(max(first_of_epoch, len(self.epochs) - 5), len(self.epochs)):
            if (self.sequences[index], self.counts[index]) == (batch.base_sequence, batch.records):
                return BatchVerdict(Verdict.DUPLICATE, self.offsets[index])
        expected = self.sequences[-1] + self.counts[-1]
        if expected > 2147483647:
            expected -= 2147483648
        return None if batch.base_sequence == expected else OUT_OF_ORDER

    def accept(self, batch: Batch, offset: int) -> None:
        self.epochs.append(batch.epoch)
        self.sequences.append(batch.base_sequence)
        self.counts.append(batch.records)
        self.offsets.append(offset)

    def packed(self, time_ms: int) -> bytes:
        """Return the memory as the module's docstring describes it."""
        first = max(self.epochs.index(self.epochs[-1]), len(self.epochs) - 5)
        kept = zip(self.sequences[first:], self.counts[first:], self.offsets[first:], strict=True)
        return struct.pack(">hq", self.epochs[-1], time_ms) + b"".join(struct.pack(">iIq", *one) for one in kept)


def check_producer(batches: list[Batch]) -> None:
    memory: bytes | None = None
    model = Model()
    offset = 1000
    for time_ms, batch in enumerate(batches):
        verdict = judge(memory, batch.epoch, batch.base_sequence, batch.records)
        assert verdict == model.judge(batch)
        if verdict is None:
            memory = remember(memory, batch.epoch, batch.base_sequence, batch.records, offset, time_ms)
            model.accept(batch, offset)
            assert memory == model.packed(time_ms)
            assert last_append_ms(memory) == time_ms
        offset += batch.records


@pytest.mark.parametrize("producer_id", [6, 7])
def test_random_senders_that_retry(producer_id: int) -> None:
    def check(sends: bytes) -> None:
        senders = Senders()
        check_producer([senders.batch(b"", 0, send) for send in producer_sends(sends, producer_id)])

    holds(check, st.binary(min_size=80, max_size=80), examples=150)


def test_arbitrary_batches() -> None:
    batch = st.builds(
        Batch,
        records=st.integers(1, 2),
        epoch=st.integers(-1, 2),
        base_sequence=st.sampled_from([0, 1, 2, 3, SEQUENCE_MAX - 1, SEQUENCE_MAX]),
    )
    holds(check_producer, st.lists(batch, max_size=12))


def accepted(*batches: tuple[int, int], epoch: int = 0) -> bytes:
    """Return the memory after batches of (base sequence, count), the first at offset 0."""
    memory: bytes | None = None
    offset = 0
    for base_sequence, count in batches:
        assert judge(memory, epoch, base_sequence, count) is None
        memory = remember(memory, epoch, base_sequence, count, offset, 5)
        offset += count
    assert memory is not None
    return memory


@pytest.mark.parametrize(
    ("base_sequence", "count", "following"),
    [
        (0, 1, 1),
        (SEQUENCE_MAX - 1, 1, SEQUENCE_MAX),
        (SEQUENCE_MAX, 1, 0),
        (SEQUENCE_MAX - 1, 2, 0),
        (SEQUENCE_MAX - 1, 5, 3),
        (SEQUENCE_MAX, SEQUENCE_MAX, SEQUENCE_MAX - 1),
    ],
)
def test_the_sequence_wraps_to_zero(base_sequence: int, count: int, following: int) -> None:
    assert sequence_after(base_sequence, count) == following
    memory = accepted((base_sequence, count))
    assert judge(memory, 0, following, 1) is None
    assert judge(memory, 0, (following + 1) % SEQUENCES, 1) == OUT_OF_ORDER


def test_an_unknown_producer_may_begin_anywhere() -> None:
    for epoch, base_sequence in ((0, 0), (0, 77), (3, SEQUENCE_MAX)):
        assert judge(None, epoch, base_sequence, 1) is None


def test_exactly_the_last_five_are_duplicates() -> None:
    memory = accepted(*((10 * number, 10) for number in range(7)))
    for number in range(7):
        verdict = judge(memory, 0, 10 * number, 10)
        assert verdict == (OUT_OF_ORDER if number < 2 else BatchVerdict(Verdict.DUPLICATE, 10 * number))
        # Another count is another batch.
        assert judge(memory, 0, 10 * number, 9) == OUT_OF_ORDER
    assert len(memory) == 10 + 16 * BATCHES_KEPT


def test_duplicates_across_the_wrap() -> None:
    memory = accepted((SEQUENCE_MAX - 2, 2), (SEQUENCE_MAX, 1), (0, 3))
    assert judge(memory, 0, SEQUENCE_MAX - 2, 2) == BatchVerdict(Verdict.DUPLICATE, 0)
    assert judge(memory, 0, SEQUENCE_MAX, 1) == BatchVerdict(Verdict.DUPLICATE, 2)
    assert judge(memory, 0, 0, 3) == BatchVerdict(Verdict.DUPLICATE, 3)


def test_epochs() -> None:
    memory = accepted((0, 1), (1, 1), epoch=4)
    assert judge(memory, 3, 2, 1) == FENCED
    assert judge(memory, 3, 0, 1) == FENCED
    assert judge(memory, 5, 2, 1) == OUT_OF_ORDER
    assert judge(memory, 5, 0, 1) is None
    newer = remember(memory, 5, 0, 1, 9, 6)
    # What the older epoch wrote is no duplicate any more.
    assert newer == accepted_at(9, epoch=5, time_ms=6)
    assert judge(newer, 4, 1, 1) == FENCED


def accepted_at(offset: int, *, epoch: int, time_ms: int) -> bytes:
    return remember(None, epoch, 0, 1, offset, time_ms)


def test_a_memory_describes_itself() -> None:
    memory = accepted((SEQUENCE_MAX, 3), epoch=2)
    assert producers.describe(memory) == producers.ProducerDescription(2, 1, 5)
