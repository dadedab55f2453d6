"""Checkpoints in the object store, and the check at start that every segment the state refers to is there."""

from kafscale.clock import Clock
from kafscale.errors import StartRefused
from kafscale.metadata.state.cluster import ClusterState
from kafscale.storage.format.paths import CHECKPOINT_PREFIX, FLUSH_PREFIX, checkpoint_key, flush_key
from kafscale.storage.format.segment import FOOTER_BYTES
from kafscale.storage.objects.base import ObjectStore

MISSING_SHOWN_MAX = 3
"""Missing segments named in the message; the count says the rest."""


class ObjectCheckpointStore:
    """Keeps checkpoints as objects. Implements `kafscale.metadata.checkpoints.CheckpointStore`."""

    def __init__(self, store: ObjectStore, clock: Clock, incarnation: int) -> None:
        self._store = store
        self._clock = clock
        self._incarnation = incarnation
        self._number = 0

    async def put_checkpoint(self, position: int, data: bytes) -> str:
        self._number += 1
        key = checkpoint_key(position, self._incarnation, self._number)
        await self._store.put(key, (data,))
        return key

    async def get_checkpoint(self, key: str) -> bytes:
        return await self._store.get(key)

    async def delete_checkpoints(self, keep: tuple[str, ...]) -> None:
        stored = [found.key async for found in self._store.list(CHECKPOINT_PREFIX)]
        await self._store.delete([key for key in stored if key not in keep])


async def check_segments(store: ObjectStore, state: ClusterState) -> None:
    """Raise `StartRefused` unless every segment that holds records is in the store and long enough for its runs."""
    needed = _needed_lengths(state)
    async for found in store.list(FLUSH_PREFIX):
        if found.length >= needed.get(found.key, 0):
            needed.pop(found.key, None)
    if not needed:
        return
    shown = ", ".join(sorted(needed)[:MISSING_SHOWN_MAX])
    raise StartRefused(
        f"{len(needed)} segment(s) that hold records are missing or cut short: {shown}. Restore them from a backup of "
        "the object store, or start with an empty data directory; starting without them would lose records."
    )


def _needed_lengths(state: ClusterState) -> dict[str, int]:
    lengths: dict[int, int] = {}
    for topic in state.topics.values():
        for partition in topic.partitions:
            for index, position, length in zip(
                partition.run_objects, partition.run_positions, partition.run_lengths, strict=True
            ):
                lengths[index] = max(lengths.get(index, 0), position + length + FOOTER_BYTES)
    return {flush_key(*state.objects.names[index]): length for index, length in lengths.items()}
