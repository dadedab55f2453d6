"""What holds for every test.

KAFSCALE_TEST_REQUIRE_ALL=1 turns a skip because of a missing tool into a failure, for machines that must have them all:
every skip whose reason contains the word "missing".
"""

import os
from collections.abc import Generator
from typing import Final, TypeVar

import pytest

REQUIRE_ALL_VARIABLE: Final = "KAFSCALE_TEST_REQUIRE_ALL"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of one test."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    """Return the report, a failure if it was a skip because of something missing and everything is required."""
    if os.environ.get(REQUIRE_ALL_VARIABLE) == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "missing" in reason:
            report.outcome = "failed"
            report.longrepr = f"{reason} (skips like this one fail because {REQUIRE_ALL_VARIABLE}=1)"
    return report
