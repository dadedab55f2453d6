"""Simulated processes: whose code is running, and kill -9.

A process is a context variable. Tasks, timers and callbacks inherit it from whoever creates them, so everything that
starts inside `process.run(...)` belongs to the process. After `SimulatedLoop.kill` nothing of it runs again: no
callback, no `finally` block, no cancellation, exactly as when a real process is killed.
"""

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class SimulatedProcess:
    """One run of one program. Kill it through the loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.context: Context = copy_context()
        self.context.run(_current.set, self)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` as a part of this process."""
        return self.context.copy().run(function, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.name} {'alive' if self.alive else 'killed'}>"


_current: Final[ContextVar[SimulatedProcess | None]] = ContextVar("simulated_process", default=None)


def current_process() -> SimulatedProcess | None:
    """Return the process whose code is running, None for the harness itself."""
    return _current.get()


def process_of(context: Context) -> SimulatedProcess | None:
    """Return the process that callbacks with this context belong to."""
    return context.get(_current)
