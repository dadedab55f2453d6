"""The checker stays silent about correct histories and catches every mutant."""

import random
import time

import pytest

from tests.support.checker import CHECKS, check, render
from tests.support.history import History, Produce, TopicPartition
from tests.unit.support.model import correct_history
from tests.unit.support.mutants import MUTANTS, NotApplicable

SEEDS_PER_MUTANT = 8
SEEDS_TRIED_MAX = 400


@pytest.mark.parametrize("hundred", [0, 100])
def test_correct_histories_give_no_complaint(hundred: int) -> None:
    for seed in range(hundred, hundred + 100):
        complaints = check(correct_history(seed))
        assert not complaints, f"seed {seed}\n{render(complaints)}"


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str) -> None:
    mutant = MUTANTS[name]
    applied = 0
    for seed in range(SEEDS_TRIED_MAX):
        history = correct_history(seed)
        try:
            mutant.mutate(history, random.Random(seed))
        except NotApplicable:
            continue
        complaints = check(history)
        found = {complaint.check for complaint in complaints}
        assert mutant.caught_by <= found <= mutant.caught_by | mutant.also_by, f"seed {seed}\n{render(complaints)}"
        applied += 1
        if applied == SEEDS_PER_MUTANT:
            return
    pytest.fail(f"only {applied} histories could be mutated")


def test_every_check_has_a_mutant() -> None:
    assert {name for mutant in MUTANTS.values() for name in mutant.caught_by} == set(CHECKS)


def test_a_million_events_take_seconds() -> None:
    history = correct_history(1, operations=15_000)
    began = time.process_time()
    assert check(history) == []
    per_million_s = (time.process_time() - began) / history.ticks() * 1e6
    assert per_million_s < 30, f"{per_million_s:.0f} s for a million events: something is not linear"


def test_two_writes_of_one_value_are_refused() -> None:
    history = History(lambda: 0)
    for sequence in range(2):
        history.invoke("p", Produce(TopicPartition("t", 0), "p", sequence, "same", True))
    with pytest.raises(ValueError, match="share a value"):
        check(history)


def test_complaints_are_bounded_and_name_the_evidence() -> None:
    history = correct_history(3, operations=200)
    for operation in history.operations:
        if (operation.reply is None) or not hasattr(operation.reply, "log_start"):
            continue
        operation.reply = type(operation.reply)(
            operation.reply.offsets, [f"x{n}" for n in operation.reply.offsets], *_rest(operation.reply)
        )
    complaints = [complaint for complaint in check(history) if complaint.check == "only writes are read"]
    assert len(complaints) == 20
    assert "nobody sent it" in str(complaints[0])


def _rest(reply: object) -> list[object]:
    names = ["high_watermark", "last_stable_offset", "log_start", "node"]
    if not hasattr(reply, "node"):
        names = ["log_start", "high_watermark"]
    return [getattr(reply, name) for name in names]
