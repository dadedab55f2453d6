"""A simulated object store: a bucket that survives, and the handle that one broker process has on it.

Requests travel, take effect and are answered at different moments. Between them the caller may be cancelled or killed,
and the store may be out of order. A put whose caller went away can still land later.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from kafscale.errors import Bug, DataCorrupt, ObjectExists, ObjectMissing, StorageUnavailable
from kafscale.storage.objects.base import Buffer, ObjectInfo
from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop

T = TypeVar("T")

USUAL_SECONDS: Final = 0.01
"""Way of a request and of its answer, together."""

SLOW_SECONDS: Final = (1.0, 20.0)
"""How long a slow request takes, at least and at most."""

LANDS_LATE_SECONDS: Final = (0.0, 60.0)
"""How long after its caller went away a put can land."""


class StoredObject(NamedTuple):
    """One object in the bucket."""

    data: bytes
    stored_ms: int


class Bucket:
    """What the object store holds, and whether it is in order. Shared by the handles of all processes."""

    def __init__(self, loop: SimulatedLoop, dice: Dice, wall_ms: Callable[[], int]) -> None:
        self.loop = loop
        self.dice = dice
        self.wall_ms = wall_ms
        self.objects: dict[str, StoredObject] = {}
        self._out_until_s = 0.0

    def fail_for(self, seconds: float) -> None:
        """Begin an outage: every request fails."""
        self._out_until_s = self.loop.time() + seconds

    def heal(self) -> None:
        """End an outage."""
        self._out_until_s = 0.0

    def is_out(self) -> bool:
        """Tell whether there is an outage now."""
        return self.loop.time() < self._out_until_s

    def add(self, key: str, data: bytes) -> None:
        """Store an object. Raises `ObjectExists`."""
        if key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = StoredObject(data, self.wall_ms())
        self.loop.record(f"store {key} {len(data)}")


class SimulatedStore:
    """`ObjectStore` of one process on a shared bucket. After `crash` every call hangs for ever."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._loop = bucket.loop
        self._dice = bucket.dice
        self._crashed = False
        self._in_flight: dict[int, tuple[str, bytes]] = {}

    def crash(self) -> None:
        """Cut the process off; what it has asked for already may still land."""
        self._crashed = True
        for key, data in self._in_flight.values():
            self._maybe_land_late(key, data)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)
        number = self._loop.next_number()
        self._in_flight[number] = (key, data)
        try:
            await self._travel()
        except asyncio.CancelledError:
            self._maybe_land_late(key, data)
            raise
        finally:
            del self._in_flight[number]
        if self._dice.roll("store.unavailable") or self._bucket.is_out():
            raise StorageUnavailable(f"simulated: put {key}")
        if b"".join(parts) != data:
            raise Bug(f"the parts of {key} were changed while they were being stored")
        self._bucket.add(key, data)
        await self._travel()
        if self._dice.roll("store.put.lost_reply"):
            raise StorageUnavailable(f"simulated: reply to put {key} lost")

    async def get(self, key: str) -> bytes:
        return await self._read(key, lambda data: data)

    async def get_range(self, key: str, start: int, length: int) -> bytearray:
        data = await self._read(key, lambda data: bytearray(data[start : start + length]))
        if len(data) != length:
            raise DataCorrupt(f"{key} has {len(data)} bytes at {start}, not {length}")
        return data

    async def get_tail(self, key: str, length: int) -> bytes:
        return await self._read(key, lambda data: data[max(0, len(data) - length) :])

    async def delete(self, keys: Sequence[str]) -> None:
        await self._request("delete")
        for key in keys:
            self._bucket.objects.pop(key, None)
            self._loop.record(f"delete {key}")
        await self._travel()

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await self._request(f"list {prefix}")
        found = [(key, stored) for key, stored in self._bucket.objects.items() if key.startswith(prefix)]
        self._dice.random.shuffle(found)
        for key, stored in found:
            yield ObjectInfo(key=key, length=len(stored.data), stored_ms=stored.stored_ms)
        await self._travel()

    async def close(self) -> None:
        await self._travel()

    async def _read(self, key: str, cut: Callable[[bytes], T]) -> T:
        await self._request(f"get {key}")
        stored = self._bucket.objects.get(key)
        found = None if stored is None else cut(stored.data)
        await self._travel()
        if found is None:
            raise ObjectMissing(key)
        return found

    async def _request(self, what: str) -> None:
        await self._travel()
        if self._dice.roll("store.unavailable") or self._bucket.is_out():
            raise StorageUnavailable(f"simulated: {what}")

    async def _travel(self) -> None:
        slow = self._dice.roll("store.slow")
        delay_s = self._dice.between_s(*SLOW_SECONDS) if slow else self._dice.delay_s(USUAL_SECONDS / 2)
        await arrival_of_answer(self._loop, delay_s, lambda: not self._crashed)

    def _maybe_land_late(self, key: str, data: bytes) -> None:
        if self._dice.roll("store.put.lands_after_cancel"):
            self._loop.arrive(self._dice.between_s(*LANDS_LATE_SECONDS), self._land, key, data)

    def _land(self, key: str, data: bytes) -> None:
        if key not in self._bucket.objects and not self._bucket.is_out():
            self._bucket.add(key, data)


async def arrival_of_answer(loop: SimulatedLoop, delay_s: float, wanted: Callable[[], bool]) -> None:
    """Wait for an answer from outside that comes in `delay_s`, if it is still `wanted` then; else for ever."""
    answered = loop.create_future()

    def answer() -> None:
        if wanted() and not answered.done():
            answered.set_result(None)

    arrival = loop.arrive(delay_s, answer)
    try:
        await answered
    finally:
        arrival.cancel()
