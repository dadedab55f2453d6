"""franz-go, in Go: the scenarios of `go/`, one test for each.

A name registered there is a test here; there is no second list. The program is built into the cache directory and runs
once, when the first of its tests is reached, with only those scenarios that pytest selected.
"""

import re
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark import ParameterSet

from tests.clients.scenario_program import Report, run_program, selected_names
from tests.support.toolchain import cache_directory, fingerprint, missing_commands, run_tool

GO: Final = Path(__file__).parent / "go"
SOURCES: Final = [GO / "go.mod", GO / "go.sum", *sorted(GO.glob("*.go"))]
NOT_YET: Final = {"group_server_side": "KIP-848 groups"}
SCENARIO: Final = re.compile(r'^\tscenarios\["(\w+)"\] = ', re.MULTILINE)


def scenario_names() -> list[str]:
    """Return every scenario that the sources register."""
    return sorted(name for source in SOURCES for name in SCENARIO.findall(source.read_text()))


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
    command = [str(program), bootstrap, *selected_names(request.session.items, Path(__file__))]
    return run_program(command, logs)


def marked(name: str) -> ParameterSet:
    """Return the scenario as a parameter, left out against KafScale where it needs what is not there yet."""
    reason = NOT_YET.get(name)
    return pytest.param(name, marks=pytest.mark.apache_only(reason) if reason else ())


@pytest.mark.parametrize("name", [marked(name) for name in scenario_names()])
def test_scenario(report: Report, name: str) -> None:
    """The scenario passed; the failed check and its line are the failure's message."""
    outcome = report.outcome(name)
    assert outcome.ok, outcome.detail


def test_every_scenario_is_found(program: Path) -> None:
    """A scenario that is registered in another way must not be lost silently."""
    assert scenario_names() == run_tool([str(program), "-list"]).split()
