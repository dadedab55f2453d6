"""Counts how often a handler lets others have the event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def turns_during(call: Coroutine[Any, Any, T]) -> tuple[T, int]:
    """Return the result, and how many turns of the event loop somebody else had meanwhile."""
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    try:
        return await call, turns
    finally:
        ticking.cancel()
