"""Broker settings for a simulated run: limits so small that whatever seldom happens happens often."""

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kafscale.config import Loaded, load_settings

CHOICES: Final[Mapping[str, Sequence[int]]] = MappingProxyType(
    {
        # A flush that is full after a batch or two; one PUT at a time, so that batches wait for each other.
        "flush.bytes": (150, 400, 2_000, 1_000_000),
        "flush.puts.max": (1, 2, 4),
        # Caches that hold a single run, a few, or everything.
        "cache.tail.bytes": (0, 400, 4_000, 1_000_000),
        "cache.read.bytes": (0, 4_000, 1_000_000, 1_000_000),
        "checkpoint.interval.ms": (1_500, 5_000, 20_000),
        "checkpoint.log.bytes": (2_000, 1_000_000),
        "checkpoint.log.entries": (5, 40, 1_000),
        "max.incremental.fetch.session.cache.slots": (0, 1, 1_000),
        "group.initial.rebalance.delay.ms": (0, 500, 3_000),
        "connections.max.idle.ms": (5_000, 600_000),
        "shutdown.grace.ms": (0, 1_000),
        "buffer.memory": (1_048_576,),
    }
)
"""What the dice choose from, by setting."""

NEVER_MS: Final = "1000000000"


def random_settings(rng: random.Random, node_id: int, *, checkpoints: bool = True) -> Loaded:
    """Return settings drawn from `CHOICES`. Without `checkpoints` the broker makes none: another one does."""
    overrides = {name: str(rng.choice(values)) for name, values in CHOICES.items()}
    if not checkpoints:
        overrides |= {
            "checkpoint.interval.ms": NEVER_MS,
            "checkpoint.log.bytes": NEVER_MS,
            "checkpoint.log.entries": NEVER_MS,
        }
    # Nothing may expire because of a clock that jumps by an hour: Kafka would forget it too.
    overrides |= {"node.id": str(node_id), "producer.id.expiration.ms": "86400000"}
    overrides |= {"group.min.session.timeout.ms": "1000"}
    return load_settings(overrides=overrides)
