"""What every metadata log promises, on each backend that needs no server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from kafscale.errors import Bug, StorageUnavailable
from kafscale.metadata.log import ENTRY_BYTES_MAX, AppendUid, CheckpointPointer, LoadedLog, LogEntry, MetadataLog
from kafscale.metadata.memory import MemoryLog, MemoryLogStorage
from kafscale.metadata.sqlite import SqliteLog
from tests.support.log_follower import RecordingFollower

OpenLog = Callable[[], Awaitable[MetadataLog]]


@pytest.fixture(params=["sqlite", "memory"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLog]:
    """Return a function that closes the log it opened before, and opens it again."""
    storage = MemoryLogStorage()
    opened: list[MetadataLog] = []

    async def reopen() -> MetadataLog:
        for log in opened:
            await log.close()
        log = MemoryLog(storage) if request.param == "memory" else await SqliteLog.open(tmp_path / "metadata.db")
        opened.append(log)
        return log

    yield reopen
    for log in opened:
        await log.close()


def uid(number: int, incarnation: int = 2**64 - 3) -> AppendUid:
    return AppendUid(incarnation, number)


async def append_many(log: MetadataLog, numbers: range) -> list[int]:
    return [await log.append(uid(number), b"%d" % number) for number in numbers]


def payloads(entries: list[LogEntry]) -> list[bytes]:
    return [entry.payload for entry in entries]


async def test_a_new_log_is_empty(open_log: OpenLog) -> None:
    log = await open_log()
    assert await log.load() == LoadedLog(checkpoints=(), end=0)
    assert await log.barrier() == 0
    assert list(await log.read(0, 100)) == []


async def test_appended_entries_stand_in_order(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 31))
    assert positions == sorted(set(positions))
    assert positions[0] > 0
    entries = list(await log.read(0, positions[-1]))
    assert [entry.position for entry in entries] == positions
    assert payloads(entries) == [b"%d" % number for number in range(1, 31)]
    assert await log.barrier() == positions[-1]


async def test_read_returns_what_lies_between(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 11))
    assert payloads(list(await log.read(positions[2], positions[5]))) == [b"4", b"5", b"6"]
    assert list(await log.read(positions[5], positions[5])) == []
    assert payloads(list(await log.read(positions[8], positions[9] + 50))) == [b"10"]


async def test_a_long_read_is_whole(open_log: OpenLog) -> None:
    log = await open_log()
    large = [bytes([number]) * 400_000 for number in range(12)]
    positions = [await log.append(uid(number), payload) for number, payload in enumerate(large, 1)]
    assert payloads(list(await log.read(0, positions[-1]))) == large


async def test_entries_survive_a_restart(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 6))
    log = await open_log()
    assert (await log.load()).end == positions[-1]
    assert [entry.position for entry in await log.read(0, positions[-1])] == positions
    assert await log.append(uid(6), b"6") > positions[-1]


async def test_a_repeated_append_is_the_same_append(open_log: OpenLog) -> None:
    log = await open_log()
    first = await log.append(uid(1), b"a")
    second = await log.append(uid(2), b"b")
    assert await log.append(uid(1), b"a") == first
    other = await log.append(uid(1, incarnation=7), b"c")
    assert first < second < other
    log = await open_log()
    assert await log.append(uid(2), b"b") == second
    assert payloads(list(await log.read(0, other))) == [b"a", b"b", b"c"]


async def test_repeats_that_wait_together_are_one_append(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await asyncio.gather(*(log.append(uid(number % 5), b"%d" % (number % 5)) for number in range(40)))
    assert len(set(positions)) == 5
    assert len(await log.read(0, max(positions))) == 5


async def test_the_uids_of_incarnations_do_not_mix(open_log: OpenLog) -> None:
    log = await open_log()
    incarnations = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    positions = [await log.append(uid(1, incarnation), b"") for incarnation in incarnations]
    log = await open_log()
    assert [await log.append(uid(1, incarnation), b"") for incarnation in incarnations] == positions


async def test_a_payload_may_be_empty_or_of_full_size_and_no_larger(open_log: OpenLog) -> None:
    log = await open_log()
    await log.append(uid(1), b"")
    end = await log.append(uid(2), bytes(ENTRY_BYTES_MAX))
    with pytest.raises(Bug):
        await log.append(uid(3), bytes(ENTRY_BYTES_MAX + 1))
    assert [len(entry.payload) for entry in await log.read(0, end)] == [0, ENTRY_BYTES_MAX]


async def test_a_follower_has_the_entry_when_the_append_returns(open_log: OpenLog) -> None:
    log = await open_log()
    follower = RecordingFollower()
    log.follow(0, follower)
    await log.append(uid(1), b"first")
    await follower.until_events(1)
    for number in range(2, 50):
        position = await log.append(uid(number), b"%d" % number)
        assert follower.events[-1] == (position, b"%d" % number)


@pytest.mark.parametrize("after_index", [None, 0, 57, 149])
async def test_following_is_gap_free_from_anywhere(open_log: OpenLog, after_index: int | None) -> None:
    log = await open_log()
    # Large enough that catching up takes several steps, with appends between them.
    existing = [await log.append(uid(number), b"%d" % number + bytes(40_000)) for number in range(1, 151)]
    after = 0 if after_index is None else existing[after_index]
    follower = RecordingFollower()
    log.follow(after, follower)
    added = await asyncio.gather(*(log.append(uid(number), b"%d" % number) for number in range(151, 201)))
    last = await log.append(uid(201), b"201")
    expected = [position for position in [*existing, *added, last] if position > after]
    await follower.until_events(len(expected))
    assert [event[0] for event in follower.events] == expected


async def test_a_log_object_has_one_follower(open_log: OpenLog) -> None:
    log = await open_log()
    log.follow(0, RecordingFollower())
    with pytest.raises(Bug):
        log.follow(0, RecordingFollower())


async def test_the_barrier_covers_what_was_acknowledged(open_log: OpenLog) -> None:
    log = await open_log()
    for number in range(1, 20):
        position = await log.append(uid(number), b"")
        assert await log.barrier() == position


async def test_a_seal_comes_between_the_right_entries(open_log: OpenLog) -> None:
    log = await open_log()
    follower = RecordingFollower()
    log.follow(0, follower)
    first = await log.append(uid(1), b"a")
    sealed = await log.seal()
    assert sealed == first
    second = await log.append(uid(2), b"b")
    await follower.until_events(3)
    assert follower.events == [(first, b"a"), ("sealed", sealed), (second, b"b")]


async def test_a_seal_waits_for_a_follower_that_catches_up(open_log: OpenLog) -> None:
    log = await open_log()
    existing = [await log.append(uid(number), bytes(40_000)) for number in range(1, 101)]
    follower = RecordingFollower()
    log.follow(0, follower)
    sealed = await log.seal()
    assert sealed == existing[-1]
    later = await log.append(uid(101), b"")
    await follower.until_events(102)
    places = [event[1] if event[0] == "sealed" else event[0] for event in follower.events]
    assert places == [*existing, sealed, later]
    assert follower.events[-2] == ("sealed", sealed)


async def test_appends_in_flight_during_a_seal_land_on_one_side(open_log: OpenLog) -> None:
    log = await open_log()
    follower = RecordingFollower()
    log.follow(0, follower)
    tasks = [asyncio.create_task(log.append(uid(number), b"")) for number in range(1, 21)]
    await tasks[0]
    sealed = await log.seal()
    positions = [await task for task in tasks]
    await follower.until_events(21)
    place = follower.events.index(("sealed", sealed))
    assert [event[0] for event in follower.events[:place]] == [p for p in positions if p <= sealed]
    assert [event[0] for event in follower.events[place + 1 :]] == [p for p in positions if p > sealed]


async def test_an_empty_log_can_be_sealed(open_log: OpenLog) -> None:
    log = await open_log()
    follower = RecordingFollower()
    log.follow(0, follower)
    assert await log.seal() == 0
    await follower.until_events(1)
    assert follower.events == [("sealed", 0)]


async def test_a_checkpoint_truncates_what_the_older_one_covers(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 301))
    first = CheckpointPointer(key="checkpoint/1", position=positions[149])
    second = CheckpointPointer(key="checkpoint/2", position=positions[249])
    third = CheckpointPointer(key="checkpoint/3", position=positions[299])
    await log.install_checkpoint(first)
    assert (await log.load()).checkpoints == (first,)
    assert len(await log.read(0, positions[-1])) == 300
    await log.install_checkpoint(second)
    assert (await log.load()).checkpoints == (second, first)
    assert [entry.position for entry in await log.read(first.position, positions[-1])] == positions[150:]
    with pytest.raises(Bug):
        await log.read(first.position - 1, positions[-1])
    await log.install_checkpoint(third)
    log = await open_log()
    assert await log.load() == LoadedLog(checkpoints=(third, second), end=positions[-1])
    assert [entry.position for entry in await log.read(second.position, positions[-1])] == positions[250:]


async def test_a_checkpoint_installed_again_changes_nothing(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 5))
    first = CheckpointPointer(key="checkpoint/1", position=positions[0])
    second = CheckpointPointer(key="checkpoint/2", position=positions[2])
    for pointer in (first, second, second):
        await log.install_checkpoint(pointer)
    assert (await log.load()).checkpoints == (second, first)


async def test_a_checkpoint_beyond_the_end_or_before_the_newest_is_a_bug(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 5))
    with pytest.raises(Bug):
        await log.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=positions[-1] + 1))
    await log.install_checkpoint(CheckpointPointer(key="checkpoint/2", position=positions[2]))
    with pytest.raises(Bug):
        await log.install_checkpoint(CheckpointPointer(key="checkpoint/3", position=positions[1]))
    assert await log.append(uid(5), b"") > positions[-1]


async def test_positions_go_on_after_everything_was_truncated(open_log: OpenLog) -> None:
    log = await open_log()
    end = (await append_many(log, range(1, 11)))[-1]
    for key in ("checkpoint/1", "checkpoint/2"):
        await log.install_checkpoint(CheckpointPointer(key=key, position=end))
    log = await open_log()
    assert (await log.load()).end == end
    assert list(await log.read(end, end)) == []
    follower = RecordingFollower()
    log.follow(end, follower)
    position = await log.append(uid(11), b"next")
    assert position > end
    await follower.until_events(1)
    assert follower.events == [(position, b"next")]


async def test_appends_go_on_while_a_checkpoint_is_installed(open_log: OpenLog) -> None:
    log = await open_log()
    positions = await append_many(log, range(1, 501))
    follower = RecordingFollower()
    log.follow(positions[-1], follower)
    await log.install_checkpoint(CheckpointPointer(key="checkpoint/1", position=positions[-2]))
    _, *added = await asyncio.gather(
        log.install_checkpoint(CheckpointPointer(key="checkpoint/2", position=positions[-1])),
        *(log.append(uid(number), b"") for number in range(501, 521)),
    )
    await follower.until_events(20)
    assert [event[0] for event in follower.events] == added


async def test_a_closed_log_refuses(open_log: OpenLog) -> None:
    log = await open_log()
    await log.append(uid(1), b"")
    await log.close()
    await log.close()
    with pytest.raises(StorageUnavailable):
        await log.append(uid(2), b"")
    with pytest.raises(StorageUnavailable):
        await log.barrier()


async def test_closing_finishes_the_append_in_flight(open_log: OpenLog) -> None:
    log = await open_log()
    append = asyncio.create_task(log.append(uid(1), b"in flight"))
    await asyncio.sleep(0)
    await log.close()
    try:
        position = await append
    except StorageUnavailable:
        position = 0
    log = await open_log()
    assert (await log.load()).end == position


async def test_a_cancelled_append_leaves_the_log_usable(open_log: OpenLog) -> None:
    log = await open_log()
    follower = RecordingFollower()
    log.follow(0, follower)
    append = asyncio.create_task(log.append(uid(1), b"a"))
    await asyncio.sleep(0)
    append.cancel()
    with pytest.raises(asyncio.CancelledError):
        await append
    first = await log.append(uid(1), b"a")
    second = await log.append(uid(2), b"b")
    await follower.until_events(2)
    assert follower.events == [(first, b"a"), (second, b"b")]
