"""The data directory through kills and power loss at every moment of a start; and mutants that must be caught."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kafscale.clock import SeededClock
from kafscale.errors import StartRefused
from kafscale.storage import data_directory
from kafscale.storage.data_directory import DataDirectory
from kafscale.storage.objects.filesystem import FileSystem, sync_directory
from tests.faults.simulated_disk import Directory, File, SimulatedDisk, SimulatedFileSystem, Survival

PATH = Path("/var/lib/broker/data")
SURVIVALS = [(Survival.NOTHING, 0), (Survival.EVERYTHING, 0), *((Survival.SOME, seed) for seed in range(20))]

MakeFiles = Callable[[SimulatedDisk], FileSystem]


def cluster_id(disk: SimulatedDisk, seed: int, make_files: MakeFiles = SimulatedFileSystem) -> str:
    """Open the directory as a process would that is killed afterwards; every process has a clock of its own."""
    clock = SeededClock(seed, now=lambda: 0.0)
    return DataDirectory.open(PATH, clock=clock, files=make_files(disk)).identity.cluster_id


def disks_after_a_start(make_files: MakeFiles) -> Iterator[tuple[SimulatedDisk, str | None]]:
    """Yield the disk and the cluster id that was seen, for a power cut at each moment of the first start."""
    whole = SimulatedDisk()
    cluster_id(whole, 1, make_files)
    for changes in range(1, whole.changes + 2):
        disk = SimulatedDisk()
        disk.fail_after(changes)
        seen = None
        with suppress(StartRefused):
            seen = cluster_id(disk, 1, make_files)
        yield disk, seen


def violations(make_files: MakeFiles = SimulatedFileSystem) -> list[str]:
    problems = []
    for disk, seen in disks_after_a_start(make_files):
        # The power fails; or the process is killed, another one starts, and then the power fails.
        second = disk.after_crash()
        histories = [(disk, seen), (second, cluster_id(second, 2, make_files))]
        for found, promised in histories:
            for survival, seed in SURVIVALS:
                problems += _problems(found.after_power_loss(survival, seed), promised)
    return problems


def _problems(disk: SimulatedDisk, promised: str | None) -> list[str]:
    try:
        found = cluster_id(disk, 3)
    except StartRefused as error:
        return [f"refused: {error}"]
    return [] if promised in (None, found) else [f"{promised} became {found}"]


def test_the_cluster_id_never_changes_and_the_next_start_works() -> None:
    assert violations() == []


class NoFileSync(SimulatedFileSystem):
    def fsync(self, descriptor: int) -> None:
        if not isinstance(self._open[descriptor].node, File):
            super().fsync(descriptor)


class NoDirectorySync(SimulatedFileSystem):
    def fsync(self, descriptor: int) -> None:
        if not isinstance(self._open[descriptor].node, Directory):
            super().fsync(descriptor)


class NoParentSync(SimulatedFileSystem):
    """Syncs the data directory but none above it."""

    def fsync(self, descriptor: int) -> None:
        node = self._open[descriptor].node
        if isinstance(node, File) or data_directory.LOCK_NAME in node.live:
            super().fsync(descriptor)


class RenamesBeforeSync(SimulatedFileSystem):
    """Syncs the bytes of the format file only under its final name."""

    def fsync(self, descriptor: int) -> None:
        if not isinstance(self._open[descriptor].node, File):
            super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        with self.disk.lock:
            self.disk.sync(self.disk.file(target))


@pytest.mark.parametrize("make_files", [NoFileSync, NoDirectorySync, NoParentSync, RenamesBeforeSync])
def test_a_mutant_of_the_file_system_is_caught(make_files: MakeFiles) -> None:
    assert violations(make_files) != []


@contextmanager
def changed(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(data_directory, name, value)
        yield


def test_trusting_a_format_that_another_process_wrote_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    writing = False

    def only_after_writing(files: FileSystem, path: Path) -> None:
        if writing:
            sync_directory(files, path)

    def write(files: FileSystem, path: Path, identity: data_directory.Identity) -> None:
        nonlocal writing
        writing = True
        try:
            real_write(files, path, identity)
        finally:
            writing = False

    real_write = data_directory._write_format
    with changed(monkeypatch, "sync_directory", only_after_writing), changed(monkeypatch, "_write_format", write):
        assert violations() != []
