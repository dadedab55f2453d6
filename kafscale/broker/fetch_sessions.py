"""Incremental fetch sessions (KIP-227): what a client reads from, remembered, so that it need not say it every time.

A session is one client's list of partitions with what was last told about each. Sessions are bounded by
`max.incremental.fetch.session.cache.slots`, and their partitions all together by `PARTITIONS_MAX`; without room a
client simply goes on with full fetches.
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

PARTITIONS_MAX = 200_000
"""Partitions of all sessions together. One takes some 400 bytes, so these are 80 MB at most: 200 partitions in each of
Kafka's default of 1,000 slots, or a few clients that read tens of thousands."""


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
    """All sessions of this broker, the ones used longest ago first."""

    def __init__(self, slots: int, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._sessions: dict[int, FetchSession] = {}
        self.partition_count = 0
        """Partitions in all sessions."""

    def get(self, session_id: int) -> FetchSession | None:
        return self._sessions.get(session_id)

    def create(
        self, uses_topic_ids: bool, partitions: dict[FetchKey, FetchPartition], now: float
    ) -> FetchSession | None:
        """Return a new session, or None where there is no room for it. `now` is the event loop's time."""
        if not partitions or not self._make_room(len(partitions), now):
            return None
        session = FetchSession(self._new_id(), uses_topic_ids, partitions)
        session.last_used = now
        self._sessions[session.session_id] = session
        self.partition_count += len(partitions)
        return session

    def update(self, session: FetchSession, changed: dict[FetchKey, FetchPartition], forgotten: list[FetchKey]) -> bool:
        """Take over what an incremental fetch says; False where that is too much, and the session is gone."""
        before = len(session.partitions)
        session.update(changed, forgotten)
        self.partition_count += len(session.partitions) - before
        if self.partition_count <= PARTITIONS_MAX:
            return True
        self.remove(session.session_id)
        return False

    def touch(self, session: FetchSession, now: float) -> None:
        """Note that a session is in use; the cache stays in order of use."""
        session.last_used = now
        self._sessions[session.session_id] = self._sessions.pop(session.session_id)

    def remove(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self.partition_count -= len(session.partitions)

    def _make_room(self, partitions: int, now: float) -> bool:
        if partitions > PARTITIONS_MAX or self._slots <= 0:
            return False
        while len(self._sessions) >= self._slots or self.partition_count + partitions > PARTITIONS_MAX:
            oldest = next(iter(self._sessions.values()))
            if now - oldest.last_used < EVICTION_SECONDS:
                return False
            self.remove(oldest.session_id)
        return True

    def _new_id(self) -> int:
        while True:
            session_id = self._clock.random_bits(31)
            if session_id != NO_SESSION and session_id not in self._sessions:
                return session_id
