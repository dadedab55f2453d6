"""A small campaign in every test run: seeds that found something, and a few more. The large one is `make simulate`.

Workers run the seeds, because a seed means the same run only under a fixed hash seed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.campaign import Result, State, Workers, parse_seeds, summary
from tests.simulation.mutants import MUTANTS
from tests.simulation.seeds import FIRST_SEEDS, SEEDS

JOBS = 2
FRESH_SEEDS = range(8)

MUTANT_SEEDS = range(80)
"""At least one of these seeds has to notice each mutant; most need fewer than ten."""

OUTDATED = re.compile("AttributeError|NameError|TypeError")
"""What a mutant causes when the broker it changes has gone on."""


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(JOBS) as some:
        yield some


def test_seeds_pass(workers: Workers) -> None:
    failed = [result for result in workers.run([*SEEDS, *FRESH_SEEDS]) if result.failure]
    assert not failed, "\n".join(f"seed {result.seed}: {result.failure}" for result in failed)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_noticed(workers: Workers, mutant: str) -> None:
    seeds = [FIRST_SEEDS.get(mutant, 0), *MUTANT_SEEDS]
    failure = next(result.failure for result in workers.run(seeds, mutant=mutant) if result.failure)
    # A mutant must break a promise, not just break.
    assert not OUTDATED.search(failure), failure


def test_a_campaign_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    first = State(path)
    first.add(Result(seed=3, failure="", digest="d", virtual_s=3600.0, wall_s=1.0))
    first.add(Result(seed=4, failure="broken", digest="", virtual_s=0.0, wall_s=1.0))
    again = State(path)
    assert again.results == first.results
    assert summary(again.results, 2.0) == "2 seeds run twice, 1 failed, 1.00 simulated hours, 2 s in all\nfailed: 4"


def test_seeds_are_parsed() -> None:
    assert parse_seeds("0-999") == range(1000)
    assert parse_seeds("7") == range(7, 8)
    with pytest.raises(ValueError, match="not seeds"):
        parse_seeds("all")
