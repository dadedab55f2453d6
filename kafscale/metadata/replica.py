"""A broker's copy of the cluster state: follows the log, applies it in order, and tells who waits.

Everything that reads state reads this copy; what must not be stale passes `barrier` first. Outcomes of the broker's own
entries are handed to the callbacks registered with `expect`, in the same step in which the entry was applied, before
any observer hears of it: so a write is in the tail cache before the first fetch wakes up for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from kafscale.errors import Bug
from kafscale.metadata.entries import AppendBatches, Entry, decode_entry
from kafscale.metadata.log import LogEntry, MetadataLog
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import hash_steps
from kafscale.metadata.state.outcomes import AppendOutcome, Outcome

_log = logging.getLogger(__name__)

OutcomesCallback = Callable[[list[Outcome]], None]


class AppendObserver(Protocol):
    """Hears which partitions have grown, after the entry that did it was applied."""

    def appended(self, command: AppendBatches, outcome: AppendOutcome) -> None: ...


class Replica:
    """Cluster state as of `position`. Implements `LogFollower`."""

    def __init__(
        self,
        log: MetadataLog,
        state: ClusterState,
        position: int,
        incarnation: int,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.state = state
        self.position = position
        self.entries_applied = 0
        self.bytes_applied = 0
        self._seals: dict[int, bytes] = {}
        self._sealing: dict[int, asyncio.Future[bytes]] = {}
        self._failure: Exception | None = None
        self._log = log
        self._incarnation = incarnation
        self._on_failure = on_failure
        self._queue: deque[LogEntry | int] = deque()
        self._applying: Iterator[None] | None = None
        self._expected: dict[int, OutcomesCallback] = {}
        self._observers: list[AppendObserver] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._barrier: asyncio.Task[None] | None = None
        self._next_barrier: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow the log from the current position."""
        self._log.follow(self.position, self)

    def observe(self, observer: AppendObserver) -> None:
        self._observers.append(observer)

    def expect(self, number: int, callback: OutcomesCallback) -> None:
        """Call `callback` with the outcomes when the own entry `number` is applied."""
        self._expected[number] = callback

    def forget(self, number: int) -> bool:
        """Stop expecting an own entry; tells whether it was still expected, so that nobody is answered twice."""
        return self._expected.pop(number, None) is not None

    def entries(self, entries: Sequence[LogEntry]) -> None:
        self._take(entries)

    def sealed(self, position: int) -> None:
        self._take((position,))

    def failed(self, error: Exception) -> None:
        """Nothing more is applied: the process must stop, and whoever waits learns it too."""
        if self._failure is not None:
            return
        self._failure = error
        self._on_failure(error)
        futures: list[asyncio.Future[Any]] = [future for _, future in self._waiting]
        futures += self._sealing.values()
        for future in futures:
            if not future.done():
                future.set_exception(error)

    async def wait_applied(self, position: int) -> None:
        """Return once everything up to `position` is applied. Raises what ended the applying before that."""
        if self.position >= position:
            return
        if self._failure is not None:
            raise self._failure
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, future))
        await future

    async def hash_at_seal(self, position: int) -> bytes:
        """Return this broker's state hash at a seal, once it has applied everything before it."""
        if position in self._seals:
            return self._seals.pop(position)
        if self._failure is not None:
            raise self._failure
        self._sealing[position] = asyncio.get_running_loop().create_future()
        return await self._sealing[position]

    async def barrier(self) -> None:
        """Linearizable read: on return, everything acknowledged before the call is in the state.

        A caller may not join a barrier that has already read the log's end, so whoever comes while one runs shares
        the next. Raises `StorageUnavailable` when the log's end cannot be read.
        """
        if self._barrier is None:
            self._barrier = asyncio.ensure_future(self._run_barrier())
            await asyncio.shield(self._barrier)
            return
        if self._next_barrier is None:
            self._next_barrier = asyncio.ensure_future(self._run_next_barrier(self._barrier))
        await asyncio.shield(self._next_barrier)

    async def _run_barrier(self) -> None:
        try:
            await self.wait_applied(await self._log.barrier())
        finally:
            self._barrier = None

    async def _run_next_barrier(self, current: "asyncio.Task[None]") -> None:
        await asyncio.wait((current,))
        self._barrier, self._next_barrier = self._next_barrier, None
        await self._run_barrier()

    def _take(self, items: Iterable[LogEntry | int]) -> None:
        if self._failure is not None:
            return
        self._queue.extend(items)
        if self._applying is None:
            self._drain()

    def _drain(self) -> None:
        if self._failure is not None:
            return
        try:
            self._apply_queue()
        except Exception as error:  # noqa: BLE001 - whatever it is, half an entry may be applied
            bug = Bug(f"applying the metadata log failed after position {self.position}: {error!r}")
            bug.__cause__ = error
            _log.critical("half an entry may be applied", exc_info=bug)
            self.failed(bug)

    def _apply_queue(self) -> None:
        while self._queue:
            item = self._queue[0]
            if self._applying is None:
                self._applying = self._hash_at(item) if isinstance(item, int) else self._apply(item)
            if next(self._applying, self) is not self:
                asyncio.get_running_loop().call_soon(self._drain)
                break
            self._applying = None
            self._queue.popleft()
        self._wake()

    def _apply(self, item: LogEntry) -> Iterator[None]:
        entry = decode_entry(item.payload)
        outcomes: list[Outcome] = []
        yield from self.state.steps(entry, outcomes)
        self.position = item.position
        self.entries_applied += 1
        self.bytes_applied += len(item.payload)
        self._publish(entry, outcomes)

    def _hash_at(self, position: int) -> Iterator[None]:
        digest = yield from hash_steps(self.state)
        future = self._sealing.pop(position, None)
        if future is None:
            self._seals[position] = digest
        elif not future.done():
            future.set_result(digest)

    def _publish(self, entry: Entry, outcomes: list[Outcome]) -> None:
        if entry.incarnation == self._incarnation:
            callback = self._expected.pop(entry.number, None)
            if callback is not None:
                callback(outcomes)
        for command, outcome in zip(entry.commands, outcomes, strict=bool(outcomes)):
            if isinstance(command, AppendBatches) and isinstance(outcome, AppendOutcome):
                for observer in self._observers:
                    observer.appended(command, outcome)

    def _wake(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for position, future in waiting:
            if position > self.position:
                self._waiting.append((position, future))
            elif not future.done():
                future.set_result(None)
