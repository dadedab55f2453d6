"""What a check says: complaints, each naming the check, what it is about, and the evidence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from tests.support.checker.view import View

COMPLAINTS_MAX: Final = 20
"""Complaints kept per check. One broken rule can spoil a million events, and nobody reads more than a few."""

Finding: TypeAlias = tuple[str, str]
"""What it is about, and the evidence."""

Check: TypeAlias = Callable[[View], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One broken promise."""

    check: str
    subject: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.evidence}"


def complaints_of(name: str, run: Check, view: View) -> list[Complaint]:
    """Run one check and return its first `COMPLAINTS_MAX` complaints."""
    return [Complaint(name, subject, evidence) for subject, evidence in islice(run(view), COMPLAINTS_MAX)]
