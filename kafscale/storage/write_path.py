"""The write path: batches from many connections into flush segments, segments into order.

A batch goes into the open flush without an await between frame and flush, so the order of a connection is the order in
the log. The open flush is closed as soon as a PUT slot is free, or when it is full; what arrives meanwhile waits
together. A stored flush is committed with one AppendBatches, strictly in flush order; applying that is the moment at
which offsets exist. Acknowledgements leave after it.

Rule 5 of the design keeps I3: when a flush fails, every later batch of the same partition and sender (producer id, or
connection where there is none) that is not in the log yet fails with it, retriably, so that nothing overtakes a batch
that its producer will send again. That includes batches which arrive later, sent before their producer knew: the log
takes any sequence of a producer it does not know, so those are refused until the failed batch comes again (`_owed`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from kafscale.clock import Clock
from kafscale.errors import Bug, DataCorrupt, StorageUnavailable
from kafscale.metadata.appender import Appender
from kafscale.metadata.entries import BATCH_FACTS, AppendBatches, PartitionBatches, TopicId
from kafscale.metadata.state.outcomes import AppendOutcome, BatchVerdict, Outcome, PartitionVerdicts, Verdict
from kafscale.metadata.state.producers import SEQUENCE_MAX
from kafscale.protocol.batches import BatchHeader
from kafscale.storage.cache import RunCache, RunKey, place_run
from kafscale.storage.format.paths import flush_key
from kafscale.storage.format.segment import HEAD, HEAD_BYTES, IndexRun, encode_tail
from kafscale.storage.objects.base import ObjectStore

_log = logging.getLogger(__name__)

ROWS_PER_PARTITION_MAX = 1024
"""Batches in one PartitionBatches: applying them takes about 3 ms, the longest step the event loop should see."""

APPEND_BYTES_MAX = 512 * 1024
"""One AppendBatches takes at most half of what an entry may hold, so that two such commands can share it."""

STRETCH_BYTES_MAX = 34
"""What a PartitionBatches takes besides its facts: an array head, topic id (18), two integers (5 each), bytes head."""

SWEEP_SECONDS = 1.0
"""How often batches past their request's timeout are looked for; timeouts are tens of seconds."""

OWED_MAX = 10_000
"""Failed batches remembered until their producers send them again; each takes about 300 bytes."""


class AppendFailure(Enum):
    """Why a batch is certainly not in the log, although the broker was asked to put it there."""

    STORAGE = "storage"
    TIMED_OUT = "timed out"


class ProducedBatch(NamedTuple):
    """One valid batch of a produce request. `data` is a view of the request's frame."""

    topic_id: TopicId
    topic_name: str
    partition: int
    data: memoryview
    header: BatchHeader


class BatchResult(NamedTuple):
    """What became of a batch. `base_offset` and `log_start_offset` are -1 where they do not apply."""

    verdict: Verdict | AppendFailure
    base_offset: int
    log_start_offset: int


Results = Callable[[list[BatchResult]], None]
PartitionKey = tuple[TopicId, int]


class _Owed(NamedTuple):
    """The first failed batch of an idempotent producer: nothing behind it may go into the log before it."""

    epoch: int
    base_sequence: int


_STORAGE_FAILED = BatchResult(AppendFailure.STORAGE, -1, -1)
_TIMED_OUT = BatchResult(AppendFailure.TIMED_OUT, -1, -1)


class _Request:
    """A produce request on its way: calls `done` when the last of its batches has a result."""

    __slots__ = ("deadline", "done", "missing", "results")

    def __init__(self, count: int, deadline: float, done: Results) -> None:
        self.results: list[BatchResult] = [_STORAGE_FAILED] * count
        self.missing = count
        self.deadline = deadline
        self.done = done

    def settle(self, slot: int, result: BatchResult) -> None:
        self.results[slot] = result
        self.missing -= 1
        if self.missing == 0:
            # Not from here: answering may begin the connection's next request, in the middle of whatever settles.
            asyncio.get_running_loop().call_soon(self.done, self.results)


class _Part:
    """One batch in a flush. `settled` once its producer has been told, or will be, that it failed."""

    __slots__ = ("data", "facts", "request", "sender", "settled", "size", "slot")

    def __init__(self, batch: ProducedBatch, connection_id: int, request: _Request, slot: int) -> None:
        header = batch.header
        self.data: memoryview | None = batch.data
        self.size = len(batch.data)
        self.facts = BATCH_FACTS.pack(
            self.size,
            header.record_count,
            header.max_timestamp,
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        )
        # Producer ids are not negative, so connections take the negative numbers.
        self.sender = header.producer_id if header.producer_id >= 0 else -1 - connection_id
        self.request = request
        self.slot = slot
        self.settled = False

    def settle(self, result: BatchResult) -> None:
        if not self.settled:
            self.settled = True
            self.data = None
            self.request.settle(self.slot, result)


class _Lane:
    """The batches of one partition in one flush, in order of arrival."""

    __slots__ = ("parts", "topic_name")

    def __init__(self, topic_name: str) -> None:
        self.topic_name = topic_name
        self.parts: list[_Part] = []


class _Stretch(NamedTuple):
    """Parts of one partition that lie together in the object and go into one PartitionBatches."""

    topic_id: TopicId
    partition: int
    position: int
    parts: list[_Part]


class _Flush:
    """One flush segment from its first batch to its verdicts."""

    __slots__ = ("body", "lanes", "number", "size", "stored")

    def __init__(self) -> None:
        self.lanes: dict[PartitionKey, _Lane] = {}
        self.size = 0
        self.number = 0
        self.body = bytearray()
        self.stored = False

    def add(self, batch: ProducedBatch, part: _Part) -> None:
        key = (batch.topic_id, batch.partition)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = _Lane(batch.topic_name)
        lane.parts.append(part)
        self.size += part.size

    def close(self, number: int) -> list[IndexRun]:
        """Lay the batches out, partition by partition; the views of the request frames are let go."""
        self.number = number
        views: list[memoryview] = []
        runs: list[IndexRun] = []
        position = HEAD_BYTES
        for (topic_id, partition), lane in self.lanes.items():
            length = sum(part.size for part in lane.parts)
            runs.append(IndexRun(topic_id, lane.topic_name, partition, position, length, len(lane.parts)))
            position += length
            for part in lane.parts:
                if part.data is not None:
                    views.append(part.data)
                    part.data = None
        self.body = bytearray().join(views)
        return runs

    def drop_settled(self) -> None:
        """Leave out, before the flush is closed, what its producers have been told failed."""
        for key, lane in list(self.lanes.items()):
            lane.parts = [part for part in lane.parts if not part.settled]
            if not lane.parts:
                del self.lanes[key]

    def release_if_settled(self) -> None:
        """Give up the body of a stored flush that nobody waits for any more."""
        if self.stored and all(part.settled for _, part in self.parts()):
            self.body = bytearray()

    def parts(self) -> Iterator[tuple[PartitionKey, _Part]]:
        for key, lane in self.lanes.items():
            for part in lane.parts:
                yield key, part

    def stretches(self) -> Iterator[_Stretch]:
        """Yield what is to be committed: settled batches leave gaps, long lanes are cut."""
        position = HEAD_BYTES
        for (topic_id, partition), lane in self.lanes.items():
            current: list[_Part] = []
            start = position
            for part in lane.parts:
                if current and (part.settled or len(current) == ROWS_PER_PARTITION_MAX):
                    yield _Stretch(topic_id, partition, start, current)
                    current = []
                if not part.settled:
                    if not current:
                        start = position
                    current.append(part)
                position += part.size
            if current:
                yield _Stretch(topic_id, partition, start, current)


class WritePath:
    """Flushes of one broker incarnation. `done` callbacks run one turn of the event loop after the verdicts."""

    def __init__(
        self,
        store: ObjectStore,
        appender: Appender,
        tail: RunCache,
        clock: Clock,
        incarnation: int,
        *,
        flush_bytes: int,
        puts_max: int,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._appender = appender
        self._tail = tail
        self._clock = clock
        self._incarnation = incarnation
        self._flush_bytes = flush_bytes
        self._puts_max = puts_max
        self._on_failure = on_failure
        self._open = _Flush()
        self._closed: deque[_Flush] = deque()
        """Full flushes that wait for a PUT slot."""
        self._uncommitted: deque[_Flush] = deque()
        """Flushes being stored, and stored ones behind them, in flush order."""
        self._undecided: dict[int, None] = {}
        self._owed: dict[tuple[PartitionKey, int], _Owed] = {}
        self._number = 0
        self._puts = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._close_scheduled = False
        self._is_broken = False
        """A PUT failed in a way that must not happen: the process is stopping, and nothing further is stored."""
        appender.resolved_below = self._resolved_below

    def append(self, batches: list[ProducedBatch], connection_id: int, timeout_seconds: float, done: Results) -> None:
        """Take the batches of one request; `done` gets one result per batch, in order, when all are decided."""
        loop = asyncio.get_running_loop()
        request = _Request(len(batches), loop.time() + timeout_seconds, done)
        refused: list[_Part] = []
        for slot, batch in enumerate(batches):
            part = _Part(batch, connection_id, request, slot)
            if self._owed and self._overtakes(batch):
                refused.append(part)
            else:
                self._open.add(batch, part)
        for part in refused:
            part.settle(_STORAGE_FAILED)
        if self._open.size >= self._flush_bytes:
            self._closed.append(self._open)
            self._open = _Flush()
        self._schedule()

    async def run_sweep(self) -> None:
        """Drop, for ever, batches whose request timed out before they could be appended."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Drop batches whose request timed out; what the same senders sent later to the same partition goes too."""
        now = asyncio.get_running_loop().time()
        expired: set[tuple[PartitionKey, int]] = set()
        for flush in self._unsubmitted():
            for key, part in flush.parts():
                if not part.settled and part.request.deadline <= now:
                    expired.add((key, part.sender))
                    self._fail_part(key, part, _TIMED_OUT)
        if expired:
            self._fail_senders(expired, self._unsubmitted())
        for flush in self._uncommitted:
            flush.release_if_settled()

    async def close(self) -> None:
        """Flush and commit everything that was taken, then stop."""
        self._schedule()
        while self._tasks or ((self._closed or self._open.lanes) and not self._is_broken):
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)

    def _schedule(self) -> None:
        if self._puts < self._puts_max and not self._close_scheduled and (self._open.lanes or self._closed):
            self._close_scheduled = True
            # One turn of the event loop later, so that everything that has arrived shares the flush.
            asyncio.get_running_loop().call_soon(self._start_puts)

    def _start_puts(self) -> None:
        self._close_scheduled = False
        while self._puts < self._puts_max and (self._closed or self._open.lanes):
            if self._closed:
                flush = self._closed.popleft()
            else:
                flush, self._open = self._open, _Flush()
            flush.drop_settled()
            if flush.lanes:
                self._start_put(flush)

    def _start_put(self, flush: _Flush) -> None:
        self._number += 1
        self._undecided[self._number] = None
        runs = flush.close(self._number)
        self._uncommitted.append(flush)
        self._puts += 1
        task = asyncio.get_running_loop().create_task(self._put(flush, runs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _put(self, flush: _Flush, runs: list[IndexRun]) -> None:
        tail = encode_tail([flush.body], runs, self._incarnation, flush.number, self._clock.wall_ms())
        try:
            await self._store.put(flush_key(self._incarnation, flush.number), (HEAD, flush.body, tail))
        except StorageUnavailable as error:
            _log.error("flush %d of %d bytes could not be stored: %s", flush.number, flush.size, error)
            self._fail(flush)
        except Exception as error:  # noqa: BLE001 - whatever it is, later flushes must not wait behind this one
            self._is_broken = True
            self._on_failure(error)
            return
        else:
            flush.stored = True
            flush.release_if_settled()
        finally:
            self._puts -= 1
        self._commit_stored()
        self._schedule()

    def _commit_stored(self) -> None:
        while self._uncommitted and self._uncommitted[0].stored:
            self._commit(self._uncommitted.popleft())

    def _commit(self, flush: _Flush) -> None:
        commands = list(_split_commands(flush.stretches()))
        if not commands:
            self._undecided.pop(flush.number, None)
            return
        for number, stretches in enumerate(commands, start=1):
            self._submit(flush, stretches, is_last=number == len(commands))

    def _submit(self, flush: _Flush, stretches: list[_Stretch], *, is_last: bool) -> None:
        command = AppendBatches(
            object_number=flush.number,
            partitions=[
                PartitionBatches(
                    stretch.topic_id,
                    stretch.partition,
                    stretch.position,
                    b"".join([part.facts for part in stretch.parts]),
                )
                for stretch in stretches
            ],
        )

        def done(outcome: Outcome | Exception) -> None:
            if is_last:
                self._undecided.pop(flush.number, None)
            if isinstance(outcome, AppendOutcome):
                # A cached run that is a view keeps the whole body alive: not worth it where little was accepted.
                share_body = 2 * _accepted_bytes(stretches, outcome) >= len(flush.body)
                for stretch, verdicts in zip(stretches, outcome.partitions, strict=True):
                    self._settle(flush, stretch, verdicts, share_body=share_body)
            else:
                _log.error("flush %d could not be committed: %s", flush.number, outcome)
                parts = [(_key(stretch), part) for stretch in stretches for part in stretch.parts]
                self._fail_parts(parts, self._unsubmitted())

        self._appender.append(command, done)

    def _settle(self, flush: _Flush, stretch: _Stretch, verdicts: PartitionVerdicts, *, share_body: bool) -> None:
        self._cache_accepted(flush, stretch, verdicts.batches, share_body=share_body)
        for part, (verdict, base_offset) in zip(stretch.parts, verdicts.batches, strict=True):
            part.settle(BatchResult(verdict, base_offset, verdicts.log_start_offset))

    def _cache_accepted(
        self, flush: _Flush, stretch: _Stretch, verdicts: list[BatchVerdict], *, share_body: bool
    ) -> None:
        """Put the accepted runs into the tail cache, split around rejected batches as `apply` has split them."""
        position = start = stretch.position - HEAD_BYTES
        base_offset = -1
        for part, judged in zip(stretch.parts, verdicts, strict=True):
            accepted = judged.verdict is Verdict.ACCEPTED
            if accepted and base_offset < 0:
                start, base_offset = position, judged.base_offset
            elif not accepted and base_offset >= 0:
                self._cache_run(flush, stretch, start, position, base_offset, share_body=share_body)
                base_offset = -1
            position += part.size
        if base_offset >= 0:
            self._cache_run(flush, stretch, start, position, base_offset, share_body=share_body)

    def _cache_run(
        self, flush: _Flush, stretch: _Stretch, start: int, end: int, base_offset: int, *, share_body: bool
    ) -> None:
        key = RunKey(stretch.topic_id, stretch.partition, base_offset)
        run = memoryview(flush.body)[start:end] if share_body else memoryview(flush.body[start:end])
        try:
            self._tail.put(key, place_run(run, base_offset))
        except DataCorrupt as error:
            raise Bug(f"a validated batch is not one: {error}") from error

    def _fail(self, flush: _Flush) -> None:
        """Give up a flush that is not stored; the ones in front of it can still be committed."""
        self._undecided.pop(flush.number, None)
        position = self._uncommitted.index(flush)
        del self._uncommitted[position]
        self._fail_parts(list(flush.parts()), self._unsubmitted()[position:])

    def _fail_parts(self, parts: list[tuple[PartitionKey, _Part]], later: list[_Flush]) -> None:
        senders = {(key, part.sender) for key, part in parts if not part.settled}
        for key, part in parts:
            self._fail_part(key, part, _STORAGE_FAILED)
        self._fail_senders(senders, later)

    def _fail_senders(self, senders: set[tuple[PartitionKey, int]], later: list[_Flush]) -> None:
        for flush in later:
            for key, part in flush.parts():
                if (key, part.sender) in senders:
                    self._fail_part(key, part, _STORAGE_FAILED)

    def _fail_part(self, key: PartitionKey, part: _Part, result: BatchResult) -> None:
        if part.sender >= 0 and not part.settled:
            *_, epoch, base_sequence = BATCH_FACTS.unpack(part.facts)
            known = self._owed.get((key, part.sender), _Owed(-1, 0))
            if epoch > known.epoch or (epoch == known.epoch and _is_before(base_sequence, known.base_sequence)):
                self._owed[key, part.sender] = _Owed(epoch, base_sequence)
                if len(self._owed) > OWED_MAX:
                    del self._owed[next(iter(self._owed))]
        part.settle(result)

    def _overtakes(self, batch: ProducedBatch) -> bool:
        """Tell whether a batch of a producer the log does not know is behind one that failed and is still missing."""
        header = batch.header
        sender = ((batch.topic_id, batch.partition), header.producer_id)
        owed = self._owed.get(sender)
        if owed is None:
            return False
        partition = self._appender.state.partition(batch.topic_id, batch.partition)
        is_known = partition is None or header.producer_id in partition.producers
        if is_known or owed.epoch != header.producer_epoch or owed.base_sequence == header.base_sequence:
            del self._owed[sender]
            return False
        return _is_before(owed.base_sequence, header.base_sequence)

    def _unsubmitted(self) -> list[_Flush]:
        return [*self._uncommitted, *self._closed, self._open]

    def _resolved_below(self) -> int:
        return next(iter(self._undecided), self._number + 1)


def _is_before(sequence: int, other: int) -> bool:
    """Compare two sequences of one producer; they wrap, but are never half of all apart."""
    return 0 < ((other - sequence) & SEQUENCE_MAX) <= SEQUENCE_MAX // 2


def _accepted_bytes(stretches: list[_Stretch], outcome: AppendOutcome) -> int:
    return sum(
        part.size
        for stretch, verdicts in zip(stretches, outcome.partitions, strict=True)
        for part, judged in zip(stretch.parts, verdicts.batches, strict=True)
        if judged.verdict is Verdict.ACCEPTED
    )


def _key(stretch: _Stretch) -> PartitionKey:
    return (stretch.topic_id, stretch.partition)


def _split_commands(stretches: Iterator[_Stretch]) -> Iterator[list[_Stretch]]:
    command: list[_Stretch] = []
    size = 0
    for stretch in stretches:
        needed = STRETCH_BYTES_MAX + len(stretch.parts) * BATCH_FACTS.size
        if command and size + needed > APPEND_BYTES_MAX:
            yield command
            command, size = [], 0
        command.append(stretch)
        size += needed
    if command:
        yield command
