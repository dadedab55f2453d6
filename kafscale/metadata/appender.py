"""Puts this broker's commands into the metadata log: one append in flight, everything waiting goes into the next.

Keeps the order in which commands were handed over. A certain failure of one append fails everything waiting behind it
too, so that no later command overtakes an earlier one of the same connection or producer. An unknown outcome is
repeated under the same uid until it is decided: nobody is told "failed" about something that may be in the log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from kafscale.clock import Clock
from kafscale.errors import OutcomeUnknown, StorageUnavailable
from kafscale.metadata.entries import SCHEMA_LEVEL, Command, Entry, encode_entry, encoded_size
from kafscale.metadata.log import ENTRY_BYTES_MAX, AppendUid, MetadataLog
from kafscale.metadata.replica import Replica
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.outcomes import Outcome

_log = logging.getLogger(__name__)

ENTRY_HEAD_BYTES_MAX = 64
"""Upper bound of what an entry takes besides its commands."""

COMMAND_BYTES_MAX = ENTRY_BYTES_MAX - ENTRY_HEAD_BYTES_MAX
"""Largest command that fits an entry."""

UNKNOWN_RETRY_SECONDS = 0.1
"""Pause before an append of unknown outcome is repeated; short, because everything waits for it."""

Done = Callable[[Outcome | Exception], None]


class CommandTooLarge(StorageUnavailable):
    """The command does not fit an entry. Ask for less at once."""


class _Waiting(NamedTuple):
    command: Command
    size: int
    done: Done


class Appender:
    """Group commit of one broker incarnation."""

    def __init__(
        self,
        log: MetadataLog,
        replica: Replica,
        clock: Clock,
        incarnation: int,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.resolved_below: Callable[[], int] = lambda: 0
        """Set by the write path: every own object number below it is decided."""
        self._log = log
        self._replica = replica
        self._clock = clock
        self._incarnation = incarnation
        self._on_failure = on_failure
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def state(self) -> ClusterState:
        """The cluster state as far as this broker has applied the log."""
        return self._replica.state

    def append(self, command: Command, done: Done) -> None:
        """Append `command`; `done` gets its outcome in the step in which it is applied, or an error.

        The error is `StorageUnavailable` (certainly not written) or another one (the process is stopping).
        """
        if self._closed:
            done(StorageUnavailable("the broker is shutting down"))
            return
        size = encoded_size(command)
        if size > COMMAND_BYTES_MAX:
            done(CommandTooLarge(f"a change of {size} bytes does not fit the metadata log ({COMMAND_BYTES_MAX})"))
            return
        self._waiting.append(_Waiting(command, size, done))
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def submit(self, command: Command) -> Outcome:
        """Append `command` and return its outcome once it is applied. Raises as `append` reports."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(result: Outcome | Exception) -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.append(command, done)
        return await future

    async def close(self) -> None:
        """Finish what is waiting and take nothing more."""
        self._closed = True
        if self._pump is not None:
            await asyncio.wait((self._pump,))

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._append(self._next_batch())
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._closed = True
            self._fail_waiting(error)
            self._on_failure(error)
        finally:
            self._pump = None

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and size + self._waiting[0].size <= COMMAND_BYTES_MAX:
            waiting = self._waiting.popleft()
            size += waiting.size
            batch.append(waiting)
        return batch

    async def _append(self, batch: list[_Waiting]) -> None:
        self._number += 1
        entry = Entry(
            level=SCHEMA_LEVEL,
            time_ms=self._clock.wall_ms(),
            incarnation=self._incarnation,
            number=self._number,
            resolved_below=self.resolved_below(),
            commands=[waiting.command for waiting in batch],
        )

        def applied(outcomes: list[Outcome]) -> None:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.done(outcome)

        self._replica.expect(self._number, applied)
        try:
            await self._append_until_decided(AppendUid(self._incarnation, self._number), encode_entry(entry))
        except Exception as error:
            # An append whose first outcome was unknown may have been applied, and answered, before it fails.
            if self._replica.forget(self._number):
                for waiting in batch:
                    waiting.done(error)
            if not isinstance(error, StorageUnavailable):
                raise
            self._fail_waiting(error)

    async def _append_until_decided(self, uid: AppendUid, payload: bytes) -> None:
        is_unknown = False
        while True:
            try:
                await self._log.append(uid, payload)
            except (OutcomeUnknown, StorageUnavailable) as error:
                # A refusal speaks of its own attempt only: one before it, of unknown outcome, may still be written.
                is_unknown = is_unknown or isinstance(error, OutcomeUnknown)
                if not is_unknown:
                    raise
                _log.warning("append %d: outcome unknown, asking again: %s", uid.number, error)
                await asyncio.sleep(UNKNOWN_RETRY_SECONDS)
            else:
                return

    def _fail_waiting(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            one.done(error)
