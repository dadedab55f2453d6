"""Named timers of one group on the event loop. Starting a name again replaces its timer; a dropped group has none."""

import asyncio
from collections.abc import Callable, Hashable


class Timers:
    """Each timer runs a callback once, after a delay in milliseconds, unless it is replaced or cancelled before."""

    __slots__ = ("_handles",)

    def __init__(self) -> None:
        self._handles: dict[Hashable, asyncio.TimerHandle] = {}

    def start(self, name: Hashable, delay_ms: int, callback: Callable[[], None]) -> None:
        def fire() -> None:
            del self._handles[name]
            callback()

        self.cancel(name)
        self._handles[name] = asyncio.get_running_loop().call_later(delay_ms / 1000, fire)

    def cancel(self, name: Hashable) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
