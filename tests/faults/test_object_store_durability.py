"""The local object store through power loss, full disks and failing syncs; and mutants that must be caught.

A scenario puts and deletes at random, is killed at a random change, starts again, until the power fails at a random
one. Then the disk is looked at as it may be found: what was acknowledged must be there, what was deleted must be gone,
and no key may show half an object.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kafscale.errors import ObjectExists, StorageUnavailable
from kafscale.storage.objects.base import Buffer
from kafscale.storage.objects.filesystem import FileSystem, sync_directory, write_all
from kafscale.storage.objects.local import LocalObjectStore
from tests.faults.simulated_disk import Directory, File, SimulatedDisk, SimulatedFileSystem, Survival

ROOT = Path("/data/objects")
OPERATIONS = 25
CHANGES_MAX = (20, 60, 200)
"""The last is about as many as that many operations make; fewer, so that a start and its first puts are cut often."""

SEEDS = range(150)
MUTANT_SEEDS = range(400)
"""Mutants stop at the first seed that catches them."""

MakeFiles = Callable[[SimulatedDisk], FileSystem]


@dataclass
class History:
    """What a scenario has been promised. `tried` holds everything that a put was begun for."""

    kept: dict[str, bytes] = field(default_factory=dict)
    tried: dict[str, bytes] = field(default_factory=dict)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


def short_writes(disk: SimulatedDisk) -> FileSystem:
    return SimulatedFileSystem(disk, write_bytes_max=1500)


@dataclass
class Scenario:
    """One random history on one disk."""

    seed: int
    store_class: type[LocalObjectStore] = LocalObjectStore
    make_files: MakeFiles = short_writes
    history: History = field(default_factory=History)

    async def run(self) -> SimulatedDisk:
        """Return the disk at the moment of the power loss."""
        rng = random.Random(self.seed)
        disk = SimulatedDisk()
        for _ in range(rng.randint(0, 2)):
            await self._life(disk, rng)
            disk = disk.after_crash()
        await self._life(disk, rng)
        return disk

    async def _life(self, disk: SimulatedDisk, rng: random.Random) -> None:
        """One run of a process, until it is killed or the power fails."""
        disk.fail_after(rng.randrange(1, rng.choice(CHANGES_MAX)))
        store = None
        with suppress(StorageUnavailable):
            store = await self.store_class.open(ROOT, files=self.make_files(disk))
            for _ in range(OPERATIONS):
                await self._operation(store, rng)
        disk.fail_after(0)
        if store is not None:
            await store.close()

    async def _operation(self, store: LocalObjectStore, rng: random.Random) -> None:
        history = self.history
        if history.kept and rng.random() < 0.2:
            key = rng.choice(sorted(history.kept))
            del history.kept[key]
            history.deleting.add(key)
        if history.deleting:
            # With those that a killed process did not finish, as garbage collection would.
            await store.delete(sorted(history.deleting))
            history.deleted |= history.deleting
            history.deleting.clear()
            return
        key = f"flush/{rng.randrange(4):02x}/{self.seed}-{len(history.tried)}"
        history.tried[key] = rng.randbytes(rng.choice((0, 10, 600, 4000)))
        await store.put(key, [history.tried[key][:300], history.tried[key][300:]])
        history.kept[key] = history.tried[key]

    async def violations(self, disk: SimulatedDisk, survival: Survival) -> list[str]:
        """Return what is wrong with the disk that is found afterwards."""
        found_disk = disk.after_power_loss(survival, self.seed)
        store = await LocalObjectStore.open(ROOT, files=SimulatedFileSystem(found_disk))
        found = {info.key: await store.get(info.key) async for info in store.list("")}
        await store.close()
        history = self.history
        lost = [f"lost: {key}" for key, content in history.kept.items() if found.get(key) != content]
        wrong = [f"not what was put: {key}" for key, content in found.items() if history.tried.get(key) != content]
        back = [f"back again: {key}" for key in history.deleted & set(found)]
        return lost + wrong + back


async def all_violations(scenario: Scenario) -> list[str]:
    disk = await scenario.run()
    return [text for survival in Survival for text in await scenario.violations(disk, survival)]


async def is_caught(scenarios: Iterable[Scenario]) -> bool:
    for scenario in scenarios:
        if await all_violations(scenario):
            return True
    return False


async def test_power_loss_loses_nothing_and_shows_nothing_half() -> None:
    acknowledged = 0
    for seed in SEEDS:
        scenario = Scenario(seed=seed)
        assert await all_violations(scenario) == [], seed
        acknowledged += len(scenario.history.kept)
    assert acknowledged > 5 * len(SEEDS)


async def test_puts_at_the_same_time_do_not_rely_on_each_other_s_directories() -> None:
    for turn in range(20):
        disk = SimulatedDisk()
        store = await LocalObjectStore.open(ROOT, files=SimulatedFileSystem(disk))
        keys = [f"flush/{number % 3}/{turn}-{number}" for number in range(24)]
        await asyncio.gather(*(store.put(key, [key.encode()]) for key in keys))
        found = await LocalObjectStore.open(ROOT, files=SimulatedFileSystem(disk.after_power_loss(Survival.NOTHING, 0)))
        assert [await found.get(key) for key in keys] == [key.encode() for key in keys]
        await found.close()
        await store.close()


# Mutants


class NoFileSync(SimulatedFileSystem):
    def fsync(self, descriptor: int) -> None:
        if not isinstance(self._open[descriptor].node, File):
            super().fsync(descriptor)


class NoDirectorySync(SimulatedFileSystem):
    def fsync(self, descriptor: int) -> None:
        if not isinstance(self._open[descriptor].node, Directory):
            super().fsync(descriptor)


class VisibleBeforeSync(SimulatedFileSystem):
    """Links the object to its key first and syncs its bytes then."""

    def fsync(self, descriptor: int) -> None:
        if isinstance(self._open[descriptor].node, Directory):
            super().fsync(descriptor)

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        descriptor = self.open(target, os.O_RDONLY)
        super().fsync(descriptor)
        self.close(descriptor)


@pytest.mark.parametrize("make_files", [NoFileSync, NoDirectorySync, VisibleBeforeSync])
async def test_a_mutant_of_the_file_system_is_caught(make_files: MakeFiles) -> None:
    assert await is_caught(Scenario(seed=seed, make_files=make_files) for seed in MUTANT_SEEDS)


class NoParentSync(LocalObjectStore):
    def _keep_directory(self, directory: Path) -> None:
        for path in (directory.parent, directory):
            with suppress(FileExistsError):
                self._files.mkdir(path)


class TrustsExistingDirectories(LocalObjectStore):
    """Syncs the parent of a directory it makes, but not of one that it finds."""

    def _keep_directory(self, directory: Path) -> None:
        for path in (directory.parent, directory):
            with suppress(FileExistsError):
                self._files.mkdir(path)
                sync_directory(self._files, path.parent)


class WritesUnderTheKey(LocalObjectStore):
    def _put(self, key: str, path: Path, parts: Sequence[Buffer]) -> None:
        with self._unavailable(key):
            self._keep_directory(path.parent)
            descriptor = self._files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            write_all(self._files, descriptor, parts)
            self._files.fsync(descriptor)
            self._files.close(descriptor)
            sync_directory(self._files, path.parent)


class ForgetsToSyncDeletes(LocalObjectStore):
    def _delete(self, paths: list[Path]) -> None:
        with self._unavailable("delete"):
            for path in paths:
                with suppress(FileNotFoundError):
                    self._files.unlink(path)


class TrustsMissingObjects(LocalObjectStore):
    """Syncs the directory only where there was something to delete."""

    def _delete(self, paths: list[Path]) -> None:
        with self._unavailable("delete"):
            for path in paths:
                with suppress(FileNotFoundError):
                    self._files.unlink(path)
                    sync_directory(self._files, path.parent)


@pytest.mark.parametrize(
    "store_class",
    [NoParentSync, TrustsExistingDirectories, WritesUnderTheKey, ForgetsToSyncDeletes, TrustsMissingObjects],
)
async def test_a_mutant_of_the_store_is_caught(store_class: type[LocalObjectStore]) -> None:
    assert await is_caught(Scenario(seed=seed, store_class=store_class) for seed in MUTANT_SEEDS)


# Other faults


async def test_a_full_disk_refuses_cleans_up_and_goes_on_later() -> None:
    disk = SimulatedDisk()
    files = SimulatedFileSystem(disk)
    store = await LocalObjectStore.open(ROOT, files=files)
    await store.put("a/1", [b"before"])
    disk.full = True
    with pytest.raises(StorageUnavailable, match="disk is full"):
        await store.put("a/2", [b"no room"])
    disk.full = False
    assert files.entries(ROOT / ".incoming") == []
    await store.put("a/2", [b"room again"])
    assert [await store.get(key) for key in ("a/1", "a/2")] == [b"before", b"room again"]
    assert files.open_count == 0
    await store.close()


class FillsUpHalfWay(SimulatedFileSystem):
    def writev(self, descriptor: int, buffers: Sequence[Buffer]) -> int:
        written = super().writev(descriptor, buffers)
        self.disk.full = True
        return written


async def test_a_disk_that_fills_up_half_way_shows_nothing() -> None:
    disk = SimulatedDisk()
    files = FillsUpHalfWay(disk, write_bytes_max=100)
    store = await LocalObjectStore.open(ROOT, files=files)
    with pytest.raises(StorageUnavailable, match="disk is full"):
        await store.put("a/1", [bytes(1000)])
    assert [info async for info in store.list("")] == []
    assert files.entries(ROOT / ".incoming") == []
    assert files.open_count == 0
    await store.close()


@pytest.mark.parametrize("failing_sync", [0, 1])
async def test_a_failed_sync_is_not_acknowledged_and_leaves_the_key_free(failing_sync: int) -> None:
    disk = SimulatedDisk()

    class FailsOnce(SimulatedFileSystem):
        syncs_before_failure = -1

        def fsync(self, descriptor: int) -> None:
            self.disk.failing_syncs = int(self.syncs_before_failure == 0)
            self.syncs_before_failure -= 1
            super().fsync(descriptor)

    files = FailsOnce(disk)
    store = await LocalObjectStore.open(ROOT, files=files)
    await store.put("a/1", [b"x"])
    files.syncs_before_failure = failing_sync
    with pytest.raises(StorageUnavailable):
        await store.put("a/2", [b"first try"])
    assert [info.key async for info in store.list("a/2")] == []
    await store.put("a/2", [b"second try"])
    await store.close()
    store = await LocalObjectStore.open(ROOT, files=SimulatedFileSystem(disk.after_power_loss(Survival.NOTHING, 0)))
    assert await store.get("a/2") == b"second try"
    await store.close()


async def test_a_lost_put_can_be_repeated_after_the_restart() -> None:
    for seed in range(60):
        scenario = Scenario(seed=seed)
        disk = await scenario.run()
        store = await LocalObjectStore.open(ROOT, files=SimulatedFileSystem(disk.after_power_loss(Survival.SOME, seed)))
        for key, content in scenario.history.tried.items():
            with suppress(ObjectExists):
                await store.put(key, [content])
            assert await store.get(key) == content
        await store.close()
