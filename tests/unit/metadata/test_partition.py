"""One partition: how batches become runs, and how runs are found."""

from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafscale.metadata.state.outcomes import BatchVerdict, Verdict
from kafscale.metadata.state.partition import Partition, Run, facts_rows
from tests.unit.metadata.histories import Batch, facts


def written(partition: Partition, *batches: Batch, object_index: int = 1, position: int = 16) -> list[BatchVerdict]:
    verdicts, _ = partition.append(object_index, position, facts_rows(facts(batches)), 0)
    return verdicts


def runs(partition: Partition) -> list[Run]:
    return [partition.run(index) for index in range(partition.run_count)]


def filled(*timestamps: int) -> Partition:
    """Return a partition with one run of ten records and 100 bytes for each timestamp."""
    partition = Partition()
    for object_index, timestamp in enumerate(timestamps, start=1):
        written(partition, Batch(100, 10, timestamp), object_index=object_index)
    return partition


def of_producer(sequence: int, length: int) -> Batch:
    return Batch(length, 1, sequence, producer_id=7, epoch=0, base_sequence=sequence)


def test_batches_side_by_side_are_one_run() -> None:
    partition = Partition()
    verdicts = written(partition, Batch(100, 2, 5), Batch(50, 1, 9), Batch(61, 3, 7))
    assert verdicts == [(Verdict.ACCEPTED, 0), (Verdict.ACCEPTED, 2), (Verdict.ACCEPTED, 3)]
    assert runs(partition) == [Run(0, 6, 1, 16, 211, 9)]
    assert (partition.high_watermark, partition.size_bytes) == (6, 211)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        # Sequence 9 never follows; each batch has 100 + its index bytes, so positions tell them apart.
        ((0, 9, 1), [Run(0, 1, 1, 16, 100, 0), Run(1, 2, 1, 217, 102, 1)]),
        ((0, 1, 9), [Run(0, 2, 1, 16, 201, 1)]),
        ((0, 0, 1), [Run(0, 1, 1, 16, 100, 0), Run(1, 2, 1, 217, 102, 1)]),
        ((0, 9, 9, 1, 9), [Run(0, 1, 1, 16, 100, 0), Run(1, 2, 1, 319, 103, 1)]),
    ],
)
def test_a_rejected_batch_splits_the_run(sequences: tuple[int, ...], expected: list[Run]) -> None:
    partition = Partition()
    written(partition, *(of_producer(sequence, 100 + index) for index, sequence in enumerate(sequences)))
    assert runs(partition) == expected
    assert partition.size_bytes == sum(run.length for run in expected)


def test_a_rejected_batch_at_the_start() -> None:
    partition = Partition()
    written(partition, of_producer(0, 100))
    verdicts = written(partition, of_producer(0, 100), of_producer(1, 70), object_index=2)
    assert verdicts == [(Verdict.DUPLICATE, 0), (Verdict.ACCEPTED, 1)]
    assert runs(partition)[1] == Run(1, 2, 2, 116, 70, 1)


def test_nothing_accepted_makes_no_run() -> None:
    partition = filled(1)
    written(partition)
    written(partition, Batch(100, 1, 5, producer_id=7, epoch=0, base_sequence=0))
    before = runs(partition)
    written(partition, Batch(100, 1, 5, producer_id=7, epoch=0, base_sequence=0))
    assert runs(partition) == before


def test_a_repeat_within_one_append_is_a_duplicate() -> None:
    partition = Partition()
    verdicts = written(partition, of_producer(3, 100), of_producer(3, 100))
    assert verdicts == [(Verdict.ACCEPTED, 0), (Verdict.DUPLICATE, 0)]


def test_runs_found_by_offset() -> None:
    partition = filled(1, 2, 3)
    for offset in range(30):
        run = partition.run(partition.run_index_at(offset))
        assert run.base_offset <= offset < run.end_offset


def test_runs_found_by_timestamp() -> None:
    partition = filled(5, 9, 2, 9)
    assert [partition.first_run_with_timestamp(timestamp) for timestamp in (0, 5, 6, 9, 10)] == [0, 0, 1, 1, None]
    assert partition.run_with_max_timestamp() == 1
    assert Partition().run_with_max_timestamp() is None


class CountingArray(array):  # type: ignore[type-arg]
    """An array that counts how often its elements are looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("looked at every run")


def test_a_time_is_not_looked_for_in_every_run() -> None:
    """A million runs cost 120 ms of event loop for each lookup."""
    partition = filled(*range(1000))
    assert partition.first_run_with_timestamp(0) == 0
    partition.run_newest = CountingArray("q", partition.run_newest)
    assert partition.first_run_with_timestamp(700) == 700
    assert partition.run_with_max_timestamp() == 999
    assert partition.run_newest.looks < 30


def test_what_times_are_found_by_is_made_in_turns() -> None:
    """After a start nothing of it is there, and a million runs took 300 ms of event loop."""
    partition = filled(*range(10))
    assert [partition.prepare_newest(4) for _ in range(4)] == [False, False, True, True]
    assert list(partition.run_newest) == list(range(10))
    assert Partition().prepare_newest(4)


@given(
    st.lists(st.tuples(st.sampled_from(["write", "cut", "look"]), st.integers(0, 9)), max_size=30), st.integers(0, 11)
)
def test_times_are_found_as_a_linear_scan_finds_them(steps: list[tuple[str, int]], asked: int) -> None:
    """Runs that are gone leave no trace in what times are found by, whenever somebody looked."""
    partition = Partition()
    for step, number in steps:
        if step == "write":
            written(partition, Batch(100, 10, number))
        elif step == "cut":
            partition.advance_log_start(min(partition.log_start_offset + 7 * number, partition.high_watermark))
        else:
            partition.prepare_newest(number)
    times = [run.max_timestamp for run in runs(partition)]
    later = [index for index, newest in enumerate(times) if newest >= asked]
    assert partition.first_run_with_timestamp(asked) == (later[0] if later else None)
    assert partition.run_with_max_timestamp() == (times.index(max(times)) if times else None)
    for start in range(len(times)):
        following = [index for index in later if start <= index < start + 3]
        expected = following[0] if following else None
        assert partition.next_run_with_timestamp(asked, start, start + 3) == expected


def test_bytes_are_counted_in_whole_runs() -> None:
    partition = filled(1, 2, 3)
    assert [partition.bytes_from(offset, 1000) for offset in (0, 9, 10, 29)] == [300, 300, 200, 100]
    assert partition.bytes_from(0, 101) == 200


@pytest.mark.parametrize(
    ("offset", "left", "gone"), [(1, [0, 10, 20], []), (10, [10, 20], [1]), (29, [20], [1, 2]), (30, [], [1, 2, 3])]
)
def test_the_log_start_drops_whole_runs(offset: int, left: list[int], gone: list[int]) -> None:
    partition = filled(1, 2, 3)
    assert partition.advance_log_start(offset) == gone
    assert [run.base_offset for run in runs(partition)] == left
    assert partition.size_bytes == 100 * len(left)
    assert (partition.log_start_offset, partition.high_watermark) == (offset, 30)
    written(partition, Batch(100, 1, 4))
    assert all(before.end_offset == after.base_offset for before, after in pairwise(runs(partition)))
    assert runs(partition)[-1].base_offset == 30


def test_a_run_takes_few_bytes() -> None:
    partition = filled(1)
    arrays = (
        partition.run_offsets,
        partition.run_objects,
        partition.run_positions,
        partition.run_lengths,
        partition.run_timestamps,
        partition.run_newest,
    )
    assert sum(array.itemsize for array in arrays) <= 48
