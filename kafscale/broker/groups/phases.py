"""The states of a classic group, and from which state each may be entered (Kafka's ClassicGroupState)."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class Phase(Enum):
    """State of a group in memory. The value is the name that DescribeGroups and ListGroups show."""

    EMPTY = "Empty"
    """No members, but perhaps committed offsets, and perhaps members that were given an id and have not joined."""
    PREPARING_REBALANCE = "PreparingRebalance"
    """Waiting for the members to (re)join. Commits of the previous generation are still taken."""
    COMPLETING_REBALANCE = "CompletingRebalance"
    """The next generation is known; waiting for the leader's assignment and for its entry."""
    STABLE = "Stable"
    """Every member has its assignment or can fetch it. Memory and the durable state agree."""
    DEAD = "Dead"
    """Dropped from memory. What still refers to the object must leave it alone."""


PREDECESSORS: Final[Mapping[Phase, frozenset[Phase]]] = MappingProxyType(
    {
        Phase.EMPTY: frozenset({Phase.PREPARING_REBALANCE}),
        Phase.PREPARING_REBALANCE: frozenset({Phase.EMPTY, Phase.COMPLETING_REBALANCE, Phase.STABLE}),
        Phase.COMPLETING_REBALANCE: frozenset({Phase.PREPARING_REBALANCE}),
        Phase.STABLE: frozenset({Phase.COMPLETING_REBALANCE}),
        Phase.DEAD: frozenset(Phase),
    }
)
