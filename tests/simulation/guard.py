"""Keeps the broker from reaching past the simulation: real time, real randomness and threads raise while it runs.

Only callers in the package `kafscale` are refused, and not its `clock` module; the standard library goes on using what
it needs. A name that a module imported for itself (`from time import time`) escapes, and shows in the digest instead.
"""

import contextlib
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any, Final

PACKAGE: Final = "kafscale"
EXEMPT: Final = "kafscale.clock"

FORBIDDEN: Final[tuple[tuple[ModuleType | type, tuple[str, ...]], ...]] = (
    (time, ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")),
    (random, ("random", "randint", "randrange", "uniform", "choice", "shuffle", "getrandbits", "sample")),
    (os, ("urandom", "fork")),
    (secrets, ("randbits", "token_bytes", "token_hex", "choice")),
    (uuid, ("uuid1", "uuid4")),
    (threading.Thread, ("start",)),
)


class ForbiddenCall(Exception):
    """Broker code called something that a simulation cannot own. Use `Clock` or the loop."""


@contextlib.contextmanager
def guarded() -> Generator[None, None, None]:
    """Refuse the forbidden functions to broker code inside the block."""
    originals = [(home, name, getattr(home, name)) for home, names in FORBIDDEN for name in names]
    for home, name, original in originals:
        setattr(home, name, _refusing(f"{home.__name__}.{name}", original))
    try:
        yield
    finally:
        for home, name, original in originals:
            setattr(home, name, original)


def _refusing(label: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))
        if caller.split(".")[0] == PACKAGE and caller != EXEMPT:
            raise ForbiddenCall(f"{caller} called {label}")
        return original(*args, **kwargs)

    return call
