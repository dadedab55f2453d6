"""Faults around a checkpoint in the SQLite log: what the log names is kept, and whoever waits hears of a failure."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from kafscale.errors import FatalLogFailure, StorageUnavailable
from kafscale.metadata.checkpointer import Checkpointer, CheckpointLimits, InlineBuilder
from kafscale.metadata.entries import encode_entry
from kafscale.metadata.log import AppendUid, CheckpointPointer
from kafscale.metadata.replica import Replica
from kafscale.metadata.sqlite import SqliteLog
from kafscale.metadata.sqlite_database import LogDatabase, NewEntry
from kafscale.metadata.state.cluster import ClusterState
from tests.support.virtual_loop import on_virtual_time
from tests.unit.metadata.histories import A, create, entry
from tests.unit.metadata.test_checkpointer import FakeStore, World

LIMITS = CheckpointLimits(interval_seconds=1000.0, log_bytes=10**9, log_entries=10**9)


class Broken(LogDatabase):
    """Neither appending nor closing succeeds."""

    def append(self, _batch: Sequence[NewEntry]) -> None:
        raise FatalLogFailure("the disk is gone")

    def abandon(self) -> None:
        super().abandon()
        raise apsw.IOError("the disk is gone")


async def test_a_failed_truncation_does_not_undo_the_checkpoint(tmp_path: Path) -> None:
    """The next round once deleted an object that the log still named."""
    is_full = True

    class FullWhileTruncating(LogDatabase):
        def truncate(self) -> bool:
            if is_full:
                raise StorageUnavailable("the disk is full")
            return super().truncate()

    log = await SqliteLog.open(tmp_path / "metadata.db", database=FullWhileTruncating)
    failures: list[Exception] = []
    replica = Replica(log, ClusterState(), 0, 1, failures.append)
    replica.start()
    store = FakeStore()
    checkpointer = Checkpointer(log, replica, store, InlineBuilder(), LIMITS, 0, failures.append)
    for number in range(1, 6):
        await log.append(AppendUid(1, number), encode_entry(entry(number, create(A, f"t{number}"))))
        await checkpointer.run_once()
        kept = (await log.load()).checkpoints
        assert [one.position for one in kept] == [number, number - 1][:number]
        assert {one.key for one in kept} == set(store.objects)
        is_full = number < 3
    assert [one.position for one in await log.read(4, 5)] == [5]
    await log.close()
    assert failures == []
    database = LogDatabase(tmp_path / "metadata.db")
    assert database._connection.execute("SELECT min(position) FROM entries").fetchall() == [(5,)]
    database.close()


@on_virtual_time
async def test_an_install_that_fails_after_it_took_effect() -> None:
    """Which checkpoints are kept is the log's to say."""
    world = World()
    install = world.log.install_checkpoint
    failing = True

    async def install_and_fail(pointer: CheckpointPointer) -> None:
        await install(pointer)
        if failing:
            raise StorageUnavailable("the answer was lost")

    world.log.install_checkpoint = install_and_fail  # type: ignore[method-assign]
    world.write()
    for number in range(1, 5):
        failing = number % 2 == 0
        world.write()
        if failing:
            with pytest.raises(StorageUnavailable):
                await world.checkpointer.run_once()
        else:
            await world.checkpointer.run_once()
        assert {one.key for one in world.log.storage.checkpoints} <= set(world.store.objects)
    assert world.node.failures == []


async def test_a_failure_is_told_even_when_closing_the_file_fails(tmp_path: Path) -> None:
    """Every append once waited for ever."""
    log = await SqliteLog.open(tmp_path / "metadata.db", database=Broken)
    async with asyncio.timeout(10):
        with pytest.raises(FatalLogFailure, match="gone"):
            await log.append(AppendUid(1, 1), b"payload")
        with pytest.raises(FatalLogFailure):
            await log.append(AppendUid(1, 2), b"payload")
    await log.close()
