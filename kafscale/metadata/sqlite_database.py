"""The SQLite file under `kafscale.metadata.sqlite`: schema, checks, statements. Synchronous, for one thread.

File format 1, `PRAGMA application_id` 0x4B61664C ("KafL"), `PRAGMA user_version` 1, page size 4096, WAL:

    entries(position INTEGER PRIMARY KEY, incarnation, number, checksum, payload)
    checkpoints(ordinal INTEGER PRIMARY KEY, key, position, checksum)

`position` counts from 1 without gaps. `incarnation` is 64 bits unsigned, stored as SQLite's signed integer of the same
bits. An entry's `checksum` is the CRC-32C of position, incarnation and number (u64 each, big-endian) and the payload; a
checkpoint's is that of ordinal, position (u64) and the key in UTF-8. At most two checkpoints are kept, the highest
ordinal is the newest.

Invariants: what a method that writes has returned from survives loss of power (synchronous=FULL). The entries after
the older kept checkpoint are all there, without a gap. Positions are never used twice: the end is the larger of the
last entry's position and the newest checkpoint's, and an entry after the newest checkpoint is never dropped.

There is no index on (incarnation, number): it would double the pages written per append. This process is the only
writer (an exclusive lock says so) and reads every entry at start, so a dictionary of the entries still in the log is
exact; checkpoints bound it.
"""

import contextlib
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import apsw
from crc32c import crc32c

from kafscale.errors import Bug, DataCorrupt, FatalLogFailure, StartRefused, StorageUnavailable
from kafscale.metadata.log import AppendUid, CheckpointPointer, LogEntry

APPLICATION_ID = 0x4B61664C
FORMAT_VERSION = 1

PAGE_BYTES = 4096
"""One page is what an append of usual size writes: small enough to be cheap, and the block size of the disk below."""

WAL_FRAME_BYTES = PAGE_BYTES + 24
"""A page in the WAL stands behind a header of 24 bytes (SQLite's file format, section 4)."""

CHECKPOINTS_KEPT = 2
"""Two, so that a damaged newest checkpoint still leaves a way to start."""

TRUNCATED_ENTRIES_MAX = 128
"""Entries dropped by one transaction: about 2 MiB at the usual checkpoint size, so that an append waits under 2 ms."""

_ENTRY_HEAD = struct.Struct(">QQQ")
_CHECKPOINT_HEAD = struct.Struct(">QQ")
_UNSIGNED = 1 << 64
_SIGNED_END = 1 << 63

_SCHEMA = """
CREATE TABLE entries(
    position INTEGER PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints(
    ordinal INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    position INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""
_INSERT_ENTRY = "INSERT INTO entries(position, incarnation, number, checksum, payload) VALUES (?, ?, ?, ?, ?)"
_SELECT_ENTRIES = (
    "SELECT position, incarnation, number, checksum, payload FROM entries"
    " WHERE position > ? AND position <= ? ORDER BY position"
)

Row = tuple[int, int, int, int, bytes]
Connect = Callable[[Path], apsw.Connection]


class NewEntry(NamedTuple):
    """One entry to append; its position is the one after the entry before it."""

    uid: AppendUid
    payload: bytes


class ReadChunk(NamedTuple):
    """Some entries, and whether they reach the position that was asked for."""

    entries: list[LogEntry]
    complete: bool


def connect(path: Path) -> apsw.Connection:
    """Open the file with SQLite's own file access; tests put a simulated disk here."""
    return apsw.Connection(str(path))


class LogDatabase:
    """The open file. Every method may block for the disk; none is safe to call from two threads at once.

    After `FatalLogFailure` only `abandon` may be called.
    """

    end: int
    """Position of the last entry ever appended; 0 in a new log."""
    floor: int
    """Entries at or below this position are not needed by any kept checkpoint and may be gone."""
    checkpoints: tuple[CheckpointPointer, ...]
    """Newest first."""
    wal_bytes: int
    """Length of the part of the WAL in use, as of the last commit."""

    def __init__(self, path: Path, connect: Connect = connect) -> None:
        """Open or create the file and check all of it. Raises `StartRefused`."""
        self._path = path
        self._ordinal = 0
        self.end = self.floor = self._first = 0
        self.checkpoints = ()
        self.wal_bytes = 0
        self._positions: dict[AppendUid, int] = {}
        with self._refusing_to_start():
            self._connection = connect(path)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    # Opening

    @contextlib.contextmanager
    def _refusing_to_start(self) -> Iterator[None]:
        try:
            yield
        except apsw.BusyError as error:
            raise self._refused("another process has it open; stop that one first") from error
        except (apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError) as error:
            raise self._refused(f"it cannot be opened for writing ({error}); check the path and its owner") from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise self._damaged(str(error)) from error
        except apsw.FullError as error:
            raise self._refused("the disk is full; make room and start again") from error
        except apsw.Error as error:
            raise self._refused(f"it cannot be read ({error}); check the disk") from error

    def _refused(self, reason: str) -> StartRefused:
        return StartRefused(f"metadata log {self._path}: {reason}")

    def _damaged(self, what: str) -> StartRefused:
        return self._refused(
            f"damaged: {what}. Restore the file from a backup; it alone says in what order the records belong"
        )

    def _open(self) -> None:
        self._configure()
        if self._pragma("page_count") == 0:
            self._create()
        self._check_format()
        # Only now: changing the journal mode writes to the file, which must be ours.
        if self._pragma("journal_mode=WAL") != "wal":
            raise self._refused("this file system cannot hold a write-ahead log; choose another data directory")
        self._connection.set_wal_hook(self._committed)
        self._check_pages()
        self._keep_recovered()
        self._load_checkpoints()
        self._load_entries()

    def _configure(self) -> None:
        # Before the first access: with the lock held for good, the WAL's index needs no shared memory file.
        self._pragma("locking_mode=EXCLUSIVE")
        self._pragma(f"page_size={PAGE_BYTES}")
        self._pragma("synchronous=FULL")
        self._pragma("fullfsync=ON")  # On macOS a plain fsync leaves the data in the drive's cache.
        self._pragma("trusted_schema=OFF")
        # A checkpoint at close would copy WAL frames that a failed fsync may have lost; `close` asks for one itself.
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _pragma(self, text: str) -> int | str | None:
        rows = self._connection.execute(f"PRAGMA {text}").fetchall()
        return cast("int | str", rows[0][0]) if rows else None

    def _create(self) -> None:
        """Write the empty log as one transaction: the file is either of length 0 or whole."""
        self._connection.execute("BEGIN EXCLUSIVE")
        self._connection.execute(_SCHEMA)
        self._pragma(f"application_id={APPLICATION_ID}")
        self._pragma(f"user_version={FORMAT_VERSION}")
        self._connection.execute("COMMIT")

    def _check_format(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise self._refused("not a metadata log, but some other SQLite database; choose another data directory")
        version = self._pragma("user_version")
        if version != FORMAT_VERSION:
            raise self._refused(
                f"its format is version {version}, this release reads version {FORMAT_VERSION};"
                " start the release that wrote it"
            )

    def _check_pages(self) -> None:
        verdict = self._pragma("quick_check(1)")
        if verdict != "ok":
            raise self._damaged(str(verdict))

    def _keep_recovered(self) -> None:
        """Sync what was found in the WAL, and copy it.

        The process before may have been killed between writing a commit and syncing it. From here on the commit is
        seen, and a repeated append is answered with it, so it must not be lost any more.
        """
        # On a full disk only the copying fails; the sync of the WAL comes before it.
        with contextlib.suppress(apsw.FullError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _load_checkpoints(self) -> None:
        rows = self._connection.execute(
            "SELECT ordinal, key, position, checksum FROM checkpoints ORDER BY ordinal DESC"
        ).fetchall()
        pointers = []
        for ordinal, key, position, checksum in cast("list[tuple[int, str, int, int]]", rows):
            if checksum != _checkpoint_checksum(ordinal, key, position):
                raise self._damaged(f"checkpoint pointer {ordinal} does not have its checksum")
            pointers.append(CheckpointPointer(key=key, position=position))
            self._ordinal = max(self._ordinal, ordinal)
        self._keep(tuple(pointers))

    def _keep(self, checkpoints: tuple[CheckpointPointer, ...]) -> None:
        self.checkpoints = checkpoints[:CHECKPOINTS_KEPT]
        # While there is only one, the way to start without it is from the very first entry.
        self.floor = self.checkpoints[-1].position if len(self.checkpoints) == CHECKPOINTS_KEPT else 0

    def _load_entries(self) -> None:
        newest = self.checkpoints[0].position if self.checkpoints else 0
        expected: int | None = None
        for position, incarnation, number, checksum, payload in self._rows(0, _SIGNED_END - 1):
            if expected is not None and position != expected:
                raise self._damaged(f"the entry at position {expected} is missing")
            if expected is None and position > self.floor + 1:
                raise self._damaged(f"the entry at position {self.floor + 1} is missing")
            uid = AppendUid(incarnation % _UNSIGNED, number)
            if checksum != _entry_checksum(position, uid, payload):
                raise self._damaged(f"the entry at position {position} does not have its checksum")
            self._first = self._first or position
            self._positions[uid] = position
            expected = position + 1
        last = expected - 1 if expected is not None else 0
        if last < newest and (last or newest != self.floor):
            raise self._damaged(f"the entry at position {max(last, self.floor) + 1} is missing")
        self.end = max(last, newest)
        self._first = self._first or self.end + 1

    def _rows(self, after: int, up_to: int) -> Generator[Row, None, None]:
        # A cursor of its own: closing it ends the read transaction even when the reader stops half way.
        with contextlib.closing(self._connection.cursor()) as cursor:
            yield from cast("Iterator[Row]", cursor.execute(_SELECT_ENTRIES, (after, up_to)))

    # Running

    def _committed(self, _connection: object, _database: str, pages: int) -> int:
        self.wal_bytes = pages * WAL_FRAME_BYTES
        return apsw.SQLITE_OK

    def position_of(self, uid: AppendUid) -> int | None:
        """Return where the append with this uid stands, if it is still in the log."""
        return self._positions.get(uid)

    def append(self, batch: Sequence[NewEntry]) -> None:
        """Append `batch` durably, all of it or nothing. Raises `StorageUnavailable`, `FatalLogFailure`."""
        rows = [_row(self.end + index, *entry) for index, entry in enumerate(batch, 1)]
        with self._transaction():
            self._connection.executemany(_INSERT_ENTRY, rows)
        for position, entry in enumerate(batch, self.end + 1):
            self._positions[entry.uid] = position
        self.end += len(batch)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One durable transaction. Out of space, it is rolled back; any other failure is fatal.

        After a failed fsync the kernel may have marked the lost pages clean, so that a second try would succeed
        without writing anything: nothing may be tried again through this file handle.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except apsw.FullError as error:
            self._roll_back()
            raise StorageUnavailable(f"metadata log {self._path}: the disk is full") from error
        except apsw.Error as error:
            raise self._fatal(error) from error

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself when the failure came from a statement and not from COMMIT.
        if not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise self._fatal(error) from error

    def _fatal(self, error: apsw.Error) -> FatalLogFailure:
        return FatalLogFailure(f"metadata log {self._path}: {error}; stop, check the disk, start again")

    def read(self, after: int, up_to: int, bytes_max: int) -> ReadChunk:
        """Return entries from `after` on, at least one and then at most about `bytes_max` of payload.

        Raises `DataCorrupt` for an entry that is not what was written, `FatalLogFailure`.
        """
        if after < self.floor:
            raise Bug(f"entries after {after} were asked for, but those up to {self.floor} may be truncated")
        entries: list[LogEntry] = []
        size = 0
        try:
            with contextlib.closing(self._rows(after, up_to)) as rows:
                for position, incarnation, number, checksum, payload in rows:
                    if checksum != _entry_checksum(position, AppendUid(incarnation % _UNSIGNED, number), payload):
                        raise DataCorrupt(f"metadata log {self._path}: the entry at position {position} is damaged")
                    entries.append(LogEntry(position, payload))
                    size += len(payload)
                    if size >= bytes_max:
                        break
        except apsw.Error as error:
            raise self._fatal(error) from error
        last = entries[-1].position if entries else after
        return ReadChunk(entries, complete=last >= min(up_to, self.end))

    def install_checkpoint(self, pointer: CheckpointPointer) -> None:
        """Make `pointer` the newest checkpoint and raise the floor. Raises `StorageUnavailable`, `FatalLogFailure`."""
        if self.checkpoints and pointer == self.checkpoints[0]:
            return
        if not (self.checkpoints[0].position if self.checkpoints else 0) <= pointer.position <= self.end:
            raise Bug(f"checkpoint {pointer} does not lie between the newest one and the end {self.end}")
        ordinal = self._ordinal + 1
        with self._transaction():
            self._connection.execute(
                "INSERT INTO checkpoints(ordinal, key, position, checksum) VALUES (?, ?, ?, ?)",
                (ordinal, pointer.key, pointer.position, _checkpoint_checksum(ordinal, pointer.key, pointer.position)),
            )
            self._connection.execute("DELETE FROM checkpoints WHERE ordinal <= ?", (ordinal - CHECKPOINTS_KEPT,))
        self._ordinal = ordinal
        self._keep((pointer, *self.checkpoints))

    def truncate(self) -> bool:
        """Drop some entries at or below the floor; return whether more are left to drop.

        Their pages are used again by later entries. Raises `StorageUnavailable`, `FatalLogFailure`.
        """
        last = min(self.floor, self._first + TRUNCATED_ENTRIES_MAX - 1)
        if last >= self._first:
            with self._transaction():
                self._connection.execute("DELETE FROM entries WHERE position <= ?", (last,))
            self._first = last + 1
            self._positions = {uid: position for uid, position in self._positions.items() if position > last}
        return self._first <= self.floor

    def checkpoint_wal(self) -> bool:
        """Copy the WAL into the database, so that the next commit starts it over. Raises `FatalLogFailure`.

        Return False where the disk was too full for it: the WAL goes on growing, and nothing is lost.
        """
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.FullError:
            return False
        except apsw.Error as error:
            raise self._fatal(error) from error
        self.wal_bytes = 0
        return True

    def close(self) -> None:
        """Leave everything in the one file and close it.

        The WAL file stays behind, its content copied: writing over allocated blocks makes the next start's fsyncs
        cheaper.
        """
        try:
            self.checkpoint_wal()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without writing anything, as after a failure."""
        self._connection.close(force=True)


def _row(position: int, uid: AppendUid, payload: bytes) -> Row:
    incarnation = uid.incarnation - _UNSIGNED if uid.incarnation >= _SIGNED_END else uid.incarnation
    return position, incarnation, uid.number, _entry_checksum(position, uid, payload), payload


def _entry_checksum(position: int, uid: AppendUid, payload: bytes) -> int:
    return crc32c(payload, crc32c(_ENTRY_HEAD.pack(position, *uid)))


def _checkpoint_checksum(ordinal: int, key: str, position: int) -> int:
    return crc32c(key.encode(), crc32c(_CHECKPOINT_HEAD.pack(ordinal, position)))
