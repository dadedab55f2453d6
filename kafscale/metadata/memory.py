"""A metadata log in memory, for tests and the simulator: no threads, no clock, no randomness.

`MemoryLogStorage` is what would survive a restart; each broker has a `MemoryLog` of its own over it, as it would have
over etcd. Invariants: as `kafscale.metadata.log` says, with positions that count from 1 without gaps. An append takes
effect, and reaches every follower, in one step of the event loop, before `append` returns.
"""

import asyncio
from collections.abc import Sequence

from kafscale.errors import Bug, StorageUnavailable
from kafscale.metadata.feed import FollowerFeed
from kafscale.metadata.log import (
    ENTRY_BYTES_MAX,
    AppendUid,
    CheckpointPointer,
    LoadedLog,
    LogEntry,
    LogFollower,
)

CHECKPOINTS_KEPT = 2
"""As every log backend keeps."""


class MemoryLogStorage:
    """The log itself. Not an interface of its own: go through `MemoryLog`."""

    def __init__(self) -> None:
        self.checkpoints: tuple[CheckpointPointer, ...] = ()
        self.end = 0
        self.feeds: list[FollowerFeed] = []
        self._entries: list[LogEntry] = []
        self._positions: dict[AppendUid, int] = {}

    @property
    def floor(self) -> int:
        """Position up to which no kept checkpoint needs the entries."""
        return self.checkpoints[-1].position if len(self.checkpoints) == CHECKPOINTS_KEPT else 0

    def append(self, uid: AppendUid, payload: bytes) -> int:
        """Append and deliver; an entry that is in the log already stays where it is."""
        position = self._positions.get(uid)
        if position is not None:
            return position
        self.end += 1
        entry = LogEntry(self.end, payload)
        self._entries.append(entry)
        self._positions[uid] = entry.position
        for feed in self.feeds:
            feed.entries([entry])
        return entry.position

    def read(self, after: int, up_to: int) -> list[LogEntry]:
        """Return the entries with after < position <= up_to."""
        if after < self.floor:
            raise Bug(f"entries after {after} were asked for, but those up to {self.floor} are truncated")
        return self._entries[after - self.floor : max(up_to - self.floor, 0)]

    def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        """Keep `pointer` and the one before it, and truncate."""
        if self.checkpoints and pointer == self.checkpoints[0]:
            return
        if not (self.checkpoints[0].position if self.checkpoints else 0) <= pointer.position <= self.end:
            raise Bug(f"checkpoint {pointer} does not lie between the newest one and the end {self.end}")
        self.checkpoints = (pointer, *self.checkpoints)[:CHECKPOINTS_KEPT]
        self._entries = [entry for entry in self._entries if entry.position > self.floor]
        self._positions = {uid: position for uid, position in self._positions.items() if position > self.floor}


class MemoryLog:
    """`MetadataLog` over a `MemoryLogStorage`, which it may share with the logs of other brokers."""

    def __init__(self, storage: MemoryLogStorage | None = None) -> None:
        self._storage = storage or MemoryLogStorage()
        self._feed: FollowerFeed | None = None
        self._closed = False

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageUnavailable("the metadata log is closed")

    async def load(self) -> LoadedLog:
        self._check_usable()
        return LoadedLog(checkpoints=self._storage.checkpoints, end=self._storage.end)

    async def read(self, after: int, up_to: int) -> Sequence[LogEntry]:
        self._check_usable()
        return self._storage.read(after, up_to)

    def follow(self, after: int, follower: LogFollower) -> None:
        self._check_usable()
        if self._feed is not None:
            raise Bug("a log object has one follower")
        self._feed = FollowerFeed(follower, after)
        self._feed.entries(self._storage.read(after, self._storage.end))
        self._storage.feeds.append(self._feed)

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        self._check_usable()
        if len(payload) > ENTRY_BYTES_MAX:
            raise Bug(f"an entry of {len(payload)} bytes; the limit is {ENTRY_BYTES_MAX}")
        # Others get their turn here, as they would during a real append.
        await asyncio.sleep(0)
        self._check_usable()
        return self._storage.append(uid, payload)

    async def barrier(self) -> int:
        self._check_usable()
        return self._storage.end

    async def seal(self) -> int:
        self._check_usable()
        for feed in self._storage.feeds:
            feed.seal(self._storage.end)
        return self._storage.end

    async def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        self._check_usable()
        self._storage.install_checkpoint(pointer)

    async def close(self) -> None:
        self._closed = True
        if self._feed in self._storage.feeds:
            self._storage.feeds.remove(self._feed)
