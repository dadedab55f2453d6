"""franz-go, in Go: the scenarios of `go/`, one test for each.

A name registered there is a test here; there is no second list. The program is built into the cache directory and runs
once, when the first of its tests is reached, with only those scenarios that pytest selected.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.toolchain import cache_directory, fingerprint, missing_commands, run_tool

GO: Final = Path(__file__).parent / "go"
SOURCES: Final = [GO / "go.mod", GO / "go.sum", *sorted(GO.glob("*.go"))]
SCENARIO: Final = re.compile(r'^\tscenarios\["(\w+)"\] = ', re.MULTILINE)

# All scenarios together take half a minute; one that is stuck is given up by the program after 85 s.
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


def scenario_names() -> list[str]:
    """Return every scenario that the sources register."""
    return sorted(name for source in SOURCES for name in SCENARIO.findall(source.read_text()))


def selected_names(items: Iterable[pytest.Item]) -> list[str]:
    """Return the scenarios among pytest's items."""
    mine = (item for item in items if isinstance(item, pytest.Function) and item.path == Path(__file__))
    return [str(item.callspec.params["name"]) for item in mine if "name" in item.fixturenames]


def parse_outcomes(stdout: str) -> dict[str, Outcome]:
    """Return the outcomes by scenario name from the program's lines of JSON."""
    lines = [json.loads(line) for line in stdout.splitlines()]
    return {line["name"]: Outcome(ok=line["ok"], detail=line["detail"]) for line in lines}


@pytest.fixture(scope="module")
def program() -> Path:
    """The program, built into the cache directory unless these very sources were."""
    if missing_commands(["go"]):
        pytest.skip("go toolchain missing: go")
    directory = cache_directory(f"franz-go/{fingerprint(SOURCES)}")
    built = directory / "scenarios"
    if not built.exists():
        fresh = directory / "scenarios.new"
        run_tool(["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", str(fresh), "."], cwd=GO)
        fresh.rename(built)
    return built


@pytest.fixture(scope="module")
def report(program: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of one run over the scenarios that pytest selected, against the server under test."""
    # Only now, so that no server is started for a build that fails.
    bootstrap: str = request.getfixturevalue("bootstrap")
    logs = tmp_path_factory.mktemp("franz-go")
    command = [str(program), bootstrap, *selected_names(request.session.items)]
    with (logs / "stdout").open("wb") as out, (logs / "stderr").open("wb") as err:
        try:
            subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=PROGRAM_WAIT_S
            )
        except subprocess.TimeoutExpired:
            err.write(f"not done after {PROGRAM_WAIT_S:g} s, killed\n".encode())
    stderr = (logs / "stderr").read_text(errors="replace")[-STDERR_TAIL_CHARACTERS:]
    return Report(outcomes=parse_outcomes((logs / "stdout").read_text()), stderr=stderr)


@pytest.mark.parametrize("name", scenario_names())
def test_scenario(report: Report, name: str) -> None:
    """The scenario passed; the failed check and its line are the failure's message."""
    outcome = report.outcome(name)
    assert outcome.ok, outcome.detail


def test_every_scenario_is_found(program: Path) -> None:
    """A scenario that is registered in another way must not be lost silently."""
    assert scenario_names() == run_tool([str(program), "-list"]).split()
