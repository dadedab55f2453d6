"""The metadata log: one totally ordered, durable sequence of small entries.

This module only declares the interface. `kafscale.metadata.sqlite` keeps the log in one file for one process,
`kafscale.metadata.memory` in memory for tests and the simulator; etcd takes the same interface in a cluster.

Positions are positive and increase with the order of the log; they need not be consecutive. A payload is opaque here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

ENTRY_BYTES_MAX = 1024 * 1024
"""Largest payload a log accepts. etcd refuses requests over 1.5 MiB; every backend keeps the same limit."""


class AppendUid(NamedTuple):
    """Identity of one append: a repeat under the same uid is the same append.

    `incarnation` is the 64-bit number of one run of one broker process, `number` counts its appends from 1.
    """

    incarnation: int
    number: int


class LogEntry(NamedTuple):
    """One entry as it stands in the log."""

    position: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPointer:
    """Where the newest checkpoint is: the state after applying everything up to and including `position`."""

    key: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedLog:
    """What a starting broker reads: the checkpoints kept, newest first (at most two), and the linearizable end of the
    log. The entries after the older kept checkpoint are all there; with one checkpoint or none, all entries are."""

    checkpoints: tuple[CheckpointPointer, ...]
    end: int


class LogFollower(Protocol):
    """Receives the log in order. Called on the event loop; must not block and must not raise."""

    def entries(self, entries: Sequence[LogEntry]) -> None:
        """Take the next entries, in order and without a gap."""
        ...

    def sealed(self, position: int) -> None:
        """Everything up to `position` is sealed: the state as of here is what the next checkpoint holds."""
        ...

    def failed(self, error: Exception) -> None:
        """Following cannot go on. The process must stop."""
        ...


class MetadataLog(Protocol):
    """The totally ordered log. All methods are called on one event loop."""

    async def load(self) -> LoadedLog:
        """Return the checkpoint pointers and the linearizable end of the log.

        Raises `StartRefused` where what is stored is damaged.
        """
        ...

    async def read(self, after: int, up_to: int) -> Sequence[LogEntry]:
        """Return the entries with after < position <= up_to, in order (they must not be truncated yet)."""
        ...

    def follow(self, after: int, follower: LogFollower) -> None:
        """Deliver every entry after `after`, existing and future, to `follower`. Called once per log object."""
        ...

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        """Append durably and return the entry's position; the linearization point of every change.

        Idempotent per uid as long as the entry is not truncated. The caller keeps one append in flight.

        Raises `StorageUnavailable` when the entry was certainly not written, `OutcomeUnknown` when it may have
        been (repeat under the same uid), `FatalLogFailure` when this process must stop.
        """
        ...

    async def barrier(self) -> int:
        """Return the linearizable end of the log: every append acknowledged before this call is at or below it."""
        ...

    async def seal(self) -> int:
        """Seal the log at its end and return that position; followers get `sealed` between the right entries."""
        ...

    async def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        """Make `pointer` the newest checkpoint, keep the one before it, and drop the entries no kept checkpoint
        needs (those at or below the older kept one's position, some of them perhaps only with a later checkpoint).

        Raises `StorageUnavailable` when the pointer was not installed.
        """
        ...

    async def close(self) -> None:
        """Finish the append in flight and release everything. Further appends raise `StorageUnavailable`."""
        ...
