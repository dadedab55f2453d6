"""The Java clients, in the versions and with the defaults people run: the scenarios of `java/src`, one test for each.

A method marked @Scenario there is a test here; there is no second list. The scenarios of one class run in one JVM,
several at a time, when the first of its tests is reached, and only those that pytest selected.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.maven import missing_java, resolve_jars
from tests.support.toolchain import cache_directory, fingerprint, run_tool

JAVA: Final = Path(__file__).parent / "java"
SOURCES: Final = sorted((JAVA / "src").rglob("*.java"))
SCENARIO: Final = re.compile(r"@Scenario\n\s+static void (\w+)\(Cluster cluster\)")
# The scenarios of this class state where we mean to differ from Apache Kafka.
KAFSCALE_CLASS: Final = "KafscaleScenarios"

# Scenarios mostly wait for rebalances and fetches, so that more of them than cores is right.
THREADS: Final = 4
# One class takes up to 30 s; a scenario that is stuck is given up by the Java side after a minute.
CLASS_WAIT_S: Final = 600.0
HEAP_MAX: Final = "1g"
STDERR_TAIL_CHARACTERS: Final = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the Java side printed about one scenario."""

    ok: bool
    detail: str


def scenarios() -> Iterator[tuple[str, str]]:
    """Yield (class, method) of every scenario in the sources."""
    for source in SOURCES:
        for name in SCENARIO.findall(source.read_text()):
            yield source.stem, name


def parametrize_scenarios(*, differing: bool) -> pytest.MarkDecorator:
    """Make a test of every scenario that is about a difference to Apache Kafka, or of every other one."""
    chosen = [scenario for scenario in scenarios() if (scenario[0] == KAFSCALE_CLASS) == differing]
    return pytest.mark.parametrize(("theme", "name"), chosen, ids=["-".join(scenario) for scenario in chosen])


def selected_scenarios(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """Return the scenarios among pytest's items, by class."""
    selected: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.path == Path(__file__) and "theme" in item.fixturenames:
            selected.setdefault(str(item.callspec.params["theme"]), []).append(str(item.callspec.params["name"]))
    return selected


class ScenarioRunner:
    """Runs each class of scenarios once and remembers what came out."""

    def __init__(self, *, classpath: str, bootstrap: str, selected: dict[str, list[str]], log_dir: Path) -> None:
        self._classpath = classpath
        self._bootstrap = bootstrap
        self._selected = selected
        self._log_dir = log_dir
        self._outcomes: dict[str, dict[str, Outcome]] = {}

    def outcome(self, theme: str, name: str) -> Outcome:
        """Return the outcome of one scenario; one that was not reported has failed."""
        if theme not in self._outcomes:
            self._outcomes[theme] = parse_outcomes(self._run(theme))
        silent = Outcome(ok=False, detail=f"the JVM reported nothing about it; its stderr:\n{self._stderr(theme)}")
        return self._outcomes[theme].get(name, silent)

    def _run(self, theme: str) -> str:
        arguments = [self._bootstrap, str(THREADS), theme, *self._selected[theme]]
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        command = ["java", f"-Xmx{HEAP_MAX}", logging, "-cp", self._classpath, "kafscale.clients.Main", *arguments]
        stdout = self._log_dir / f"{theme}.stdout"
        with stdout.open("wb") as out, self._log(theme).open("wb") as err:
            try:
                subprocess.run(
                    command, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=CLASS_WAIT_S
                )
            except subprocess.TimeoutExpired:
                err.write(f"not done after {CLASS_WAIT_S:g} s, killed\n".encode())
        return stdout.read_text()

    def _log(self, theme: str) -> Path:
        return self._log_dir / f"{theme}.stderr"

    def _stderr(self, theme: str) -> str:
        return self._log(theme).read_text(errors="replace")[-STDERR_TAIL_CHARACTERS:]


def parse_outcomes(stdout: str) -> dict[str, Outcome]:
    """Return the outcomes by scenario name from the JVM's lines of JSON.

    A JVM that was killed may have left half a line, and one in trouble prints lines of its own: neither is an outcome.
    """
    lines = [json.loads(line) for line in stdout.splitlines() if line.startswith("{") and line.endswith("}")]
    return {line["name"]: Outcome(ok=line["ok"], detail=line["detail"]) for line in lines}


def build() -> str:
    """Compile the sources into the cache directory, unless these very sources were, and return the class path."""
    jars = resolve_jars(JAVA / "pom.xml", "java-clients")
    classes = cache_directory("java-clients") / f"classes-{fingerprint([JAVA / 'pom.xml', *SOURCES])}"
    complete = classes / ".complete"
    if not complete.exists():
        # Warnings are errors; processing and try complain about things that are meant.
        strict = ["--release", "17", "-Xlint:all,-processing,-try", "-Werror"]
        run_tool(["javac", *strict, "-cp", f"{jars}/*", "-d", str(classes), *map(str, SOURCES)])
        complete.touch()
    return f"{jars}/*:{classes}"


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ScenarioRunner:
    """The runner of the scenarios that pytest selected, against the server under test."""
    missing = missing_java()
    if missing:
        pytest.skip(f"java toolchain missing: {', '.join(missing)}")
    classpath = build()
    # Only now, so that no server is started for a build that fails.
    bootstrap: str = request.getfixturevalue("bootstrap")
    return ScenarioRunner(
        classpath=classpath,
        bootstrap=bootstrap,
        selected=selected_scenarios(request.session.items),
        log_dir=tmp_path_factory.mktemp("java"),
    )


def check(outcome: Outcome) -> None:
    """Fail the test with what Java had to say; nothing on the Python side is worth showing beside it."""
    if not outcome.ok:
        pytest.fail(outcome.detail, pytrace=False)


@parametrize_scenarios(differing=False)
def test_scenario(runner: ScenarioRunner, theme: str, name: str) -> None:
    """The scenario passed in the JVM; its stack trace is the failure's message."""
    check(runner.outcome(theme, name))


@pytest.mark.kafscale_only
@parametrize_scenarios(differing=True)
def test_kafscale_scenario(runner: ScenarioRunner, theme: str, name: str) -> None:
    """The same for what Apache Kafka does otherwise."""
    check(runner.outcome(theme, name))


def test_every_scenario_is_found() -> None:
    """Each @Scenario in the sources is a test: one that is written in another way must not be lost silently."""
    annotations = sum(source.read_text().count("@Scenario\n") for source in SOURCES)
    assert annotations == len(list(scenarios())) > 0
