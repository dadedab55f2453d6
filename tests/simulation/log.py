"""A simulated metadata log: a storage that survives, and the handle that one broker process has on it.

The storage is `MemoryLogStorage`; here come time and faults. A request can be lost on its way (nothing is written), its
answer can be lost (it is written), or it can land long after the caller was told that nobody knows; the disk can be
full for a while. A follower hears of an entry before or after the append that wrote it returns.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Final

from kafscale.errors import Bug, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.feed import FollowerFeed
from kafscale.metadata.log import (
    ENTRY_BYTES_MAX,
    AppendUid,
    CheckpointPointer,
    LoadedLog,
    LogEntry,
    LogFollower,
)
from kafscale.metadata.memory import MemoryLogStorage
from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop
from tests.simulation.store import arrival_of_answer

USUAL_SECONDS: Final = 0.004
"""Way of a request and of its answer, together."""

SLOW_SECONDS: Final = (0.5, 5.0)
"""How long a slow request takes, at least and at most."""

LATE_FEED_SECONDS: Final = (0.1, 2.0)
"""How long a follower can be behind."""


class LogDisk:
    """The log itself, and whether it can be written. Shared by the handles of all processes.

    `late_s_max` is how long after its caller gave it up, or was killed, an append can still land: seconds for a log
    behind a network, 0 for a file, where it is there when the process is gone or never. It never lands behind a seal.
    """

    def __init__(self, loop: SimulatedLoop, dice: Dice, late_s_max: float = 5.0) -> None:
        self.loop = loop
        self.dice = dice
        self.late_s_max = late_s_max
        self.seals = 0
        self.storage = MemoryLogStorage()
        self._full_until_s = 0.0

    def fill_for(self, seconds: float) -> None:
        """Begin a time in which the disk is full: appends fail, reads go on."""
        self._full_until_s = self.loop.time() + seconds

    def heal(self) -> None:
        """Make room on the disk."""
        self._full_until_s = 0.0

    def is_full(self) -> bool:
        """Tell whether the disk is full now."""
        return self.loop.time() < self._full_until_s

    def maybe_land_late(self, uid: AppendUid, payload: bytes) -> None:
        """Let an append that nobody waits for any more take effect later, or not at all."""
        if self.dice.roll("log.lands_late"):
            delay_s = self.dice.between_s(0.0, self.late_s_max)
            self.loop.arrive(delay_s, self._land, uid, payload, self.seals)

    def _land(self, uid: AppendUid, payload: bytes, seals: int) -> None:
        if not self.is_full() and self.seals == seals:
            self.write(uid, payload)

    def write(self, uid: AppendUid, payload: bytes) -> int:
        """Append, as the storage does."""
        position = self.storage.append(uid, payload)
        self.loop.record(f"append {position} {uid.number} {len(payload)}")
        return position


class DelayedFeed(FollowerFeed):
    """Gives the follower everything in order, but later, and as a part of the process that follows."""

    def __init__(self, follower: LogFollower, after: int, disk: LogDisk, wanted: Callable[[], bool]) -> None:
        super().__init__(follower, after)
        self._disk = disk
        self._wanted = wanted
        self._context = copy_context()
        self._coming: deque[Callable[[], None]] = deque()

    def entries(self, entries: Sequence[LogEntry]) -> None:
        given = super().entries
        self._later(lambda: given(entries))

    def seal(self, position: int) -> None:
        given = super().seal
        self._later(lambda: given(position))

    def _later(self, deliver: Callable[[], None]) -> None:
        self._coming.append(deliver)
        dice = self._disk.dice
        late = dice.roll("log.late_feed")
        delay_s = dice.between_s(*LATE_FEED_SECONDS) if late else dice.delay_s(USUAL_SECONDS / 2)
        self._disk.loop.arrive(delay_s, self._give_next, context=self._context)

    def _give_next(self) -> None:
        # Whichever arrival comes first brings what is next in order.
        deliver = self._coming.popleft()
        if self._wanted():
            deliver()


class SimulatedLog:
    """`MetadataLog` of one process on a shared disk. After `crash` every call hangs for ever and no entry comes."""

    def __init__(self, disk: LogDisk) -> None:
        self._disk = disk
        self._loop = disk.loop
        self._dice = disk.dice
        self._feed: DelayedFeed | None = None
        self._closed = False
        self._crashed = False
        self._in_flight: tuple[AppendUid, bytes] | None = None

    def crash(self) -> None:
        """Cut the process off; an append that it sent already may still land."""
        self._crashed = True
        if self._in_flight is not None:
            self._disk.maybe_land_late(*self._in_flight)
        self._stop_following()

    async def load(self) -> LoadedLog:
        await self._travel()
        storage = self._disk.storage
        loaded = LoadedLog(checkpoints=storage.checkpoints, end=storage.end)
        await self._travel()
        return loaded

    async def read(self, after: int, up_to: int) -> Sequence[LogEntry]:
        await self._travel()
        return self._disk.storage.read(after, up_to)

    def follow(self, after: int, follower: LogFollower) -> None:
        if self._feed is not None:
            raise Bug("a log object has one follower")
        self._feed = DelayedFeed(follower, after, self._disk, self._is_open)
        past = self.past(after)
        if past:
            self._feed.entries(past)
        self._disk.storage.feeds.append(self._feed)

    def past(self, after: int) -> Sequence[LogEntry]:
        """Return what a follower gets at once."""
        return self._disk.storage.read(after, self._disk.storage.end)

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        if len(payload) > ENTRY_BYTES_MAX:
            raise Bug(f"an entry of {len(payload)} bytes; the limit is {ENTRY_BYTES_MAX}")
        if self._in_flight is not None:
            raise Bug("two appends in flight")
        self._in_flight = (uid, payload)
        try:
            return await self._append(uid, payload)
        finally:
            self._in_flight = None

    async def barrier(self) -> int:
        await self._travel()
        end = self._disk.storage.end
        await self._travel()
        return end

    async def seal(self) -> int:
        await self._travel()
        end = self._disk.storage.end
        self._disk.seals += 1
        for feed in self._disk.storage.feeds:
            feed.seal(end)
        await self._travel()
        return end

    async def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        await self._travel()
        self._disk.storage.install_checkpoint(pointer)
        await self._travel()

    async def close(self) -> None:
        while self._in_flight is not None:
            await self._travel()
        self._closed = True
        self._stop_following()

    async def _append(self, uid: AppendUid, payload: bytes) -> int:
        self._check_open()
        await self._travel()
        self._check_open()
        if self._disk.is_full() or self._dice.roll("log.unavailable"):
            raise StorageUnavailable("simulated: the log cannot be written")
        if self._dice.roll("log.lost_request"):
            self._disk.maybe_land_late(uid, payload)
            raise OutcomeUnknown("simulated: no answer")
        position = self._disk.write(uid, payload)
        await self._travel()
        if self._dice.roll("log.lost_reply"):
            raise OutcomeUnknown("simulated: the answer was lost")
        return position

    async def _travel(self) -> None:
        slow = self._dice.roll("log.slow")
        delay_s = self._dice.between_s(*SLOW_SECONDS) if slow else self._dice.delay_s(USUAL_SECONDS / 2)
        await arrival_of_answer(self._loop, delay_s, lambda: not self._crashed)

    def _is_open(self) -> bool:
        return not self._closed and not self._crashed

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("the metadata log is closed")

    def _stop_following(self) -> None:
        if self._feed in self._disk.storage.feeds:
            self._disk.storage.feeds.remove(self._feed)
