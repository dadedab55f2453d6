"""Seeded decisions of the simulated world: which faults happen, and how long things take.

Every fault has a name and a largest chance here. One seed enables some of them with chances of its own
(`Dice.swarm`): a run with few kinds of fault gets deeper than one in which everything fails all the time.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FAULTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        # Per segment of bytes, or per connection attempt.
        "net.refuse": 0.05,
        "net.reset": 0.01,
        "net.black_hole": 0.002,
        "net.stall": 0.01,
        "net.tiny_segments": 0.3,
        # Per call to the object store.
        "store.unavailable": 0.1,
        "store.slow": 0.05,
        "store.put.lost_reply": 0.05,
        "store.put.lands_after_cancel": 0.7,
        # Per call to the metadata log.
        "log.unavailable": 0.1,
        "log.slow": 0.05,
        "log.lost_request": 0.05,
        "log.lost_reply": 0.05,
        "log.lands_late": 0.3,
        "log.late_feed": 0.2,
    }
)
"""Faults by name, each with the largest chance that makes sense."""

ENABLED_CHANCE: Final = 0.5
"""How many of the faults one swarm enables, about."""

TAIL_CHANCE: Final = 0.01
TAIL_FACTOR: Final = 30.0
"""A healthy device is this much slower now and then."""


class Dice:
    """Decides by name. `chances` leaves out what never happens; `calm` ends all faults."""

    def __init__(self, rng: random.Random, chances: Mapping[str, float] | None = None) -> None:
        self.random = rng
        self._chances = dict(chances or {})
        self._named = " ".join(f"{name}={chance:.3f}" for name, chance in self._chances.items())
        unknown = self._chances.keys() - FAULTS.keys()
        if unknown:
            raise ValueError(f"no such faults: {sorted(unknown)}")

    @classmethod
    def swarm(cls, rng: random.Random) -> "Dice":
        """Return dice with a random selection of faults, each with a random chance."""
        chances = {name: largest * rng.random() for name, largest in FAULTS.items() if rng.random() < ENABLED_CHANCE}
        return cls(rng, chances)

    def roll(self, fault: str) -> bool:
        """Tell whether `fault` happens now."""
        if fault not in FAULTS:
            raise ValueError(f"no such fault: {fault}")
        chance = self._chances.get(fault, 0.0)
        return chance > 0 and self.random.random() < chance

    def describe(self) -> str:
        """Return the faults there were, each with its chance."""
        return self._named or "none"

    def calm(self) -> None:
        """Let nothing fail any more: the healing before a final read."""
        self._chances.clear()

    def delay_s(self, usual_s: float) -> float:
        """Return how long something takes that usually takes `usual_s`: never nothing, seldom much longer."""
        delay_s = usual_s * (0.5 + self.random.expovariate(2.0))
        return delay_s * TAIL_FACTOR if self.random.random() < TAIL_CHANCE else delay_s

    def between_s(self, least_s: float, most_s: float) -> float:
        """Return a time between the two."""
        return self.random.uniform(least_s, most_s)
