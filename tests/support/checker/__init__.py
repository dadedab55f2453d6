"""The judge of histories: `check` runs every check of `CHECKS` and returns the complaints.

Each check is one small function over a `View`, in linear or n log n time, and says nothing about a correct history.
Checks trust only what clients saw. All of them are proven on seeded mutants (`tests/unit/support`).

Transactions (no aborted read, none torn) get their checks together with their calls in the history.
"""

from tests.support.checker.groups import COMMIT_CHECKS, OWNER_CHECKS
from tests.support.checker.reads import READ_CHECKS
from tests.support.checker.report import Check, Complaint, complaints_of
from tests.support.checker.times import TIME_CHECKS
from tests.support.checker.view import View
from tests.support.checker.watermarks import WATERMARK_CHECKS
from tests.support.checker.writes import WRITE_CHECKS
from tests.support.history import History

__all__ = ["CHECKS", "Complaint", "check", "render"]

CHECKS: dict[str, Check] = {
    **WRITE_CHECKS,
    **READ_CHECKS,
    **WATERMARK_CHECKS,
    **TIME_CHECKS,
    **COMMIT_CHECKS,
    **OWNER_CHECKS,
}
"""Every check by name."""


def check(history: History) -> list[Complaint]:
    """Return what is wrong with `history`: nothing, if the broker kept its promises."""
    view = View(history)
    return [complaint for name, run in CHECKS.items() for complaint in complaints_of(name, run, view)]


def render(complaints: list[Complaint]) -> str:
    """Return the complaints as text, one per line."""
    return "\n".join(str(complaint) for complaint in complaints)
