"""Finds the checkpoint to go on from: at start, and when the next checkpoint is built on the last one.

The log has every entry after the older of its two kept checkpoints, and every entry while there is only one. So a
newest checkpoint whose object is missing costs nothing but a longer replay. One that is there but damaged refuses the
start: whoever looks after the disk must know of it, and moves the object away to go on.
"""

import logging
from typing import NamedTuple, TypeAlias

from kafscale.errors import DataCorrupt, ObjectMissing, StartRefused
from kafscale.metadata.checkpoints import CheckpointStore, decode_checkpoint
from kafscale.metadata.log import CheckpointPointer, MetadataLog
from kafscale.metadata.state.cluster import ClusterState

_log = logging.getLogger(__name__)

Kept: TypeAlias = tuple[CheckpointPointer, ...]
"""The log's checkpoints, newest first, at most two."""


class Base(NamedTuple):
    """What entries are applied to: an encoded checkpoint, or None for the empty state before the first entry."""

    position: int
    data: bytes | None


class LoadedState(NamedTuple):
    """The state at `position`; the log goes on from there up to `end`."""

    state: ClusterState
    position: int
    end: int


async def read_base(kept: Kept, store: CheckpointStore) -> Base:
    """Return the newest checkpoint or, where its object is missing, the one before it.

    Raises `ObjectMissing` where that is missing too, `StorageUnavailable`.
    """
    if not kept:
        return Base(0, None)
    try:
        return Base(kept[0].position, await store.get_checkpoint(kept[0].key))
    except ObjectMissing:
        older = _before_newest(kept)
        base = Base(older.position, await store.get_checkpoint(older.key)) if older else Base(0, None)
        _warn(kept)
        return base


async def load_state(log: MetadataLog, store: CheckpointStore) -> LoadedState:
    """Return the state on which the log is to be replayed.

    Raises `StartRefused` with what is damaged and what to do, `StorageUnavailable` when something cannot be read.
    """
    kept, end = (loaded := await log.load()).checkpoints, loaded.end
    if not kept:
        return LoadedState(ClusterState(), 0, end)
    try:
        return LoadedState(await _state_at(kept[0], store), kept[0].position, end)
    except DataCorrupt as error:
        raise StartRefused(await _damaged(kept, store, error)) from error
    except ObjectMissing:
        state = await _state_before_newest(kept, store)
    older = _before_newest(kept)
    position = older.position if older else 0
    await _check_entries(log, position, kept[0])
    _warn(kept)
    return LoadedState(state, position, end)


def _before_newest(kept: Kept) -> CheckpointPointer | None:
    """Return the checkpoint before the newest, None for the beginning of the log."""
    return kept[1] if len(kept) > 1 else None


def _named(older: CheckpointPointer | None) -> str:
    return f"the checkpoint before it, {older.key}" if older else "the beginning of the metadata log"


def _warn(kept: Kept) -> None:
    _log.warning(
        "the metadata checkpoint %s is missing from the object store: going on from %s, with every entry of the "
        "metadata log after it. Nothing is lost, but find out who removed the object",
        kept[0].key,
        _named(_before_newest(kept)),
    )


async def _state_at(pointer: CheckpointPointer, store: CheckpointStore) -> ClusterState:
    """Return the state in a checkpoint. Raises `ObjectMissing`, `DataCorrupt`, `StartRefused` for another position."""
    checkpoint = decode_checkpoint(await store.get_checkpoint(pointer.key))
    if checkpoint.position != pointer.position:
        raise StartRefused(
            f"the metadata checkpoint {pointer.key} is of position {checkpoint.position}, but the metadata log expects "
            f"{pointer.position}: log and object store are not of one broker. Point both at the same backup."
        )
    return checkpoint.state


async def _state_before_newest(kept: Kept, store: CheckpointStore) -> ClusterState:
    """Return the state to start from while the newest checkpoint is missing. Raises `StartRefused`."""
    older = _before_newest(kept)
    if older is None:
        return ClusterState()
    try:
        return await _state_at(older, store)
    except (ObjectMissing, DataCorrupt) as error:
        raise StartRefused(
            f"the metadata checkpoint {kept[0].key} is missing, and {_named(older)}, {_fault(error)}. Restore one of "
            "them from a backup of the object store; without either the order of the records is lost."
        ) from error


def _fault(error: ObjectMissing | DataCorrupt) -> str:
    return "is missing too" if isinstance(error, ObjectMissing) else f"is damaged ({error})"


async def _damaged(kept: Kept, store: CheckpointStore, error: DataCorrupt) -> str:
    """Return what to say of a damaged newest checkpoint: the way around it is offered where it leads somewhere."""
    newest, older = kept[0].key, _before_newest(kept)
    said = f"the metadata checkpoint {newest} is damaged ({error}). Restore it from a backup of the object store"
    try:
        if older is not None:
            await _state_at(older, store)
    except (ObjectMissing, DataCorrupt) as other:
        return f"{said}; {_named(older)}, {_fault(other)}."
    return (
        f"{said}, or move it out of the object directory and start again: the broker then starts from {_named(older)}, "
        "and replays the metadata log from there, which loses nothing."
    )


async def _check_entries(log: MetadataLog, after: int, missing: CheckpointPointer) -> None:
    """Refuse to go around a checkpoint unless the log still leads up to it."""
    if after == missing.position:
        return
    entries = await log.read(after, missing.position)
    if not entries or entries[-1].position != missing.position:
        raise StartRefused(
            f"the metadata checkpoint {missing.key} is missing, and so are entries of the metadata log after "
            f"position {after}. Restore the checkpoint from a backup of the object store."
        )
