"""What applying a command answers. Plain values: no I/O, nothing that refers back into the state."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Verdict(IntEnum):
    """Judgement of `apply` on a command or on one batch. Mapped to Kafka error codes by the API handlers."""

    ACCEPTED = 0
    DUPLICATE = 1
    """The batch is one of the producer's last five: answered as a success with the original offset."""
    OUT_OF_ORDER_SEQUENCE = 2
    FENCED_PRODUCER_EPOCH = 3
    UNKNOWN_TOPIC = 4
    UNKNOWN_PARTITION = 5
    TOPIC_EXISTS = 6
    TOPIC_NAME_COLLIDES = 7
    INVALID_PARTITION_COUNT = 8
    UNKNOWN_MEMBER = 9
    ILLEGAL_GENERATION = 10
    GROUP_CHANGED = 11
    """The group's revision is not the one the command follows: another coordinator was faster."""
    UNKNOWN_GROUP = 12
    GROUP_NOT_EMPTY = 13
    OBJECT_FENCED = 14
    OFFSET_OUT_OF_RANGE = 15
    CONFIGS_CHANGED = 16
    """A config is not what the command was worked out from: another change was faster."""


class BatchVerdict(NamedTuple):
    """Verdict on one batch. `base_offset` is the first record's offset (ACCEPTED, DUPLICATE), else -1."""

    verdict: Verdict
    base_offset: int


class PartitionVerdicts(NamedTuple):
    """Verdicts on one `PartitionBatches`, in batch order; `log_start_offset` as of the entry."""

    batches: list[BatchVerdict]
    log_start_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendOutcome:
    """Outcome of AppendBatches: one `PartitionVerdicts` per element of the command, in order."""

    partitions: list[PartitionVerdicts]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdsOutcome:
    """Outcome of AllocateProducerIds: ids first .. first + count - 1 belong to the caller."""

    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOutcome:
    """Outcome of CommitOffsets: one verdict for the request, and one per offset in order when it was accepted."""

    verdict: Verdict
    offsets: list[Verdict]


class LogStartVerdict(NamedTuple):
    """Verdict on one `LogStart`, and where the partition begins now (-1 unless ACCEPTED)."""

    verdict: Verdict
    log_start_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStartOutcome:
    """Outcome of AdvanceLogStart: one verdict per element of the command, in order."""

    partitions: list[LogStartVerdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleOutcome:
    """Outcome of every other command."""

    verdict: Verdict


Outcome = AppendOutcome | ProducerIdsOutcome | CommitOutcome | LogStartOutcome | SimpleOutcome
