"""What one follower of a metadata log has been given: keeps seals in their place between entries.

Shared by the log backends. Invariant: the follower sees every entry after its start once, in order, and `sealed(p)`
after the entry at `p` and before the one after it.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from kafscale.errors import Bug
from kafscale.metadata.log import LogEntry, LogFollower


class FollowerFeed:
    """Hands entries and seals to one follower. Called on the event loop only."""

    def __init__(self, follower: LogFollower, after: int) -> None:
        self._follower = follower
        self.delivered = after
        """Position of the last entry the follower was given, or where it started."""
        # Grows only while the follower catches up, by one for each checkpoint that is begun meanwhile.
        self._seals: deque[int] = deque()

    def entries(self, entries: Sequence[LogEntry]) -> None:
        """Deliver the entries that come next."""
        while self._seals and entries and entries[-1].position >= self._seals[0]:
            seal = self._seals.popleft()
            cut = bisect_right(entries, seal, key=attrgetter("position"))
            self._deliver(entries[:cut])
            entries = entries[cut:]
            self._follower.sealed(seal)
        self._deliver(entries)

    def _deliver(self, entries: Sequence[LogEntry]) -> None:
        if not entries:
            return
        if entries[0].position <= self.delivered:
            raise Bug(f"entry {entries[0].position} was about to be delivered after {self.delivered}")
        self._follower.entries(entries)
        self.delivered = entries[-1].position

    def seal(self, position: int) -> None:
        """Deliver a seal at `position`, now or once the follower has got that far."""
        if position <= self.delivered:
            self._follower.sealed(position)
        else:
            self._seals.append(position)

    def failed(self, error: Exception) -> None:
        """Tell the follower that nothing more will come."""
        self._follower.failed(error)
