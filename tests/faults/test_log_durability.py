"""The SQLite log through power loss, full disks and failing syncs; and mutants that must be caught.

A scenario appends and installs checkpoints at random, is killed at a random write or sync, starts again, until the
power fails at a random one. Then the disk is looked at as it may be found: every acknowledged entry must stand where it
was said to stand.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kafscale.errors import FatalLogFailure, KafScaleError, StartRefused, StorageUnavailable
from kafscale.metadata.log import AppendUid, CheckpointPointer
from kafscale.metadata.sqlite import SqliteLog
from kafscale.metadata.sqlite_database import LogDatabase
from kafscale.metadata.sqlite_writer import WalLimits
from tests.faults.simulated_disk import Directory, File, SimulatedDisk, SimulatedFileSystem, Survival
from tests.faults.simulated_vfs import FileWrapper, SimulatedVfsFile, connect_to
from tests.support.log_follower import RecordingFollower

PATH = Path("/data/metadata.db")
OPERATIONS = 40
CHANGES_MAX = (30, 100, 350)
"""The last is about as many as that many operations make; fewer, so that a start and its first writes are cut often."""

SEEDS = range(150)
MUTANT_SEEDS = range(300)
"""Mutants stop at the first seed that catches them."""

WAL = WalLimits(bytes_max=60_000, idle_bytes=10**9)
"""Small, so that every scenario copies the WAL several times; never by being idle, which depends on time."""


def new_disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    SimulatedFileSystem(disk).mkdir(PATH.parent)
    disk.root.sync()
    return disk


async def open_log(
    disk: SimulatedDisk,
    database_class: type[LogDatabase] = LogDatabase,
    log_class: type[SqliteLog] = SqliteLog,
    make_file: FileWrapper = SimulatedVfsFile,
) -> SqliteLog:
    connect = connect_to(disk, make_file)
    return await log_class.open(PATH, database=lambda path: database_class(path, connect), wal=WAL)


@dataclass
class Scenario:
    """One random history on one disk."""

    seed: int
    database_class: type[LogDatabase] = LogDatabase
    log_class: type[SqliteLog] = SqliteLog
    make_file: FileWrapper = SimulatedVfsFile
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    tried: dict[int, bytes] = field(default_factory=dict)
    """Payload by append number."""
    checkpoints: list[CheckpointPointer] = field(default_factory=list)
    """All that were tried."""
    installed: list[CheckpointPointer] = field(default_factory=list)
    """Those that were acknowledged."""

    async def run(self) -> SimulatedDisk:
        """Return the disk at the moment of the power loss."""
        rng = random.Random(self.seed)
        disk = new_disk()
        for _ in range(rng.randint(0, 2)):
            await self._life(disk, rng)
            disk = disk.after_crash()
        await self._life(disk, rng)
        return disk

    async def _life(self, disk: SimulatedDisk, rng: random.Random) -> None:
        """One run of a process, until it ends well, is killed, or the power fails."""
        disk.fail_after(rng.randrange(1, rng.choice(CHANGES_MAX)))
        log = None
        with suppress(FatalLogFailure, StartRefused):
            log = await open_log(disk, self.database_class, self.log_class, self.make_file)
            for _ in range(OPERATIONS):
                await self._operation(log, rng)
            if rng.random() < 0.5:
                await log.close()
        disk.fail_after(0)
        if log is not None:
            with suppress(FatalLogFailure):
                await log.close()

    async def _operation(self, log: SqliteLog, rng: random.Random) -> None:
        end = max(self.acknowledged, default=0)
        newest = self.checkpoints[-1].position if self.checkpoints else 0
        if end > newest and rng.random() < 0.15:
            pointer = CheckpointPointer(key=f"checkpoint/{len(self.checkpoints)}", position=rng.randint(newest, end))
            self.checkpoints.append(pointer)
            await log.install_checkpoint(pointer)
            self.installed.append(pointer)
            return
        # What was not acknowledged is appended again under its uid, as a broker would that lost the reply.
        number = end + 1
        if number not in self.tried:
            self.tried[number] = rng.randbytes(rng.choice((0, 300, 300, 300, 6000, 20_000)))
        position = await log.append(AppendUid(1, number), self.tried[number])
        self.acknowledged[position] = self.tried[number]

    async def violations(self, disk: SimulatedDisk, survival: Survival) -> list[str]:
        """Return what is wrong with the disk that is found afterwards."""
        try:
            log = await open_log(disk.after_power_loss(survival, self.seed))
        except StartRefused as error:
            return [f"refused to start: {error}"]
        try:
            return await self._check(log)
        except KafScaleError as error:
            return [f"failed: {error!r}"]
        finally:
            await log.close()

    async def _check(self, log: SqliteLog) -> list[str]:
        loaded = await log.load()
        if len(loaded.checkpoints) < min(len(self.installed), 2):
            return ["checkpoints are missing"]
        if any(pointer not in self.checkpoints for pointer in loaded.checkpoints):
            return ["a checkpoint nobody installed"]
        order = self.checkpoints.index
        if self.installed and order(loaded.checkpoints[0]) < order(self.installed[-1]):
            return ["an older checkpoint is the newest"]
        floor = loaded.checkpoints[1].position if len(loaded.checkpoints) == 2 else 0
        found = {entry.position: entry.payload for entry in await log.read(floor, loaded.end)}
        problems = [
            f"lost: {position}"
            for position, payload in self.acknowledged.items()
            if position > floor and found.get(position) != payload
        ]
        # Appends go one after the other, so entry n is append n, acknowledged or not.
        problems += [f"not what was appended: {p}" for p, payload in found.items() if self.tried.get(p) != payload]
        if list(found) != list(range(floor + 1, loaded.end + 1)):
            problems.append("a gap")
        last = len(self.tried)
        if last > floor and await log.append(AppendUid(1, last), self.tried[last]) != last:
            problems.append("the repeated append is not the same append")
        return problems


async def all_violations(scenario: Scenario) -> list[str]:
    disk = await scenario.run()
    return [text for survival in Survival for text in await scenario.violations(disk, survival)]


async def is_caught(scenarios: Iterable[Scenario]) -> bool:
    for scenario in scenarios:
        if await all_violations(scenario):
            return True
    return False


async def test_power_loss_loses_nothing() -> None:
    acknowledged = checkpoints = 0
    for seed in SEEDS:
        scenario = Scenario(seed=seed)
        assert await all_violations(scenario) == [], seed
        acknowledged += len(scenario.acknowledged)
        checkpoints += len(scenario.installed)
    assert acknowledged > 5 * len(SEEDS)
    assert checkpoints > len(SEEDS) // 2


async def test_power_loss_at_every_moment_of_the_first_start() -> None:
    disk = new_disk()
    log = await open_log(disk)
    await log.append(AppendUid(1, 1), b"")
    await log.close()
    for changes in range(disk.changes):
        disk = new_disk()
        disk.fail_after(changes)
        with suppress(StartRefused, FatalLogFailure):
            log = await open_log(disk)
            await log.append(AppendUid(1, 1), b"")
        for survival, seed in [
            (Survival.NOTHING, 0),
            (Survival.EVERYTHING, 0),
            *((Survival.SOME, s) for s in range(5)),
        ]:
            found = await open_log(disk.after_power_loss(survival, seed))
            assert await found.append(AppendUid(1, 1), b"") == 1
            await found.close()


# Mutants


class SynchronousOff(LogDatabase):
    def _configure(self) -> None:
        super()._configure()
        self._pragma("synchronous=OFF")


class SynchronousNormal(LogDatabase):
    def _configure(self) -> None:
        super()._configure()
        self._pragma("synchronous=NORMAL")


class TrustsTheWal(LogDatabase):
    """Takes what a killed process has written for durable."""

    def _keep_recovered(self) -> None:
        pass


@pytest.mark.parametrize("database_class", [SynchronousOff, SynchronousNormal, TrustsTheWal])
async def test_a_mutant_of_the_database_is_caught(database_class: type[LogDatabase]) -> None:
    assert await is_caught(Scenario(seed=seed, database_class=database_class) for seed in MUTANT_SEEDS)


class AcknowledgesBeforeCommit(SqliteLog):
    _pending: asyncio.Task[int] | None = None

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        if self._pending is not None:
            await self._pending
        self._pending = asyncio.create_task(super().append(uid, payload))
        await asyncio.sleep(0)
        return self._replies.end + 1

    async def close(self) -> None:
        if self._pending is not None:
            with suppress(FatalLogFailure, StorageUnavailable):
                await self._pending
        await super().close()


async def test_acknowledging_before_the_commit_is_caught() -> None:
    assert await is_caught(Scenario(seed=seed, log_class=AcknowledgesBeforeCommit) for seed in MUTANT_SEEDS)


class NoFileSync(SimulatedVfsFile):
    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Say that it is done."""


def without_directory_sync(disk: SimulatedDisk, file: File, new_in: Directory | None) -> SimulatedVfsFile:
    return SimulatedVfsFile(disk, file, None)


@pytest.mark.parametrize("make_file", [NoFileSync, without_directory_sync])
async def test_a_mutant_of_the_file_is_caught(make_file: Callable[..., SimulatedVfsFile]) -> None:
    assert await is_caught(Scenario(seed=seed, make_file=make_file) for seed in MUTANT_SEEDS)


# Other faults


async def test_a_full_disk_refuses_and_goes_on_later() -> None:
    disk = new_disk()
    log = await open_log(disk)
    follower = RecordingFollower()
    log.follow(0, follower)
    await log.append(AppendUid(1, 1), b"before")
    disk.full = True
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="disk is full"):
            await log.append(AppendUid(1, 2), bytes(20_000))
    with pytest.raises(StorageUnavailable, match="disk is full"):
        await log.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=1))
    assert await log.barrier() == 1
    assert [entry.payload for entry in await log.read(0, 1)] == [b"before"]
    disk.full = False
    assert await log.append(AppendUid(1, 2), b"after") == 2
    await log.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=1))
    assert follower.events == [(1, b"before"), (2, b"after")]
    found = await open_log(disk.after_power_loss(Survival.NOTHING, 0))
    assert [entry.payload for entry in await found.read(0, 2)] == [b"before", b"after"]
    await found.close()
    await log.close()


class FullForTheDatabase(SimulatedVfsFile):
    """There is room in the WAL, which exists already, but not for a longer database file."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        is_wal = self._new_in is not None or self.file.live[:3] == b"\x37\x7f\x06"
        self.disk.full = not is_wal and offset >= 100_000
        try:
            super().xWrite(data, offset)
        finally:
            self.disk.full = False


async def test_a_disk_too_full_to_copy_the_wal_loses_nothing() -> None:
    disk = new_disk()
    log = await open_log(disk, make_file=FullForTheDatabase)
    payloads = [bytes([number]) * 20_000 for number in range(30)]
    for number, payload in enumerate(payloads, 1):
        await log.append(AppendUid(1, number), payload)
    found = await open_log(disk.after_power_loss(Survival.NOTHING, 0))
    assert [entry.payload for entry in await found.read(0, 30)] == payloads
    await found.close()
    await log.close()


@pytest.mark.parametrize("during", ["append", "copy", "checkpoint"])
async def test_a_failed_sync_stops_the_log_for_good(during: str) -> None:
    disk = new_disk()
    log = await open_log(disk)
    follower = RecordingFollower()
    log.follow(0, follower)
    acknowledged = 0
    if during == "copy":
        while log_is_short(disk):
            acknowledged = await log.append(AppendUid(1, acknowledged + 1), bytes(300))
    else:
        acknowledged = await log.append(AppendUid(1, 1), bytes(300))
    await log.load()
    disk.failing_syncs = 1
    fatal: Coroutine[Any, Any, object]
    if during == "checkpoint":
        fatal = log.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=1))
    else:
        fatal = log.append(AppendUid(1, acknowledged + 1), bytes(300))
    with pytest.raises(FatalLogFailure, match="start again"):
        await fatal
    await follower.until_failed()
    changes = disk.changes
    for attempt in (log.append(AppendUid(1, 99), b""), log.barrier(), log.seal(), log.read(0, 1)):
        with pytest.raises(FatalLogFailure, match="start again"):
            await attempt
    await log.close()
    assert disk.changes == changes
    found = await open_log(disk.after_power_loss(Survival.NOTHING, 0))
    assert len(await found.read(0, acknowledged)) == acknowledged
    await found.close()


def log_is_short(disk: SimulatedDisk) -> bool:
    """Whether the next append or two will not yet copy the WAL."""
    wal = disk.file(PATH.with_name("metadata.db-wal"))
    return len(wal.live) < WAL.bytes_max - 4200


async def test_everything_that_waits_fails_with_the_log() -> None:
    disk = new_disk()
    log = await open_log(disk)
    disk.failing_syncs = 1
    results = await asyncio.gather(
        *(log.append(AppendUid(1, number), b"") for number in range(1, 101)), return_exceptions=True
    )
    assert all(isinstance(result, FatalLogFailure) for result in results)
    await log.close()
