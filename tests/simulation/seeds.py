"""Seeds that have found something: each stays here for ever, with what it found.

A change to the simulated world makes another run of every seed, so these are no proof that a bug is gone (its unit test
is), but they lead where bugs have been.
"""

from typing import Final

SEEDS: Final[dict[int, str]] = {
    25: "an idempotent producer's batch overtook a failed one that was taken before it arrived",
    35: "the same with two brokers",
}
