"""One byte budget for record data that producers have sent and that is not durable yet (`buffer.memory`).

Only Produce reserves from it; who cannot reserve waits in order of arrival, and everything else goes on. Large frames
wait in a queue of their own, so that one for which there is no room yet does not hold up those for which there is.
"""

from collections import deque
from collections.abc import Callable

Granted = Callable[[], None]

SMALL_BYTES_MAX = 1024 * 1024 + 64 * 1024
"""Frames up to this size are small: a producer's batch of the default largest size, and what is around it."""


class MemoryBudget:
    """Bytes reserved against a limit. Not a hard wall: a frame larger than the limit passes when nothing is reserved,
    so that it can be served at all."""

    __slots__ = ("_large", "_limit", "_small", "reserved")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._large: deque[tuple[int, Granted]] = deque()
        self._small: deque[tuple[int, Granted]] = deque()
        self.reserved = 0

    @property
    def is_exhausted(self) -> bool:
        return self.reserved >= self._limit

    def reserve(self, size: int) -> None:
        """Reserve without asking: for bytes that have arrived already."""
        self.reserved += size

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes if they fit and nobody of the same kind waits in front."""
        if self._queue(size) or not self._fits(size):
            return False
        self.reserved += size
        return True

    def reserve_later(self, size: int, granted: Granted) -> None:
        """Call `granted` once `size` bytes are reserved for the caller; first come, first served, of its kind."""
        self._queue(size).append((size, granted))

    def abandon(self, granted: Granted) -> None:
        """Give up a waiting reservation (the connection closed)."""
        self._large = deque(waiting for waiting in self._large if waiting[1] != granted)
        self._small = deque(waiting for waiting in self._small if waiting[1] != granted)
        self._grant()

    def release(self, size: int) -> None:
        """Give back reserved bytes."""
        self.reserved -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return self.reserved == 0 or self.reserved + size <= self._limit

    def _queue(self, size: int) -> deque[tuple[int, Granted]]:
        return self._large if size > SMALL_BYTES_MAX else self._small

    def _grant(self) -> None:
        for queue in (self._large, self._small):
            while queue and self._fits(queue[0][0]):
                size, granted = queue.popleft()
                self.reserved += size
                granted()
