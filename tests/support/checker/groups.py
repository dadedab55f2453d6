"""Checks of consumer groups: committed offsets stay, and a partition has one owner."""

from collections.abc import Iterator

from tests.support.checker.report import Check, Finding
from tests.support.checker.view import View
from tests.support.history import (
    NO_OFFSET,
    AnyOperation,
    CommitOffset,
    CommittedFound,
    FactEvent,
    Owned,
    Status,
    TopicPartition,
)

NEVER = -1
"""A tick before every other."""


class CommittedRegister:
    """The committed offset of one (group, partition), as the commits and fetches so far constrain it.

    `_ends` has, for each offset, the latest tick until which a commit of it may still have taken effect; `floor` is
    the latest beginning of a commit that certainly took effect. A commit over before `floor` has been replaced.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self.floor = NEVER

    def begun(self, commit: AnyOperation) -> None:
        """Take note of a commit's beginning; from now on its offset may be found."""
        if commit.may_have_happened():
            offset = commit.call.offset
            self._ends[offset] = max(commit.effective_end(), self._ends.get(offset, NEVER))

    def ended(self, commit: AnyOperation) -> None:
        """Take note of a commit's end."""
        if commit.status is Status.OK:
            self.floor = max(self.floor, commit.invoked)

    def allows(self, offset: int, floor: int) -> bool:
        """Tell whether a fetch that began at `floor` may find `offset` now."""
        if offset == NO_OFFSET:
            return floor == NEVER
        return self._ends.get(offset, NEVER) > floor


def committed_offsets_kept(view: View) -> Iterator[Finding]:
    """A fetch finds an offset whose commit is not certainly replaced by another, and never loses one."""
    registers: dict[tuple[str, TopicPartition], CommittedRegister] = {}
    floors: dict[int, int] = {}
    for tick, moment in enumerate(view.moments([*view.commits, *view.committed_fetches])):
        if moment is None or isinstance(moment, FactEvent):
            continue
        register = registers.setdefault((moment.call.group, moment.call.at), CommittedRegister())
        if isinstance(moment.call, CommitOffset):
            (register.begun if tick == moment.invoked else register.ended)(moment)
        elif tick == moment.invoked:
            floors[moment.number] = register.floor
        elif isinstance(moment.reply, CommittedFound) and not register.allows(
            moment.reply.offset, floors[moment.number]
        ):
            yield f"{moment.call.group} {moment.call.at}", f"found {moment.reply.offset}: {moment}"


def one_owner(view: View) -> Iterator[Finding]:
    """A partition has one owner per group and generation."""
    owners: dict[tuple[str, int, TopicPartition], str] = {}
    for _, _, fact in view.facts:
        if isinstance(fact, Owned):
            for at in fact.partitions:
                owner = owners.setdefault((fact.group, fact.generation, at), fact.member)
                if owner != fact.member:
                    yield f"{fact.group} generation {fact.generation} {at}", f"{owner} and {fact.member} own it"


COMMIT_CHECKS: dict[str, Check] = {"committed offsets kept": committed_offsets_kept}
OWNER_CHECKS: dict[str, Check] = {"one owner": one_owner}
