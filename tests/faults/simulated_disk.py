"""A disk that forgets what was not synced when its power fails: kill -9 loses no page cache, so it proves nothing here.

`SimulatedDisk` is a tree of files and directories in memory. Each file keeps the bytes that were synced and the writes
since; each directory the names that were synced and the changes since. `after_power_loss` makes the disk that a machine
would find: with nothing of what was pending, with all of it, or with a seeded arbitrary part of it, in which a write
may be torn at any 512-byte sector and a name may survive without the bytes behind it (and the other way round).

Model, no stronger than POSIX: fsync of a file keeps its bytes and length, never its name; fsync of a directory keeps
its names, never what stands behind them; each name of a directory is an entry of its own, and a rename within a
directory happens whole or not at all.

`SimulatedFileSystem` is the storage layer's `FileSystem` over it; `simulated_vfs` has the same for SQLite.
`fail_after` cuts the power after that many more changes: from then on every operation raises `PowerLostError`.
"""

import enum
import errno
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from kafscale.storage.objects.base import Buffer
from kafscale.storage.objects.filesystem import DirectoryEntry

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""


class PowerLostError(OSError):
    """The machine is off."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "power lost")


class Survival(enum.Enum):
    """What of the pending changes is on the platter after the power is back."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    SOME = "some"


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write to a file."""

    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, keep: Callable[[], bool]) -> "list[Write]":
        """Return the sectors of this write that `keep` says have reached the platter."""
        pieces = []
        start = self.offset
        end = self.offset + len(self.data)
        while start < end:
            stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
            if keep():
                pieces.append(Write(start, self.data[start - self.offset : stop - self.offset]))
            start = stop
        return pieces


@dataclass(frozen=True, slots=True)
class Truncate:
    """A pending change of a file's length."""

    length: int

    def apply(self, content: bytearray) -> None:
        if len(content) > self.length:
            del content[self.length :]
        else:
            content.extend(bytes(self.length - len(content)))


@dataclass(eq=False, slots=True)
class File:
    """A file: what a process sees, what the platter has, and the way from one to the other."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[Write | Truncate] = field(default_factory=list)
    locked: bool = False

    def change(self, change: Write | Truncate) -> None:
        change.apply(self.live)
        self.pending.append(change)

    def sync(self) -> None:
        content = bytearray(self.durable)
        for change in self.pending:
            change.apply(content)
        self.durable = bytes(content)
        self.pending.clear()

    def survivor(self, survival: Survival, rng: random.Random) -> "File":
        if survival is Survival.NOTHING:
            content = bytearray(self.durable)
        elif survival is Survival.EVERYTHING:
            content = bytearray(self.live)
        else:
            content = self._part(rng)
        return File(live=content, durable=bytes(content))

    def _part(self, rng: random.Random) -> bytearray:
        content = bytearray(self.durable)
        likely = rng.choice((0.1, 0.5, 0.9))
        for change in self.pending:
            if isinstance(change, Write):
                for piece in change.torn(lambda: rng.random() < likely):
                    piece.apply(content)
            elif rng.random() < likely:
                change.apply(content)
        return content


@dataclass(eq=False, slots=True)
class Directory:
    """A directory: names a process sees, names on the platter, and the changes between. A change sets several names
    at once; None takes a name away."""

    live: "dict[str, Node]" = field(default_factory=dict)
    durable: "dict[str, Node]" = field(default_factory=dict)
    pending: "list[dict[str, Node | None]]" = field(default_factory=list)

    def change(self, names: "dict[str, Node | None]") -> None:
        _apply(names, self.live)
        self.pending.append(names)

    def sync(self) -> None:
        for change in self.pending:
            _apply(change, self.durable)
        self.pending.clear()

    def surviving_names(self, survival: Survival, rng: random.Random) -> "dict[str, Node]":
        if survival is Survival.NOTHING:
            return dict(self.durable)
        if survival is Survival.EVERYTHING:
            return dict(self.live)
        names = dict(self.durable)
        for change in self.pending:
            if rng.random() < 0.5:
                _apply(change, names)
        return names


Node: TypeAlias = File | Directory


def _apply(change: "dict[str, Node | None]", names: "dict[str, Node]") -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class SimulatedDisk:
    """The tree, and the power switch. Safe to use from several threads."""

    def __init__(self, root: Directory | None = None) -> None:
        self.root = root or Directory()
        self.lock = threading.RLock()
        self.changes = 0
        """Writes, syncs and changes of names so far: the moments at which the power can fail."""
        self.is_on = True
        self.full = False
        """Whether writes find no room."""
        self.failing_syncs = 0
        """How many of the next syncs report an I/O error. As on Linux, what they were to keep counts as clean then."""
        self._left: int | None = None

    def fail_after(self, changes: int) -> None:
        """Cut the power after `changes` more changes; 0 is now."""
        self._left = changes
        self.is_on = changes > 0

    def begin_change(self) -> None:
        """To be called before each change, with the lock held."""
        self.check_power()
        if self._left is not None:
            if self._left == 0:
                self.is_on = False
                raise PowerLostError
            self._left -= 1
        self.changes += 1

    def check_power(self) -> None:
        if not self.is_on:
            raise PowerLostError

    def sync(self, node: Node) -> None:
        """Sync a file or a directory."""
        self.begin_change()
        if self.failing_syncs:
            self.failing_syncs -= 1
            node.pending.clear()
            raise OSError(errno.EIO, "simulated I/O error")
        node.sync()

    def find(self, path: Path) -> Node:
        """Return what stands at an absolute path."""
        self.check_power()
        node: Node = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Directory):
                raise NotADirectoryError(errno.ENOTDIR, str(path))
            if part not in node.live:
                raise FileNotFoundError(errno.ENOENT, str(path))
            node = node.live[part]
        return node

    def directory(self, path: Path) -> Directory:
        node = self.find(path)
        if not isinstance(node, Directory):
            raise NotADirectoryError(errno.ENOTDIR, str(path))
        return node

    def file(self, path: Path) -> File:
        node = self.find(path)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, str(path))
        return node

    def after_power_loss(self, survival: Survival, seed: int) -> "SimulatedDisk":
        """Return the disk as it is found after the power failed now (or when it failed)."""
        with self.lock:
            return SimulatedDisk(_survivor(self.root, survival, random.Random(seed), {}))

    def after_crash(self) -> "SimulatedDisk":
        """Return the disk as the next process finds it after this one was killed: nothing synced, nothing lost."""
        with self.lock:
            disk = SimulatedDisk(self.root)
            _unlock(self.root)
            return disk


def _survivor(directory: Directory, survival: Survival, rng: random.Random, files: dict[int, File]) -> Directory:
    survivor = Directory()
    for name, node in directory.surviving_names(survival, rng).items():
        if isinstance(node, Directory):
            survivor.live[name] = _survivor(node, survival, rng, files)
        else:
            # Two names of one file stay two names of one file.
            if id(node) not in files:
                files[id(node)] = node.survivor(survival, rng)
            survivor.live[name] = files[id(node)]
    survivor.durable = dict(survivor.live)
    return survivor


def _unlock(directory: Directory) -> None:
    for node in directory.live.values():
        if isinstance(node, Directory):
            _unlock(node)
        else:
            node.locked = False


@dataclass(slots=True)
class _Open:
    node: Node
    position: int = 0
    holds_lock: bool = False


class SimulatedFileSystem:
    """`FileSystem` over a simulated disk. `write_bytes_max` makes writes short, as a real one may be."""

    def __init__(self, disk: SimulatedDisk, write_bytes_max: int | None = None) -> None:
        self.disk = disk
        self._write_bytes_max = write_bytes_max
        self._open: dict[int, _Open] = {}
        self._next = 3

    @property
    def open_count(self) -> int:
        """Descriptors that were not closed."""
        return len(self._open)

    def open(self, path: Path, flags: int) -> int:
        with self.disk.lock:
            node = self._create(path) if flags & os.O_CREAT else self.disk.find(path)
            if node is None:
                if flags & os.O_EXCL:
                    raise FileExistsError(errno.EEXIST, str(path))
                node = self.disk.find(path)
            self._next += 1
            self._open[self._next] = _Open(node)
            return self._next

    def _create(self, path: Path) -> File | None:
        parent = self.disk.directory(path.parent)
        if path.name in parent.live:
            return None
        self.disk.begin_change()
        if self.disk.full:
            raise OSError(errno.ENOSPC, "no space left")
        file = File()
        parent.change({path.name: file})
        return file

    def close(self, descriptor: int) -> None:
        with self.disk.lock:
            opened = self._open.pop(descriptor)
            if opened.holds_lock and isinstance(opened.node, File):
                opened.node.locked = False

    def writev(self, descriptor: int, buffers: Sequence[Buffer]) -> int:
        with self.disk.lock:
            self.disk.begin_change()
            if self.disk.full:
                raise OSError(errno.ENOSPC, "no space left")
            data = b"".join(buffers)[: self._write_bytes_max]
            opened = self._open[descriptor]
            self._file(opened).change(Write(opened.position, data))
            opened.position += len(data)
            return len(data)

    def _file(self, opened: _Open) -> File:
        if not isinstance(opened.node, File):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        return opened.node

    def preadv(self, descriptor: int, buffer: bytearray | memoryview, offset: int) -> int:
        with self.disk.lock:
            self.disk.check_power()
            data = self._file(self._open[descriptor]).live[offset : offset + len(buffer)]
            buffer[: len(data)] = data
            return len(data)

    def length(self, descriptor: int) -> int:
        with self.disk.lock:
            self.disk.check_power()
            return len(self._file(self._open[descriptor]).live)

    def fsync(self, descriptor: int) -> None:
        with self.disk.lock:
            self.disk.sync(self._open[descriptor].node)

    def lock(self, descriptor: int) -> None:
        with self.disk.lock:
            opened = self._open[descriptor]
            file = self._file(opened)
            if file.locked and not opened.holds_lock:
                raise BlockingIOError(errno.EAGAIN, "locked")
            file.locked = opened.holds_lock = True

    def truncate(self, descriptor: int, length: int) -> None:
        with self.disk.lock:
            self.disk.begin_change()
            self._file(self._open[descriptor]).change(Truncate(length))

    def link(self, source: Path, target: Path) -> None:
        with self.disk.lock:
            file = self.disk.file(source)
            parent = self.disk.directory(target.parent)
            if target.name in parent.live:
                raise FileExistsError(errno.EEXIST, str(target))
            self.disk.begin_change()
            parent.change({target.name: file})

    def rename(self, source: Path, target: Path) -> None:
        with self.disk.lock:
            file = self.disk.file(source)
            self.disk.begin_change()
            self.disk.directory(target.parent).change({source.name: None, target.name: file})

    def unlink(self, path: Path) -> None:
        with self.disk.lock:
            self.disk.file(path)
            self.disk.begin_change()
            self.disk.directory(path.parent).change({path.name: None})

    def mkdir(self, path: Path) -> None:
        with self.disk.lock:
            parent = self.disk.directory(path.parent)
            if path.name in parent.live:
                raise FileExistsError(errno.EEXIST, str(path))
            self.disk.begin_change()
            parent.change({path.name: Directory()})

    def entries(self, path: Path) -> list[DirectoryEntry]:
        with self.disk.lock:
            return [
                DirectoryEntry(
                    name=name,
                    is_directory=isinstance(node, Directory),
                    length=len(node.live),
                    modified_ms=0,
                )
                for name, node in self.disk.directory(path).live.items()
            ]
