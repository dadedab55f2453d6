"""Wakes fetches that wait for data: no polling, one look-up per partition that has grown."""

import asyncio
from collections.abc import Iterable

from kafscale.metadata.entries import AppendBatches, TopicId
from kafscale.metadata.state.outcomes import AppendOutcome, Verdict
from kafscale.metadata.state.partition import facts_rows

PartitionKey = tuple[TopicId, int]


class GrowthWait:
    """One waiting fetch: done as soon as its partitions have grown by `bytes_min` bytes."""

    __slots__ = ("_bytes_missing", "_done", "keys")

    def __init__(self, keys: Iterable[PartitionKey], bytes_min: int) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        self._bytes_missing = bytes_min
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def grew(self, size: int) -> None:
        self._bytes_missing -= size
        if self._bytes_missing <= 0:
            self.finish()

    def finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    async def wait(self, timeout_seconds: float) -> None:
        """Return when enough has grown, or after `timeout_seconds`."""
        handle = asyncio.get_running_loop().call_later(timeout_seconds, self.finish)
        try:
            await self._done
        finally:
            handle.cancel()


class Growth:
    """Who waits for which partition. Observes the replica."""

    __slots__ = ("_stopped", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[PartitionKey, dict[GrowthWait, None]] = {}
        self._stopped = False

    def appended(self, command: AppendBatches, outcome: AppendOutcome) -> None:
        if not self._waiting:
            return
        for batches, verdicts in zip(command.partitions, outcome.partitions, strict=True):
            waiting = self._waiting.get((batches.topic_id, batches.partition))
            if waiting and any(verdict is Verdict.ACCEPTED for verdict, _ in verdicts.batches):
                # Exact bytes do not matter: the fetch looks again, and waits again where it was too early.
                size = _size(batches.facts)
                for wait in tuple(waiting):
                    wait.grew(size)

    async def wait(self, keys: Iterable[PartitionKey], bytes_min: int, timeout_seconds: float) -> None:
        """Return when the partitions have grown by `bytes_min` in all, after the timeout, or when stopping."""
        if self._stopped:
            return
        wait = GrowthWait(keys, bytes_min)
        for key in wait.keys:
            self._waiting.setdefault(key, {})[wait] = None
        try:
            await wait.wait(timeout_seconds)
        finally:
            self._remove(wait)

    def stop(self) -> None:
        """Wake everybody, and let nobody wait again: the broker is going away."""
        self._stopped = True
        for waiting in list(self._waiting.values()):
            for wait in tuple(waiting):
                wait.finish()

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    def _remove(self, wait: GrowthWait) -> None:
        for key in wait.keys:
            waiting = self._waiting[key]
            waiting.pop(wait, None)
            if not waiting:
                del self._waiting[key]


def _size(facts: bytes) -> int:
    return sum(row[0] for row in facts_rows(facts))
