"""Commands that drop many runs are applied in slices; what they delete is out of sight from the first one on."""

import pytest

from kafscale.metadata.entries import AdvanceLogStart, CommitOffsets, DeleteTopic, LogStart, OffsetToCommit
from kafscale.metadata.state import cluster
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.outcomes import LogStartOutcome, LogStartVerdict, Outcome, SimpleOutcome, Verdict
from tests.unit.metadata.histories import A, B, Batch, append, create, entry

RUNS = 10
SLICE = 4
ACCEPTED = SimpleOutcome(verdict=Verdict.ACCEPTED)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> ClusterState:
    """RUNS runs in two partitions of A, with the same objects in B, and a group with an offset for A."""
    monkeypatch.setattr(cluster, "SLICE_RUNS", SLICE)
    state = ClusterState()
    state.apply(entry(1, create(A, "a", 2), create(B, "b")))
    for number in range(1, RUNS + 1):
        state.apply(entry(number + 1, append(number, (A, number % 2, [Batch()]))))
    state.apply(entry(RUNS + 2, append(RUNS, (B, 0, [Batch()]))))
    state.apply(entry(RUNS + 3, CommitOffsets("g", -1, "", [OffsetToCommit(A, 0, 1, -1, "")])))
    return state


def assert_gone(state: ClusterState) -> None:
    assert state.topic_named("a") is None
    assert state.partition(A, 0) is None
    assert "a" not in state.folded_names
    assert state.groups.get("g") is None


def test_a_large_deletion_is_applied_in_slices_and_seen_from_the_first(state: ClusterState) -> None:
    """Deleting a topic of a million runs once held the event loop for more than a second."""
    outcomes: list[Outcome] = []
    slices = 0
    for slices, _ in enumerate(state.steps(entry(RUNS + 4, DeleteTopic(A)), outcomes), start=1):
        assert_gone(state)
        assert outcomes == []
        assert sum(state.objects.references.values()) == RUNS + 1 - slices * SLICE
    assert slices == RUNS // SLICE
    assert_gone(state)
    assert outcomes == [ACCEPTED]
    assert list(state.objects.indexes) == [ObjectName(1, RUNS)]
    assert list(state.objects.references.values()) == [1]


def test_a_topic_created_again_in_the_same_entry(state: ClusterState) -> None:
    assert state.apply(entry(RUNS + 4, DeleteTopic(A), create(A, "a"))) == [ACCEPTED, ACCEPTED]
    topic = state.topic_named("a")
    assert topic is not None
    assert [partition.run_count for partition in topic.partitions] == [0]


def test_a_large_advance_of_log_starts_is_applied_in_slices(state: ClusterState) -> None:
    half = RUNS // 2
    wanted = AdvanceLogStart([LogStart(A, 0, half), LogStart(A, 1, half + 1), LogStart(A, 1, half)])
    outcomes: list[Outcome] = []
    slices = 0
    for _ in state.steps(entry(RUNS + 4, wanted), outcomes):
        slices += 1
        assert [one.log_start_offset for one in state.topics[A].partitions] == [half, half]
        assert [one.run_count for one in state.topics[A].partitions] == [0, 0]
        assert outcomes == []
    assert slices == RUNS // SLICE
    moved, refused = LogStartVerdict(Verdict.ACCEPTED, half), LogStartVerdict(Verdict.OFFSET_OUT_OF_RANGE, -1)
    assert outcomes == [LogStartOutcome(partitions=[moved, refused, moved])]
    assert list(state.objects.indexes) == [ObjectName(1, RUNS)]


def test_slices_give_what_applying_at_once_gives(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    deletion = entry(RUNS + 4, AdvanceLogStart([LogStart(A, 0, 3)]), DeleteTopic(A), DeleteTopic(A))
    at_once = decode_state(encode_state(state))
    outcomes = state.apply(deletion)
    monkeypatch.setattr(cluster, "SLICE_RUNS", 1000)
    assert at_once.apply(deletion) == outcomes
    assert encode_state(at_once) == encode_state(state)
