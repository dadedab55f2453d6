"""The directory behind `--data-dir`: who may use it, which format it has, which cluster it is.

    LOCK          locked for the life of the process; holds the number of the process that has it
    format        JSON: {"format": 1, "cluster_id": "...", "node_id": 1}
    metadata.db   the metadata log (`kafscale.metadata.sqlite`)
    objects/      the object store (`kafscale.storage.objects.local`)

Invariants: one process at a time; nothing is written into a directory that is not ours; a directory that has a `format`
has a whole one, and it survives loss of power before anything else is stored beside it, so the cluster id a client has
seen never changes. A directory with objects but without the log that orders them is refused: a new log would make
orphans of all of them, and orphans are deleted.
"""

import base64
import binascii
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from kafscale.clock import Clock, SystemClock
from kafscale.errors import StartRefused
from kafscale.storage.objects.filesystem import (
    FileSystem,
    SystemFileSystem,
    make_directory,
    sync_directory,
    write_all,
)

FORMAT_VERSION = 1

FORMAT_BYTES_MAX = 64 * 1024
"""More than any format file will have; what is longer is not one."""

LOCK_NAME = "LOCK"
FORMAT_NAME = "format"
FORMAT_NEW_NAME = "format.new"
METADATA_NAME = "metadata.db"
OBJECTS_NAME = "objects"

_BEFORE_FORMAT = frozenset({LOCK_NAME, FORMAT_NEW_NAME, "lost+found"})
"""What may lie in a directory that has no format yet: a start that was interrupted, and a fresh ext4 file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this data belongs to. `cluster_id` is a UUID in Kafka's form: 22 characters of URL-safe base64."""

    cluster_id: str
    node_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the settings keep the metadata log's file and the object store's directory; None is in memory."""

    log: Path | None
    objects: Path | None


class DataDirectory:
    """An opened and locked data directory. Made by `open`."""

    def __init__(self, path: Path, identity: Identity, files: FileSystem, lock: int) -> None:
        self.path = path
        self.identity = identity
        self._files = files
        self._lock: int | None = lock

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        node_id: int = 1,
        places: Places | None = None,
        clock: Clock | None = None,
        files: FileSystem | None = None,
    ) -> Self:
        """Open the directory, or make it. Blocks for the disk.

        `node_id` and `places` are what the settings say; without the latter everything is in the directory.
        Raises `StartRefused`.
        """
        files = files or SystemFileSystem()
        path = path.absolute()
        places = places or Places(log=path / METADATA_NAME, objects=path / OBJECTS_NAME)
        try:
            return cls._open(path, node_id, places, clock or SystemClock(), files)
        except OSError as error:
            raise _refused(path, f"{error}; check the disk and the directory's owner") from error

    @classmethod
    def _open(cls, path: Path, node_id: int, places: Places, clock: Clock, files: FileSystem) -> Self:
        make_directory(files, path)
        _check_ours(files, path)
        lock = _lock(files, path)
        try:
            identity = _read_format(files, path)
            if identity is None:
                _check_ours(files, path)  # once more, now that nobody else is at it
                identity = Identity(cluster_id=new_cluster_id(clock), node_id=node_id)
                _write_format(files, path, identity)
            else:
                # Whoever wrote it may have died between the rename and the sync.
                sync_directory(files, path)
            if identity.node_id != node_id:
                raise _refused(
                    path,
                    f"it belongs to node.id {identity.node_id}, the settings say {node_id};"
                    " set it back or choose another directory with --data-dir",
                )
            _check_not_orphaned(files, path, places)
        except BaseException:
            files.close(lock)
            raise
        return cls(path, identity, files, lock)

    @property
    def metadata_path(self) -> Path:
        return self.path / METADATA_NAME

    @property
    def objects_path(self) -> Path:
        return self.path / OBJECTS_NAME

    def close(self) -> None:
        """Let another process have it. Close the log and the store first."""
        if self._lock is not None:
            self._files.close(self._lock)
            self._lock = None


def new_cluster_id(clock: Clock) -> str:
    """Return a random UUID as Kafka writes it: as there, never with a leading dash, which looks like an option."""
    while True:
        text = base64.urlsafe_b64encode(clock.random_uuid().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


def _refused(path: Path, reason: str) -> StartRefused:
    return StartRefused(f"data directory {path}: {reason}")


def _check_ours(files: FileSystem, path: Path) -> None:
    """Refuse a directory that has things in it but no format: it belongs to something else."""
    names = {entry.name for entry in files.entries(path)}
    if FORMAT_NAME in names:
        return
    foreign = sorted(names - _BEFORE_FORMAT)
    if foreign:
        raise _refused(
            path,
            f"it holds {foreign[0]!r} but no file {FORMAT_NAME!r}: it is not a data directory, or has lost that file;"
            " restore the file or choose an empty directory with --data-dir",
        )


def _lock(files: FileSystem, path: Path) -> int:
    descriptor = files.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        files.lock(descriptor)
        files.truncate(descriptor, 0)
        write_all(files, descriptor, [b"%d\n" % os.getpid()])
    except BlockingIOError as error:
        holder = _read_all(files, descriptor).decode(errors="replace").strip() or "unknown"
        files.close(descriptor)
        raise _refused(
            path, f"process {holder} is using it; stop that one or choose another directory with --data-dir"
        ) from error
    except BaseException:
        files.close(descriptor)
        raise
    return descriptor


def _read_all(files: FileSystem, descriptor: int) -> bytes:
    buffer = bytearray(FORMAT_BYTES_MAX)
    filled = 0
    with memoryview(buffer) as view:
        while filled < FORMAT_BYTES_MAX:
            count = files.preadv(descriptor, view[filled:], filled)
            if count == 0:
                break
            filled += count
    return bytes(buffer[:filled])


def _read_format(files: FileSystem, path: Path) -> Identity | None:
    try:
        descriptor = files.open(path / FORMAT_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        content = _read_all(files, descriptor)
    finally:
        files.close(descriptor)
    return _parse_format(path, content)


def _parse_format(path: Path, content: bytes) -> Identity:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise _damaged_format(path) from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise _damaged_format(path)
    fields = cast("dict[str, object]", document)
    version = fields["format"]
    if version != FORMAT_VERSION:
        raise _refused(
            path,
            f"its format is version {version}, this release reads version {FORMAT_VERSION};"
            " start the release that wrote it",
        )
    match fields:
        case {"cluster_id": str(cluster_id), "node_id": int(node_id)} if _is_cluster_id(cluster_id):
            return Identity(cluster_id=cluster_id, node_id=node_id)
        case _:
            raise _damaged_format(path)


def _damaged_format(path: Path) -> StartRefused:
    return _refused(path, f"its file {FORMAT_NAME!r} is damaged; restore it from a backup")


def _is_cluster_id(text: str) -> bool:
    try:
        return len(text) == 22 and len(base64.b64decode(f"{text}==", altchars=b"-_", validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _write_format(files: FileSystem, path: Path, identity: Identity) -> None:
    """Write the file whole: under another name, synced, renamed, and the name synced."""
    document = {"format": FORMAT_VERSION, "cluster_id": identity.cluster_id, "node_id": identity.node_id}
    new = path / FORMAT_NEW_NAME
    with suppress(FileNotFoundError):
        files.unlink(new)
    descriptor = files.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(files, descriptor, [json.dumps(document).encode() + b"\n"])
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
    files.rename(new, path / FORMAT_NAME)
    sync_directory(files, path)


def _check_not_orphaned(files: FileSystem, path: Path, places: Places) -> None:
    if places.objects is None or (places.log is not None and _has_content(files, places.log)):
        return
    if _holds_an_object(files, places.objects):
        log = "log, which is kept in memory," if places.log is None else str(places.log.name)
        raise _refused(
            path,
            f"{places.objects} holds objects but there is no {log} to say in what order they belong; restore that"
            " file from a backup, or choose an empty directory with --data-dir",
        )


def _has_content(files: FileSystem, path: Path) -> bool:
    try:
        entries = files.entries(path.parent)
    except FileNotFoundError:
        return False
    return any(entry.name == path.name and entry.length > 0 for entry in entries)


def _holds_an_object(files: FileSystem, path: Path) -> bool:
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            entries = files.entries(folder)
        except FileNotFoundError:
            continue
        for entry in entries:
            # Dot names are the store's own: objects that were never finished.
            if entry.name.startswith("."):
                continue
            if not entry.is_directory:
                return True
            folders.append(folder / entry.name)
    return False
