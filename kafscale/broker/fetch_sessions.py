"""Incremental fetch sessions (KIP-227): what a client reads from, remembered, so that it need not say it every time.

A session is one client's list of partitions with what was last told about each. Sessions are bounded by
`max.incremental.fetch.session.cache.slots`; without a free slot a client simply goes on with full fetches.
"""

from dataclasses import dataclass
from typing import NamedTuple

from kafscale.clock import Clock

EPOCH_FINAL = -1
EPOCH_INITIAL = 0
EPOCH_MAX = 2**31 - 1
NO_SESSION = 0

EVICTION_SECONDS = 120.0
"""A session unused for so long gives its slot away (Kafka's min.incremental.fetch.session.eviction.ms)."""


class FetchKey(NamedTuple):
    """A partition as the client names it: by name before version 13, by id (16 bytes) from it on."""

    topic_name: str
    topic_id: bytes
    partition: int


@dataclass(slots=True)
class FetchPartition:
    """What a client asks of one partition, and what it was last told. -1 and 0 before it was told anything."""

    fetch_offset: int
    bytes_max: int
    current_leader_epoch: int
    told_high_watermark: int = -1
    told_log_start_offset: int = -1
    told_error: int = 0


class FetchSession:
    """One session. `partitions` is in the order of service: who got data goes to the end."""

    __slots__ = ("epoch", "last_used", "partitions", "session_id", "uses_topic_ids")

    def __init__(self, session_id: int, uses_topic_ids: bool, partitions: dict[FetchKey, FetchPartition]) -> None:
        self.session_id = session_id
        self.epoch = EPOCH_INITIAL + 1
        self.uses_topic_ids = uses_topic_ids
        self.partitions = partitions
        self.last_used = 0.0

    def update(self, changed: dict[FetchKey, FetchPartition], forgotten: list[FetchKey]) -> None:
        """Take over what an incremental fetch says."""
        for key, asked in changed.items():
            known = self.partitions.get(key)
            if known is None:
                self.partitions[key] = asked
            else:
                known.fetch_offset = asked.fetch_offset
                known.bytes_max = asked.bytes_max
                known.current_leader_epoch = asked.current_leader_epoch
        for key in forgotten:
            self.partitions.pop(key, None)

    def move_to_end(self, keys: list[FetchKey]) -> None:
        """Let partitions that got data wait behind the others next time."""
        for key in keys:
            partition = self.partitions.pop(key, None)
            if partition is not None:
                self.partitions[key] = partition

    def advance(self) -> None:
        """Expect the next epoch; after the largest comes 1."""
        self.epoch = 1 if self.epoch == EPOCH_MAX else self.epoch + 1


class FetchSessionCache:
    """All sessions of this broker."""

    def __init__(self, slots: int, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._sessions: dict[int, FetchSession] = {}

    def get(self, session_id: int) -> FetchSession | None:
        return self._sessions.get(session_id)

    def create(
        self, uses_topic_ids: bool, partitions: dict[FetchKey, FetchPartition], now: float
    ) -> FetchSession | None:
        """Return a new session, or None without a free slot. `now` is the event loop's time."""
        if not partitions or (len(self._sessions) >= self._slots and not self._evict(now)):
            return None
        session = FetchSession(self._new_id(), uses_topic_ids, partitions)
        session.last_used = now
        self._sessions[session.session_id] = session
        return session

    def touch(self, session: FetchSession, now: float) -> None:
        """Note that a session is in use; the cache stays in order of use."""
        session.last_used = now
        self._sessions[session.session_id] = self._sessions.pop(session.session_id, session)

    def remove(self, session_id: int) -> None:
        self._sessions.pop(session_id, None)

    def _evict(self, now: float) -> bool:
        oldest = next(iter(self._sessions.values()), None)
        if oldest is None or now - oldest.last_used < EVICTION_SECONDS:
            return False
        del self._sessions[oldest.session_id]
        return True

    def _new_id(self) -> int:
        while True:
            session_id = self._clock.random_bits(31)
            if session_id != NO_SESSION and session_id not in self._sessions:
                return session_id
