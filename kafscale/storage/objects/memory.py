"""An object store in memory, for tests and the simulator: no threads, and time only from the clock it is given.

Invariants: as `kafscale.storage.objects.base` says. An operation takes effect in one step of the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from kafscale.clock import Clock, SystemClock
from kafscale.errors import DataCorrupt, ObjectExists, ObjectMissing, StorageUnavailable
from kafscale.storage.objects.base import Buffer, ObjectInfo, check_key


class MemoryObjectStore:
    """`ObjectStore` over a dictionary."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._closed = False

    async def _turn(self) -> None:
        # Others get their turn here, as they would during a real request.
        await asyncio.sleep(0)
        if self._closed:
            raise StorageUnavailable("the object store is closed")

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        await self._turn()
        if key in self._objects:
            raise ObjectExists(f"an object {key} exists already")
        self._objects[key] = (b"".join(parts), self._clock.wall_ms())

    async def _read(self, key: str) -> bytes:
        check_key(key)
        await self._turn()
        try:
            return self._objects[key][0]
        except KeyError:
            raise ObjectMissing(f"there is no object {key}") from None

    async def get(self, key: str) -> bytes:
        return await self._read(key)

    async def get_range(self, key: str, start: int, length: int) -> bytearray:
        whole = await self._read(key)
        if start + length > len(whole):
            raise DataCorrupt(f"object {key} has {len(whole)} bytes, not the {start + length} it should have")
        return bytearray(memoryview(whole)[start : start + length])

    async def get_tail(self, key: str, length: int) -> bytes:
        whole = await self._read(key)
        return whole[max(len(whole) - length, 0) :]

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        await self._turn()
        for key in keys:
            self._objects.pop(key, None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await self._turn()
        for key, (value, stored_ms) in list(self._objects.items()):
            if key.startswith(prefix):
                yield ObjectInfo(key=key, length=len(value), stored_ms=stored_ms)

    async def close(self) -> None:
        self._closed = True
