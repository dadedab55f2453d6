"""Histories survive the way to disk and back, also in several files and after a killed recorder."""

from itertools import count
from pathlib import Path

import msgspec
import pytest

from tests.support.checker import check
from tests.support.history import (
    CommitOffset,
    Committed,
    Ended,
    Event,
    History,
    Poll,
    Produce,
    Produced,
    Status,
    TopicPartition,
    replay,
)
from tests.support.history_file import HistoryFile, load_history
from tests.unit.support.model import Model

AT = TopicPartition("t", 0)


def _story(history: History) -> list[str]:
    facts = [str(event) for event in history.facts]
    return [f"{operation} {operation.reply}" for operation in history.operations] + facts


def test_a_file_gives_back_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    model = Model(1, operations=30)
    with HistoryFile(path) as sink:
        model.history = History(count().__next__, sink)
        recorded = model.run()
    loaded = load_history([path])
    assert _story(loaded) == _story(recorded)
    assert check(loaded) == []


def test_a_torn_last_line_is_ignored_and_any_other_is_not(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with HistoryFile(path) as sink:
        history = History(lambda: 0, sink)
        history.ok(history.invoke("p", Produce(AT, "p", 0, "v", True)), Produced(0, "1"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert load_history([path]).operations[0].status is Status.OPEN
    path.write_bytes(whole[:-5] + b"\n" + whole)
    with pytest.raises(msgspec.DecodeError):
        load_history([path])


def test_files_are_merged_by_time_and_equal_times_overlap(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    times = {paths[0]: iter([1, 5]), paths[1]: iter([5, 9])}
    for path in paths:
        with HistoryFile(path) as sink:
            history = History(times[path].__next__, sink)
            history.ok(history.invoke(path.stem, CommitOffset("g", AT, 1)), Committed())
    first, second = load_history(paths).operations
    assert (first.process, second.process) == ("a", "b")
    assert second.invoked < first.ended < second.ended


def test_an_operation_ends_once() -> None:
    history = History(lambda: 0)
    operation = history.invoke("c", Poll(AT, 0))
    history.unknown(operation, "timeout")
    with pytest.raises(ValueError, match="ended twice"):
        history.fail(operation, "late")


def test_an_end_needs_an_invocation() -> None:
    events: list[Event] = [Ended(0, 7, Status.UNKNOWN, None, "timeout")]
    with pytest.raises(ValueError, match="without an invocation"):
        replay(events)
