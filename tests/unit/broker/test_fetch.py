"""The Fetch handler on a broker in memory: waiting, limits, names and ids, and what is wrong with a partition."""

import asyncio
from uuid import UUID

import pytest

from kafscale.broker import growth
from kafscale.broker.apis import fetch as fetch_api
from kafscale.errors import ObjectMissing
from kafscale.metadata.entries import AdvanceLogStart, CreateTopic, DeleteTopic, LogStart
from kafscale.metadata.state.partition import Run
from kafscale.protocol.error_codes import ErrorCode
from kafscale.storage.cache import CachedRun, RunKey
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.asking import BY_ID, BY_NAME, LARGE, Answer, Ask, fetch
from tests.unit.broker.ticking import turns_during
from tests.unit.broker.world import TOPIC_ID, BrokerWorld, running_broker, settle
from tests.unit.storage.world import OUT, batch

SIZE = len(batch().data)


async def append_later(world: BrokerWorld, seconds: float, *partitions: int) -> None:
    for partition in partitions:
        await asyncio.sleep(seconds)
        await world.append(batch(partition))


# Waiting


@on_virtual_time
async def test_a_waiting_fetch_wakes_up_when_its_partition_grows() -> None:
    async with running_broker() as world:
        growing = asyncio.create_task(append_later(world, 2.0, 0))
        fetched = await fetch(world, max_wait_ms=10_000)
        assert fetched.seconds == 2.0
        assert fetched.partitions == {0: Answer(0, [0], 1, 0)}
        await growing


@on_virtual_time
async def test_without_news_a_fetch_takes_as_long_as_it_may() -> None:
    async with running_broker() as world:
        growing = asyncio.create_task(append_later(world, 0.5, 1, 2))
        fetched = await fetch(world, {0: Ask()}, max_wait_ms=1_500)
        assert fetched.seconds == 1.5
        assert fetched.partitions == {0: Answer(0, [], 0, 0)}
        assert not world.services.growth._waiting
        await growing


@on_virtual_time
async def test_min_bytes_counts_every_partition_and_what_is_there_already() -> None:
    async with running_broker() as world:
        await world.append(batch(0))
        growing = asyncio.create_task(append_later(world, 1.0, 1, 2, 1))
        fetched = await fetch(world, {0: Ask(), 1: Ask()}, max_wait_ms=10_000, min_bytes=2 * SIZE + 1)
        assert fetched.seconds == 3.0
        assert {index: answer.offsets for index, answer in fetched.partitions.items()} == {0: [0], 1: [0, 1]}
        await growing


@on_virtual_time
async def test_a_partition_counts_no_more_than_its_own_limit() -> None:
    async with running_broker() as world:
        await world.append(*(batch(0) for _ in range(5)))
        fetched = await fetch(world, {0: Ask(bytes_max=SIZE)}, max_wait_ms=700, min_bytes=2 * SIZE)
        assert fetched.seconds == 0.7
        assert fetched.partitions[0].offsets == [0]


@on_virtual_time
async def test_enough_is_there_at_once() -> None:
    async with running_broker() as world:
        await world.append(batch(), batch())
        assert (await fetch(world, max_wait_ms=10_000, min_bytes=2 * SIZE)).seconds == 0.0
        assert (await fetch(world, {0: Ask(2)}, max_wait_ms=10_000, min_bytes=0)).seconds == 0.0


@on_virtual_time
async def test_min_bytes_is_never_more_than_max_bytes() -> None:
    """Kafka takes the smaller of the two; a consumer with a large fetch.min.bytes waited to the end each time."""
    async with running_broker() as world:
        await world.append(batch(), batch())
        assert (await fetch(world, max_wait_ms=10_000, min_bytes=LARGE, max_bytes=2 * SIZE)).seconds == 0.0
    async with running_broker({"fetch.max.bytes": "1024"}) as world:
        await world.append(batch(values=[bytes(1024)]))
        assert (await fetch(world, max_wait_ms=10_000, min_bytes=LARGE)).seconds == 0.0


@on_virtual_time
async def test_a_stopping_broker_wakes_everybody() -> None:
    async with running_broker() as world:
        waiting = asyncio.create_task(fetch(world, max_wait_ms=60_000))
        await settle()
        world.services.growth.stop()
        assert (await waiting).seconds == 0.0
        assert (await fetch(world, max_wait_ms=60_000)).seconds == 0.0


@on_virtual_time
async def test_many_wait_for_one_partition() -> None:
    async with running_broker() as world:
        waiting = [asyncio.create_task(fetch(world, max_wait_ms=60_000)) for _ in range(5)]
        await append_later(world, 1.0, 0)
        assert [(await each).partitions[0].offsets for each in waiting] == [[0]] * 5


# What is wrong


WRONG = [
    (7, Ask(), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    (-1, Ask(), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    (0, Ask(offset=2), ErrorCode.OFFSET_OUT_OF_RANGE),
    (0, Ask(offset=-1), ErrorCode.OFFSET_OUT_OF_RANGE),
    (0, Ask(leader_epoch=1), ErrorCode.UNKNOWN_LEADER_EPOCH),
    (0, Ask(offset=9, leader_epoch=1), ErrorCode.UNKNOWN_LEADER_EPOCH),
]


@pytest.mark.parametrize(("index", "ask", "error"), WRONG)
@pytest.mark.parametrize("version", [4, BY_NAME, BY_ID, 18])
@on_virtual_time
async def test_errors_are_told_at_once_and_beside_good_partitions(
    index: int, ask: Ask, error: ErrorCode, version: int
) -> None:
    if ask.leader_epoch > 0 and version < 9:
        return
    async with running_broker() as world:
        await world.append(batch(0), batch(1))
        fetched = await fetch(world, {index: ask, 1: Ask()}, version=version, max_wait_ms=10_000, min_bytes=LARGE)
        assert fetched.seconds == 0.0
        assert fetched.partitions[index].error == error
        assert (fetched.partitions[index].high_watermark, fetched.partitions[index].offsets) == (-1, [])
        assert fetched.partitions[1].offsets == [0]


@on_virtual_time
async def test_unknown_topics_by_name_and_by_id() -> None:
    async with running_broker() as world:
        by_name = await fetch(world, topic="other", max_wait_ms=10_000)
        assert by_name.partitions[0].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for topic_id in (b"U" * 16, bytes(16)):
            by_id = await fetch(world, version=BY_ID, topic_id=topic_id, max_wait_ms=10_000)
            assert by_id.partitions[0].error == ErrorCode.UNKNOWN_TOPIC_ID
        assert by_name.seconds == by_id.seconds == 0.0


@on_virtual_time
async def test_by_id_the_id_comes_back() -> None:
    async with running_broker() as world:
        await world.append(batch())
        fetched = await fetch(world, version=BY_ID)
        assert fetched.raw.responses[0].topic_id == UUID(bytes=TOPIC_ID)
        assert fetched.partitions[0].offsets == [0]


@on_virtual_time
async def test_a_topic_that_goes_while_a_fetch_waits() -> None:
    async with running_broker() as world:
        waiting = asyncio.create_task(fetch(world, max_wait_ms=1_000))
        await settle()
        await world.services.appender.submit(DeleteTopic(TOPIC_ID))
        assert (await waiting).partitions[0].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@on_virtual_time
async def test_records_below_the_log_start_are_out_of_range() -> None:
    async with running_broker() as world:
        await world.append(batch(), batch(), batch())
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, 1)]))
        assert (await fetch(world)).partitions[0].error == ErrorCode.OFFSET_OUT_OF_RANGE
        assert (await fetch(world, {0: Ask(1)})).partitions[0] == Answer(0, [1, 2], 3, 1)


@on_virtual_time
async def test_a_store_that_fails_is_an_error_of_its_partition() -> None:
    async with running_broker({"cache.tail.bytes": "0"}) as world:
        await world.append(batch(0), batch(1))
        await world.append(batch(1))
        world.store.holds_gets = True
        fetching = asyncio.create_task(fetch(world, {0: Ask(), 1: Ask(1)}))
        await settle()
        for get in world.store.gets:
            get.set_result(OUT)
        fetched = await fetching
        assert fetched.partitions[0].error == ErrorCode.KAFKA_STORAGE_ERROR
        assert fetched.partitions[1].offsets == [1], "still in the tail cache"


# Limits


@on_virtual_time
async def test_the_first_batch_is_returned_however_large() -> None:
    async with running_broker() as world:
        await world.append(batch(0, values=[bytes(500)]), batch(0), batch(1))
        for ask, max_bytes in ((Ask(bytes_max=1), LARGE), (Ask(), 1), (Ask(bytes_max=0), 0), (Ask(bytes_max=-1), -1)):
            fetched = await fetch(world, {0: ask, 1: Ask()}, max_bytes=max_bytes)
            assert fetched.partitions[0].offsets == [0]
            assert fetched.partitions[1].offsets == ([] if max_bytes != LARGE else [0])


@on_virtual_time
async def test_only_the_first_partition_with_data_may_exceed_the_limit() -> None:
    async with running_broker() as world:
        await world.append(batch(1, values=[bytes(500)]), batch(2, values=[bytes(500)]))
        fetched = await fetch(world, {0: Ask(), 1: Ask(bytes_max=10), 2: Ask(bytes_max=10)})
        assert [answer.offsets for answer in fetched.partitions.values()] == [[], [0], []]
        assert fetched.partitions[2].high_watermark == 1


@pytest.mark.parametrize(
    ("max_bytes", "counts"),
    [(6 * SIZE, (3, 3, 0)), (5 * SIZE, (3, 2, 0)), (7 * SIZE - 1, (3, 3, 0)), (7 * SIZE, (3, 3, 1)), (1, (1, 0, 0))],
)
@on_virtual_time
async def test_max_bytes_is_shared_by_the_partitions_in_their_order(max_bytes: int, counts: tuple[int, ...]) -> None:
    async with running_broker() as world:
        await world.append(*(batch(partition) for partition in range(3) for _ in range(3)))
        fetched = await fetch(world, {partition: Ask() for partition in range(3)}, max_bytes=max_bytes)
        assert tuple(len(answer.offsets) for answer in fetched.partitions.values()) == counts


@on_virtual_time
async def test_the_brokers_own_limit_holds_too() -> None:
    async with running_broker({"fetch.max.bytes": "1024"}) as world:
        await world.append(*(batch(0, values=[bytes(400)]) for _ in range(4)))
        assert (await fetch(world)).partitions[0].offsets == [0, 1]


@on_virtual_time
async def test_read_committed_reads_up_to_the_high_watermark_without_transactions() -> None:
    async with running_broker() as world:
        await world.append(batch())
        for isolation_level, aborted in ((0, None), (1, [])):
            fetched = await fetch(world, isolation_level=isolation_level)
            (partition,) = fetched.raw.responses[0].partitions
            assert partition.aborted_transactions == aborted
            assert (partition.last_stable_offset, partition.preferred_read_replica) == (1, -1)
            assert fetched.partitions[0].offsets == [0]


@on_virtual_time
async def test_an_offset_inside_a_batch_gets_the_whole_batch() -> None:
    async with running_broker() as world:
        await world.append(batch(values=[b"a", b"b", b"c"]), batch())
        assert (await fetch(world, {0: Ask(2)})).partitions[0].offsets == [0, 3]
        assert (await fetch(world, {0: Ask(3)})).partitions[0].offsets == [3]


# Runs that go, and many partitions

NO_CACHES = {"cache.tail.bytes": "0", "cache.read.bytes": "0"}


@on_virtual_time
async def test_runs_released_while_they_are_read_are_out_of_range() -> None:
    """They were KAFKA_STORAGE_ERROR, although the broker knew better."""
    async with running_broker(NO_CACHES) as world:
        for _ in range(3):
            await world.append(batch())
        world.store.holds_gets = True
        reading = asyncio.create_task(fetch(world))
        await settle()
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, 1)]))
        world.store.gets[0].set_result(ObjectMissing("collected"))
        assert (await reading).partitions[0].error == ErrorCode.OFFSET_OUT_OF_RANGE


@on_virtual_time
async def test_a_topic_deleted_before_its_runs_are_loaded_is_unknown() -> None:
    async with running_broker(NO_CACHES) as world:
        for _ in range(2):
            await world.append(batch())
        load = world.services.read_path._load

        async def late_load(key: RunKey, run: Run) -> CachedRun:
            await world.services.appender.submit(DeleteTopic(TOPIC_ID))
            return await load(key, run)

        world.services.read_path._load = late_load  # type: ignore[method-assign]
        assert (await fetch(world)).partitions[0].error == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize(("missing", "answer"), [(1, (0, [0])), (2, (ErrorCode.KAFKA_STORAGE_ERROR, []))])
@on_virtual_time
async def test_a_missing_object_is_planned_once_more(missing: int, answer: tuple[int, list[int]]) -> None:
    async with running_broker(NO_CACHES) as world:
        await world.append(batch(0))
        await world.append(batch(1))
        world.store.holds_gets = True
        reading = asyncio.create_task(fetch(world))
        for number in range(missing):
            await settle()
            world.store.gets[number].set_result(ObjectMissing("gone"))
        await settle()
        for get in world.store.gets[missing:]:
            get.set_result(None)
        fetched = (await reading).partitions[0]
        assert (fetched.error, fetched.offsets) == answer


@on_virtual_time
async def test_one_barrier_for_all_partitions_that_look_wrong() -> None:
    """A session over a deleted topic of 5,000 partitions cost 122 ms with each fetch."""
    async with running_broker() as world:
        barriers = 0
        barrier = world.services.replica.barrier

        async def counted() -> None:
            nonlocal barriers
            barriers += 1
            await barrier()

        world.services.replica.barrier = counted  # type: ignore[method-assign]
        asks = {index: Ask() for index in range(500)}
        fetched, turns = await turns_during(fetch(world, asks, topic="gone", max_wait_ms=10_000))
        errors = {answer.error for answer in fetched.partitions.values()}
        assert (barriers, errors, len(fetched.partitions)) == (1, {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}, 500)
        assert turns > 2


@pytest.mark.parametrize(("max_wait_ms", "read"), [(10_000, 6), (3_000, 4), (0, 2)])
@on_virtual_time
async def test_cold_partitions_are_read_until_max_wait_is_over(
    max_wait_ms: int, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch of thousands of cold partitions was answered minutes later."""
    monkeypatch.setattr(fetch_api, "WARM_PARTITIONS_MAX", 2)
    async with running_broker(NO_CACHES) as world:
        await world.services.appender.submit(CreateTopic(b"W" * 16, "wide", 7, {}))
        await world.append(*(batch(index, topic_id=b"W" * 16) for index in range(7)))
        get_range = world.store.get_range

        async def slow(key: str, start: int, length: int) -> bytearray:
            await asyncio.sleep(1.0)
            return await get_range(key, start, length)

        world.store.get_range = slow  # type: ignore[method-assign]
        fetched = await fetch(world, {index: Ask() for index in range(6)}, topic="wide", max_wait_ms=max_wait_ms)
        answers = list(fetched.partitions.values())
        assert [bool(answer.offsets) for answer in answers] == [index < read for index in range(6)]
        assert {(answer.error, answer.high_watermark) for answer in answers} == {(0, 1)}
        assert fetched.seconds == read - 1.0


@on_virtual_time
async def test_the_size_of_an_append_is_worked_out_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_broker() as world:
        sizes: list[int] = []
        size = growth._size

        def counted(facts: bytes) -> int:
            sizes.append(size(facts))
            return sizes[-1]

        monkeypatch.setattr(growth, "_size", counted)
        waiting = [asyncio.create_task(fetch(world, max_wait_ms=60_000)) for _ in range(5)]
        await settle()
        await world.append(batch())
        assert [(await each).partitions[0].offsets for each in waiting] == [[0]] * 5
        assert sizes == [SIZE]
