"""The appender: group commit, order, and what its callers hear when the log fails."""

import asyncio
from typing import Any

import pytest

from kafscale.errors import Bug, FatalLogFailure, OutcomeUnknown, StorageUnavailable
from kafscale.metadata import appender
from kafscale.metadata.appender import COMMAND_BYTES_MAX, ENTRY_HEAD_BYTES_MAX, CommandTooLarge
from kafscale.metadata.entries import (
    SCHEMA_LEVEL,
    AllocateProducerIds,
    AppendBatches,
    CreateTopic,
    DeleteGroup,
    Entry,
    PartitionBatches,
    encode_entry,
    encoded_size,
)
from kafscale.metadata.log import ENTRY_BYTES_MAX
from kafscale.metadata.state.outcomes import Outcome, ProducerIdsOutcome, Verdict
from tests.support.virtual_loop import on_virtual_time
from tests.unit.metadata.histories import UNKNOWN, A, create
from tests.unit.metadata.logs import INCARNATION, Node, SteeredLog, turns


class Calls:
    """Hands numbered commands to an appender and keeps every answer. Command `n` asks for `n` producer ids."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.answers: dict[int, list[Outcome | Exception]] = {}
        self.order: list[int] = []

    def append(self, *numbers: int) -> None:
        for number in numbers:
            self.answers[number] = []
            self.node.appender.append(AllocateProducerIds(number), self._answer(number))

    def _answer(self, number: int) -> Any:
        def done(result: Outcome | Exception) -> None:
            self.answers[number].append(result)
            self.order.append(number)

        return done

    def accepted(self) -> list[int]:
        """Return the commands that were answered with their own outcome, and once."""
        return [
            number
            for number, answers in self.answers.items()
            if [one.count for one in answers if isinstance(one, ProducerIdsOutcome)] == [number] and len(answers) == 1
        ]

    def failed(self, kind: type[Exception]) -> list[int]:
        """Return the commands that were answered with such an error, and once."""
        return [number for number, (*answers,) in self.answers.items() if [type(one) for one in answers] == [kind]]


def entries(node: Node) -> list[list[int]]:
    """Return the numbers of the commands in each entry of the log."""
    return [
        [command.count for command in one.commands if isinstance(command, AllocateProducerIds)]
        for one in node.log.written()
    ]


@on_virtual_time
async def test_what_waits_goes_into_one_entry() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.holds_appends = True
    calls.append(1)
    await turns()
    calls.append(2, 3, 4)
    await turns()
    assert len(node.log.appends) == 1
    node.log.release()
    await turns()
    calls.append(5)
    node.log.release()
    await turns()
    node.log.release()
    await turns()
    assert entries(node) == [[1], [2, 3, 4], [5]]
    assert calls.order == calls.accepted() == [1, 2, 3, 4, 5]


@on_virtual_time
async def test_what_comes_in_one_step_shares_an_entry() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    calls.append(1, 2, 3)
    await turns()
    assert entries(node) == [[1, 2, 3]]
    assert calls.order == [1, 2, 3]


@on_virtual_time
async def test_the_head_of_an_entry() -> None:
    node = Node(SteeredLog())
    node.appender.resolved_below = lambda: 42
    node.clock.offset_ms = 5
    for _ in range(2):
        await node.appender.submit(AllocateProducerIds(1))
    heads = [(one.incarnation, one.number, one.resolved_below, one.time_ms) for one in node.log.written()]
    assert heads == [(INCARNATION, number, 42, node.clock.wall_ms()) for number in (1, 2)]


def sized(size: int) -> CreateTopic:
    """Return a command that takes `size` bytes in an entry."""
    empty = CreateTopic(A, "", 1, {"k": "x" * 70_000})
    command = CreateTopic(A, "", 1, {"k": "x" * (70_000 + size - encoded_size(empty))})
    assert encoded_size(command) == size
    return command


@on_virtual_time
async def test_the_largest_command_fits() -> None:
    node = Node(SteeredLog())
    await node.appender.submit(sized(COMMAND_BYTES_MAX))
    assert len(node.log.appends[0][1]) <= ENTRY_BYTES_MAX
    with pytest.raises(CommandTooLarge):
        await node.appender.submit(sized(COMMAND_BYTES_MAX + 1))
    facts = bytes(30 * (ENTRY_BYTES_MAX // 30))
    with pytest.raises(CommandTooLarge):
        await node.appender.submit(AppendBatches(1, [PartitionBatches(UNKNOWN, 0, 16, facts)]))
    assert len(node.log.appends) == 1
    await node.appender.submit(AllocateProducerIds(1))


@on_virtual_time
async def test_entries_are_filled_but_not_over() -> None:
    node = Node(SteeredLog())
    half = COMMAND_BYTES_MAX // 2
    sizes = [half, half, half, half + 1, half, COMMAND_BYTES_MAX]
    submitted = [asyncio.ensure_future(node.appender.submit(sized(size))) for size in sizes]
    await asyncio.gather(*submitted)
    written = [[encoded_size(command) for command in one.commands] for one in node.log.written()]
    assert written == [[half, half], [half], [half + 1], [half], [COMMAND_BYTES_MAX]]
    assert all(len(payload) <= ENTRY_BYTES_MAX for _, payload in node.log.appends)


@pytest.mark.parametrize("count", [0, 15, 16, 2**16 - 1, 2**16, COMMAND_BYTES_MAX // 3])
def test_the_head_of_an_entry_is_within_its_bound(count: int) -> None:
    """It takes more bytes the more commands there are."""
    small = DeleteGroup("")
    largest = 2**64 - 1
    payload = encode_entry(Entry(SCHEMA_LEVEL, largest, largest, largest, largest, [small] * count))
    assert len(payload) - count * encoded_size(small) <= ENTRY_HEAD_BYTES_MAX


@on_virtual_time
async def test_a_failure_takes_what_waits_along() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.holds_appends = True
    calls.append(1)
    await turns()
    calls.append(2, 3)
    node.log.release(StorageUnavailable("full"))
    node.log.holds_appends = False
    await turns()
    assert calls.failed(StorageUnavailable) == [1, 2, 3]
    calls.append(4)
    await turns()
    assert calls.accepted() == [4]
    assert entries(node) == [[4]]
    assert node.log.written()[0].number == 2
    assert node.failures == []


@on_virtual_time
async def test_a_command_handed_over_while_a_failure_is_told() -> None:
    """A caller may try again from within its callback. Whatever comes of it, it gets an answer."""
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.append_faults.append(StorageUnavailable("full"))
    node.appender.append(AllocateProducerIds(1), lambda _: calls.append(2))
    await turns()
    assert len(calls.answers[2]) == 1


async def unknown_outcome_is_repeated(*, written: bool) -> None:
    """I1: an append of unknown outcome is asked for again under its uid, so that it is in the log once."""
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.writes_before_fault = written
    node.log.append_faults.extend([OutcomeUnknown("no answer"), OutcomeUnknown("no answer"), None])
    calls.append(1)
    await turns()
    calls.append(2)
    await asyncio.sleep(appender.UNKNOWN_RETRY_SECONDS * 3)
    await turns()
    assert entries(node) == [[1], [2]], "in the log more than once"
    assert [uid for uid, _ in node.log.appends] == [(INCARNATION, 1)] * 3 + [(INCARNATION, 2)]
    assert len({payload for uid, payload in node.log.appends if uid.number == 1}) == 1
    assert calls.order == calls.accepted() == [1, 2]


@pytest.mark.parametrize("written", [False, True])
def test_an_unknown_outcome_is_asked_for_again(written: bool) -> None:
    @on_virtual_time
    async def test() -> None:
        await unknown_outcome_is_repeated(written=written)

    test()


@on_virtual_time
async def test_a_fatal_failure_answers_all_and_stops() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.holds_appends = True
    calls.append(1)
    await turns()
    calls.append(2)
    node.log.release(FatalLogFailure("torn"))
    await turns()
    assert calls.failed(FatalLogFailure) == [1, 2]
    assert [type(one) for one in node.failures] == [FatalLogFailure]
    calls.append(3)
    assert calls.failed(StorageUnavailable) == [3]
    await node.appender.close()
    assert len(node.log.appends) == 1


@pytest.mark.parametrize("error", [FatalLogFailure("torn"), StorageUnavailable("full")])
def test_nobody_is_answered_twice(error: Exception) -> None:
    """What was applied and answered, though its outcome was unknown, is not failed by what comes after."""

    @on_virtual_time
    async def test() -> None:
        node = Node(SteeredLog())
        calls = Calls(node)
        node.log.writes_before_fault = True
        node.log.append_faults.extend([OutcomeUnknown("no answer"), error])
        calls.append(1)
        await asyncio.sleep(1)
        assert calls.accepted() == [1]

    test()


@on_virtual_time
async def test_an_unforeseen_error_is_loud() -> None:
    """It once ended the task that appends, and nobody heard of it."""
    node = Node(SteeredLog())
    calls = Calls(node)
    node.log.append_faults.append(Bug("unforeseen"))
    calls.append(1)
    await turns()
    assert calls.failed(Bug) == [1]
    assert [type(one) for one in node.failures] == [Bug]


@on_virtual_time
async def test_closing_finishes_what_waits() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    await Node(SteeredLog()).appender.close()
    node.log.holds_appends = True
    calls.append(1)
    await turns()
    calls.append(2)
    closing = asyncio.ensure_future(node.appender.close())
    await turns()
    calls.append(3)
    assert calls.failed(StorageUnavailable) == [3]
    assert not closing.done()
    node.log.holds_appends = False
    node.log.release()
    await closing
    assert calls.accepted() == [1, 2]


@on_virtual_time
async def test_submitting() -> None:
    node = Node(SteeredLog())
    (outcome,) = await asyncio.gather(node.appender.submit(create()))
    assert getattr(outcome, "verdict", None) is Verdict.ACCEPTED
    assert node.appender.state is node.replica.state
    node.log.append_faults.append(StorageUnavailable("full"))
    with pytest.raises(StorageUnavailable):
        await node.appender.submit(create())


@on_virtual_time
async def test_a_caller_that_gives_up_disturbs_nobody() -> None:
    node = Node(SteeredLog())
    calls = Calls(node)
    given_up = asyncio.ensure_future(node.appender.submit(create()))
    await asyncio.sleep(0)
    calls.append(1)
    given_up.cancel()
    await turns()
    assert calls.accepted() == [1]
    assert node.failures == []
