"""Altered configs and advanced log starts: what apply accepts, what goes with it, and that every replica agrees."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafscale.metadata.entries import (
    BATCH_FACTS,
    SCHEMA_LEVEL,
    AdvanceLogStart,
    AlterConfigs,
    AppendBatches,
    Command,
    ConfigChange,
    CreateTopic,
    DeleteTopic,
    Entry,
    LogStart,
    PartitionBatches,
    decode_entry,
    encode_entry,
)
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import decode_state, encode_state, state_hash
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.outcomes import LogStartVerdict, Verdict
from kafscale.metadata.state.partition import Partition

TOPIC = b"T" * 16
OTHER = b"O" * 16
BATCH_BYTES = 100
INCARNATION = 7


class Log:
    """A state and the entries that made it."""

    def __init__(self, partition_count: int = 2) -> None:
        self.state = ClusterState()
        self.entries = 0
        self.objects = 0
        self.apply(CreateTopic(TOPIC, "topic", partition_count, {"retention.ms": "5"}))

    def apply(self, command: Command) -> Any:
        self.entries += 1
        entry = Entry(SCHEMA_LEVEL, 1000 + self.entries, INCARNATION, self.entries, 0, [command])
        (outcome,) = self.state.apply(decode_entry(encode_entry(entry)))
        return outcome

    def append(self, *counts: int, partitions: tuple[int, ...] = (0,)) -> ObjectName:
        """Append one object with a batch per count to each partition."""
        self.objects += 1
        facts = b"".join(BATCH_FACTS.pack(BATCH_BYTES, count, 10 * self.objects, -1, -1, -1) for count in counts)
        flushed = [PartitionBatches(TOPIC, one, 1000 * place, facts) for place, one in enumerate(partitions)]
        self.apply(AppendBatches(self.objects, flushed))
        return ObjectName(INCARNATION, self.objects)

    def advance(self, *offsets: int, partition: int = 0, topic_id: bytes = TOPIC) -> list[LogStartVerdict]:
        verdicts: list[LogStartVerdict] = self.apply(
            AdvanceLogStart([LogStart(topic_id, partition, offset) for offset in offsets])
        ).partitions
        return verdicts

    def alter(self, changes: dict[str, str | None], seen: dict[str, str | None] | None = None, **of: Any) -> Verdict:
        command = AlterConfigs(
            of.get("topic_id", TOPIC),
            [ConfigChange(*change) for change in changes.items()],
            [ConfigChange(*config) for config in (seen or {}).items()],
            of.get("replaces_all", False),
        )
        verdict: Verdict = self.apply(command).verdict
        return verdict

    def partition(self, index: int = 0) -> Partition:
        return self.state.topics[TOPIC].partitions[index]

    @property
    def configs(self) -> dict[str, str]:
        return self.state.topics[TOPIC].configs


# Configs


def test_changes_add_to_the_configs_there_are() -> None:
    log = Log()
    before = log.configs
    assert log.alter({"retention.bytes": "1", "retention.ms": "6"}) is Verdict.ACCEPTED
    assert log.alter({"retention.ms": None, "segment.ms": None}) is Verdict.ACCEPTED
    assert log.configs == {"retention.bytes": "1"}
    assert before == {"retention.ms": "5"}, "whoever compares by identity must see another object"


def test_replacing_all_leaves_nothing_that_is_not_named() -> None:
    log = Log()
    assert log.alter({"retention.bytes": "1"}, replaces_all=True) is Verdict.ACCEPTED
    assert log.configs == {"retention.bytes": "1"}
    assert log.alter({}, replaces_all=True) is Verdict.ACCEPTED
    assert log.configs == {}


@pytest.mark.parametrize("seen", [{"retention.ms": "4"}, {"retention.ms": None}, {"segment.ms": "5"}])
def test_a_change_worked_out_from_other_configs_changes_nothing(seen: dict[str, str | None]) -> None:
    log = Log()
    assert log.alter({"retention.ms": "9"}, seen) is Verdict.CONFIGS_CHANGED
    assert log.configs == {"retention.ms": "5"}
    assert log.alter({"retention.ms": "9"}, {"retention.ms": "5", "segment.ms": None}) is Verdict.ACCEPTED


def test_configs_of_an_unknown_topic() -> None:
    log = Log()
    assert log.alter({"retention.ms": "9"}, topic_id=OTHER) is Verdict.UNKNOWN_TOPIC
    log.apply(DeleteTopic(TOPIC))
    assert log.alter({"retention.ms": "9"}) is Verdict.UNKNOWN_TOPIC


# Log start


def test_runs_below_the_log_start_go_and_a_straddling_one_stays() -> None:
    log = Log()
    first, second = log.append(2, 3), log.append(4)
    assert log.advance(5) == [LogStartVerdict(Verdict.ACCEPTED, 5)]
    partition = log.partition()
    assert (partition.log_start_offset, partition.high_watermark, partition.size_bytes) == (5, 9, BATCH_BYTES)
    assert [partition.run(index).base_offset for index in range(partition.run_count)] == [5]
    assert list(log.state.objects.released) == [first]
    assert log.advance(7) == [LogStartVerdict(Verdict.ACCEPTED, 7)]
    assert (partition.run_count, partition.size_bytes, partition.run_index_at(7)) == (1, BATCH_BYTES, 0)
    assert second not in log.state.objects.released


def test_everything_goes_up_to_the_high_watermark_and_appending_goes_on() -> None:
    log = Log()
    names = [log.append(2), log.append(1, 1)]
    assert log.advance(4) == [LogStartVerdict(Verdict.ACCEPTED, 4)]
    partition = log.partition()
    assert (partition.run_count, partition.size_bytes, partition.high_watermark) == (0, 0, 4)
    assert list(log.state.objects.released) == names
    log.append(3)
    assert (partition.run(0).base_offset, partition.high_watermark, partition.size_bytes) == (4, 7, BATCH_BYTES)
    assert log.advance(4) == [LogStartVerdict(Verdict.ACCEPTED, 4)]
    assert partition.run_count == 1


def test_a_log_start_never_goes_back_and_never_beyond_the_end() -> None:
    log = Log()
    log.append(5)
    accepted, refused = Verdict.ACCEPTED, LogStartVerdict(Verdict.OFFSET_OUT_OF_RANGE, -1)
    assert log.advance(3, 1, 0, 6, -1, 5) == [
        LogStartVerdict(accepted, 3),
        LogStartVerdict(accepted, 3),
        LogStartVerdict(accepted, 3),
        refused,
        refused,
        LogStartVerdict(accepted, 5),
    ]
    assert log.advance(0, partition=1) == [LogStartVerdict(accepted, 0)]
    unknown = LogStartVerdict(Verdict.UNKNOWN_TOPIC, -1)
    assert log.advance(0, partition=2) == log.advance(0, partition=-1) == log.advance(0, topic_id=OTHER) == [unknown]


def test_an_object_goes_with_its_last_reference() -> None:
    log = Log()
    shared = log.append(1, 1, partitions=(0, 1))
    log.advance(2)
    assert shared not in log.state.objects.released
    log.advance(2, partition=1)
    assert shared in log.state.objects.released


def test_one_command_may_release_an_object_several_times() -> None:
    log = Log()
    log.objects += 1
    facts = BATCH_FACTS.pack(BATCH_BYTES, 1, 1, -1, -1, -1)
    log.apply(AppendBatches(1, [PartitionBatches(TOPIC, 0, 0, facts), PartitionBatches(TOPIC, 0, 500, facts)]))
    assert log.partition().run_count == 2
    log.advance(2)
    assert list(log.state.objects.released) == [ObjectName(INCARNATION, 1)]
    assert not log.state.objects.references


@given(st.lists(st.one_of(st.integers(0, 30), st.lists(st.integers(1, 4), min_size=1, max_size=3)), max_size=30))
def test_the_state_is_the_same_after_a_checkpoint(actions: list[int | list[int]]) -> None:
    """Appends and deletions in any order: sizes and references add up, and the encoding tells all of it."""
    log = Log(partition_count=1)
    counts: list[int] = []
    for action in actions:
        if isinstance(action, int):
            log.advance(action)
        else:
            counts += action
            log.append(*action)
    partition = log.partition()
    assert partition.high_watermark == sum(counts)
    runs = [partition.run(index) for index in range(partition.run_count)]
    assert sum(run.length for run in runs) == partition.size_bytes
    assert all(run.end_offset > partition.log_start_offset for run in runs)
    ends = [run.end_offset for run in runs]
    assert [run.base_offset for run in runs[1:]] + [partition.high_watermark] == ends or not runs
    assert sorted(log.state.objects.references) == sorted(set(partition.run_objects))
    loaded = decode_state(encode_state(log.state))
    assert encode_state(loaded) == encode_state(log.state)
    assert state_hash(loaded) == state_hash(log.state)
