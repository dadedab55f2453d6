"""Large replies in turns: a handler with thousands of elements to answer lets others have the event loop in between.

The cluster state may change at each turn, so an element is looked up when it is its turn, never before.
"""

import asyncio


class Turns:
    """Gives the event loop away whenever `weight_max` has been worked off since the last time."""

    __slots__ = ("_left", "_weight_max")

    def __init__(self, weight_max: int) -> None:
        self._weight_max = weight_max
        self._left = weight_max

    async def done(self, weight: int = 1) -> None:
        """Count work that is done; returns in the same step unless it is time for a turn."""
        self._left -= weight
        if self._left <= 0:
            self._left = self._weight_max
            await asyncio.sleep(0)
