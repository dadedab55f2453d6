"""One byte budget for record data that producers have sent and that is not durable yet (`buffer.memory`).

Only Produce reserves from it; who cannot reserve waits in order of arrival, and everything else goes on.
"""

from collections import deque
from collections.abc import Callable

Granted = Callable[[], None]


class MemoryBudget:
    """Bytes reserved against a limit. Not a hard wall: a frame larger than the limit passes when nothing is reserved,
    so that it can be served at all."""

    __slots__ = ("_limit", "_waiting", "reserved")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[tuple[int, Granted]] = deque()
        self.reserved = 0

    @property
    def is_exhausted(self) -> bool:
        return self.reserved >= self._limit or bool(self._waiting)

    def reserve(self, size: int) -> None:
        """Reserve without asking: for bytes that have arrived already."""
        self.reserved += size

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes if they fit and nobody waits in front."""
        if self._waiting or not self._fits(size):
            return False
        self.reserved += size
        return True

    def reserve_later(self, size: int, granted: Granted) -> None:
        """Call `granted` once `size` bytes are reserved for the caller; first come, first served."""
        self._waiting.append((size, granted))

    def abandon(self, granted: Granted) -> None:
        """Give up a waiting reservation (the connection closed)."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting[1] != granted)
        self._grant()

    def release(self, size: int) -> None:
        """Give back reserved bytes."""
        self.reserved -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return self.reserved == 0 or self.reserved + size <= self._limit

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, granted = self._waiting.popleft()
            self.reserved += size
            granted()
