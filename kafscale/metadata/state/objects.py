"""Objects that partitions refer to, counted by reference.

An object is known by a small index (the order in which the log first named it), so that a run needs eight bytes for
it. An object whose last reference went is moved to `released`, from where garbage collection takes it. Keeps I6 (no
referenced object is deleted).

Both tables are encoded in pages (see `encoding`): a million objects must not be looked at again at every checkpoint
because a few have changed.
"""

from typing import NamedTuple, TypeAlias

PAGE_ROWS_MAX = 1024
"""Indices, or numbers of one incarnation, that share a page: encoding one takes a quarter of a millisecond, and the
digests of a million objects' pages are hashed in one. Part of the canonical encoding."""

ReleasedPage: TypeAlias = tuple[int, int]
"""Incarnation, and the number of its objects divided by `PAGE_ROWS_MAX`."""


class ObjectName(NamedTuple):
    """An object's identity: object `number` of one broker `incarnation`."""

    incarnation: int
    number: int


class Objects:
    """The object table of the cluster state."""

    __slots__ = ("indexes", "names", "next_index", "pages", "references", "released", "released_pages")

    def __init__(self) -> None:
        self.next_index = 1
        self.indexes: dict[ObjectName, int] = {}
        self.names: dict[int, ObjectName] = {}
        self.references: dict[int, int] = {}
        self.released: dict[ObjectName, int] = {}
        """Objects without references, and the entry time at which they lost the last one."""
        self.pages: dict[int, bytes | None] = {}
        """Cached digest of each page of objects, by index divided by `PAGE_ROWS_MAX`; None after every change.

        A page named here may be empty by now; one not named is empty.
        """
        self.released_pages: dict[ReleasedPage, bytes | None] = {}
        """The same for released objects."""

    def add(self, name: ObjectName) -> int:
        """Return the object's index, registering it with no references where it has none.

        The batches of one object may come in several commands, and the first may have left it without references.
        """
        known = self.indexes.get(name)
        if known is not None:
            return known
        if self.released.pop(name, None) is not None:
            self._released_changed(name)
        index = self.next_index
        self.next_index += 1
        self.put(index, name, 0)
        return index

    def put(self, index: int, name: ObjectName, references: int) -> None:
        """Register an object under an index of its own."""
        self.indexes[name] = index
        self.names[index] = name
        self.references[index] = references
        self.pages[index // PAGE_ROWS_MAX] = None

    def put_released(self, name: ObjectName, time_ms: int) -> None:
        """Register an object as without references since `time_ms`."""
        self.released[name] = time_ms
        self._released_changed(name)

    def refer(self, index: int, count: int) -> None:
        """Add `count` references."""
        self.references[index] += count
        self.pages[index // PAGE_ROWS_MAX] = None

    def release(self, index: int, count: int, time_ms: int) -> None:
        """Take `count` references away; without any left, the object goes to `released`."""
        self.pages[index // PAGE_ROWS_MAX] = None
        left = self.references[index] - count
        if left:
            self.references[index] = left
            return
        del self.references[index]
        name = self.names.pop(index)
        del self.indexes[name]
        self.put_released(name, time_ms)

    def _released_changed(self, name: ObjectName) -> None:
        incarnation, number = name
        self.released_pages[incarnation, number // PAGE_ROWS_MAX] = None
