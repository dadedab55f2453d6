"""Rule 5 of the write path for batches that arrive after an earlier one of their producer has failed.

The log takes any sequence of a producer it does not know yet. So a batch that was sent before its producer learnt of
the failure must not get into the log, or the failed one, sent again, would come too late.
"""

import asyncio

from kafscale.errors import StorageUnavailable
from kafscale.metadata.state.outcomes import Verdict
from kafscale.storage.write_path import AppendFailure, BatchResult
from tests.support.virtual_loop import on_virtual_time
from tests.unit.storage.world import Producer, World, batch

NEW = 7
"""A producer id the log has not seen."""


async def fail_first(world: World, epoch: int = 0) -> None:
    """Let the PUT of the producer's batch with sequence 0 fail."""
    world.store.holds_puts = True
    failed = world.send(batch(producer=Producer(NEW, epoch, 0)))
    await world.settle()
    world.store.puts.pop().set_result(StorageUnavailable("refused"))
    world.store.holds_puts = False
    assert verdict(await failed) is AppendFailure.STORAGE


def verdict(results: list[BatchResult]) -> Verdict | AppendFailure:
    return results[0].verdict


async def sent(world: World, producer: Producer, partition: int = 0) -> Verdict | AppendFailure:
    return verdict(await asyncio.wait_for(world.send(batch(partition, producer=producer)), timeout=10))


@on_virtual_time
async def test_a_batch_behind_a_failed_one_waits_for_it() -> None:
    world = await World.with_topic()
    await fail_first(world)
    assert await sent(world, Producer(NEW, 0, 1)) is AppendFailure.STORAGE
    assert await sent(world, Producer(NEW, 0, 2)) is AppendFailure.STORAGE
    assert await sent(world, Producer(NEW, 0, 0)) is Verdict.ACCEPTED
    assert await sent(world, Producer(NEW, 0, 1)) is Verdict.ACCEPTED
    assert world.partition().high_watermark == 2


@on_virtual_time
async def test_it_waits_across_the_end_of_the_sequences() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    failed = world.send(batch(producer=Producer(NEW, 0, 2**31 - 1)))
    await world.settle()
    world.store.puts.pop().set_result(StorageUnavailable("refused"))
    world.store.holds_puts = False
    assert verdict(await failed) is AppendFailure.STORAGE
    assert await sent(world, Producer(NEW, 0, 0)) is AppendFailure.STORAGE
    assert await sent(world, Producer(NEW, 0, 2**31 - 1)) is Verdict.ACCEPTED
    assert await sent(world, Producer(NEW, 0, 0)) is Verdict.ACCEPTED


@on_virtual_time
async def test_other_producers_and_partitions_do_not_wait() -> None:
    world = await World.with_topic()
    await fail_first(world)
    assert await sent(world, Producer(NEW + 1, 0, 5)) is Verdict.ACCEPTED
    assert await sent(world, Producer(NEW, 0, 1), partition=1) is Verdict.ACCEPTED


@on_virtual_time
async def test_a_new_epoch_does_not_wait() -> None:
    world = await World.with_topic()
    await fail_first(world)
    assert await sent(world, Producer(NEW, 1, 0)) is Verdict.ACCEPTED
    assert await sent(world, Producer(NEW, 1, 1)) is Verdict.ACCEPTED


@on_virtual_time
async def test_a_producer_the_log_knows_is_judged_by_it() -> None:
    world = await World.with_topic()
    assert await sent(world, Producer(NEW, 0, 0)) is Verdict.ACCEPTED
    await fail_first(world, epoch=1)
    # Another broker may have taken the failed batch meanwhile: only the log can know.
    assert await sent(world, Producer(NEW, 1, 1)) is Verdict.OUT_OF_ORDER_SEQUENCE
