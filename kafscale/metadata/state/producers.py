"""Idempotent producers of one partition: the rules of Kafka's ProducerStateManager as pure functions.

A producer's memory is one immutable byte string, so that ten thousand partitions with producers stay small and the
canonical encoding is the memory itself:

    epoch i16 | time of the last accepted append i64 | 1 to 5 x (base sequence i32, record count u32, base offset i64)

oldest batch first. Keeps I1 (no duplicate) and I3 (order per producer, across retries and sequence wrap).
"""

import struct
from typing import NamedTuple

from kafscale.metadata.state.outcomes import BatchVerdict, Verdict

SEQUENCE_MAX = 2**31 - 1

BATCHES_KEPT = 5
"""Kafka remembers five batches, because an idempotent producer may have five requests in flight."""

_HEAD = struct.Struct(">hq")
_BATCH = struct.Struct(">iIq")
_KEPT_BYTES = (BATCHES_KEPT - 1) * _BATCH.size

_OUT_OF_ORDER = BatchVerdict(Verdict.OUT_OF_ORDER_SEQUENCE, -1)
_FENCED = BatchVerdict(Verdict.FENCED_PRODUCER_EPOCH, -1)


def sequence_after(base_sequence: int, count: int) -> int:
    """Return the sequence that follows `count` records from `base_sequence`; after 2^31 - 1 comes 0."""
    return (base_sequence + count) & SEQUENCE_MAX


def judge(memory: bytes | None, epoch: int, base_sequence: int, count: int) -> BatchVerdict | None:
    """Return why a batch is not appended (duplicate, out of order, fenced), or None where it is accepted.

    An unknown producer may start anywhere: its earlier batches may have expired or been deleted (KAFKA-5793).
    """
    if memory is None:
        return None
    known_epoch, _ = _HEAD.unpack_from(memory)
    if epoch != known_epoch:
        if epoch < known_epoch:
            return _FENCED
        return None if base_sequence == 0 else _OUT_OF_ORDER
    last_sequence, last_count, _ = _BATCH.unpack_from(memory, len(memory) - _BATCH.size)
    if sequence_after(last_sequence, last_count) == base_sequence:
        return None
    for kept_sequence, kept_count, base_offset in _BATCH.iter_unpack(memory[_HEAD.size :]):
        if kept_sequence == base_sequence and kept_count == count:
            return BatchVerdict(Verdict.DUPLICATE, base_offset)
    return _OUT_OF_ORDER


def remember(memory: bytes | None, epoch: int, base_sequence: int, count: int, base_offset: int, time_ms: int) -> bytes:
    """Return the producer's memory after an accepted batch."""
    kept = b""
    if memory is not None and _HEAD.unpack_from(memory)[0] == epoch:
        kept = memory[_HEAD.size :][-_KEPT_BYTES:]
    return _HEAD.pack(epoch, time_ms) + kept + _BATCH.pack(base_sequence, count, base_offset)


class ProducerDescription(NamedTuple):
    """What a memory says to people. `last_append_ms` is the entry time of the last accepted append."""

    epoch: int
    last_sequence: int
    last_append_ms: int


def describe(memory: bytes) -> ProducerDescription:
    """Return a producer's memory in words."""
    epoch, append_ms = _HEAD.unpack_from(memory)
    sequence, count, _ = _BATCH.unpack_from(memory, len(memory) - _BATCH.size)
    return ProducerDescription(epoch, sequence_after(sequence, count - 1), append_ms)


def last_append_ms(memory: bytes) -> int:
    """Return the entry time of the producer's last accepted append."""
    last: int = _HEAD.unpack_from(memory)[1]
    return last
