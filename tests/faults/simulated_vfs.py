# ruff: noqa: N802 - the method names are SQLite's
"""SQLite's file access on a simulated disk.

As SQLite's own Unix VFS: the first sync of a journal or a WAL that may be new also syncs its directory, deleting with
`syncdir` does too, writes do not harm the bytes around them (POWERSAFE_OVERWRITE). Locks are the disk's.
"""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast

import apsw

from kafscale.metadata.sqlite_database import Connect
from tests.faults.simulated_disk import Directory, File, SimulatedDisk, Truncate, Write

_numbers = itertools.count(1)

_MAY_BE_NEW = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


def _io_error(code: int) -> Exception:
    return apsw.exception_for(code)


def _failing(error: OSError, code: int) -> Exception:
    return apsw.exception_for(apsw.SQLITE_FULL if error.errno == errno.ENOSPC else code)


class SimulatedVfsFile:
    """One open file."""

    def __init__(self, disk: SimulatedDisk, file: File, new_in: Directory | None) -> None:
        self.disk = disk
        self.file = file
        self._new_in = new_in
        self._level = apsw.SQLITE_LOCK_NONE

    def excepthook(self, _etype: object, _value: object, _traceback: object) -> None:
        """Errors are part of the simulation: SQLite's return codes say enough."""

    def xRead(self, amount: int, offset: int) -> bytes:
        with self.disk.lock:
            if not self.disk.is_on:
                raise _io_error(apsw.SQLITE_IOERR_READ)
            return bytes(self.file.live[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        with self.disk.lock:
            try:
                self.disk.begin_change()
                if self.disk.full:
                    raise OSError(errno.ENOSPC, "no space left")
            except OSError as error:
                raise _failing(error, apsw.SQLITE_IOERR_WRITE) from None
            self.file.change(Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        with self.disk.lock:
            try:
                self.disk.begin_change()
            except OSError as error:
                raise _failing(error, apsw.SQLITE_IOERR_TRUNCATE) from None
            self.file.change(Truncate(newsize))

    def xSync(self, flags: int) -> None:
        with self.disk.lock:
            try:
                self.disk.sync(self.file)
                if self._new_in is not None:
                    self.disk.sync(self._new_in)
                    self._new_in = None
            except OSError as error:
                raise _failing(error, apsw.SQLITE_IOERR_FSYNC) from None

    def xFileSize(self) -> int:
        return len(self.file.live)

    def xLock(self, level: int) -> None:
        with self.disk.lock:
            if self._level == apsw.SQLITE_LOCK_NONE:
                if self.file.locked:
                    raise apsw.BusyError("locked")
                self.file.locked = True
            self._level = max(self._level, level)

    def xUnlock(self, level: int) -> None:
        with self.disk.lock:
            if level == apsw.SQLITE_LOCK_NONE and self._level != apsw.SQLITE_LOCK_NONE:
                self.file.locked = False
            self._level = level

    def xCheckReservedLock(self) -> bool:
        return self._level >= apsw.SQLITE_LOCK_RESERVED

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xSectorSize(self) -> int:
        return 4096

    def xClose(self) -> None:
        self.xUnlock(apsw.SQLITE_LOCK_NONE)


FileWrapper: TypeAlias = Callable[[SimulatedDisk, File, Directory | None], SimulatedVfsFile]


class SimulatedVfs(apsw.VFS):
    """The VFS. `make_file` lets a mutant change what a file does."""

    def __init__(self, disk: SimulatedDisk, make_file: FileWrapper = SimulatedVfsFile) -> None:
        self.disk = disk
        self._make_file = make_file
        self.name = f"simdisk-{next(_numbers)}"
        super().__init__(self.name, base="")

    def excepthook(self, _etype: object, _value: object, _traceback: object) -> bool:
        """Errors are part of the simulation: SQLite's return codes say enough."""
        return True

    def xFullPathname(self, name: str) -> str:
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        with self.disk.lock:
            try:
                self.disk.find(Path(pathname))
            except OSError:
                return False
            return True

    def xDelete(self, filename: str, syncdir: bool) -> None:
        path = Path(filename)
        with self.disk.lock:
            try:
                self.disk.file(path)
                self.disk.begin_change()
                directory = self.disk.directory(path.parent)
                directory.change({path.name: None})
                if syncdir:
                    self.disk.sync(directory)
            except FileNotFoundError:
                raise _io_error(apsw.SQLITE_IOERR_DELETE_NOENT) from None
            except OSError as error:
                raise _failing(error, apsw.SQLITE_IOERR_DELETE) from None

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        if not isinstance(filename, str):
            raise apsw.CantOpenError("no temporary files here")
        flags[1] = flags[0]
        with self.disk.lock:
            try:
                file, directory = self._find_or_create(Path(filename), create=bool(flags[0] & apsw.SQLITE_OPEN_CREATE))
            except OSError as error:
                raise apsw.CantOpenError(str(error)) from None
        new_in = directory if flags[0] & _MAY_BE_NEW else None
        # SQLite asks only for the methods; the stub asks for its own class.
        return cast("apsw.VFSFile", self._make_file(self.disk, file, new_in))

    def _find_or_create(self, path: Path, *, create: bool) -> tuple[File, Directory]:
        directory = self.disk.directory(path.parent)
        if create and path.name not in directory.live:
            self.disk.begin_change()
            if self.disk.full:
                raise OSError(errno.ENOSPC, "no space left")
            directory.change({path.name: File()})
        return self.disk.file(path), directory


def connect_to(disk: SimulatedDisk, make_file: FileWrapper = SimulatedVfsFile) -> Connect:
    """Return what opens SQLite files on `disk`."""
    vfs = SimulatedVfs(disk, make_file)

    def connect(path: Path) -> apsw.Connection:
        return apsw.Connection(str(path), vfs=vfs.name)

    return connect
