"""The writer thread of `kafscale.metadata.sqlite`, and what its answers do on the event loop.

The event loop puts requests into a queue; the thread takes everything that waits there, appends it as one transaction
(group commit) and hands results and followed entries back with one wake-up of the loop. `Replies` lives on the loop,
`Writer` in the thread; they share nothing but the queue.
"""

import asyncio
import logging
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from kafscale.errors import Bug, DataCorrupt, FatalLogFailure, StorageUnavailable
from kafscale.metadata.feed import FollowerFeed
from kafscale.metadata.log import AppendUid, LogEntry
from kafscale.metadata.sqlite_database import LogDatabase, NewEntry, ReadChunk

_log = logging.getLogger(__name__)

GROUP_BYTES_MAX = 8 * 1024 * 1024
"""Payload in one transaction. More would delay the first append of the group without saving another fsync."""

CHUNK_BYTES_MAX = 1024 * 1024
"""Payload read in one go for `read` and `follow`, so that an append waits about a millisecond for a reader."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WalLimits:
    """When the writer thread copies the WAL into the database.

    `bytes_max`: at once, after the commit that reached it was acknowledged. The WAL file never shrinks and is written
    over from its start, so this bounds it (one transaction more at most) and the time a start needs to read it.
    `idle_bytes`, `idle_seconds`: earlier, when nothing has been asked for that long, so that a log with pauses does the
    copying in them. A copy costs two fsyncs and a page write per page changed, 1 to 3 ms.
    """

    bytes_max: int = 4 * 1024 * 1024
    idle_bytes: int = 1024 * 1024
    idle_seconds: float = 0.02


@dataclass(slots=True)
class Append:
    """Append one entry; the waiter gets its position."""

    entry: NewEntry
    waiter: asyncio.Future[int]


@dataclass(slots=True)
class Call:
    """Run `function` in the writer thread and give its result to the waiter."""

    function: Callable[[LogDatabase], Any]
    waiter: asyncio.Future[Any]


@dataclass(slots=True)
class CatchUp:
    """Give the follower the entries after `after`, one chunk of them; then again, until it is at the end."""

    after: int


@dataclass(slots=True)
class Close:
    """Close the file and end the thread."""

    waiter: asyncio.Future[None]


Request: TypeAlias = Append | Call | CatchUp | Close


class Replies:
    """The loop's side: counts the requests under way and applies the thread's answers, each a callback on the loop."""

    def __init__(self, requests: queue.SimpleQueue[Request]) -> None:
        self._requests = requests
        self.waiting = 0
        """Requests put and not answered yet."""
        self.end = 0
        """Position of the last entry whose append was acknowledged."""
        self.feed: FollowerFeed | None = None
        self.failure: FatalLogFailure | None = None
        self.closing = False

    def put(self, request: Request) -> None:
        """Hand a request to the thread."""
        self.waiting += 1
        self._requests.put(request)

    def committed(
        self, waiters: Sequence[asyncio.Future[int]], results: Sequence[int], end: int, entries: Sequence[LogEntry]
    ) -> None:
        """Appends were committed: first the follower, then those who wait."""
        self.waiting -= len(waiters)
        self.end = end
        if entries and self.feed is not None:
            self.feed.entries(entries)
        for waiter, result in zip(waiters, results, strict=True):
            if not waiter.done():
                waiter.set_result(result)

    def answered(self, waiter: asyncio.Future[Any], result: object) -> None:
        self.waiting -= 1
        if not waiter.done():
            waiter.set_result(result)

    def refused(self, waiters: Sequence[asyncio.Future[Any]], error: Exception) -> None:
        self.waiting -= len(waiters)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def caught_up(self, chunk: ReadChunk) -> None:
        self.waiting -= 1
        if self.feed is None:
            raise Bug("entries were read for a follower that is not there")
        self.feed.entries(chunk.entries)
        if not chunk.complete and self.failure is None and not self.closing:
            self.put(CatchUp(self.feed.delivered))

    def failed(self, error: FatalLogFailure, requests: list[Request]) -> None:
        """The thread has stopped for good, with `requests` in its hand."""
        self.failure = error
        while not self._requests.empty():
            requests.append(self._requests.get_nowait())
        self.refused([request.waiter for request in requests if not isinstance(request, CatchUp)], error)
        if self.feed is not None:
            self.feed.failed(error)


class Writer:
    """The thread's side. Everything but `__init__` runs in the thread."""

    def __init__(
        self,
        replies: Replies,
        requests: queue.SimpleQueue[Request],
        loop: asyncio.AbstractEventLoop,
        wal: WalLimits,
    ) -> None:
        self._replies = replies
        self._requests = requests
        self._loop = loop
        self._wal = wal
        self._copy_at_bytes = wal.bytes_max
        self._database: LogDatabase
        self._followed: int | None = None
        """Position up to which the follower has been given entries; at the end of the log it gets new ones at once."""
        self._in_hand: list[Request] = []
        self._running = True

    def run(self, open_database: Callable[[], LogDatabase], opened: asyncio.Future[LogDatabase]) -> None:
        """Body of the thread."""
        try:
            self._database = open_database()
        except Exception as error:  # noqa: BLE001 - raised again by the one who awaits `open`
            self._post(_fail, opened, error)
            return
        self._post(_succeed, opened, self._database)
        try:
            while self._running:
                self._take()
                self._work()
                self._copy_wal_if_full()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must learn that this thread is gone
            failure = error if isinstance(error, FatalLogFailure) else _unforeseen(error)
            # First of all: should closing fail too, everybody who waits has learned of the failure.
            self._post(self._replies.failed, failure, self._in_hand)
            self._abandon()

    def _abandon(self) -> None:
        try:
            self._database.abandon()
        except Exception:  # noqa: BLE001 - there is nobody left to raise it to
            _log.exception("the metadata log's file could not be closed after a failure")

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The loop was closed without closing the log: nobody is left to tell.
            self._running = False

    def _take(self) -> None:
        """Wait for requests and take those that can go into one transaction."""
        self._in_hand = [self._next()]
        size = 0
        while size < GROUP_BYTES_MAX:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            self._in_hand.append(request)
            if isinstance(request, Append):
                size += len(request.entry.payload)

    def _next(self) -> Request:
        if self._database.wal_bytes < self._wal.idle_bytes:
            return self._requests.get()
        try:
            return self._requests.get(timeout=self._wal.idle_seconds)
        except queue.Empty:
            self._copy_wal()
            return self._requests.get()

    def _work(self) -> None:
        """Answer everything in hand, appends first: the others lose nothing by it."""
        appends = [request for request in self._in_hand if isinstance(request, Append)]
        if appends:
            self._append(appends)
        for request in self._in_hand:
            match request:
                case Append():
                    pass
                case Call(function, waiter):
                    self._answer(function, waiter)
                case CatchUp(after):
                    self._catch_up(after)
                case Close(waiter):
                    self._close(waiter)
        self._in_hand = []

    def _append(self, appends: list[Append]) -> None:
        database = self._database
        before = database.end
        fresh: dict[AppendUid, int] = {}
        batch: list[NewEntry] = []
        results: list[int] = []
        for append in appends:
            uid = append.entry.uid
            position = database.position_of(uid) or fresh.get(uid)
            if position is None:
                batch.append(append.entry)
                position = fresh[uid] = before + len(batch)
            results.append(position)
        waiters = [append.waiter for append in appends]
        try:
            if batch:
                database.append(batch)
        except StorageUnavailable as error:
            self._post(self._replies.refused, waiters, error)
            return
        self._post(self._replies.committed, waiters, results, database.end, self._to_follow(before, batch))

    def _to_follow(self, before: int, batch: list[NewEntry]) -> list[LogEntry]:
        if self._followed != before:
            return []
        self._followed = self._database.end
        return [LogEntry(position, entry.payload) for position, entry in enumerate(batch, before + 1)]

    def _answer(self, function: Callable[[LogDatabase], Any], waiter: asyncio.Future[Any]) -> None:
        try:
            result = function(self._database)
        except (StorageUnavailable, DataCorrupt, Bug) as error:
            self._post(self._replies.refused, [waiter], error)
        else:
            self._post(self._replies.answered, waiter, result)

    def _catch_up(self, after: int) -> None:
        chunk = self._database.read(after, self._database.end, CHUNK_BYTES_MAX)
        self._followed = chunk.entries[-1].position if chunk.entries else after
        self._post(self._replies.caught_up, chunk)

    def _close(self, waiter: asyncio.Future[None]) -> None:
        self._running = False
        self._database.close()
        self._post(self._replies.answered, waiter, None)

    def _copy_wal_if_full(self) -> None:
        if self._running and self._database.wal_bytes >= self._copy_at_bytes:
            self._copy_wal()

    def _copy_wal(self) -> None:
        if self._database.checkpoint_wal():
            self._copy_at_bytes = self._wal.bytes_max
        else:
            # No room in the database file. Each try writes all over again, so wait for as much WAL once more.
            self._copy_at_bytes = self._database.wal_bytes + self._wal.bytes_max


def _succeed(waiter: asyncio.Future[T], result: T) -> None:
    if not waiter.done():
        waiter.set_result(result)


def _fail(waiter: asyncio.Future[Any], error: Exception) -> None:
    if not waiter.done():
        waiter.set_exception(error)


def _unforeseen(error: Exception) -> FatalLogFailure:
    failure = FatalLogFailure(f"the metadata log's writer thread died: {error!r}")
    failure.__cause__ = error
    return failure
