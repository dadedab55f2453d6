"""A plain asyncio event loop on virtual time, for unit tests that wait for timers and must never sleep.

Time jumps to the next timer when nothing is ready. When there is neither, nothing can ever happen again: that raises
`NothingLeft`, so a test in which somebody is parked for ever fails at once. (The simulator has a loop of its own, in
which a seed also decides what asyncio leaves open.)
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class NothingLeft(Exception):
    """No callback is ready and no timer is set: what the test waits for will not come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and only passes by jumping."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingLeft
        self._loop.jump(timeout)
        events: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return events


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function, run on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
