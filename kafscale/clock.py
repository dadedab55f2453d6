"""The only home of clock and randomness, so that a simulation can own both.

Durations and deadlines use the event loop's own time (`loop.time()`, `loop.call_later`), which a simulation replaces
together with the loop; this module gives wall-clock time and random bits.
"""

import random
import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time and randomness of one broker."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch."""
        ...

    def random_bits(self, count: int) -> int:
        """Return an unsigned integer of `count` random bits."""
        ...

    def random_uuid(self) -> uuid.UUID:
        """Return a random (version 4) UUID."""
        ...


class SystemClock:
    """The machine's clock and the operating system's randomness."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def random_bits(self, count: int) -> int:
        return secrets.randbits(count)

    def random_uuid(self) -> uuid.UUID:
        return uuid.uuid4()


class SeededClock:
    """A clock for simulations: wall time follows `now` (seconds, usually the loop's time), randomness a seed."""

    def __init__(self, seed: int, now: "NowSeconds", epoch_ms: int = 1_700_000_000_000) -> None:
        self._random = random.Random(seed)
        self._now = now
        self._epoch_ms = epoch_ms
        self.offset_ms = 0

    def wall_ms(self) -> int:
        return self._epoch_ms + self.offset_ms + int(self._now() * 1000)

    def random_bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def random_uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._random.getrandbits(128), version=4)


class NowSeconds(Protocol):
    """A source of monotonic seconds."""

    def __call__(self) -> float: ...
