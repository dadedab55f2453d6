"""Checks of reads: no poll skips, none lags behind an acknowledgement, and none is turned away wrongly."""

from collections.abc import Iterator

from tests.support.checker.report import Check, Finding
from tests.support.checker.view import View, answered_polls
from tests.support.history import (
    OUT_OF_RANGE,
    AnyOperation,
    BrokerStarted,
    FactEvent,
    Poll,
    Polled,
    Positioned,
    Produced,
    TopicPartition,
)

Position = tuple[str, TopicPartition]
"""The process that reads, and what it reads."""


def polls_complete(view: View) -> Iterator[Finding]:
    """The records of a poll begin at the position asked for and skip or repeat none."""
    for poll, reply in answered_polls(view):
        expected = poll.call.from_offset
        for offset in reply.offsets:
            if offset != expected:
                yield f"{poll.call.at}@{expected}", f"a poll goes on with offset {offset}: {poll}"
            expected = offset + 1


def positions_continue(view: View) -> Iterator[Finding]:
    """A poll starts where the same consumer's last one ended, or where the consumer set its position."""
    positions: dict[Position, int] = {}
    for tick, moment in enumerate(view.moments(view.polls)):
        if isinstance(moment, FactEvent):
            if isinstance(moment.fact, Positioned):
                positions[moment.process, moment.fact.at] = moment.fact.offset
        elif moment is not None and moment.reply is not None and tick == moment.ended:
            key = (moment.process, moment.call.at)
            expected = positions.get(key, moment.call.from_offset)
            if moment.call.from_offset != expected:
                yield f"{moment.call.at}@{expected}", f"the position jumped: {moment}"
            offsets = moment.reply.offsets
            positions[key] = offsets[-1] + 1 if offsets else moment.call.from_offset


class KnownEnds:
    """What a broker run must know of each partition's end while a history is walked through by ticks.

    That is every write it acknowledged itself, every record it served, and all that anybody knew when it started. Of
    other runs' writes after that it may hear later.
    """

    def __init__(self) -> None:
        self._all: dict[TopicPartition, int] = {}
        self._of_run: dict[str, dict[TopicPartition, int]] = {}

    def started(self, node: str) -> None:
        """Take note of a new run, which reads the metadata log to its end."""
        self._of_run[node] = dict(self._all)

    def reached(self, node: str, at: TopicPartition, end: int) -> None:
        """Take note that `node` showed a partition to end at `end` or later."""
        of_run = self._of_run.setdefault(node, {})
        of_run[at] = max(of_run.get(at, 0), end)
        self._all[at] = max(self._all.get(at, 0), end)

    def known(self, node: str, at: TopicPartition) -> int:
        """Return the end of `at` that `node` knows."""
        return self._of_run.get(node, {}).get(at, 0)


def acknowledged_is_readable(view: View) -> Iterator[Finding]:
    """A poll below an offset that its broker run knew to be written, before the poll began, returns records."""
    ends = KnownEnds()
    known: dict[int, int] = {}
    for tick, moment in enumerate(view.moments([*view.produces, *view.polls])):
        if moment is None or isinstance(moment, FactEvent):
            _note_start(ends, moment)
        elif moment.reply is not None and tick == moment.invoked:
            known[moment.number] = ends.known(moment.reply.node, moment.call.at)
        elif moment.reply is not None:
            yield from _stale_poll(moment, known.pop(moment.number))
            ends.reached(moment.reply.node, moment.call.at, _end_shown(moment))


def _stale_poll(operation: AnyOperation, known_end: int) -> Iterator[Finding]:
    if not isinstance(operation.reply, Polled) or operation.reply.offsets:
        return
    start = operation.call.from_offset
    if max(start, operation.reply.log_start) < known_end:
        yield f"{operation.call.at}@{start}", f"the end was {known_end} before this empty poll began: {operation}"


def no_false_out_of_range(view: View) -> Iterator[Finding]:
    """A poll between the largest log start ever seen and the end known to anybody before is never out of range."""
    log_starts = _log_starts(view)
    ends: dict[TopicPartition, int] = {}
    known: dict[int, int] = {}
    for tick, moment in enumerate(view.moments([*view.produces, *view.polls])):
        if moment is None or isinstance(moment, FactEvent):
            continue
        at = moment.call.at
        if tick == moment.invoked:
            known[moment.number] = ends.get(at, 0)
        elif moment.reply is not None:
            ends[at] = max(ends.get(at, 0), _end_shown(moment))
        elif moment.error == OUT_OF_RANGE and isinstance(moment.call, Poll):
            start, end = moment.call.from_offset, known[moment.number]
            if log_starts.get(at, 0) <= start <= end:
                yield f"{at}@{start}", f"the end was {end} before {moment}"


def _log_starts(view: View) -> dict[TopicPartition, int]:
    log_starts = {at: read.log_start for at, read in view.final_reads.items()}
    for poll, reply in answered_polls(view):
        log_starts[poll.call.at] = max(log_starts.get(poll.call.at, 0), reply.log_start)
    return log_starts


def _note_start(ends: KnownEnds, moment: FactEvent | None) -> None:
    if moment is not None and isinstance(moment.fact, BrokerStarted):
        ends.started(moment.fact.node)


def _end_shown(operation: AnyOperation) -> int:
    match operation.reply:
        case Produced(offset=offset):
            return offset + 1
        case Polled(offsets=offsets):
            return offsets[-1] + 1 if offsets else 0
        case _:
            return 0


READ_CHECKS: dict[str, Check] = {
    "polls complete": polls_complete,
    "positions continue": positions_continue,
    "acknowledged is readable": acknowledged_is_readable,
    "no false out of range": no_false_out_of_range,
}
