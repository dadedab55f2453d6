"""The file system calls the local store and the data directory make, so that a simulated disk can stand in for them.

Thin on purpose: one method is one system call with Python's meaning, errors are `OSError`. What each promises about
loss of power is POSIX's: `fsync` of a file keeps its bytes and length, not its name; `fsync_directory` keeps names.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kafscale.storage.objects.base import Buffer

IOV_MAX = 1024
"""Buffers that one writev takes on Linux and macOS."""

# On macOS a plain fsync leaves the data in the drive's cache; F_FULLFSYNC does not.
_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """One name in a directory."""

    name: str
    is_directory: bool
    length: int
    modified_ms: int


class FileSystem(Protocol):
    """What the storage layer needs of a file system. May block; safe to call from several threads."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file (`os.O_...`, created with mode 0600) and return its descriptor."""
        ...

    def close(self, descriptor: int) -> None: ...

    def writev(self, descriptor: int, buffers: Sequence[Buffer]) -> int:
        """Append the buffers at the descriptor's position; return how many bytes were taken, which may be fewer."""
        ...

    def preadv(self, descriptor: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Read from `offset` into `buffer`; return how many bytes, which may be fewer, 0 at the end of the file."""
        ...

    def length(self, descriptor: int) -> int: ...

    def fsync(self, descriptor: int) -> None:
        """Make the file's bytes, or the directory's names, survive loss of power."""
        ...

    def lock(self, descriptor: int) -> None:
        """Take an exclusive lock that ends with the descriptor; `BlockingIOError` when someone else holds it."""
        ...

    def truncate(self, descriptor: int, length: int) -> None: ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. `FileExistsError` when it is taken."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename within one directory, over what is there."""
        ...

    def unlink(self, path: Path) -> None: ...

    def mkdir(self, path: Path) -> None:
        """Make a directory (mode 0700: what lies in it is nobody else's business)."""
        ...

    def entries(self, path: Path) -> list[DirectoryEntry]:
        """List a directory, in any order."""
        ...


class SystemFileSystem:
    """The operating system's."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def writev(self, descriptor: int, buffers: Sequence[Buffer]) -> int:
        return os.writev(descriptor, buffers)

    def preadv(self, descriptor: int, buffer: bytearray | memoryview, offset: int) -> int:
        return os.preadv(descriptor, [buffer], offset)

    def length(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def fsync(self, descriptor: int) -> None:
        if _FULL_FSYNC is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, _FULL_FSYNC)

    def lock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def entries(self, path: Path) -> list[DirectoryEntry]:
        found = []
        with os.scandir(path) as scan:
            for entry in scan:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted since the directory was read
                found.append(
                    DirectoryEntry(
                        name=entry.name,
                        is_directory=stat.S_ISDIR(status.st_mode),
                        length=status.st_size,
                        modified_ms=status.st_mtime_ns // 1_000_000,
                    )
                )
        return found


def write_all(files: FileSystem, descriptor: int, parts: Sequence[Buffer]) -> None:
    """Write every byte of `parts`, in calls of at most `IOV_MAX` buffers."""
    rest = [memoryview(part).cast("B") for part in parts if len(part)]
    start = 0
    while start < len(rest):
        written = files.writev(descriptor, rest[start : start + IOV_MAX])
        while written:
            if written < len(rest[start]):
                rest[start] = rest[start][written:]
                break
            written -= len(rest[start])
            start += 1


def sync_directory(files: FileSystem, path: Path) -> None:
    """Make the names in a directory survive loss of power."""
    descriptor = files.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def make_directory(files: FileSystem, path: Path) -> None:
    """Make `path`, its parents too where they are missing, so that it survives loss of power.

    Parents are made from the top and each is synced before the next is made, so of the directories that are there only
    the lowest can be unsynced, left by a process that died in between: it is synced again here.
    """
    try:
        files.mkdir(path)
    except FileExistsError:
        _sync_name_of(files, path)
        return
    except FileNotFoundError:
        make_directory(files, path.parent)
        files.mkdir(path)
    else:
        _sync_name_of(files, path.parent)
    sync_directory(files, path.parent)


def _sync_name_of(files: FileSystem, existing: Path) -> None:
    # A directory whose parent we may not read was made by somebody else, not by a process of ours that died.
    with suppress(PermissionError):
        sync_directory(files, existing.parent)
