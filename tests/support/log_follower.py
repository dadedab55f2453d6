"""A follower of a metadata log that remembers what it was given."""

import asyncio
from collections.abc import Sequence

from kafscale.metadata.log import LogEntry


class RecordingFollower:
    """Keeps entries and seals in the order they came: `events` holds (position, payload) and ("sealed", position)."""

    def __init__(self) -> None:
        self.events: list[tuple[int, bytes] | tuple[str, int]] = []
        self.failures: list[Exception] = []
        self._changed = asyncio.Event()

    def entries(self, entries: Sequence[LogEntry]) -> None:
        self.events += [(entry.position, entry.payload) for entry in entries]
        self._changed.set()

    def sealed(self, position: int) -> None:
        self.events.append(("sealed", position))
        self._changed.set()

    def failed(self, error: Exception) -> None:
        self.failures.append(error)
        self._changed.set()

    async def until_events(self, count: int) -> None:
        """Wait until there are at least `count` events."""
        while len(self.events) < count:
            await self._next_change()

    async def until_failed(self) -> None:
        """Wait until following has failed."""
        while not self.failures:
            await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        # A net for a hanging test, not a measure of time: what is awaited has happened or never will.
        await asyncio.wait_for(self._changed.wait(), timeout=30)
