"""Checkpoints: the encoded cluster state at one log position, as one object.

Format, all integers big-endian:

    offset  0   magic "KSCP"
            4   version u16 (1)
            6   log position u64
           14   state hash, 32 bytes
           46   payload length u64
           54   CRC-32C of the first 54 bytes and the payload u32
           58   payload: the canonical encoding (see `kafscale.metadata.state.encoding`)

Readers refuse an unknown version.
"""

import struct
from typing import NamedTuple, Protocol

from crc32c import crc32c

from kafscale.errors import DataCorrupt
from kafscale.metadata.entries import decode_entry
from kafscale.metadata.log import LogEntry
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state, state_hash

MAGIC = b"KSCP"
VERSION = 1

_HEAD = struct.Struct(">4sHQ32sQ")
_CHECKSUM = struct.Struct(">I")
_PAYLOAD_AT = _HEAD.size + _CHECKSUM.size


class CheckpointStore(Protocol):
    """What the metadata layer needs to keep checkpoints; the storage layer implements it."""

    async def put_checkpoint(self, position: int, data: bytes) -> str:
        """Store a checkpoint durably under a new name and return that key."""
        ...

    async def get_checkpoint(self, key: str) -> bytes:
        """Return a stored checkpoint. Raises `ObjectMissing`, `StorageUnavailable`."""
        ...

    async def delete_checkpoints(self, keep: "tuple[str, ...]") -> None:
        """Delete every stored checkpoint except those in `keep`."""
        ...


class Checkpoint(NamedTuple):
    """A decoded checkpoint: the state after applying everything up to and including `position`."""

    position: int
    hash: bytes
    state: ClusterState


def encode_checkpoint(position: int, state: ClusterState) -> bytes:
    """Return the checkpoint object of `state` as of `position`."""
    payload = encode_state(state)
    head = _HEAD.pack(MAGIC, VERSION, position, state_hash(state), len(payload))
    return head + _CHECKSUM.pack(crc32c(payload, crc32c(head))) + payload


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Return the checkpoint in `data`.

    Raises `DataCorrupt` when it is damaged, cut short, of an unknown version, or does not hash to its own hash.
    """
    if len(data) < _PAYLOAD_AT:
        raise DataCorrupt("the checkpoint is cut short")
    magic, version, position, digest, length = _HEAD.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _HEAD.size)
    if magic != MAGIC or version != VERSION:
        raise DataCorrupt(f"not a checkpoint of version {VERSION} (magic {magic!r}, version {version})")
    payload = data[_PAYLOAD_AT:]
    if len(payload) != length or crc32c(payload, crc32c(data[: _HEAD.size])) != checksum:
        raise DataCorrupt("the checkpoint's bytes are not what was written")
    state = decode_state(payload)
    if state_hash(state) != digest:
        raise DataCorrupt("the checkpoint does not have the hash it claims")
    return Checkpoint(position, digest, state)


def checkpoint_hash(data: bytes) -> bytes:
    """Return the state hash that an encoded checkpoint carries."""
    digest: bytes = _HEAD.unpack_from(data)[3]
    return digest


def advance_checkpoint(previous: bytes | None, entries: "list[LogEntry]", position: int) -> bytes:
    """Return the checkpoint at `position`: the previous one (None: the empty state) with `entries` applied."""
    state = ClusterState() if previous is None else decode_checkpoint(previous).state
    for entry in entries:
        state.apply(decode_entry(entry.payload))
    return encode_checkpoint(position, state)
