"""kafkajs, in Node.js: the scenarios of `node/`, one test for each.

A name exported there is a test here; there is no second list. The program is copied to the cache directory, gets its
packages there, and runs once, when the first of its tests is reached, with only those scenarios that pytest selected.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

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

# All scenarios together take a minute; one that is stuck is given up by the program after 75 s.
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
    """Return every scenario that the sources export."""
    names: list[str] = []
    for theme in THEMES:
        for exported in EXPORTS.findall(theme.read_text()):
            names += SCENARIO.findall(exported)
    return sorted(names)


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
    command = ["node", str(program), bootstrap, *selected_names(request.session.items)]
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
    """The scenario passed; the failed check, its stack and kafkajs's last log lines are the failure's message."""
    outcome = report.outcome(name)
    assert outcome.ok, outcome.detail


def test_every_scenario_is_found(program: Path) -> None:
    """A scenario that is exported in another way must not be lost silently."""
    assert scenario_names() == run_tool(["node", str(program), "--list"]).split()
