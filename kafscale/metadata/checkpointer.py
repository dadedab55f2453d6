"""Writes checkpoints so that the live log stays short (I10) and a start is quick.

The log alone says which checkpoints are kept: it is asked each time, so that no object it names is ever deleted.

Seal the log, let the builder turn the last checkpoint plus the sealed entries into the next one, compare its hash with
this broker's own state at the same position (I7), store it, install it. The builder runs in a spawned process: never a
fork, never the event loop.
"""

import asyncio
import logging
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kafscale.errors import Bug, KafScaleError, StorageUnavailable
from kafscale.metadata.checkpoints import CheckpointStore, advance_checkpoint, checkpoint_hash
from kafscale.metadata.loading import read_base
from kafscale.metadata.log import CheckpointPointer, LogEntry, MetadataLog
from kafscale.metadata.replica import Replica

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the limits are looked at; far below the shortest sensible interval."""

FRAME = struct.Struct(">QI")
"""Frame of the builder process's input: position u64, length u32. Position 0 carries the previous checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLimits:
    """When a checkpoint is due: after `interval_seconds` if there is anything new, or sooner at either size.

    Embedded defaults allow more entries than a cluster's: a spawned process per thousand entries would cost more
    than replaying 50,000 entries at start does (about two seconds).
    """

    interval_seconds: float
    log_bytes: int
    log_entries: int


class CheckpointBuilder(Protocol):
    """Turns (previous checkpoint, entries, position) into the next checkpoint."""

    async def build(self, previous: bytes | None, entries: list[LogEntry], position: int) -> bytes: ...


class InlineBuilder:
    """Builds in the calling thread: for tests and simulations."""

    async def build(self, previous: bytes | None, entries: list[LogEntry], position: int) -> bytes:
        return advance_checkpoint(previous, entries, position)


class ProcessBuilder:
    """Builds in a fresh Python process, fed through its standard input."""

    async def build(self, previous: bytes | None, entries: list[LogEntry], position: int) -> bytes:
        process = await self._spawn(position)
        frames = [FRAME.pack(0, len(previous)), previous] if previous is not None else []
        for entry in entries:
            frames += (FRAME.pack(entry.position, len(entry.payload)), entry.payload)
        try:
            out, errors = await process.communicate(b"".join(frames))
        except BaseException:
            if process.returncode is None:
                process.kill()
            # Reaps it and closes its pipes.
            await process.communicate()
            raise
        if process.returncode != 0:
            message = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise StorageUnavailable(f"the checkpoint process failed ({process.returncode}): {message}")
        return out

    async def _spawn(self, position: int) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "kafscale.metadata.checkpoint_process",
                str(position),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise StorageUnavailable(f"the checkpoint process could not be started: {error}") from error


class Checkpointer:
    """Decides when a checkpoint is due and makes it. Runs as a loop (`run`) or once (`run_once`)."""

    def __init__(
        self,
        log: MetadataLog,
        replica: Replica,
        store: CheckpointStore,
        builder: CheckpointBuilder,
        limits: CheckpointLimits,
        position: int,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._replica = replica
        self._store = store
        self._builder = builder
        self._limits = limits
        self._position = position
        """Log position of the checkpoint this broker started from, or made last."""
        self._on_failure = on_failure
        self._last_seconds = asyncio.get_running_loop().time()
        self._entries_then = replica.entries_applied
        self._bytes_then = replica.bytes_applied

    async def run(self) -> None:
        """Make checkpoints for ever; a failed attempt is logged and tried again after the interval."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._due():
                continue
            try:
                await self.run_once()
            except StorageUnavailable as error:
                _log.warning("no checkpoint now, trying again later: %s", error)
            except KafScaleError as error:
                self._on_failure(error)
                return
            self._last_seconds = asyncio.get_running_loop().time()

    def _due(self) -> bool:
        if self._replica.position == self._position:
            return False
        elapsed = asyncio.get_running_loop().time() - self._last_seconds
        return elapsed >= self._limits.interval_seconds or self._log_is_long()

    def _log_is_long(self) -> bool:
        entries = self._replica.entries_applied - self._entries_then
        size = self._replica.bytes_applied - self._bytes_then
        return entries >= self._limits.log_entries or size >= self._limits.log_bytes

    async def run_once(self) -> None:
        """Make one checkpoint.

        Raises `StorageUnavailable` when it could not be made now, `Bug` when replaying the log gives another state
        than this broker has: it must stop, because one of the two is wrong.
        """
        position = await self._log.seal()
        own_hash = await self._replica.hash_at_seal(position)
        self._entries_then = self._replica.entries_applied
        self._bytes_then = self._replica.bytes_applied
        base = await read_base((await self._log.load()).checkpoints, self._store)
        entries = list(await self._log.read(base.position, position))
        data = await self._builder.build(base.data, entries, position)
        if checkpoint_hash(data) != own_hash:
            raise Bug(f"the state at position {position} differs from what the log says; stop and report this")
        pointer = CheckpointPointer(key=await self._store.put_checkpoint(position, data), position=position)
        await self._log.install_checkpoint(pointer)
        self._position = position
        kept = (await self._log.load()).checkpoints
        await self._store.delete_checkpoints(keep=tuple(one.key for one in kept))
