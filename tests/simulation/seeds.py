"""Seeds that have found something: each stays here for ever, with what it found.

A change to the simulated world makes another run of every seed, so these are no proof that a bug is gone (its unit test
is), but they lead where bugs have been.
"""

from typing import Final

SEEDS: Final[dict[int, str]] = {
    25: "an idempotent producer's batch overtook a failed one that was taken before it arrived",
    35: "the same with two brokers",
    508: "an offset commit was refused because of a full disk, although an earlier attempt of the append was written",
}

FIRST_SEEDS: Final[dict[str, int]] = {
    "ack_without_object": 3,
    "failed_senders_go_on": 3,
    "late_batches_overtake": 16,
    "duplicates_accepted": 3,
    "old_epochs_accepted": 14,
    "any_sequence_accepted": 3,
    "new_uid_after_unknown": 4,
    "refusal_after_unknown": 16,
    "old_generations_commit": 3,
    "two_coordinators": 8,
    "runs_not_split": 7,
    "cached_runs_not_split": 28,
    "checkpoints_without_producers": 2,
    "checkpoints_without_last_entry": 2,
    "barriers_do_not_wait": 3,
}
"""A seed that has noticed a mutant, where that was not seed 0: the search for one begins there."""
