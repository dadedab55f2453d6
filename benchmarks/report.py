"""The table of a run, and the file it can be written to."""

import datetime
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.results import Results, Spread
from benchmarks.servers import APACHE_KAFKA, KAFSCALE
from tests.support.apache_kafka import KAFKA_VERSION
from tests.support.toolchain import run_tool

RESULTS_PATH: Final = Path(__file__).parent / "RESULTS.md"

_HEADINGS: Final = ("", "unit", KAFSCALE, f"{APACHE_KAFKA} {KAFKA_VERSION}", "ratio", "better", "target")

_INTRODUCTION: Final = """\
# Benchmark results

Written by `python -m benchmarks --write`; do not edit. Median (smallest to largest) of {rounds} rounds, both servers
on the same machine, taking turns. The ratio is this broker over Apache Kafka, round by round.

What the two promise differs: here an acknowledgement means that the record has been synced to disk. Apache Kafka, with
its default settings on one node, has then handed it to the operating system.

- {machine}
- Python {python}, {system}
- commit {commit}, {date}
- load average before the run: {load} (anything else running on the machine disturbs the numbers)

"""


def table(results: Results) -> str:
    """Return the results as a Markdown table that is readable as plain text too."""
    rows = [_HEADINGS, *_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def write_results(results: Results, *, rounds: int, load: float, path: Path = RESULTS_PATH) -> None:
    """Write the results file with everything needed to judge them."""
    introduction = _INTRODUCTION.format(
        rounds=rounds,
        machine=f"{cpu_model()}, {os.cpu_count()} cores",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        load=f"{load:.1f}",
    )
    path.write_text(introduction + table(results))


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit that was measured, and whether the code differs from it."""
    name = run_tool(["git", "rev-parse", "--short", "HEAD"]).strip()
    changed = run_tool(["git", "status", "--porcelain", "--", "kafscale"]).strip()
    return f"{name} with changes" if changed else name


def _rows(results: Results) -> Iterator[tuple[str, ...]]:
    for metric in results.metrics():
        yield (
            metric.label,
            metric.unit,
            _text(results.spread(metric, KAFSCALE)),
            _text(results.spread(metric, APACHE_KAFKA)),
            _text(results.ratio(metric)),
            metric.better.value,
            metric.target,
        )


def _text(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
