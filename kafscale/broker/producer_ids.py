"""Producer ids: taken from the log in blocks, handed out one by one, never twice."""

import asyncio

from kafscale.errors import Bug
from kafscale.metadata.appender import Appender
from kafscale.metadata.entries import AllocateProducerIds
from kafscale.metadata.state.outcomes import ProducerIdsOutcome

BLOCK = 1000
"""Ids in a block, as in Kafka (ProducerIdsBlock): a restart wastes at most so many of 2^63."""


class ProducerIds:
    """The ids this broker may still hand out."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._next = 0
        self._end = 0
        self._lock = asyncio.Lock()

    async def next(self) -> int:
        """Return a producer id nobody else has. Raises `StorageUnavailable`."""
        async with self._lock:
            if self._next == self._end:
                await self._take_block()
            self._next += 1
            return self._next - 1

    async def _take_block(self) -> None:
        outcome = await self._appender.submit(AllocateProducerIds(count=BLOCK))
        if not isinstance(outcome, ProducerIdsOutcome):
            raise Bug(f"AllocateProducerIds answered {outcome!r}")
        self._next = outcome.first
        self._end = outcome.first + outcome.count
