"""The metadata log of a single process: one SQLite file, one writer thread.

Invariants: an append is acknowledged after its transaction is durable, and after the follower has been given its entry
(unless the follower is still catching up). What the loop knows as the end is what has been acknowledged, so `barrier`
and `seal` answer without asking the thread. After a failure that leaves the file in doubt everything fails with
`FatalLogFailure`, the follower is told, and the file is not touched again.

A seal is not stored: nobody but this process reads the log, and a checkpoint that was not installed is simply begun
again. A seal made before `follow` is not delivered.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from kafscale.errors import Bug, FatalLogFailure, StorageUnavailable
from kafscale.metadata.feed import FollowerFeed
from kafscale.metadata.log import (
    ENTRY_BYTES_MAX,
    AppendUid,
    CheckpointPointer,
    LoadedLog,
    LogEntry,
    LogFollower,
)
from kafscale.metadata.sqlite_database import LogDatabase, NewEntry, ReadChunk
from kafscale.metadata.sqlite_writer import (
    CHUNK_BYTES_MAX,
    Append,
    Call,
    CatchUp,
    Close,
    Replies,
    Request,
    WalLimits,
    Writer,
)

_log = logging.getLogger(__name__)

REQUESTS_WAITING_MAX = 1024
"""The caller keeps one append in flight, so more than a few waiting is a fault of ours; refuse rather than grow."""

T = TypeVar("T")


class SqliteLog:
    """`MetadataLog` over one SQLite file. Made by `open`; all methods are called on the event loop it was opened on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._replies = Replies(self._requests)
        self._thread: threading.Thread | None = None
        self._checkpoints: tuple[CheckpointPointer, ...] = ()

    @classmethod
    async def open(
        cls, path: Path, *, database: Callable[[Path], LogDatabase] = LogDatabase, wal: WalLimits | None = None
    ) -> Self:
        """Open or create the log and check all of it. Raises `StartRefused`.

        `database` opens the file; tests give one on a simulated disk.
        """
        log = cls(asyncio.get_running_loop())
        await log._start(lambda: database(path), wal or WalLimits())
        return log

    async def _start(self, open_database: Callable[[], LogDatabase], wal: WalLimits) -> None:
        opened: asyncio.Future[LogDatabase] = self._loop.create_future()
        writer = Writer(self._replies, self._requests, self._loop, wal)
        # A daemon, so that a process that dies of an exception does not hang here; what is acknowledged is durable.
        self._thread = threading.Thread(
            target=writer.run, args=(open_database, opened), name="metadata-log", daemon=True
        )
        self._thread.start()
        try:
            database = await opened
        except asyncio.CancelledError:
            self._requests.put(Close(self._loop.create_future()))
            raise
        self._replies.end, self._checkpoints = database.end, database.checkpoints

    def _check_usable(self) -> None:
        failure = self._replies.failure
        if failure is not None:
            raise FatalLogFailure(str(failure)) from failure
        if self._replies.closing:
            raise StorageUnavailable("the metadata log is closed")
        if self._replies.waiting >= REQUESTS_WAITING_MAX:
            raise StorageUnavailable(f"{self._replies.waiting} requests wait for the metadata log")

    async def _call(self, function: Callable[[LogDatabase], T]) -> T:
        self._check_usable()
        waiter: asyncio.Future[T] = self._loop.create_future()
        self._replies.put(Call(function, waiter))
        return await waiter

    async def load(self) -> LoadedLog:
        self._check_usable()
        return LoadedLog(checkpoints=self._checkpoints, end=self._replies.end)

    async def read(self, after: int, up_to: int) -> Sequence[LogEntry]:
        entries: list[LogEntry] = []
        complete = False
        while not complete:
            chunk = await self._call(_reading(entries[-1].position if entries else after, up_to))
            entries += chunk.entries
            complete = chunk.complete
        return entries

    def follow(self, after: int, follower: LogFollower) -> None:
        self._check_usable()
        if self._replies.feed is not None:
            raise Bug("a log object has one follower")
        self._replies.feed = FollowerFeed(follower, after)
        self._replies.put(CatchUp(after))

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        self._check_usable()
        if len(payload) > ENTRY_BYTES_MAX:
            raise Bug(f"an entry of {len(payload)} bytes; the limit is {ENTRY_BYTES_MAX}")
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._replies.put(Append(NewEntry(uid, payload), waiter))
        return await waiter

    async def barrier(self) -> int:
        self._check_usable()
        return self._replies.end

    async def seal(self) -> int:
        self._check_usable()
        if self._replies.feed is not None:
            self._replies.feed.seal(self._replies.end)
        return self._replies.end

    async def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        self._checkpoints = await self._call(_installing(pointer))
        try:
            # In slices, each a request of its own, so that appends go in between.
            while await self._call(LogDatabase.truncate):
                pass
        except StorageUnavailable as error:
            # The pointer is installed, so this must not be told as a failure; truncation resumes with the next one.
            _log.warning("entries that no checkpoint needs stay in the log for now: %s", error)

    async def close(self) -> None:
        if not self._replies.closing:
            self._replies.closing = True
            if self._replies.failure is None:
                waiter: asyncio.Future[None] = self._loop.create_future()
                self._replies.put(Close(waiter))
                await waiter
        if self._thread is not None:
            # It has nothing left to do but return.
            self._thread.join()


def _reading(after: int, up_to: int) -> Callable[[LogDatabase], ReadChunk]:
    return lambda database: database.read(after, up_to, CHUNK_BYTES_MAX)


def _installing(pointer: CheckpointPointer) -> Callable[[LogDatabase], tuple[CheckpointPointer, ...]]:
    def install(database: LogDatabase) -> tuple[CheckpointPointer, ...]:
        database.install_checkpoint(pointer)
        return database.checkpoints

    return install
