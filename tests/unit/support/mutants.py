"""Broken histories, each made from a correct one by a single change, with the checks that must and may notice it.

A mutation raises `NotApplicable` where the history offers no place for it; the test then takes the next seed.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from tests.support.history import (
    NO_OFFSET,
    OUT_OF_RANGE,
    AllRead,
    AnyOperation,
    CommitOffset,
    CommittedFound,
    FetchCommitted,
    History,
    LookUpTime,
    Owned,
    Poll,
    Polled,
    Positioned,
    Produce,
    ReadAll,
    Status,
    TimeFound,
    TopicPartition,
)

T = TypeVar("T")
CallType: TypeAlias = type[Produce | Poll | LookUpTime | CommitOffset | FetchCommitted | ReadAll]


class NotApplicable(Exception):
    """This history has no place for the mutation."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation, the checks that must complain, and those that may besides."""

    mutate: Callable[[History, random.Random], None]
    caught_by: set[str]
    also_by: set[str]


MUTANTS: Final[dict[str, Mutant]] = {}


def _mutant(caught_by: str, *also_by: str) -> Callable[[Callable[[History, random.Random], None]], None]:
    def register(mutate: Callable[[History, random.Random], None]) -> None:
        MUTANTS[mutate.__name__.strip("_").replace("_", " ")] = Mutant(mutate, {caught_by}, set(also_by))

    return register


def _pick(candidates: Iterable[T], rng: random.Random) -> T:
    listed = list(candidates)
    if not listed:
        raise NotApplicable
    return rng.choice(listed)


def _answered(history: History, call: CallType) -> list[AnyOperation]:
    return [op for op in history.operations if isinstance(op.call, call) and op.status is Status.OK]


def _reply(operation: AnyOperation) -> Any:
    return operation.reply


def _change_reply(operation: AnyOperation, **changes: Any) -> None:
    operation.reply = msgspec.structs.replace(_reply(operation), **changes)


def _without(items: list[T], index: int) -> list[T]:
    return items[:index] + items[index + 1 :]


def _swapped(items: list[T], first: int, second: int) -> list[T]:
    swapped = list(items)
    swapped[first], swapped[second] = items[second], items[first]
    return swapped


def _final(history: History, rng: random.Random, least: int = 2) -> tuple[AnyOperation, AllRead]:
    operation = _pick((op for op in _answered(history, ReadAll) if len(_reply(op).offsets) >= least), rng)
    return operation, _reply(operation)


def _append_to_final(operation: AnyOperation, value: str) -> None:
    read: AllRead = _reply(operation)
    end = read.high_watermark
    _change_reply(operation, offsets=[*read.offsets, end], values=[*read.values, value], high_watermark=end + 1)


def _last_polls(history: History) -> list[AnyOperation]:
    """Return each consumer's last poll of each partition, so that no later poll shows a change of position."""
    last = {(op.process, op.call.at): op for op in history.operations if isinstance(op.call, Poll)}
    return [op for op in last.values() if op.status is Status.OK]


def _polls_with(history: History, records: int) -> list[AnyOperation]:
    return [op for op in _answered(history, Poll) if len(_reply(op).offsets) >= records]


def _acknowledged_values(history: History) -> set[str]:
    """Return the acknowledged values that stand in the log only once."""
    return {op.call.value for op in _answered(history, Produce) if op.call.idempotent}


@_mutant("acknowledged writes kept", "offsets dense")
def _acknowledged_record_dropped(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng)
    acknowledged = _acknowledged_values(history)
    index = _pick((n for n, value in enumerate(read.values) if value in acknowledged), rng)
    _change_reply(final, offsets=_without(read.offsets, index), values=_without(read.values, index))


@_mutant("acknowledged writes kept", "acknowledged offsets exist", "time lookup is a scan")
def _tail_lost(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng)
    if read.values[-1] not in _acknowledged_values(history):
        raise NotApplicable
    _change_reply(final, offsets=read.offsets[:-1], values=read.values[:-1], high_watermark=read.high_watermark - 1)


@_mutant("acknowledged writes kept")
def _partition_never_read(history: History, rng: random.Random) -> None:
    written = {op.call.at for op in _answered(history, Produce)}
    final = _pick((op for op in _answered(history, ReadAll) if op.call.at in written), rng)
    final.status, final.reply = Status.UNKNOWN, None


@_mutant("offsets dense", "time lookup is a scan", "acknowledged writes kept")
def _hole_in_the_log(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng, least=3)
    acknowledged = _acknowledged_values(history)
    index = _pick((n for n, value in enumerate(read.values[:-1]) if value not in acknowledged), rng)
    _change_reply(final, offsets=_without(read.offsets, index), values=_without(read.values, index))


@_mutant("offsets dense")
def _high_watermark_past_the_end(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng)
    _change_reply(final, high_watermark=read.high_watermark + 1)


@_mutant("one value per offset", "producers in order", "time lookup is a scan")
def _two_offsets_swapped(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng)
    acknowledged = {op.call.value: _reply(op).offset for op in _answered(history, Produce)}
    known = [n for n, value in enumerate(read.values) if acknowledged.get(value) == read.offsets[n]]
    first = _pick(known[:-1], rng)
    _change_reply(final, values=_swapped(read.values, first, known[known.index(first) + 1]))


@_mutant("one value per offset", "acknowledged is readable", "no false out of range")
def _offset_acknowledged_twice(history: History, rng: random.Random) -> None:
    first = _pick(_answered(history, Produce), rng)
    others = [op for op in _answered(history, Produce) if op.call.at == first.call.at and op is not first]
    _change_reply(first, offset=_reply(_pick(others, rng)).offset)


@_mutant("acknowledged offsets exist", "acknowledged is readable")
def _acknowledged_past_the_end(history: History, rng: random.Random) -> None:
    _, read = _final(history, rng)
    at = next(op.call.at for op in _answered(history, ReadAll) if op.reply is read)
    write = _pick((op for op in _answered(history, Produce) if op.call.at == at), rng)
    _change_reply(write, offset=read.high_watermark + 3)


@_mutant("no duplicates")
def _record_duplicated(history: History, rng: random.Random) -> None:
    final, read = _final(history, rng)
    idempotent = {op.call.value for op in history.operations if isinstance(op.call, Produce) and op.call.idempotent}
    _append_to_final(final, _pick((value for value in read.values if value in idempotent), rng))


@_mutant("producers in order", "time lookup is a scan", "only writes are read", "no false out of range")
def _producer_reordered(history: History, rng: random.Random) -> None:
    """Two sends of one producer change places in everything anybody saw."""
    sent = {op.call.value: op for op in history.operations if isinstance(op.call, Produce)}
    _, read = _final(history, rng)
    idempotent = [value for value in read.values if sent[value].call.idempotent]
    first = _pick(idempotent, rng)
    later = idempotent[idempotent.index(first) + 1 :]
    second = _pick((value for value in later if sent[value].process == sent[first].process), rng)
    _exchange(history, sent[first], sent[second])


def _exchange(history: History, first: AnyOperation, second: AnyOperation) -> None:
    names = {first.call.value: second.call.value, second.call.value: first.call.value}
    for operation in history.operations:
        if isinstance(operation.reply, Polled | AllRead):
            _change_reply(operation, values=[names.get(value, value) for value in operation.reply.values])
    first.reply, second.reply = second.reply, first.reply
    first.status, second.status = second.status, first.status


@_mutant("failed writes absent")
def _refused_write_in_the_log(history: History, rng: random.Random) -> None:
    final, _ = _final(history, rng)
    refused = (
        op.call.value for op in history.operations if op.status is Status.FAIL and isinstance(op.call, Produce)
        and op.call.at == final.call.at and op.call.producer == "producer-2"
    )  # fmt: skip
    _append_to_final(final, _pick(refused, rng))


@_mutant("only writes are read")
def _invented_record(history: History, rng: random.Random) -> None:
    final, _ = _final(history, rng)
    _append_to_final(final, "nobody.0")


@_mutant("only writes are read")
def _record_in_another_partition(history: History, rng: random.Random) -> None:
    final, _ = _final(history, rng)
    others = [op for op in _answered(history, Produce) if op.call.at != final.call.at and not op.call.idempotent]
    _append_to_final(final, _pick(others, rng).call.value)


@_mutant("polls complete")
def _poll_skips(history: History, rng: random.Random) -> None:
    poll = _pick(_polls_with(history, 3), rng)
    _change_reply(poll, offsets=_without(_reply(poll).offsets, 1), values=_without(_reply(poll).values, 1))


@_mutant("polls complete")
def _poll_skips_its_first_record(history: History, rng: random.Random) -> None:
    poll = _pick(_polls_with(history, 2), rng)
    _change_reply(poll, offsets=_reply(poll).offsets[1:], values=_reply(poll).values[1:])


@_mutant("polls complete", "positions continue")
def _poll_repeats(history: History, rng: random.Random) -> None:
    poll = _pick(_polls_with(history, 2), rng)
    _change_reply(
        poll,
        offsets=[_reply(poll).offsets[0], *_reply(poll).offsets],
        values=[_reply(poll).values[0], *_reply(poll).values],
    )


@_mutant("polls complete", "positions continue", "acknowledged is readable")
def _poll_out_of_order(history: History, rng: random.Random) -> None:
    poll = _pick(_polls_with(history, 3), rng)
    _change_reply(poll, offsets=_swapped(_reply(poll).offsets, 0, 1), values=_swapped(_reply(poll).values, 0, 1))


@_mutant("positions continue")
def _next_poll_jumps(history: History, rng: random.Random) -> None:
    last = {id(op) for op in _last_polls(history)}
    moved = {(process, fact.at): tick for tick, process, fact in history.facts if isinstance(fact, Positioned)}
    polls = (op for op in _polls_with(history, 2) if id(op) not in last)
    poll = _pick((op for op in polls if moved.get((op.process, op.call.at), -1) < op.invoked), rng)
    _change_reply(poll, offsets=_reply(poll).offsets[:-1], values=_reply(poll).values[:-1])


def _lower(history: History, rng: random.Random, bound: str, least: int = 0) -> None:
    """Lower one bound in a reply below what an earlier reply of the same broker run said."""
    polls = _answered(history, Poll)

    def earlier(poll: AnyOperation) -> int:
        place = (_reply(poll).node, poll.call.at)
        before = (op for op in polls if (_reply(op).node, op.call.at) == place and op.ended < poll.invoked)
        return max((getattr(op.reply, bound) for op in before), default=-1)

    poll = _pick((op for op in polls if earlier(op) > least), rng)
    _change_reply(poll, **{bound: earlier(poll) - 1})


@_mutant("high watermark never back", "bounds agree")
def _high_watermark_lowered(history: History, rng: random.Random) -> None:
    _lower(history, rng, "high_watermark")


@_mutant("last stable offset never back", "bounds agree")
def _last_stable_offset_lowered(history: History, rng: random.Random) -> None:
    _lower(history, rng, "last_stable_offset")


@_mutant("log start never back")
def _log_start_lowered(history: History, rng: random.Random) -> None:
    _lower(history, rng, "log_start")


@_mutant("bounds agree", "last stable offset never back")
def _last_stable_above_high_watermark(history: History, rng: random.Random) -> None:
    poll = _pick(_last_polls(history), rng)
    _change_reply(poll, last_stable_offset=_reply(poll).high_watermark + 1)


@_mutant("acknowledged is readable")
def _stale_read(history: History, rng: random.Random) -> None:
    """A poll that began after an acknowledgement by the same broker run finds nothing."""
    writes = _answered(history, Produce)

    def readable(poll: AnyOperation) -> bool:
        return any(
            op.call.at == poll.call.at
            and _reply(op).node == _reply(poll).node
            and op.ended < poll.invoked
            and _reply(op).offset >= poll.call.from_offset
            for op in writes
        )

    poll = _pick((op for op in _last_polls(history) if _reply(op).offsets and readable(op)), rng)
    _change_reply(poll, offsets=[], values=[])


@_mutant("no false out of range")
def _false_out_of_range(history: History, rng: random.Random) -> None:
    finals = {op.call.at: _reply(op) for op in _answered(history, ReadAll)}
    writes = _answered(history, Produce)

    def in_range(poll: AnyOperation) -> bool:
        at, start = poll.call.at, poll.call.from_offset
        known = [op for op in writes if op.call.at == at and op.ended < poll.invoked]
        return finals[at].log_start <= start and any(_reply(op).offset >= start for op in known)

    poll = _pick((op for op in _last_polls(history) if in_range(op)), rng)
    poll.status, poll.reply, poll.error = Status.FAIL, None, OUT_OF_RANGE


def _commits_before(history: History, fetch: AnyOperation) -> list[AnyOperation]:
    commits = _answered(history, CommitOffset)
    return [op for op in commits if op.call.at == fetch.call.at and op.ended < fetch.invoked]


@_mutant("committed offsets kept")
def _commit_lost(history: History, rng: random.Random) -> None:
    fetch = _pick((op for op in _answered(history, FetchCommitted) if _commits_before(history, op)), rng)
    fetch.reply = CommittedFound(NO_OFFSET)


@_mutant("committed offsets kept")
def _commit_went_back(history: History, rng: random.Random) -> None:
    fetches = _answered(history, FetchCommitted)
    fetch = _pick((op for op in fetches if len(_commits_before(history, op)) > 1), rng)
    fetch.reply = CommittedFound(_commits_before(history, fetch)[-2].call.offset)


@_mutant("committed offsets kept")
def _commit_invented(history: History, rng: random.Random) -> None:
    fetch = _pick(_answered(history, FetchCommitted), rng)
    fetch.reply = CommittedFound(history.ticks() + 1)


@_mutant("committed offsets kept")
def _refused_commit_took_effect(history: History, rng: random.Random) -> None:
    refused = [op for op in history.operations if isinstance(op.call, CommitOffset) and op.status is Status.FAIL]
    fetches = _answered(history, FetchCommitted)
    pairs = [(commit, op) for commit in refused for op in fetches if op.invoked > commit.ended]
    commit, fetch = _pick(((c, f) for c, f in pairs if c.call.at == f.call.at), rng)
    fetch.reply = CommittedFound(commit.call.offset)


@_mutant("one owner")
def _two_owners(history: History, rng: random.Random) -> None:
    owned = [(n, event) for n, event in enumerate(history.facts) if isinstance(event.fact, Owned)]
    number, event = _pick(((n, e) for n, e in owned if isinstance(e.fact, Owned) and e.fact.partitions), rng)
    fact = msgspec.structs.replace(event.fact, member="impostor")
    history.facts.insert(number, event._replace(fact=fact))


def _final_of(history: History, at: TopicPartition) -> AllRead:
    read: AllRead = next(_reply(op) for op in _answered(history, ReadAll) if op.call.at == at)
    return read


@_mutant("time lookup is a scan")
def _time_lookup_too_late(history: History, rng: random.Random) -> None:
    lookups = [op for op in _answered(history, LookUpTime) if _reply(op).offset >= 0]
    lookup = _pick((op for op in lookups if _reply(op).offset >= _final_of(history, op.call.at).log_start), rng)
    _change_reply(lookup, offset=_reply(lookup).offset + 1)


@_mutant("time lookup is a scan")
def _time_lookup_finds_nothing(history: History, rng: random.Random) -> None:
    acknowledged = {(op.call.at, _reply(op).offset): op.ended for op in _answered(history, Produce)}
    lookups = [op for op in _answered(history, LookUpTime) if _reply(op).offset >= 0]
    known = (
        op for op in lookups if acknowledged.get((op.call.at, _reply(op).offset), history.ticks()) < op.invoked
        and _reply(op).offset >= _final_of(history, op.call.at).log_start
    )  # fmt: skip
    _pick(known, rng).reply = TimeFound(NO_OFFSET, -1, "1/0")


@_mutant("time lookup is a scan")
def _time_lookup_wrong_timestamp(history: History, rng: random.Random) -> None:
    lookups = [op for op in _answered(history, LookUpTime) if _reply(op).offset >= 0]
    lookup = _pick((op for op in lookups if _reply(op).offset >= _final_of(history, op.call.at).log_start), rng)
    _change_reply(lookup, timestamp_ms=_reply(lookup).timestamp_ms + 1)
