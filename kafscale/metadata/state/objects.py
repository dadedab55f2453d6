"""Objects that partitions refer to, counted by reference.

An object is known by a small index (the order in which the log first named it), so that a run needs eight bytes for
it. An object whose last reference went is moved to `released`, from where garbage collection takes it. Keeps I6 (no
referenced object is deleted).
"""

from typing import NamedTuple


class ObjectName(NamedTuple):
    """An object's identity: object `number` of one broker `incarnation`."""

    incarnation: int
    number: int


class Objects:
    """The object table of the cluster state."""

    __slots__ = ("indexes", "names", "next_index", "references", "released")

    def __init__(self) -> None:
        self.next_index = 1
        self.indexes: dict[ObjectName, int] = {}
        self.names: dict[int, ObjectName] = {}
        self.references: dict[int, int] = {}
        self.released: dict[ObjectName, int] = {}
        """Objects without references, and the entry time at which they lost the last one."""

    def add(self, name: ObjectName) -> int:
        """Return the object's index, registering it with no references where it has none.

        The batches of one object may come in several commands, and the first may have left it without references.
        """
        known = self.indexes.get(name)
        if known is not None:
            return known
        self.released.pop(name, None)
        index = self.next_index
        self.next_index += 1
        self.indexes[name] = index
        self.names[index] = name
        self.references[index] = 0
        return index

    def refer(self, index: int, count: int) -> None:
        """Add `count` references."""
        self.references[index] += count

    def release(self, index: int, count: int, time_ms: int) -> None:
        """Take `count` references away; without any left, the object goes to `released`."""
        left = self.references[index] - count
        if left:
            self.references[index] = left
            return
        del self.references[index]
        name = self.names.pop(index)
        del self.indexes[name]
        self.released[name] = time_ms
