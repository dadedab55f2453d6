"""What only the SQLite log does: refusing damaged files, group commit, bounded files."""

import asyncio
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from kafscale.errors import DataCorrupt, StartRefused, StorageUnavailable
from kafscale.metadata.log import AppendUid, CheckpointPointer
from kafscale.metadata.sqlite import REQUESTS_WAITING_MAX, SqliteLog
from kafscale.metadata.sqlite_database import LogDatabase, NewEntry
from kafscale.metadata.sqlite_writer import WalLimits
from tests.support.log_follower import RecordingFollower


def entry(number: int, payload: bytes = b"payload") -> NewEntry:
    return NewEntry(AppendUid(1, number), payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A log of 50 entries, all of it in the one file."""
    database = LogDatabase(path)
    for number in range(1, 51):
        database.append([entry(number, b"entry number %06d " % number * 20)])
    database.close()
    path.with_name("metadata.db-wal").unlink()
    return path


def alter(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def refusal(path: Path) -> str:
    with pytest.raises(StartRefused) as raised:
        LogDatabase(path)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_a_newer_format_is_refused(filled: Path) -> None:
    alter(filled, "PRAGMA user_version=2")
    assert "version 2" in refusal(filled)
    assert "start the release that wrote it" in refusal(filled)


def test_another_program_s_database_is_refused_and_not_touched(path: Path) -> None:
    alter(path, "CREATE TABLE bookmarks(url)")
    before = path.read_bytes()
    assert "choose another data directory" in refusal(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_something_else_than_a_database_is_refused(path: Path) -> None:
    path.write_bytes(b"These are not the pages you are looking for. " * 200)
    assert "not a database" in refusal(path)


def test_an_unreachable_path_is_refused(tmp_path: Path) -> None:
    assert "check the path" in refusal(tmp_path / "missing" / "metadata.db")


def test_a_log_that_is_open_is_refused(path: Path) -> None:
    database = LogDatabase(path)
    assert "another process has it open" in refusal(path)
    database.close()
    LogDatabase(path).close()


def test_a_flipped_byte_in_an_entry_is_found_and_its_position_named(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    content[content.index(b"entry number 000037 ") + 3] ^= 1
    filled.write_bytes(content)
    assert "the entry at position 37 does not have its checksum" in refusal(filled)
    assert "Restore the file from a backup" in refusal(filled)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET incarnation = 99 WHERE position = 5",
        "UPDATE entries SET number = 99 WHERE position = 5",
    ],
)
def test_a_changed_uid_is_found(filled: Path, change: str) -> None:
    alter(filled, change)
    assert "position 5 does not have its checksum" in refusal(filled)


def test_a_missing_entry_is_found(filled: Path) -> None:
    alter(filled, "DELETE FROM entries WHERE position = 20")
    assert "position 20 is missing" in refusal(filled)


def test_a_missing_first_entry_is_found(filled: Path) -> None:
    alter(filled, "DELETE FROM entries WHERE position = 1")
    assert "position 1 is missing" in refusal(filled)


def test_entries_missing_before_a_checkpoint_are_found(filled: Path) -> None:
    database = LogDatabase(filled)
    database.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=10))
    database.install_checkpoint(CheckpointPointer(key="checkpoint/2", position=40))
    database.close()
    alter(filled, "DELETE FROM entries WHERE position > 30")
    assert "position 31 is missing" in refusal(filled)
    alter(filled, "DELETE FROM entries")
    assert "position 11 is missing" in refusal(filled)


def test_a_changed_checkpoint_pointer_is_found(filled: Path) -> None:
    database = LogDatabase(filled)
    database.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=10))
    database.close()
    alter(filled, "UPDATE checkpoints SET position = 11")
    assert "checkpoint pointer 1" in refusal(filled)


def test_a_cut_file_is_found(filled: Path) -> None:
    content = filled.read_bytes()
    filled.write_bytes(content[: len(content) // 4096 // 2 * 4096])
    assert "damaged" in refusal(filled)


def test_random_damage_is_refused_or_harmless(filled: Path) -> None:
    original = filled.read_bytes()
    rng = random.Random(5)
    for _ in range(150):
        content = bytearray(original)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        filled.write_bytes(content)
        filled.with_name("metadata.db-wal").unlink(missing_ok=True)
        try:
            database = LogDatabase(filled)
        except StartRefused:
            continue
        entries = database.read(0, 50, 10**6).entries
        database.abandon()
        assert [e.payload for e in entries] == [b"entry number %06d " % number * 20 for number in range(1, 51)]


def test_an_entry_damaged_while_running_is_not_returned(path: Path) -> None:
    database = LogDatabase(path)
    database.append([entry(1), entry(2)])
    database._connection.execute("UPDATE entries SET payload = x'00' WHERE position = 2")
    assert len(database.read(0, 1, 1000).entries) == 1
    with pytest.raises(DataCorrupt, match="position 2"):
        database.read(0, 2, 1000)
    database.abandon()


def test_an_interrupted_truncation_is_finished_with_the_next(path: Path) -> None:
    database = LogDatabase(path)
    database.append([entry(number) for number in range(1, 1001)])
    database.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=900))
    database.install_checkpoint(CheckpointPointer(key="checkpoint/2", position=950))
    assert database.truncate()
    database.close()
    database = LogDatabase(path)
    while database.truncate():
        pass
    assert database._connection.execute("SELECT min(position) FROM entries").fetchall() == [(901,)]
    assert [e.position for e in database.read(900, 1000, 10**6).entries] == list(range(901, 1001))
    database.close()


def test_the_space_of_truncated_entries_is_used_again(path: Path) -> None:
    database = LogDatabase(path)
    sizes = []
    for turn in range(10):
        database.append([entry(turn * 100 + number, bytes(5000)) for number in range(100)])
        database.install_checkpoint(CheckpointPointer(key=f"checkpoint/{turn}", position=database.end))
        while database.truncate():
            pass
        assert database.checkpoint_wal()
        sizes.append(path.stat().st_size)
    database.close()
    assert sizes[-1] <= sizes[3]


async def test_the_wal_stays_bounded(path: Path) -> None:
    limits = WalLimits(bytes_max=100_000, idle_bytes=10**9, idle_seconds=0.0)
    log = await SqliteLog.open(path, wal=limits)
    for number in range(1, 301):
        await log.append(AppendUid(1, number), bytes(1000))
    assert path.with_name("metadata.db-wal").stat().st_size < 150_000
    await log.close()


async def test_an_idle_log_copies_its_wal(path: Path) -> None:
    copied = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Watched(LogDatabase):
        def checkpoint_wal(self) -> bool:
            loop.call_soon_threadsafe(copied.set)
            return super().checkpoint_wal()

    log = await SqliteLog.open(path, database=Watched, wal=WalLimits(idle_bytes=1, idle_seconds=0.0))
    await log.append(AppendUid(1, 1), b"")
    await asyncio.wait_for(copied.wait(), timeout=30)
    assert await log.append(AppendUid(1, 2), b"") == 2
    await log.close()


async def test_what_waits_is_committed_together(path: Path) -> None:
    sizes: list[int] = []
    all_wait = threading.Event()

    class Counted(LogDatabase):
        def append(self, batch: Sequence[NewEntry]) -> None:
            all_wait.wait()
            sizes.append(len(batch))
            super().append(batch)

    log = await SqliteLog.open(path, database=Counted)
    appends = [asyncio.create_task(log.append(AppendUid(1, number), b"")) for number in range(1, 501)]
    await asyncio.sleep(0)
    all_wait.set()
    assert await asyncio.gather(*appends) == list(range(1, 501))
    assert sum(sizes) == 500
    assert len(sizes) <= 2
    await log.close()


async def test_the_queue_is_bounded(path: Path) -> None:
    log = await SqliteLog.open(path)
    appends = [
        asyncio.create_task(log.append(AppendUid(1, number), b"")) for number in range(1, REQUESTS_WAITING_MAX + 11)
    ]
    results = await asyncio.gather(*appends, return_exceptions=True)
    refused = [result for result in results if isinstance(result, StorageUnavailable)]
    assert len(refused) == 10
    assert (await log.load()).end == REQUESTS_WAITING_MAX
    await log.close()


async def test_cancelling_open_releases_the_file(path: Path) -> None:
    opening = asyncio.create_task(SqliteLog.open(path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    log = await _open_when_released(path)
    await log.close()


async def _open_when_released(path: Path) -> SqliteLog:
    for _ in range(10_000):
        try:
            return await SqliteLog.open(path)
        except StartRefused:
            continue
    raise AssertionError("the cancelled open still holds the file")


async def test_a_refused_start_raises_from_open(filled: Path) -> None:
    alter(filled, "PRAGMA user_version=9")
    with pytest.raises(StartRefused):
        await SqliteLog.open(filled)


async def test_a_fault_nobody_foresaw_stops_the_log_loudly(path: Path) -> None:
    class Faulty(LogDatabase):
        def append(self, batch: object) -> None:
            raise ZeroDivisionError

    log = await SqliteLog.open(path, database=Faulty)
    follower = RecordingFollower()
    log.follow(0, follower)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        await log.append(AppendUid(1, 1), b"")
    await follower.until_failed()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        await log.barrier()
    await log.close()
