"""A small crash campaign: one data directory, a few kills. The large one is `make crash`."""

from pathlib import Path

import pytest

from tests.faults.crash_directory import Plan, runs_of


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["first", "second"])
def test_killed_and_restarted(tmp_path: Path, seed: str) -> None:
    verdicts = list(runs_of(Plan.draw(seed, kills=2), tmp_path / "crash"))
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    assert not problems, f"plan {seed!r}:\n" + "\n".join(problems)
    assert all(verdict.acknowledged for verdict in verdicts)
