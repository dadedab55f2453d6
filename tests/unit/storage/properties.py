"""What must hold for storage whatever happens: each function runs one scenario from a seed and asserts.

The tests of the paths run them as they are; `test_mutants` runs them with one rule switched off, and they must fail.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

import pytest

from kafscale.errors import DataCorrupt
from kafscale.metadata.state.outcomes import Verdict
from kafscale.storage.write_path import BatchResult, ProducedBatch
from tests.support.virtual_loop import VirtualLoop
from tests.unit.storage.world import OUT, PARTITIONS, TOPIC, UNKNOWN, Producer, World, at_offset, batch


def in_a_loop(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario)


def nothing_overtakes_a_failed_batch(seed: int) -> None:
    """I3: no batch is in the log in front of one that its sender sent before it, or without one that failed unheard.

    A failure is heard, by a sender without a producer id, when it is told; one with an id sends the failed batch again.
    """
    in_a_loop(_nothing_overtakes(random.Random(seed)))


async def _nothing_overtakes(rng: random.Random) -> None:
    world = await World.with_topic(puts_max=rng.randint(1, 4), flush_bytes=rng.choice([1, 200, 10_000]))
    world.store.holds_puts = True
    sent: dict[tuple[int, int], list[asyncio.Future[list[BatchResult]]]] = defaultdict(list)
    needed: dict[asyncio.Future[list[BatchResult]], list[asyncio.Future[list[BatchResult]]]] = {}
    sequences: dict[tuple[int, int], int] = defaultdict(int)
    for _ in range(rng.randint(2, 12)):
        sender, partition = rng.randint(1, 2), rng.randrange(2)
        sequence = sequences[sender, partition]
        sequences[sender, partition] += 1
        # The second sender is idempotent, the first only has its connection.
        producer = Producer(77, 0, sequence) if sender == 2 else None
        unheard = [one for one in sent[sender, partition] if sender == 2 or not one.done()]
        future = world.send(batch(partition, producer=producer), connection=sender)
        sent[sender, partition].append(future)
        needed[future] = unheard
        if rng.random() < 0.6:
            await world.settle()
        _answer_some(world, rng)
    while not all(future.done() for futures in sent.values() for future in futures):
        await world.settle()
        _answer_some(world, rng)
    for futures in sent.values():
        accepted = [future for future in futures if _is_accepted(future)]
        offsets = [future.result()[0].base_offset for future in accepted]
        assert offsets == sorted(offsets)
        for future in accepted:
            assert all(map(_is_accepted, needed[future]))
    await _check_bytes(world)


def _is_accepted(future: "asyncio.Future[list[BatchResult]]") -> bool:
    return future.result()[0].verdict is Verdict.ACCEPTED


def _answer_some(world: World, rng: random.Random) -> None:
    waiting = [put for put in world.store.puts if not put.done()]
    rng.shuffle(waiting)
    for put in waiting[: rng.randint(0, len(waiting))]:
        put.set_result(OUT if rng.random() < 0.3 else None)


def what_was_accepted_is_served(seed: int) -> None:
    """I1, I2: accepted batches lie at their offsets, densely, in the tail cache and in the store alike."""
    in_a_loop(_accepted_is_served(random.Random(seed)))


async def _accepted_is_served(rng: random.Random) -> None:
    world = await World.with_topic(puts_max=rng.randint(1, 3))
    for _ in range(rng.randint(1, 6)):
        for _ in range(rng.randint(1, 4)):
            world.send(*(_random_batch(rng) for _ in range(rng.randint(1, 4))), timeout_seconds=rng.choice([1.0, 1e6]))
            if rng.random() < 0.1:
                # A timeout in the middle of a lane leaves a gap in the segment.
                await asyncio.sleep(2.0)
                world.write_path.sweep()
        if rng.random() < 0.7:
            await world.settle()
    await world.settle()
    await _check_bytes(world)


def a_timed_out_batch_leaves_a_gap(seed: int) -> None:
    """I2: batches that timed out are not in the log, and what lies behind them in the segment is found all the same."""
    in_a_loop(_gap(random.Random(seed)))


async def _gap(rng: random.Random) -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    for connection in range(rng.randint(3, 8)):
        timeout_seconds = rng.choice([1.0, 100.0])
        sent = batch(values=[bytes(rng.randint(0, 40))])
        world.send(sent, connection=connection, timeout_seconds=timeout_seconds)
    await world.settle()
    await asyncio.sleep(2.0)
    world.write_path.sweep()
    world.store.puts[0].set_result(None)
    await world.settle()
    await _check_bytes(world)


def _random_batch(rng: random.Random) -> ProducedBatch:
    values = [bytes(rng.randint(0, 30)) for _ in range(rng.randint(1, 4))]
    topic_id = UNKNOWN if rng.random() < 0.1 else TOPIC
    producer = Producer(rng.randint(1, 3), rng.randint(0, 1), rng.randint(0, 4)) if rng.random() < 0.7 else None
    return batch(rng.randrange(PARTITIONS), values=values, producer=producer, topic_id=topic_id)


async def _check_bytes(world: World) -> None:
    """Compare what is served, from memory and from the store, with what was accepted."""
    expected: dict[int, dict[int, bytes]] = defaultdict(dict)
    ends: dict[int, int] = defaultdict(int)
    for produced, future, slot in world.given:
        assert future.done(), "a request without an answer"
        result = future.result()[slot]
        if result.verdict is Verdict.ACCEPTED:
            assert result.base_offset not in expected[produced.partition], "two batches at one offset"
            expected[produced.partition][result.base_offset] = at_offset(produced, result.base_offset)
            ends[produced.partition] += produced.header.record_count
    for index in range(PARTITIONS):
        whole = b"".join(data for _, data in sorted(expected[index].items()))
        partition = world.partition(index)
        assert partition.high_watermark == ends[index]
        runs = [partition.run(number) for number in range(partition.run_count)]
        in_tail = [world.reader(index).read_cached(run.base_offset, run.length) for run in runs]
        assert None not in in_tail, "a run is not in the tail cache"
        assert b"".join(view for views in in_tail for view in views or ()) == whole
        assert await world.read_all(index, cold=True) == whole
    assert world.failures == []


def damage_is_noticed(seed: int) -> None:
    """A changed byte of a stored run, wherever it is, is an error to the reader."""
    in_a_loop(_damage_is_noticed(random.Random(seed)))


async def _damage_is_noticed(rng: random.Random) -> None:
    world = await World.with_topic()
    world.send(batch(values=[b"a" * 50]), batch(values=[b"b" * 50]))
    await world.settle()
    length = world.partition().run(0).length
    # Base offset and leader epoch are not covered: they are written anew when read.
    at = rng.choice([at for at in range(length) if not (at % (length // 2) < 8 or 12 <= at % (length // 2) < 16)])

    def damaged(data: bytearray) -> bytearray:
        data[at] ^= 1 << rng.randrange(8)
        return data

    world.store.damage = damaged
    with pytest.raises(DataCorrupt):
        await world.reader(cold=True).read(0, 1000)
