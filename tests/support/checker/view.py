"""A history sorted into what the checks need, built once and shared by all of them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from tests.support.history import (
    AllRead,
    AnyOperation,
    CommitOffset,
    CommitOperation,
    FactEvent,
    FetchCommitted,
    FetchCommittedOperation,
    History,
    LookUpTime,
    Poll,
    Polled,
    PollOperation,
    Produce,
    ProduceOperation,
    ReadAll,
    TimeOperation,
    TopicPartition,
)

Moment: TypeAlias = AnyOperation | FactEvent | None
"""What happened at a tick: an operation (begun or ended, whichever its tick says) or a fact."""


class Sighting(NamedTuple):
    """Records somebody read: parallel lists, with the tick at which the reader had them."""

    at: TopicPartition
    offsets: list[int]
    values: list[str]
    tick: int
    reader: str


class View:
    """Operations by kind, facts, and the index of values. Raises ValueError when two writes share a value."""

    def __init__(self, history: History) -> None:
        self.ticks = history.ticks()
        self.facts = history.facts
        self.produces: list[ProduceOperation] = []
        self.polls: list[PollOperation] = []
        self.time_lookups: list[TimeOperation] = []
        self.commits: list[CommitOperation] = []
        self.committed_fetches: list[FetchCommittedOperation] = []
        self.final_reads: dict[TopicPartition, AllRead] = {}
        self._final_ticks: dict[TopicPartition, int] = {}
        for operation in history.operations:
            self._sort(operation)
        self.writes = _by_value(self.produces)

    def _sort(self, operation: AnyOperation) -> None:
        match operation.call:
            case Produce():
                self.produces.append(operation)
            case Poll():
                self.polls.append(operation)
            case LookUpTime():
                self.time_lookups.append(operation)
            case CommitOffset():
                self.commits.append(operation)
            case FetchCommitted():
                self.committed_fetches.append(operation)
            case ReadAll():
                self._keep_final_read(operation)

    def _keep_final_read(self, operation: AnyOperation) -> None:
        if operation.reply is not None:
            self.final_reads[operation.call.at] = operation.reply
            self._final_ticks[operation.call.at] = operation.ended

    def sightings(self) -> Iterator[Sighting]:
        """Yield everything that was read, polls first."""
        for poll, reply in answered_polls(self):
            yield Sighting(poll.call.at, reply.offsets, reply.values, poll.ended, poll.process)
        for at, read in self.final_reads.items():
            yield Sighting(at, read.offsets, read.values, self._final_ticks[at], "final read")

    def moments(self, operations: Iterable[AnyOperation]) -> list[Moment]:
        """Return, by tick, the beginnings and ends of `operations` and all facts."""
        moments: list[Moment] = [None] * self.ticks
        for operation in operations:
            moments[operation.invoked] = operation
            if operation.ended < self.ticks:
                moments[operation.ended] = operation
        for fact in self.facts:
            moments[fact.tick] = fact
        return moments


def answered_polls(view: View) -> Iterator[tuple[PollOperation, Polled]]:
    """Yield the polls that were answered, with their replies."""
    return ((poll, poll.reply) for poll in view.polls if poll.reply is not None)


def _by_value(produces: list[ProduceOperation]) -> dict[str, ProduceOperation]:
    writes = {operation.call.value: operation for operation in produces}
    if len(writes) != len(produces):
        raise ValueError("two writes of the history share a value, so no check can tell them apart")
    return writes
