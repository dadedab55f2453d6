"""The durable half of groups: what apply accepts, and that it is judged whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafscale.metadata.entries import (
    CommitOffsets,
    CommittedOffsetKey,
    DeleteGroup,
    DeleteOffsets,
    GroupMember,
    GroupRebalanced,
    MemberProtocol,
    OffsetToCommit,
)
from kafscale.metadata.state.groups import CommittedOffset, Groups
from kafscale.metadata.state.outcomes import Verdict

TOPIC = b"T" * 16
OTHER = b"O" * 16
COUNTS = {TOPIC: 2, OTHER: 1}


def member(member_id: str) -> GroupMember:
    return GroupMember(member_id, None, "client", "/10.0.0.1", 60_000, 10_000, [MemberProtocol("range", b"")], b"")


def rebalanced(*member_ids: str, follows: int = 0, generation: int = 1) -> GroupRebalanced:
    members = [member(one) for one in member_ids]
    return GroupRebalanced("g", follows, generation, "consumer", "range", member_ids[0] if members else "", members)


def commit(*offsets: OffsetToCommit, generation: int = -1, member_id: str = "", group_id: str = "g") -> CommitOffsets:
    return CommitOffsets(group_id, generation, member_id, list(offsets) or [OffsetToCommit(TOPIC, 0, 5, 3, "text")])


def apply_commit(groups: Groups, command: CommitOffsets, time_ms: int = 100) -> Any:
    return groups.commit(command, time_ms, COUNTS.get)


def test_a_rebalance_follows_the_revision_it_names() -> None:
    groups = Groups()
    assert groups.rebalanced(rebalanced("a", "b"), 10).verdict is Verdict.ACCEPTED
    assert groups.rebalanced(rebalanced("z"), 11).verdict is Verdict.GROUP_CHANGED
    assert groups.rebalanced(rebalanced("z", follows=2, generation=2), 11).verdict is Verdict.GROUP_CHANGED
    group = groups.by_id["g"]
    assert (group.revision, group.generation, group.leader, group.changed_ms) == (1, 1, "a", 10)
    assert groups.rebalanced(rebalanced("a", follows=1), 12).verdict is Verdict.ACCEPTED
    assert (group.revision, group.generation, group.changed_ms) == (2, 1, 12)


def test_a_generation_never_goes_back() -> None:
    groups = Groups()
    groups.rebalanced(rebalanced("a", generation=4), 10)
    assert groups.rebalanced(rebalanced("a", follows=1, generation=3), 11).verdict is Verdict.GROUP_CHANGED
    assert groups.by_id["g"].generation == 4


@pytest.mark.parametrize(
    ("generation", "member_id", "verdict"),
    [
        (1, "a", Verdict.ACCEPTED),
        (1, "b", Verdict.UNKNOWN_MEMBER),
        (0, "a", Verdict.ILLEGAL_GENERATION),
        (2, "a", Verdict.ILLEGAL_GENERATION),
        (-1, "a", Verdict.ILLEGAL_GENERATION),
        (-1, "", Verdict.UNKNOWN_MEMBER),
    ],
)
def test_commits_to_a_group_with_members(generation: int, member_id: str, verdict: Verdict) -> None:
    groups = Groups()
    groups.rebalanced(rebalanced("a"), 10)
    outcome = apply_commit(groups, commit(generation=generation, member_id=member_id))
    assert outcome.verdict is verdict
    assert bool(groups.by_id["g"].offsets) == (verdict is Verdict.ACCEPTED)
    assert bool(outcome.offsets) == (verdict is Verdict.ACCEPTED)


@pytest.mark.parametrize(("generation", "member_id"), [(-1, ""), (-1, "a")])
def test_commits_without_membership_while_there_is_nobody(generation: int, member_id: str) -> None:
    groups = Groups()
    command = commit(generation=generation, member_id=member_id)
    assert apply_commit(groups, command).verdict is Verdict.ACCEPTED
    assert groups.by_id["g"].revision == 0
    groups.rebalanced(rebalanced("a"), 10)
    groups.rebalanced(rebalanced(follows=1, generation=2), 11)
    assert apply_commit(groups, command, 200).verdict is Verdict.ACCEPTED
    assert groups.by_id["g"].offsets[(TOPIC, 0)] == CommittedOffset(5, 3, "text", 200, -1)


def test_a_generation_of_a_group_that_is_not_there() -> None:
    groups = Groups()
    assert apply_commit(groups, commit(generation=1, member_id="a")).verdict is Verdict.UNKNOWN_GROUP
    assert not groups.by_id
    groups.rebalanced(rebalanced(generation=1), 10)
    assert apply_commit(groups, commit(generation=1, member_id="a")).verdict is Verdict.UNKNOWN_MEMBER


def test_offsets_are_judged_one_by_one() -> None:
    groups = Groups()
    places = [(TOPIC, 0), (TOPIC, 2), (TOPIC, -1), (b"?" * 16, 0)]
    outcome = apply_commit(groups, commit(*(OffsetToCommit(one, part, 1, -1, "") for one, part in places)))
    unknown = Verdict.UNKNOWN_PARTITION
    assert outcome.offsets == [Verdict.ACCEPTED, unknown, unknown, Verdict.UNKNOWN_TOPIC]
    assert list(groups.by_id["g"].offsets) == [(TOPIC, 0)]


def test_a_commit_of_nothing_that_exists_creates_no_group() -> None:
    groups = Groups()
    outcome = apply_commit(groups, commit(OffsetToCommit(b"?" * 16, 0, 1, -1, "")))
    assert (outcome.verdict, outcome.offsets) == (Verdict.ACCEPTED, [Verdict.UNKNOWN_TOPIC])
    assert not groups.by_id


def test_deleting_an_offset_that_was_committed_again_meanwhile() -> None:
    groups = Groups()
    apply_commit(groups, commit(), 100)
    apply_commit(groups, commit(), 200)
    groups.delete_offsets(DeleteOffsets("g", [CommittedOffsetKey(TOPIC, 0, 100), CommittedOffsetKey(OTHER, 0)]))
    assert groups.by_id["g"].offsets
    groups.delete_offsets(DeleteOffsets("g", [CommittedOffsetKey(TOPIC, 0, 200)]))
    assert not groups.by_id
    assert groups.delete_offsets(DeleteOffsets("g", [])).verdict is Verdict.UNKNOWN_GROUP


def test_a_group_with_members_survives_its_offsets() -> None:
    groups = Groups()
    groups.rebalanced(rebalanced("a"), 10)
    apply_commit(groups, commit(generation=1, member_id="a"))
    assert groups.delete_offsets(DeleteOffsets("g", [CommittedOffsetKey(TOPIC, 0)])).verdict is Verdict.ACCEPTED
    assert groups.by_id["g"].members
    assert groups.delete_group(DeleteGroup("g")).verdict is Verdict.GROUP_NOT_EMPTY


def test_deleting_a_group() -> None:
    groups = Groups()
    assert groups.delete_group(DeleteGroup("g")).verdict is Verdict.UNKNOWN_GROUP
    apply_commit(groups, commit())
    assert groups.delete_group(DeleteGroup("g")).verdict is Verdict.ACCEPTED
    assert groups.get("g") is None


def test_a_deleted_topic_takes_its_offsets_along() -> None:
    groups = Groups()
    apply_commit(groups, commit(group_id="only this"))
    apply_commit(groups, commit(OffsetToCommit(TOPIC, 0, 1, -1, ""), OffsetToCommit(OTHER, 0, 1, -1, "")))
    groups.rebalanced(GroupRebalanced("once", 0, 1, "consumer", "", "", []), 10)
    apply_commit(groups, commit(group_id="once"))
    groups.drop_topic(TOPIC)
    # One that had members keeps its generation for a coordinator that may be filling it.
    assert list(groups.by_id) == ["g", "once"]
    assert list(groups.by_id["g"].offsets) == [(OTHER, 0)]
    assert not groups.by_id["once"].offsets


_ids = st.sampled_from(["a", "b", "c"])
_commands = st.one_of(
    st.builds(
        lambda follows, generation, ids: rebalanced(*dict.fromkeys(ids), follows=follows, generation=generation),
        st.integers(0, 4),
        st.integers(0, 4),
        st.lists(_ids, max_size=3),
    ),
    st.builds(lambda generation, one: commit(generation=generation, member_id=one), st.integers(-1, 4), _ids),
    st.just(commit()),
    st.just(DeleteOffsets("g", [CommittedOffsetKey(TOPIC, 0)])),
)


@given(st.lists(_commands, max_size=30))
def test_apply_is_total_and_rejections_change_nothing(commands: list[Any]) -> None:
    groups = Groups()
    for time_ms, command in enumerate(commands):
        group = groups.get("g")
        before = None if group is None else (group.revision, group.generation, list(group.members), dict(group.offsets))
        match command:
            case GroupRebalanced():
                verdict = groups.rebalanced(command, time_ms).verdict
            case CommitOffsets():
                verdict = apply_commit(groups, command, time_ms).verdict
            case _:
                verdict = groups.delete_offsets(command).verdict
        group = groups.get("g")
        after = None if group is None else (group.revision, group.generation, list(group.members), dict(group.offsets))
        if verdict is not Verdict.ACCEPTED:
            assert after == before
        elif isinstance(command, GroupRebalanced):
            assert after is not None
            assert after[0] == command.follows_revision + 1
            assert before is None or after[1] >= before[1]
