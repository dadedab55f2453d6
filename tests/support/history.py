"""What clients of a broker did and saw: the history that the checker judges.

A history is a sequence of events. An operation is two of them, an invocation and an end, and its end is one of three:
`ok` with what the broker answered, `fail` for an operation that certainly had no effect, `unknown` for one that may
have had one, now or later (a lost reply, a deadline passed). An operation without an end is unknown too. A fact is a
single event: something a harness or a client knows without asking.

Each event gets the next *tick*, an integer from 0, and ticks are the only order the checker trusts: one operation
came before another when its end has a smaller tick than the other's invocation, otherwise they overlapped.

Rules for whoever records:

- every value is unique in the whole history; it names a write, so it may be the beginning of the bytes really sent;
- an operation is invoked before its first byte is sent, and ended after the last byte of the reply is read;
- an operation that was retried is one operation; it is `fail` only when no attempt can have had an effect;
- a process reads a partition with one poll at a time, and notes `Positioned` before it reads from somewhere else.

Transactions get calls of their own when the broker has them.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast, overload

import msgspec

OPEN_TICK: Final = 1 << 62
"""End of an operation that has none, later than every tick."""

NO_OFFSET: Final = -1
"""Kafka's "none" where an offset could stand: nothing committed, no record that late, offset not told."""

OUT_OF_RANGE: Final = "OFFSET_OUT_OF_RANGE"
"""The one error that the checker reads; every other one is only shown."""


class TopicPartition(NamedTuple):
    """A partition. Recorders keep one object per partition, because a history holds millions of references."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Produce(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="produce"):
    """Write one record. `sequence` counts the producer's sends from 0, across all its partitions, in the order in
    which it sent them; `timestamp_ms` is the record's own, -1 when the broker sets it."""

    at: TopicPartition
    producer: str
    sequence: int
    value: str
    idempotent: bool
    timestamp_ms: int = -1


class Produced(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="produce"):
    """The write was acknowledged by broker run `node` at `offset` (`NO_OFFSET`: acknowledged without one)."""

    offset: int
    node: str


class Poll(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="poll"):
    """Read on from a consumer's position."""

    at: TopicPartition
    from_offset: int


class Polled(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="poll"):
    """Records at or after the position, in the order received, and the bounds the same reply carried (-1: not told).

    `node` is the broker run that answered: a restarted broker is another run.
    """

    offsets: list[int]
    values: list[str]
    high_watermark: int
    last_stable_offset: int
    log_start: int
    node: str


class LookUpTime(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="time"):
    """ListOffsets by time: the first offset whose record is at or after `timestamp_ms`."""

    at: TopicPartition
    timestamp_ms: int


class TimeFound(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="time"):
    """The offset and its record's timestamp, or `NO_OFFSET` and -1."""

    offset: int
    timestamp_ms: int
    node: str


class CommitOffset(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="commit"):
    """Commit a group's offset for one partition."""

    group: str
    at: TopicPartition
    offset: int


class Committed(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="commit"):
    """The commit was acknowledged."""


class FetchCommitted(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="committed"):
    """Ask for a group's committed offset of one partition."""

    group: str
    at: TopicPartition


class CommittedFound(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="committed"):
    """The committed offset, or `NO_OFFSET`."""

    offset: int


class ReadAll(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="all"):
    """The final read: everything in one partition after all faults are healed and all writers have stopped."""

    at: TopicPartition


class AllRead(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="all"):
    """The whole partition, from log start to high watermark, as it was read."""

    offsets: list[int]
    values: list[str]
    log_start: int
    high_watermark: int


class Owned(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="owned"):
    """A member of a group learned which partitions it owns in a generation."""

    group: str
    generation: int
    member: str
    partitions: list[TopicPartition]


class Positioned(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="positioned"):
    """A consumer set its position by itself: an assignment, a seek, a reset."""

    at: TopicPartition
    offset: int


class BrokerStarted(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="started"):
    """The harness is about to start broker run `node`; noted before the run can read anything."""

    node: str


Call: TypeAlias = Produce | Poll | LookUpTime | CommitOffset | FetchCommitted | ReadAll
Reply: TypeAlias = Produced | Polled | TimeFound | Committed | CommittedFound | AllRead
Fact: TypeAlias = Owned | Positioned | BrokerStarted


class Status(StrEnum):
    """How an operation ended, as far as its caller can know."""

    OPEN = "open"
    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Invoked(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="i"):
    """An operation begins. `time_us` is on a clock that all recorders of one history share."""

    time_us: int
    operation: int
    process: str
    call: Call


class Ended(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="e"):
    """An operation ends: `reply` where it was ok, `error` where it was not."""

    time_us: int
    operation: int
    status: Status
    reply: Reply | None
    error: str


class Noted(msgspec.Struct, array_like=True, frozen=True, gc=False, tag="n"):
    """A fact."""

    time_us: int
    process: str
    fact: Fact


Event: TypeAlias = Invoked | Ended | Noted
CallT = TypeVar("CallT", bound=Call)
ReplyT = TypeVar("ReplyT", bound=Reply)


class Operation(Generic[CallT, ReplyT]):
    """One operation as the checker sees it. `reply` is there exactly when `status` is OK."""

    __slots__ = ("call", "ended", "error", "invoked", "number", "process", "reply", "status")

    def __init__(self, number: int, process: str, call: CallT, invoked: int) -> None:
        self.number = number
        self.process = process
        self.call = call
        self.invoked = invoked
        self.ended = OPEN_TICK
        self.status = Status.OPEN
        self.reply: ReplyT | None = None
        self.error = ""

    def may_have_happened(self) -> bool:
        """Tell whether an effect of this operation can be in the data."""
        return self.status is not Status.FAIL

    def effective_end(self) -> int:
        """Return the tick after which the effect cannot happen any more."""
        return self.ended if self.status is Status.OK else OPEN_TICK

    def __str__(self) -> str:
        end = "" if self.ended == OPEN_TICK else str(self.ended)
        return f"#{self.number} {self.process} [{self.invoked}..{end}] {self.status} {self.error} {self.call}"


ProduceOperation: TypeAlias = Operation[Produce, Produced]
PollOperation: TypeAlias = Operation[Poll, Polled]
TimeOperation: TypeAlias = Operation[LookUpTime, TimeFound]
CommitOperation: TypeAlias = Operation[CommitOffset, Committed]
FetchCommittedOperation: TypeAlias = Operation[FetchCommitted, CommittedFound]
ReadAllOperation: TypeAlias = Operation[ReadAll, AllRead]
AnyOperation: TypeAlias = Operation[Any, Any]


class FactEvent(NamedTuple):
    """A fact with the tick and the process of its event."""

    tick: int
    process: str
    fact: Fact


class History:
    """Records a history in memory, and hands each event to `sink` (usually a file) as it happens.

    Args:
        now_us: the clock that stamps events; a simulation passes its own.
        sink: called with every event.
    """

    def __init__(self, now_us: Callable[[], int], sink: Callable[[Event], None] | None = None) -> None:
        self._now_us = now_us
        self._sink = sink
        self._tick = 0
        self.operations: list[AnyOperation] = []
        self.facts: list[FactEvent] = []

    @overload
    def invoke(self, process: str, call: Produce) -> ProduceOperation: ...
    @overload
    def invoke(self, process: str, call: Poll) -> PollOperation: ...
    @overload
    def invoke(self, process: str, call: LookUpTime) -> TimeOperation: ...
    @overload
    def invoke(self, process: str, call: CommitOffset) -> CommitOperation: ...
    @overload
    def invoke(self, process: str, call: FetchCommitted) -> FetchCommittedOperation: ...
    @overload
    def invoke(self, process: str, call: ReadAll) -> ReadAllOperation: ...

    def invoke(self, process: str, call: Call) -> AnyOperation:
        """Begin an operation."""
        operation = self._begin(process, call)
        self._emit(lambda time_us: Invoked(time_us, operation.number, process, call))
        return operation

    def ok(self, operation: Operation[CallT, ReplyT], reply: ReplyT) -> None:
        """End an operation that the broker answered with success."""
        self._end(operation, Status.OK, reply, "")

    def fail(self, operation: AnyOperation, error: str) -> None:
        """End an operation that certainly had no effect."""
        self._end(operation, Status.FAIL, None, error)

    def unknown(self, operation: AnyOperation, error: str) -> None:
        """End an operation whose effect nobody can know."""
        self._end(operation, Status.UNKNOWN, None, error)

    def note(self, process: str, fact: Fact) -> None:
        """Record a fact."""
        self.facts.append(FactEvent(self._next_tick(), process, fact))
        self._emit(lambda time_us: Noted(time_us, process, fact))

    def ticks(self) -> int:
        """Return how many events there are."""
        return self._tick

    def _begin(self, process: str, call: Call) -> AnyOperation:
        operation: AnyOperation = Operation(len(self.operations), process, call, self._next_tick())
        self.operations.append(operation)
        return operation

    def _end(self, operation: AnyOperation, status: Status, reply: Reply | None, error: str) -> None:
        self._finish(operation, status, reply, error)
        self._emit(lambda time_us: Ended(time_us, operation.number, status, reply, error))

    def _finish(self, operation: AnyOperation, status: Status, reply: Reply | None, error: str) -> None:
        if operation.status is not Status.OPEN:
            raise ValueError(f"operation ended twice: {operation}")
        operation.ended = self._next_tick()
        operation.status = status
        operation.reply = reply
        operation.error = error

    def _next_tick(self) -> int:
        tick = self._tick
        self._tick += 1
        return tick

    def _emit(self, event: Callable[[int], Event]) -> None:
        if self._sink is not None:
            self._sink(event(self._now_us()))


def replay(events: Iterable[Event]) -> History:
    """Return the history that `events` tell, in their order. Operation numbers may be sparse.

    Raises ValueError when an end has no invocation, or an operation has two of either.
    """
    history = History(lambda: 0)
    running: dict[int, AnyOperation] = {}
    for event in events:
        if isinstance(event, Invoked):
            if event.operation in running:
                raise ValueError(f"operation invoked twice: {event}")
            running[event.operation] = history._begin(event.process, event.call)
        elif isinstance(event, Ended):
            operation = running.get(event.operation)
            if operation is None:
                raise ValueError(f"end without an invocation: {event}")
            history._finish(operation, event.status, cast(Reply, event.reply), event.error)
        else:
            history.note(event.process, event.fact)
    return history
