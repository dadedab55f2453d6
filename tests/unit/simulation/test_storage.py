"""The simulated store and log do what their interfaces say, healthy and faulty, and survive the processes on them."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any

import pytest

from kafscale.errors import Bug, DataCorrupt, ObjectExists, ObjectMissing, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.log import AppendUid, CheckpointPointer, LogEntry
from tests.simulation.dice import FAULTS, Dice
from tests.simulation.log import LogDisk, SimulatedLog
from tests.simulation.loop import SimulatedLoop
from tests.simulation.runner import run_twice
from tests.simulation.store import Bucket, SimulatedStore

SEEDS = range(10)


class Follower:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.seals: list[tuple[int, int]] = []

    def entries(self, entries: Sequence[LogEntry]) -> None:
        self.given += [entry.position for entry in entries]

    def sealed(self, position: int) -> None:
        self.seals.append((position, self.given[-1] if self.given else 0))

    def failed(self, error: Exception) -> None:
        raise AssertionError(error)


def _bucket(loop: SimulatedLoop, **chances: float) -> Bucket:
    dice = Dice(loop.random, {name.replace("__", "."): chance for name, chance in chances.items()})
    return Bucket(loop, dice, lambda: int(loop.time() * 1000))


def _everywhere(scenario: Callable[[SimulatedLoop], Coroutine[Any, Any, None]]) -> None:
    for seed in SEEDS:
        run_twice(scenario, seed)


def test_a_healthy_store_keeps_what_it_is_given() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        bucket = _bucket(loop)
        store = SimulatedStore(bucket)
        await store.put("a/1", [b"he", bytearray(b"ll"), memoryview(b"o")])
        with pytest.raises(ObjectExists):
            await store.put("a/1", [b"x"])
        assert await store.get("a/1") == b"hello"
        assert await SimulatedStore(bucket).get_range("a/1", 1, 3) == b"ell"
        assert await store.get_tail("a/1", 2) == b"lo"
        assert await store.get_tail("a/1", 99) == b"hello"
        with pytest.raises(DataCorrupt):
            await store.get_range("a/1", 3, 3)
        await store.put("b/1", [b""])
        assert [found.key async for found in store.list("a/")] == ["a/1"]
        await store.delete(["a/1", "none"])
        with pytest.raises(ObjectMissing):
            await store.get("a/1")
        await store.close()

    _everywhere(scenario)


def test_an_outage_fails_everything_and_ends() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        bucket = _bucket(loop)
        store = SimulatedStore(bucket)
        bucket.fail_for(100)
        with pytest.raises(StorageUnavailable):
            await store.put("a", [b"x"])
        with pytest.raises(StorageUnavailable):
            await store.get("a")
        assert bucket.objects == {}
        bucket.heal()
        await store.put("a", [b"x"])

    _everywhere(scenario)


def test_a_cancelled_put_can_land_later() -> None:
    landed: set[bool] = set()

    async def scenario(loop: SimulatedLoop) -> None:
        bucket = _bucket(loop, store__put__lands_after_cancel=0.5)
        put = loop.create_task(SimulatedStore(bucket).put("a", [b"x"]))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.sleep(0.0)
        assert bucket.objects == {}
        await asyncio.sleep(100)
        landed.add("a" in bucket.objects)

    _everywhere(scenario)
    assert landed == {True, False}


def test_a_lost_reply_leaves_the_object() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        bucket = _bucket(loop, store__put__lost_reply=1.0)
        with pytest.raises(StorageUnavailable, match="lost"):
            await SimulatedStore(bucket).put("a", [b"x"])
        assert list(bucket.objects) == ["a"]

    _everywhere(scenario)


def test_a_buffer_changed_during_a_put_is_noticed() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        buffer = bytearray(b"before")
        put = loop.create_task(SimulatedStore(_bucket(loop)).put("a", [buffer]))
        await asyncio.sleep(0)
        buffer[:] = b"after!"
        with pytest.raises(Bug, match="changed"):
            await put

    _everywhere(scenario)


def test_a_crashed_store_hangs_and_the_bucket_survives() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        bucket = _bucket(loop)
        process, store = loop.process("broker"), SimulatedStore(bucket)
        put = process.run(loop.create_task, store.put("a", [b"x"]))
        await put
        hanging = loop.create_task(store.put("b", [b"x"]))
        store.crash()
        await asyncio.sleep(1000)
        assert not hanging.done()
        assert await SimulatedStore(bucket).get("a") == b"x"
        assert "b" not in bucket.objects

    _everywhere(scenario)


def test_the_log_follows_in_order_with_seals_in_place() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        disk = LogDisk(loop, Dice(loop.random, {"log.late_feed": 0.3}))
        first, second, early, late = SimulatedLog(disk), SimulatedLog(disk), Follower(), Follower()
        first.follow(0, early)
        for number in range(1, 21):
            assert await first.append(AppendUid(1, number), b"x") == number
            if number == 10:
                assert await second.seal() == 10
        second.follow(5, late)
        assert await second.barrier() == 20
        await asyncio.sleep(100)
        assert early.given == list(range(1, 21))
        assert late.given == list(range(6, 21))
        assert early.seals == [(10, 10)]
        assert [entry.position for entry in await first.read(2, 5)] == [3, 4, 5]

    _everywhere(scenario)


def test_unknown_outcomes_are_settled_by_repeating() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        chances = {"log.lost_request": 0.4, "log.lost_reply": 0.4, "log.lands_late": 0.5, "log.unavailable": 0.2}
        disk = LogDisk(loop, Dice(loop.random, chances))
        log, follower, positions = SimulatedLog(disk), Follower(), []
        log.follow(0, follower)
        for number in range(1, 30):
            while True:
                try:
                    positions.append(await log.append(AppendUid(1, number), str(number).encode()))
                    break
                except (OutcomeUnknown, StorageUnavailable):
                    await asyncio.sleep(loop.random.random())
        assert all(before < after for before, after in pairwise(positions))
        await asyncio.sleep(10)
        assert follower.given == list(range(1, 30))

    _everywhere(scenario)


def test_a_full_disk_refuses_and_reads_go_on() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        disk = LogDisk(loop, Dice(loop.random))
        log = SimulatedLog(disk)
        disk.fill_for(100)
        with pytest.raises(StorageUnavailable):
            await log.append(AppendUid(1, 1), b"x")
        assert await log.barrier() == 0
        disk.heal()
        assert await log.append(AppendUid(1, 1), b"x") == 1

    _everywhere(scenario)


def test_a_crashed_log_is_silent_and_the_next_process_finds_all() -> None:
    landed: set[int] = set()

    async def scenario(loop: SimulatedLoop) -> None:
        disk = LogDisk(loop, Dice(loop.random, {"log.lands_late": 0.5}))
        log, follower = SimulatedLog(disk), Follower()
        log.follow(0, follower)
        await log.append(AppendUid(1, 1), b"x")
        hanging = loop.create_task(log.append(AppendUid(1, 2), b"y"))
        await asyncio.sleep(0)
        log.crash()
        seen = list(follower.given)
        await asyncio.sleep(1000)
        assert not hanging.done()
        assert follower.given == seen
        loaded = await SimulatedLog(disk).load()
        landed.add(loaded.end)

    _everywhere(scenario)
    assert landed == {1, 2}


def test_nothing_lands_behind_a_seal() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        disk = LogDisk(loop, Dice(loop.random, {"log.lost_request": 1.0, "log.lands_late": 1.0}), late_s_max=50)
        log = SimulatedLog(disk)
        with pytest.raises(OutcomeUnknown):
            await log.append(AppendUid(1, 1), b"x")
        end = await log.seal()
        await log.install_checkpoint(CheckpointPointer(key="c", position=end))
        await asyncio.sleep(100)
        assert disk.storage.end == end

    _everywhere(scenario)


def test_a_closed_log_takes_no_more() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        log = SimulatedLog(LogDisk(loop, Dice(loop.random)))
        append = loop.create_task(log.append(AppendUid(1, 1), b"x"))
        await asyncio.sleep(0)
        await log.close()
        assert append.done()
        with pytest.raises(StorageUnavailable):
            await log.append(AppendUid(1, 2), b"x")
        await append

    _everywhere(scenario)


def test_dice_know_their_faults() -> None:
    with pytest.raises(ValueError, match="no such fault"):
        Dice(random.Random(1), {"log.typo": 1.0})
    dice = Dice.swarm(random.Random(1))
    with pytest.raises(ValueError, match="no such fault"):
        dice.roll("typo")
    assert any(dice.roll(name) for name in FAULTS for _ in range(200))
    dice.calm()
    assert not any(dice.roll(name) for name in FAULTS for _ in range(200))
