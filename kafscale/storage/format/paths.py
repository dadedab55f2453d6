"""Object keys: the only place where they are built and taken apart.

No name is ever used twice: each ends in the writer's incarnation and its object number. A two-digit hash in front
spreads keys over the object store's partitions and over local directories.

    flush/{hash2}/{incarnation:016x}-{number}.seg
    checkpoint/{position:020d}-{incarnation:016x}-{number}.ckpt
"""

import re
import zlib
from typing import NamedTuple

FLUSH_PREFIX = "flush/"
CHECKPOINT_PREFIX = "checkpoint/"

_FLUSH = re.compile(r"flush/[0-9a-f]{2}/([0-9a-f]{16})-([1-9][0-9]*)\.seg")
_CHECKPOINT = re.compile(r"checkpoint/([0-9]{20})-([0-9a-f]{16})-([1-9][0-9]*)\.ckpt")


class SegmentName(NamedTuple):
    """Identity of a segment: object `number` of one broker `incarnation` (64 bits)."""

    incarnation: int
    number: int


def flush_key(incarnation: int, number: int) -> str:
    """Return the key of a flush segment."""
    name = f"{incarnation:016x}-{number}"
    return f"{FLUSH_PREFIX}{zlib.crc32(name.encode()) & 0xFF:02x}/{name}.seg"


def parse_flush_key(key: str) -> SegmentName | None:
    """Return the segment a key names, or None for a key of another kind."""
    match = _FLUSH.fullmatch(key)
    if match is None:
        return None
    name = SegmentName(int(match[1], 16), int(match[2]))
    return name if flush_key(*name) == key else None


def checkpoint_key(position: int, incarnation: int, number: int) -> str:
    """Return the key of the checkpoint at a log position."""
    return f"{CHECKPOINT_PREFIX}{position:020d}-{incarnation:016x}-{number}.ckpt"


def parse_checkpoint_key(key: str) -> int | None:
    """Return the log position of the checkpoint a key names, or None for a key of another kind."""
    match = _CHECKPOINT.fullmatch(key)
    return None if match is None else int(match[1])
