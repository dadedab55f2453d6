"""kafkajs, in Node.js: the scenarios of `node/`, one test for each.

A name exported there is a test here; there is no second list. The program is copied to the cache directory, gets its
packages there, and runs once, when the first of its tests is reached, with only those scenarios that pytest selected.
"""

import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.clients.scenario_program import Report, run_program, selected_names
from tests.support.toolchain import cache_directory, fingerprint, missing_commands, run_tool

NODE: Final = Path(__file__).parent / "node"
THEMES: Final = sorted((NODE / "scenarios").glob("*.js"))
SOURCES: Final = [
    *(NODE / name for name in (".npmrc", "package.json", "package-lock.json")),
    *sorted(NODE.glob("*.js")),
    *THEMES,
]
EXPORTS: Final = re.compile(r"^module\.exports = \{(.*?)\}$", re.MULTILINE | re.DOTALL)
# An export is `name,` or `name: run => ...`, each on a line of its own.
SCENARIO: Final = re.compile(r"^  (\w+)[,:]", re.MULTILINE)


def scenario_names() -> list[str]:
    """Return every scenario that the sources export."""
    names: list[str] = []
    for theme in THEMES:
        for exported in EXPORTS.findall(theme.read_text()):
            names += SCENARIO.findall(exported)
    return sorted(names)


@pytest.fixture(scope="module")
def program() -> Path:
    """The program with its packages, in the cache directory unless these very sources are there."""
    missing = missing_commands(["node", "npm"])
    if missing:
        pytest.skip(f"node toolchain missing: {', '.join(missing)}")
    directory = cache_directory(f"kafkajs/{fingerprint(SOURCES)}")
    complete = directory / ".complete"
    if not complete.exists():
        for source in SOURCES:
            copy = directory / source.relative_to(NODE)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
        # None of these packages needs an install script, and a test needs nobody else's.
        run_tool(["npm", "ci", "--ignore-scripts"], cwd=directory)
        complete.touch()
    return directory / "main.js"


@pytest.fixture(scope="module")
def report(program: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of one run over the scenarios that pytest selected, against the server under test."""
    # Only now, so that no server is started for an installation that fails.
    bootstrap: str = request.getfixturevalue("bootstrap")
    logs = tmp_path_factory.mktemp("kafkajs")
    command = ["node", str(program), bootstrap, *selected_names(request.session.items, Path(__file__))]
    return run_program(command, logs)


@pytest.mark.parametrize("name", scenario_names())
def test_scenario(report: Report, name: str) -> None:
    """The scenario passed; the failed check, its stack and kafkajs's last log lines are the failure's message."""
    outcome = report.outcome(name)
    assert outcome.ok, outcome.detail


def test_every_scenario_is_found(program: Path) -> None:
    """A scenario that is exported in another way must not be lost silently."""
    assert scenario_names() == run_tool(["node", str(program), "--list"]).split()
