"""Client suites that are programs in another language: run one with some scenarios, and read its report.

Such a program takes the bootstrap address and scenario names, and prints one line of JSON per scenario.
"""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

# All scenarios of a program together take a minute; one that is stuck is given up by the program well before this.
PROGRAM_WAIT_S: Final = 420.0
STDERR_TAIL_CHARACTERS: Final = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the program printed about one scenario."""

    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of the program gave: an outcome by scenario name, and the end of its stderr."""

    outcomes: dict[str, Outcome]
    stderr: str

    def outcome(self, name: str) -> Outcome:
        """Return the outcome of one scenario; one that was not reported has failed."""
        silent = Outcome(ok=False, detail=f"the program reported nothing about it; its stderr:\n{self.stderr}")
        return self.outcomes.get(name, silent)


def selected_names(items: Iterable[pytest.Item], test_file: Path) -> list[str]:
    """Return the scenarios among pytest's items that are tests of `test_file`."""
    mine = (item for item in items if isinstance(item, pytest.Function) and item.path == test_file)
    return [str(item.callspec.params["name"]) for item in mine if "name" in item.fixturenames]


def run_program(command: Sequence[str], logs: Path) -> Report:
    """Run a program to its end, or kill it after `PROGRAM_WAIT_S`; its output is kept in `logs`."""
    with (logs / "stdout").open("wb") as out, (logs / "stderr").open("wb") as err:
        try:
            subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=PROGRAM_WAIT_S
            )
        except subprocess.TimeoutExpired:
            err.write(f"not done after {PROGRAM_WAIT_S:g} s, killed\n".encode())
    stderr = (logs / "stderr").read_text(errors="replace")[-STDERR_TAIL_CHARACTERS:]
    lines = [json.loads(line) for line in (logs / "stdout").read_text().splitlines()]
    return Report(
        outcomes={line["name"]: Outcome(ok=line["ok"], detail=line["detail"]) for line in lines}, stderr=stderr
    )
