"""Fakes around the metadata log: a log that a test steers, and the parts of a broker that live on it."""

import asyncio
from collections import deque
from collections.abc import Sequence

from kafscale.clock import SeededClock
from kafscale.metadata.appender import Appender
from kafscale.metadata.entries import Entry, decode_entry, encode_entry
from kafscale.metadata.log import AppendUid, CheckpointPointer, LoadedLog, LogEntry, LogFollower
from kafscale.metadata.memory import MemoryLog, MemoryLogStorage
from kafscale.metadata.replica import Replica
from kafscale.metadata.state.cluster import ClusterState

INCARNATION = 7


class SteeredLog:
    """A log in memory in which the test decides when and how appends and barriers end.

    `append_faults` and `barrier_faults` are raised by the next calls, one each. With `holds_barriers` a barrier reads
    the end and then waits until the test releases it; likewise appends with `holds_appends`, before they write.
    """

    def __init__(self, storage: MemoryLogStorage | None = None) -> None:
        self.storage = storage or MemoryLogStorage()
        self.memory = MemoryLog(self.storage)
        self.append_faults: deque[Exception | None] = deque()
        self.writes_before_fault = False
        self.barrier_faults: deque[Exception | None] = deque()
        self.holds_appends = False
        self.holds_barriers = False
        self.held: list[asyncio.Future[None]] = []
        self.appends: list[tuple[AppendUid, bytes]] = []
        self.appending = 0
        self.barriers = 0

    def written(self) -> list[Entry]:
        """Return all entries in the log."""
        return [decode_entry(one.payload) for one in self.storage.read(0, self.storage.end)]

    def release(self, error: Exception | None = None) -> None:
        """Let the oldest held call go on."""
        held = self.held.pop(0)
        if error is None:
            held.set_result(None)
        else:
            held.set_exception(error)

    async def _hold(self) -> None:
        self.held.append(asyncio.get_running_loop().create_future())
        await self.held[-1]

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        self.appends.append((uid, payload))
        self.appending += 1
        assert self.appending == 1, "two appends in flight"
        try:
            if self.holds_appends:
                await self._hold()
            fault = self.append_faults.popleft() if self.append_faults else None
            if fault is None or self.writes_before_fault:
                position = await self.memory.append(uid, payload)
            if fault is not None:
                raise fault
            return position
        finally:
            self.appending -= 1

    async def barrier(self) -> int:
        self.barriers += 1
        if self.barrier_faults and (fault := self.barrier_faults.popleft()) is not None:
            raise fault
        end = await self.memory.barrier()
        if self.holds_barriers:
            await self._hold()
        return end

    async def load(self) -> LoadedLog:
        return await self.memory.load()

    async def read(self, after: int, up_to: int) -> Sequence[LogEntry]:
        return await self.memory.read(after, up_to)

    def follow(self, after: int, follower: LogFollower) -> None:
        self.memory.follow(after, follower)

    async def seal(self) -> int:
        return await self.memory.seal()

    async def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        await self.memory.install_checkpoint(pointer)

    async def close(self) -> None:
        await self.memory.close()


class Node:
    """Replica and appender of one broker."""

    def __init__(self, log: SteeredLog, incarnation: int = INCARNATION) -> None:
        self.log = log
        self.failures: list[Exception] = []
        self.replica = Replica(log, ClusterState(), 0, incarnation, self.failures.append)
        self.replica.start()
        self.clock = SeededClock(1, lambda: 0.0)
        self.appender = Appender(log, self.replica, self.clock, incarnation, self.failures.append)


def write(log: SteeredLog, *entries: Entry) -> int:
    """Put entries into the log as if another broker had; returns its end."""
    for one in entries:
        log.storage.append(AppendUid(one.incarnation, one.number), encode_entry(one))
    return log.storage.end


async def turns(count: int = 10) -> None:
    """Let everything happen that needs no time to pass."""
    for _ in range(count):
        await asyncio.sleep(0)
