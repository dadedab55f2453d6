"""The read path: memory first, then one GET for all who wait, checked before anybody sees it."""

import asyncio
from collections.abc import Callable

import pytest

from kafscale.errors import DataCorrupt, KafScaleError, ObjectMissing
from kafscale.metadata.entries import AdvanceLogStart, DeleteTopic, LogStart
from kafscale.metadata.state.partition import Run
from kafscale.protocol.batches import iterate_batches
from kafscale.storage import read_path
from kafscale.storage.cache import RUN_OVERHEAD_BYTES, RunCache, RunKey
from kafscale.storage.format.paths import flush_key
from kafscale.storage.read_path import ReadPath
from tests.support.virtual_loop import on_virtual_time
from tests.unit.storage.world import INCARNATION, OUT, ROOMY, TOPIC, World, at_offset, batch

SIZE = len(batch().data)


async def written(*counts: int) -> World:
    """Return a world with one run per count, each of so many one-record batches, and nothing in memory."""
    world = await World.with_topic()
    for count in counts:
        world.send(*(batch() for _ in range(count)))
        await world.settle()
    forget(world)
    return world


def forget(world: World) -> None:
    world.tail = RunCache(ROOMY, keep_used=False)
    world.recent = RunCache(ROOMY, keep_used=True)
    world.read_path = ReadPath(world.store, world.state, world.tail, world.recent)


def expected(start: int, end: int) -> bytes:
    return b"".join(at_offset(batch(), offset) for offset in range(start, end))


async def read(world: World, offset: int, bytes_max: int) -> bytes:
    return b"".join(await world.reader().read(offset, bytes_max))


@pytest.mark.parametrize("offset", range(6))
@pytest.mark.parametrize("bytes_max", [-5, 0, 1, SIZE, 2 * SIZE - 1, 2 * SIZE, 5 * SIZE, 100 * SIZE])
@pytest.mark.parametrize("in_memory", [False, True])
@on_virtual_time
async def test_whole_batches_within_the_limit_but_at_least_one(offset: int, bytes_max: int, in_memory: bool) -> None:
    world = await written(1, 3, 2)
    if in_memory:
        await read(world, 0, ROOMY)
        world.store.asked.clear()
    end = min(6, offset + max(1, bytes_max // SIZE))
    assert await read(world, offset, bytes_max) == expected(offset, end)
    assert bool(world.store.asked) is not in_memory


@on_virtual_time
async def test_the_tail_is_asked_before_the_read_cache_and_both_before_the_store() -> None:
    world = await World.with_topic()
    world.send(batch())
    await world.settle()
    assert await read(world, 0, ROOMY) == expected(0, 1)
    assert world.store.asked == []
    run = world.partition().run(0)
    world.read_path = ReadPath(world.store, world.state, RunCache(ROOMY, keep_used=False), world.recent)
    assert await read(world, 0, ROOMY) == expected(0, 1)
    assert world.store.asked == [(flush_key(INCARNATION, 1), run.position, run.length)]
    assert await read(world, 0, ROOMY) == expected(0, 1)
    assert len(world.store.asked) == 1


@on_virtual_time
async def test_reading_old_data_does_not_evict_the_tail() -> None:
    world = await written(1, 1)
    await read(world, 0, ROOMY)
    assert world.tail.size_bytes == 0
    assert world.recent.size_bytes == 2 * (SIZE + RUN_OVERHEAD_BYTES)


@on_virtual_time
async def test_what_is_in_memory_is_served_up_to_the_first_gap() -> None:
    world = await written(1, 1, 1)
    reader = world.reader()
    run = world.partition().run(1)
    await world.read_path.load(RunKey(TOPIC, 0, run.base_offset), run)
    assert reader.read_cached(0, ROOMY) is None
    assert b"".join(reader.read_cached(1, ROOMY) or ()) == expected(1, 2)


@on_virtual_time
async def test_a_miss_reads_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_path, "READ_AHEAD_RUNS", 3)
    world = await written(1, 1, 1, 1, 1)
    assert await read(world, 1, 1) == expected(1, 2)
    await world.settle()
    assert len(world.store.asked) == 3
    assert await read(world, 1, ROOMY) == expected(1, 4)
    assert len(world.store.asked) == 3


@on_virtual_time
async def test_read_ahead_is_limited_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_path, "READ_AHEAD_BYTES", 2 * SIZE + 1)
    world = await written(1, 1, 1)
    assert await read(world, 0, 1) == expected(0, 1)
    await world.settle()
    assert len(world.store.asked) == 2
    monkeypatch.setattr(read_path, "READ_AHEAD_BYTES", 0)
    forget(world)
    assert await read(world, 0, ROOMY) == expected(0, 1)


@on_virtual_time
async def test_one_get_for_all_who_wait() -> None:
    world = await written(3)
    world.store.holds_gets = True
    readers = [asyncio.create_task(read(world, offset, ROOMY)) for offset in (0, 1, 2, 0)]
    await world.settle()
    assert len(world.store.gets) == 1
    world.store.gets[0].set_result(None)
    assert [await each for each in readers] == [expected(0, 3), expected(1, 3), expected(2, 3), expected(0, 3)]
    assert len(world.store.asked) == 1


@on_virtual_time
async def test_who_goes_away_does_not_take_the_load_along() -> None:
    world = await written(1)
    world.store.holds_gets = True
    gone, stays = (asyncio.create_task(read(world, 0, ROOMY)) for _ in range(2))
    await world.settle()
    gone.cancel()
    await world.settle()
    assert gone.cancelled()
    world.store.gets[0].set_result(None)
    assert await stays == expected(0, 1)


@on_virtual_time
async def test_warm_begins_a_load_that_read_joins() -> None:
    world = await written(1)
    assert world.reader().warm(0)
    await world.settle()
    assert await read(world, 0, ROOMY) == expected(0, 1)
    assert len(world.store.asked) == 1
    assert not world.reader().warm(0)


@on_virtual_time
async def test_the_store_fails_and_recovers() -> None:
    world = await written(1)
    world.store.holds_gets = True
    reading = asyncio.create_task(read(world, 0, ROOMY))
    await world.settle()
    world.store.gets[0].set_result(OUT)
    with pytest.raises(type(OUT)):
        await reading
    world.store.holds_gets = False
    assert await read(world, 0, ROOMY) == expected(0, 1)


@on_virtual_time
async def test_a_failed_read_ahead_harms_nobody() -> None:
    """What could be read is served; the failure is the next reader's, who asks again."""
    world = await written(1, 1)
    world.store.holds_gets = True
    reading = asyncio.create_task(read(world, 0, ROOMY))
    await world.settle()
    first, second = world.store.gets
    second.set_result(OUT)
    first.set_result(None)
    assert await reading == expected(0, 1)
    world.store.holds_gets = False
    assert await read(world, 1, ROOMY) == expected(1, 2)


def _short(data: bytearray) -> bytearray:
    return data[:-1]


def _flipped(data: bytearray) -> bytearray:
    data[-1] ^= 1
    return data


def _other_count(data: bytearray) -> bytearray:
    return bytearray(batch(values=[b"v", b"w"]).data)


@pytest.mark.parametrize("damage", [_short, _flipped, _other_count])
@on_virtual_time
async def test_damage_is_an_error_and_never_an_empty_success(damage: Callable[[bytearray], bytearray]) -> None:
    world = await written(1)
    world.store.damage = damage
    for _ in range(2):
        with pytest.raises(DataCorrupt):
            await read(world, 0, ROOMY)
    assert world.recent.size_bytes == 0


@on_virtual_time
async def test_a_short_object_is_corrupt() -> None:
    world = await written(1)
    key = flush_key(INCARNATION, 1)
    whole = world.store.stored(key)
    world.store.lose(key)
    await world.store.put(key, [whole[: SIZE // 2]])
    with pytest.raises(DataCorrupt):
        await read(world, 0, ROOMY)


@on_virtual_time
async def test_a_missing_object_is_missing() -> None:
    world = await written(1)
    world.store.lose(flush_key(INCARNATION, 1))
    with pytest.raises(ObjectMissing):
        await read(world, 0, ROOMY)


@on_virtual_time
async def test_a_topic_deleted_before_its_runs_are_looked_up() -> None:
    world = await written(1)
    run = world.partition().run(0)
    key = RunKey(TOPIC, 0, 0)
    await world.appender.submit(DeleteTopic(TOPIC))
    with pytest.raises(ObjectMissing, match="deleted meanwhile"):
        await world.read_path.load(key, run)


@on_virtual_time
async def test_a_topic_deleted_while_its_bytes_are_on_their_way() -> None:
    """They are what they were: offsets never change their bytes."""
    world = await written(1)
    world.store.holds_gets = True
    reading = asyncio.create_task(read(world, 0, ROOMY))
    await world.settle()
    await world.appender.submit(DeleteTopic(TOPIC))
    world.store.gets[0].set_result(None)
    assert await reading == expected(0, 1)


@on_virtual_time
async def test_a_log_start_that_moves_while_reading_does_not_shift_anything() -> None:
    world = await written(1, 1, 1)
    world.store.holds_gets = True
    reading = asyncio.create_task(read(world, 0, ROOMY))
    await world.settle()
    await world.appender.submit(AdvanceLogStart([LogStart(TOPIC, 0, 2)]))
    for get in world.store.gets:
        get.set_result(None)
    assert await reading == expected(0, 3)
    world.store.holds_gets = False
    assert await read(world, 2, ROOMY) == expected(2, 3)


@on_virtual_time
async def test_batches_of_a_run_have_their_offsets() -> None:
    world = await written(1, 2)
    for _ in range(2):
        batches = list(await world.reader().batches_of_run(world.partition().run(1)))
        assert [header.base_offset for header, _ in batches] == [1, 2]
    assert len(world.store.asked) == 1
    world.store.damage = _flipped
    with pytest.raises(DataCorrupt):
        await world.reader().batches_of_run(world.partition().run(0))


@on_virtual_time
async def test_close_gives_up_what_is_being_fetched() -> None:
    world = await written(1)
    world.store.holds_gets = True
    reading = asyncio.create_task(read(world, 0, ROOMY))
    await world.settle()
    await world.read_path.close()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await world.read_path.close()


@on_virtual_time
async def test_a_run_that_the_log_does_not_describe_is_not_served() -> None:
    world = await written(2)
    run = world.partition().run(0)
    shorter = Run(run.base_offset, run.end_offset - 1, run.object_index, run.position, run.length, run.max_timestamp)
    with pytest.raises(KafScaleError, match="other records than the metadata log says"):
        await world.read_path.load(RunKey(TOPIC, 0, 0), shorter)


@on_virtual_time
async def test_the_store_keeps_what_the_producer_wrote() -> None:
    """Offsets are written into copies; the object is never changed."""
    world = await written(2)
    before = world.store.stored(flush_key(INCARNATION, 1))
    await read(world, 0, ROOMY)
    assert world.store.stored(flush_key(INCARNATION, 1)) == before
    assert [header.base_offset for header, _ in iterate_batches(memoryview(before)[8 : 8 + 2 * SIZE])] == [0, 0]
