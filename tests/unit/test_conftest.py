"""KAFSCALE_TEST_REQUIRE_ALL: no tool that is missing goes unnoticed where all must be there."""

import pytest

from tests import conftest


def skip(reason: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid="x", location=("x", 1, "x"), keywords={}, outcome="skipped", longrepr=("x", 1, reason), when="setup"
    )


def test_missing_tool_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(conftest.REQUIRE_ALL_VARIABLE, "1")
    report = conftest._judged(skip("Skipped: java toolchain missing: mvn"))
    assert report.failed
    assert "toolchain missing: mvn" in str(report.longrepr)


def test_other_skips_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(conftest.REQUIRE_ALL_VARIABLE, "1")
    assert conftest._judged(skip("Skipped: not on this platform")).skipped
    monkeypatch.delenv(conftest.REQUIRE_ALL_VARIABLE)
    assert conftest._judged(skip("Skipped: kcat missing")).skipped
