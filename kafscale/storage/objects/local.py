"""The object store in one directory of a local disk.

An object is written under a name of its own in `.incoming/`, synced, linked to its key's path (which fails when the
key is taken, in one atomic step) and taken out of `.incoming/`; then the key's directory is synced. Two fsyncs: fewer
would lose the bytes or the name with the power. Invariants: what stands under a key is whole, whatever was interrupted;
what `put` has returned from survives loss of power; what lies in `.incoming/` is nobody's, and is removed at the next
start. One process uses the directory at a time (`kafscale.storage.data_directory` holds the lock).

Calls run in two small thread pools, one hop there and one back: one for what waits for the disk's cache to be flushed,
one for reads, which would otherwise wait behind it.

Unlike a bucket, a directory cannot hold both `a` and `a/b`; no key of ours is another one's folder.
"""

import errno
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from kafscale.errors import DataCorrupt, ObjectExists, ObjectMissing, StorageUnavailable
from kafscale.storage.objects.base import Buffer, ObjectInfo, check_key
from kafscale.storage.objects.filesystem import (
    FileSystem,
    SystemFileSystem,
    make_directory,
    sync_directory,
    write_all,
)
from kafscale.storage.objects.workers import WorkerPool

WRITE_THREADS = 8
"""Four flush PUTs in flight, a hedge or two, and one for checkpoint, compaction and collection. They wait, not work."""

READ_THREADS = 8
"""Enough to keep a disk's queue busy; more would only fight over the interpreter."""

INCOMING = ".incoming"
"""Where objects are while they are written. No key begins with a dot."""

T = TypeVar("T")


class _Listing(NamedTuple):
    """The objects of one directory that match, and the directories in it that may hold more."""

    objects: list[ObjectInfo]
    folders: list[str]


class LocalObjectStore:
    """`ObjectStore` over a directory. Made by `open`; an event loop's object from then on."""

    def __init__(self, directory: Path, files: FileSystem) -> None:
        self._directory = directory
        self._incoming = directory / INCOMING
        self._files = files
        self._writers = WorkerPool("object-write", WRITE_THREADS)
        self._readers = WorkerPool("object-read", READ_THREADS)
        self._numbers = itertools.count(1)
        self._kept_directories: set[Path] = set()
        """Directories that this process knows to survive loss of power: one for each prefix in use."""
        self._making_directories = threading.Lock()
        self._closed = False

    @classmethod
    async def open(cls, directory: Path, *, files: FileSystem | None = None) -> Self:
        """Open the store, creating the directory, and remove what interrupted puts have left.

        Raises `StorageUnavailable`.
        """
        store = cls(directory, files or SystemFileSystem())
        try:
            await store._run(store._writers, store._prepare)
        except BaseException:
            await store.close()
            raise
        return store

    def _prepare(self) -> None:
        with self._unavailable(f"open {self._directory}"):
            make_directory(self._files, self._directory)
            with suppress(FileExistsError):
                self._files.mkdir(self._incoming)
            for leftover in self._files.entries(self._incoming):
                self._files.unlink(self._incoming / leftover.name)

    async def _run(self, pool: WorkerPool, function: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise StorageUnavailable("the object store is closed")
        return await pool.run(function, *arguments)

    @contextmanager
    def _unavailable(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
            raise StorageUnavailable(f"cannot {what}: {reason}") from error

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._directory / key

    # Writing

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        # A cancelled put goes on in its thread and still reads `parts`, which nobody changes while views of it live.
        await self._run(self._writers, self._put, key, self._path(key), parts)

    def _put(self, key: str, path: Path, parts: Sequence[Buffer]) -> None:
        incoming = self._incoming / str(next(self._numbers))
        with self._unavailable(f"store {key}"):
            self._keep_directory(path.parent)
            try:
                self._write(incoming, parts)
                self._publish(incoming, path)
            except FileExistsError as error:
                raise ObjectExists(f"an object {key} exists already") from error
            finally:
                self._discard(incoming)

    def _write(self, path: Path, parts: Sequence[Buffer]) -> None:
        descriptor = self._files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(self._files, descriptor, parts)
            self._files.fsync(descriptor)
        finally:
            self._files.close(descriptor)

    def _publish(self, incoming: Path, path: Path) -> None:
        # Opened before the link: an error while writing the name back is reported to every descriptor that was open
        # at the time, so another put's failed fsync of the same directory cannot hide the loss of this name.
        directory = self._files.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._files.link(incoming, path)
            try:
                self._files.fsync(directory)
            except OSError:
                self._discard(path)
                raise
        finally:
            self._files.close(directory)

    def _discard(self, path: Path) -> None:
        # Also after success: the second name of the object goes. Where this fails, the next start does it.
        with suppress(OSError):
            self._files.unlink(path)

    def _keep_directory(self, directory: Path) -> None:
        """Make the directory of a key, once per process; the lock so that no other put relies on it too early."""
        if directory in self._kept_directories:
            return
        with self._making_directories:
            missing = [directory, *directory.parents]
            for path in reversed(missing[: missing.index(self._directory)]):
                if path not in self._kept_directories:
                    make_directory(self._files, path)
                    self._kept_directories.add(path)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._run(self._writers, self._delete, [self._path(key) for key in keys])

    def _delete(self, paths: list[Path]) -> None:
        """Durable as well: a deleted object that came back would be an orphan that nobody lists any more.

        The directory is synced even where the object is gone: whoever deleted it may have died before syncing it.
        """
        with self._unavailable(f"delete {len(paths)} objects"):
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._files.unlink(path)
            for directory in dict.fromkeys(path.parent for path in paths):
                with suppress(FileNotFoundError, NotADirectoryError):
                    sync_directory(self._files, directory)

    # Reading

    async def get(self, key: str) -> bytes:
        return bytes(await self._run(self._readers, self._read, key, self._path(key), _whole))

    async def get_range(self, key: str, start: int, length: int) -> bytearray:
        def wanted(object_length: int) -> tuple[int, int]:
            if start + length > object_length:
                raise DataCorrupt(f"object {key} has {object_length} bytes, not the {start + length} it should have")
            return start, length

        return await self._run(self._readers, self._read, key, self._path(key), wanted)

    async def get_tail(self, key: str, length: int) -> bytes:
        def wanted(object_length: int) -> tuple[int, int]:
            return max(object_length - length, 0), min(object_length, length)

        return bytes(await self._run(self._readers, self._read, key, self._path(key), wanted))

    def _read(self, key: str, path: Path, wanted: Callable[[int], tuple[int, int]]) -> bytearray:
        """Read the (start, length) that `wanted` makes of the object's length."""
        with self._unavailable(f"read {key}"):
            try:
                descriptor = self._files.open(path, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise ObjectMissing(f"there is no object {key}") from error
            try:
                start, length = wanted(self._files.length(descriptor))
                return self._read_exactly(descriptor, key, start, length)
            finally:
                self._files.close(descriptor)

    def _read_exactly(self, descriptor: int, key: str, start: int, length: int) -> bytearray:
        buffer = bytearray(length)
        with memoryview(buffer) as view:
            filled = 0
            while filled < length:
                count = self._files.preadv(descriptor, view[filled:], start + filled)
                if count == 0:
                    raise DataCorrupt(f"object {key} ended at byte {start + filled} while it was read")
                filled += count
        return buffer

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        # One directory at a time, depth first. Its names are held together: a bucket's pages would be as large.
        folder = prefix.rpartition("/")[0]
        directories = [folder]
        while directories:
            listing = await self._run(self._readers, self._list, directories.pop(), prefix)
            directories += listing.folders
            for info in listing.objects:
                yield info

    def _list(self, folder: str, prefix: str) -> _Listing:
        listing = _Listing(objects=[], folders=[])
        with self._unavailable(f"list {prefix}"):
            try:
                entries = self._files.entries(self._directory / folder)
            except (FileNotFoundError, NotADirectoryError):
                return listing
        for entry in entries:
            key = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_directory and entry.name != INCOMING and f"{key}/".startswith(prefix[: len(key) + 1]):
                listing.folders.append(key)
            elif not entry.is_directory and key.startswith(prefix):
                listing.objects.append(ObjectInfo(key=key, length=entry.length, stored_ms=entry.modified_ms))
        return listing

    async def close(self) -> None:
        self._closed = True
        for pool in (self._writers, self._readers):
            await pool.close()


def _whole(object_length: int) -> tuple[int, int]:
    return 0, object_length
