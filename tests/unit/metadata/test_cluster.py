"""The cluster state: its invariants over random histories, and its rules one by one."""

import pytest

from kafscale.errors import Bug
from kafscale.metadata.entries import (
    SCHEMA_LEVEL,
    AllocateProducerIds,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    Entry,
    ExpireProducers,
)
from kafscale.metadata.state import cluster
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import state_hash
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.outcomes import AppendOutcome, BatchVerdict, ProducerIdsOutcome, SimpleOutcome, Verdict
from tests.unit.metadata import checks
from tests.unit.metadata.histories import (
    UNKNOWN,
    A,
    B,
    Batch,
    append,
    commits,
    create,
    entry,
    histories,
    histories_of,
    holds,
    membership,
    produced,
)


def verdict_of(state: ClusterState, one: Entry) -> Verdict:
    (outcome,) = state.apply(one)
    assert isinstance(outcome, SimpleOutcome)
    return outcome.verdict


def test_written_exactly_once() -> None:
    holds(checks.check_exactly_once, produced)


def test_entries_applied_once() -> None:
    holds(checks.check_applied_once, histories, examples=40)


def test_order_of_each_producer() -> None:
    holds(checks.check_order, produced)


def test_offsets_dense_and_objects_counted() -> None:
    holds(checks.check_dense, histories, examples=200)


def test_offsets_never_go_back() -> None:
    holds(checks.check_never_back, histories)


def test_apply_is_total() -> None:
    holds(checks.check_total, histories, examples=60)


def test_applied_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SLICE_BATCHES", 1)
    holds(checks.check_sliced, histories, examples=40)


def test_commits_of_the_current_generation_only() -> None:
    holds(checks.check_commits, histories_of(membership, commits), examples=200)


def test_a_large_append_is_applied_in_slices() -> None:
    state = ClusterState()
    state.apply(entry(1, create(partition_count=8)))
    lanes = [(A, number, [Batch()] * (cluster.SLICE_BATCHES // 2)) for number in range(8)]
    outcomes: list[object] = []
    steps = state.steps(entry(2, append(1, *lanes)), outcomes)  # type: ignore[arg-type]
    assert sum(1 for _ in steps) == 4
    assert len(outcomes) == 1


def test_an_entry_of_a_newer_level_is_refused() -> None:
    state = ClusterState()
    with pytest.raises(Bug, match="upgrade"):
        state.apply(Entry(SCHEMA_LEVEL + 1, 0, 1, 1, 0, []))
    assert state.appended == {}


def test_what_is_resolved_never_goes_back() -> None:
    state = ClusterState()
    for number, resolved_below in enumerate((3, 7, 5), start=1):
        state.apply(Entry(SCHEMA_LEVEL, 0, 1, number, resolved_below, []))
    assert state.resolved == {1: 7}


class TestTopics:
    """Names and ids."""

    @pytest.mark.parametrize(
        ("command", "verdict"),
        [
            (create(B, "a.b"), Verdict.TOPIC_EXISTS),
            (create(A, "other"), Verdict.TOPIC_EXISTS),
            (create(B, "a_b"), Verdict.TOPIC_NAME_COLLIDES),
            (create(B, "a-b"), Verdict.ACCEPTED),
        ],
    )
    def test_names_that_collide(self, command: CreateTopic, verdict: Verdict) -> None:
        state = ClusterState()
        state.apply(entry(1, create(A, "a.b")))
        assert verdict_of(state, entry(2, command)) is verdict

    def test_a_name_is_free_again_after_deletion(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(A, "a.b")))
        assert verdict_of(state, entry(2, DeleteTopic(A))) is Verdict.ACCEPTED
        assert state.topic_named("a.b") is None
        assert verdict_of(state, entry(3, DeleteTopic(A))) is Verdict.UNKNOWN_TOPIC
        assert verdict_of(state, entry(4, create(B, "a_b"))) is Verdict.ACCEPTED
        topic = state.topic_named("a_b")
        assert topic is not None
        assert topic.topic_id == B

    def test_a_topic_created_again_begins_empty(self) -> None:
        state = ClusterState()
        batch = Batch(producer_id=7, epoch=0, base_sequence=5)
        state.apply(entry(1, create(), append(1, (A, 0, [batch]))))
        state.apply(entry(2, DeleteTopic(A), create(B), time_ms=20))
        assert state.objects.released == {ObjectName(1, 1): 20}
        (late, fresh) = state.apply(entry(3, append(2, (A, 0, [batch])), append(3, (B, 0, [batch]))))
        assert isinstance(late, AppendOutcome)
        assert isinstance(fresh, AppendOutcome)
        assert late.partitions == [([BatchVerdict(Verdict.UNKNOWN_TOPIC, -1)], -1)]
        assert fresh.partitions == [([BatchVerdict(Verdict.ACCEPTED, 0)], 0)]

    def test_partitions_are_only_added(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(partition_count=2), append(1, (A, 1, [Batch()]))))
        kept = state.partition(A, 1)
        for number, (count, verdict) in enumerate(
            [(1, Verdict.INVALID_PARTITION_COUNT), (2, Verdict.INVALID_PARTITION_COUNT), (4, Verdict.ACCEPTED)], start=2
        ):
            assert verdict_of(state, entry(number, CreatePartitions(A, count))) is verdict
        assert state.topics[A].partition_count == 4
        assert state.partition(A, 1) is kept
        assert [state.partition(A, index) is None for index in (-1, 0, 3, 4)] == [True, False, False, True]
        assert verdict_of(state, entry(5, CreatePartitions(UNKNOWN, 9))) is Verdict.UNKNOWN_TOPIC


class TestObjects:
    """References."""

    def test_commands_of_one_object_share_it(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(partition_count=2)))
        state.apply(entry(2, append(5, (A, 0, [Batch()])), append(5, (A, 1, [Batch()])), time_ms=1))
        state.apply(entry(3, append(5, (A, 0, [Batch()])), time_ms=2))
        assert list(state.objects.references.values()) == [3]
        state.apply(entry(4, DeleteTopic(A), time_ms=3))
        assert state.objects.released == {ObjectName(1, 5): 3}

    def test_an_object_comes_back_from_the_released_ones(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(), append(5, (UNKNOWN, 0, [Batch()])), time_ms=1))
        assert state.objects.released == {ObjectName(1, 5): 1}
        state.apply(entry(2, append(5, (A, 0, [Batch()])), time_ms=2))
        assert state.objects.released == {}
        assert state.objects.references == {state.objects.indexes[ObjectName(1, 5)]: 1}

    def test_an_index_is_never_used_twice(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(), *(append(number, (UNKNOWN, 0, [])) for number in (1, 2, 1))))
        assert state.objects.next_index == 4


class TestProducers:
    """Ids and expiry."""

    def test_blocks_of_ids_do_not_overlap(self) -> None:
        state = ClusterState()
        outcomes = state.apply(entry(1, AllocateProducerIds(1000), AllocateProducerIds(1), AllocateProducerIds(5)))
        blocks = [(one.first, one.count) for one in outcomes if isinstance(one, ProducerIdsOutcome)]
        assert blocks == [(0, 1000), (1000, 1), (1001, 5)]

    def test_silent_producers_expire_in_every_partition(self) -> None:
        state = ClusterState()
        state.apply(entry(1, create(partition_count=2)))
        for number, producer_id in ((2, 7), (3, 8)):
            batch = Batch(producer_id=producer_id, epoch=0, base_sequence=0)
            state.apply(entry(number, append(number, (A, 0, [batch]), (A, 1, [batch])), time_ms=100 * number))
        state_hash(state)
        state.apply(entry(4, ExpireProducers(300)))
        assert [list(partition.producers) for partition in state.topics[A].partitions] == [[8], [8]]
        assert not any(partition.has_producers_before(300) for partition in state.topics[A].partitions)
        assert all(partition.has_producers_before(301) for partition in state.topics[A].partitions)
        # To the log an expired producer is a new one: it may go on where it was.
        again = Batch(producer_id=7, epoch=0, base_sequence=1)
        (outcome,) = state.apply(entry(5, append(9, (A, 0, [again]))))
        assert isinstance(outcome, AppendOutcome)
        assert outcome.partitions[0].batches[0].verdict is Verdict.ACCEPTED
