"""The object store: immutable byte objects under names that are never used twice.

Only what S3 also offers. Retry, hedging and metrics are decorators around this interface, never branches inside an
implementation. Implementations: `local` (one directory), `memory` (tests, simulator).
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kafscale.errors import Bug

Buffer: TypeAlias = bytes | bytearray | memoryview

KEY_LENGTH_MAX = 512
"""Half of S3's limit, which leaves room for a bucket prefix."""

KEY_PART_LENGTH_MAX = 255
"""Longest file name of the usual file systems."""

_KEY = re.compile(r"(?:[a-z0-9-][a-z0-9.-]*/)*[a-z0-9-][a-z0-9.-]*")
# A part does not begin with a dot: neither `.` nor `..`, nor a name that a store may want for itself.


def check_key(key: str) -> None:
    """Refuse a key that could mean something else to a store: `..`, an absolute path, an odd character.

    Keys are built by our own code, so this raises `Bug`.
    """
    parts_fit = all(len(part) <= KEY_PART_LENGTH_MAX for part in key.split("/"))
    if len(key) > KEY_LENGTH_MAX or not parts_fit or _KEY.fullmatch(key) is None:
        raise Bug(f"not an object key: {key!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One listed object: its key, its length in bytes and when it was stored (milliseconds since the epoch)."""

    key: str
    length: int
    stored_ms: int


class ObjectStore(Protocol):
    """A flat store of immutable objects. Keys are relative paths of the characters [a-z0-9/.-], built in
    `kafscale.storage.format.paths` (checkpoints: `kafscale.metadata.keys`); `check_key` says exactly which. No key is
    another one's folder."""

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store the concatenation of `parts` under `key`; when this returns, it survives loss of power.

        The buffers are not changed and not kept after the call returns. After a cancelled call the object may or
        may not exist.

        Raises `ObjectExists` when the key is taken, `StorageUnavailable` when it could not be stored (nothing is
        visible under the key then, as far as the store can know).
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return the whole object. Raises `ObjectMissing`, `StorageUnavailable`."""
        ...

    async def get_range(self, key: str, start: int, length: int) -> bytearray:
        """Return exactly `length` bytes from `start`, in a buffer that the caller owns and may change.

        Raises `ObjectMissing`, `StorageUnavailable`, and `DataCorrupt` when the object is shorter than that.
        """
        ...

    async def get_tail(self, key: str, length: int) -> bytes:
        """Return the last `length` bytes, or the whole object when it is shorter.

        Raises `ObjectMissing`, `StorageUnavailable`.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; one that does not exist is no error. Raises `StorageUnavailable`."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix`, in any order."""
        ...

    async def close(self) -> None:
        """Wait for what is under way and release everything."""
        ...
