"""ListOffsets against a linear scan, special timestamps by version, and OffsetForLeaderEpoch."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.broker.apis import list_offsets as list_offsets_api
from kafscale.errors import ObjectMissing
from kafscale.metadata.entries import AdvanceLogStart, DeleteTopic, LogStart
from kafscale.protocol.batches import CRC_AT, CRC_FROM, MAX_TIMESTAMP_AT, parse_header
from kafscale.protocol.compression import Codec
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import ListOffsetsRequest, OffsetForLeaderEpochRequest
from kafscale.protocol.records import Record, encode_batch, iterate_times
from kafscale.storage.write_path import ProducedBatch
from tests.support.virtual_loop import VirtualLoop, on_virtual_time
from tests.unit.broker.ticking import turns_during
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld, running_broker, settle
from tests.unit.storage.world import OUT, batch

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -1, -2, -3, -4, -5
NOT_FOUND = (0, -1, -1)


class Timed(NamedTuple):
    """One batch: the times of its records, how they are compressed, and whose time counts."""

    base_timestamp: int
    deltas: list[int]
    codec: Codec
    is_log_append_time: bool

    def batch(self) -> ProducedBatch:
        data = encode_batch(
            [Record(index, delta, value=b"v") for index, delta in enumerate(self.deltas)],
            base_timestamp=self.base_timestamp,
            codec=self.codec,
            is_log_append_time=self.is_log_append_time,
        )
        return ProducedBatch(TOPIC_ID, TOPIC, 0, memoryview(data), parse_header(memoryview(data)))

    def timestamps(self) -> list[int]:
        own = [self.base_timestamp + delta for delta in self.deltas]
        return [max(own)] * len(own) if self.is_log_append_time else own


TIMED = st.builds(
    Timed,
    st.integers(0, 100),
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.sampled_from(Codec),
    st.booleans(),
)
RUNS = st.lists(st.lists(TIMED, min_size=1, max_size=4), min_size=1, max_size=4)


async def lookup(world: BrokerWorld, timestamp: int, *, version: int = 10, **changes: Any) -> tuple[int, int, int]:
    """Return error, timestamp and offset for partition 0 of the topic."""
    (answer,) = await answers(world, [(changes.pop("index", 0), timestamp)], version=version, **changes)
    return answer.error_code, answer.timestamp, answer.offset


async def answers(
    world: BrokerWorld, asked: list[tuple[int, int]], *, version: int = 10, topic: str = TOPIC, leader_epoch: int = -1
) -> list[Any]:
    topic_class = ListOffsetsRequest.ListOffsetsTopic
    partitions = [
        topic_class.ListOffsetsPartition(
            version=version, partition_index=index, current_leader_epoch=leader_epoch, timestamp=timestamp
        )
        for index, timestamp in asked
    ]
    request = ListOffsetsRequest(
        version=version,
        replica_id=-1,
        isolation_level=0,
        topics=[topic_class(version=version, name=topic, partitions=partitions)],
        timeout_ms=1_000,
    )
    response = await world.call(request, version)
    found: list[Any] = response.topics[0].partitions
    return found


@settings(max_examples=40)
@given(RUNS, st.booleans(), st.data())
def test_times_are_found_as_a_linear_scan_finds_them(
    runs: list[list[Timed]], in_memory: bool, data: st.DataObject
) -> None:
    times = [time for run in runs for timed in run for time in timed.timestamps()]
    log_start = data.draw(st.integers(0, len(times) - 1), label="log start")

    async def scenario() -> None:
        async with running_broker({} if in_memory else {"cache.tail.bytes": "0", "cache.read.bytes": "0"}) as world:
            for run in runs:
                await world.append(*(timed.batch() for timed in run))
            first = max(range(len(times)), key=times.__getitem__)
            assert await lookup(world, MAX_TIMESTAMP) == (0, times[first], first)
            if log_start:
                await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, log_start)]))
            for asked in sorted({time + delta for time in times for delta in (0, 1)} | {0}):
                later = [offset for offset in range(log_start, len(times)) if times[offset] >= asked]
                expected = (0, times[later[0]], later[0]) if later else NOT_FOUND
                assert await lookup(world, asked) == expected

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("timestamp", "first_version", "answer"),
    [
        (LATEST, 1, (0, -1, 3)),
        (EARLIEST, 1, (0, -1, 1)),
        (MAX_TIMESTAMP, 7, (0, 9, 1)),
        (EARLIEST_LOCAL, 8, (0, -1, 1)),
        (LATEST_TIERED, 9, NOT_FOUND),
        (-6, 99, None),
    ],
)
@on_virtual_time
async def test_special_timestamps_by_version(timestamp: int, first_version: int, answer: tuple[int, int, int]) -> None:
    async with running_broker() as world:
        await world.append(batch(timestamp=4), batch(timestamp=9), batch(timestamp=6))
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, 1)]))
        for version in range(1, 11):
            expected = answer if version >= first_version else (ErrorCode.UNSUPPORTED_VERSION, -1, -1)
            assert await lookup(world, timestamp, version=version) == expected


@pytest.mark.parametrize("timestamp", [0, MAX_TIMESTAMP])
@on_virtual_time
async def test_nothing_is_found_in_an_empty_partition(timestamp: int) -> None:
    async with running_broker() as world:
        assert await lookup(world, timestamp) == NOT_FOUND
        (answer,) = await answers(world, [(0, timestamp)])
        assert answer.leader_epoch == -1
        (answer,) = await answers(world, [(0, LATEST)])
        assert (answer.offset, answer.leader_epoch) == (0, 0)


@on_virtual_time
async def test_a_header_that_claims_too_late_a_time_costs_another_run_and_no_more() -> None:
    async with running_broker() as world:
        liar = batch(timestamp=5)
        await world.append(liar._replace(header=liar.header._replace(max_timestamp=50)))
        await world.append(batch(timestamp=20))
        assert await lookup(world, 10) == (0, 20, 1)


@on_virtual_time
async def test_errors() -> None:
    async with running_broker() as world:
        unknown = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)
        assert await lookup(world, LATEST, topic="other") == unknown
        assert await lookup(world, LATEST, index=3) == unknown
        assert await lookup(world, LATEST, index=-1) == unknown
        assert await lookup(world, LATEST, leader_epoch=1) == (ErrorCode.UNKNOWN_LEADER_EPOCH, -1, -1)
        assert await lookup(world, LATEST, leader_epoch=0) == (0, -1, 0)
        repeated = await answers(world, [(0, LATEST), (1, LATEST), (0, EARLIEST)])
        assert [answer.error_code for answer in repeated] == [ErrorCode.INVALID_REQUEST, 0, ErrorCode.INVALID_REQUEST]


@on_virtual_time
async def test_a_store_that_fails_is_an_error_of_its_partition() -> None:
    async with running_broker({"cache.tail.bytes": "0", "cache.read.bytes": "0"}) as world:
        await world.append(batch(0, timestamp=5), batch(1, timestamp=5))
        await world.append(batch(2))
        world.store.holds_gets = True
        asking = asyncio.create_task(answers(world, [(0, 5), (1, 5), (0 + 2, LATEST)]))
        await settle()
        world.store.gets[0].set_result(OUT)
        await settle()
        world.store.gets[1].set_result(None)
        found = [(answer.error_code, answer.offset) for answer in await asking]
        assert found == [(ErrorCode.KAFKA_STORAGE_ERROR, -1), (0, 0), (0, 1)]


# Large batches, and runs that go


@on_virtual_time
async def test_many_runs_are_looked_through_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_offsets_api, "RUNS_PER_TURN", 3)
    async with running_broker() as world:
        liar = batch(timestamp=5)
        await world.append(liar._replace(header=liar.header._replace(max_timestamp=50)))
        for timestamp in [*range(30), 40]:
            await world.append(batch(timestamp=timestamp))
        for asked, answer in ((35, (0, 40, 31)), (45, NOT_FOUND)):
            found, turns = await turns_during(lookup(world, asked))
            assert (found, turns >= 10) == (answer, True)


def tiny(count: int, *, codec: Codec = Codec.ZSTD) -> ProducedBatch:
    """Return a batch of tiny records at times 0, 1, 2..."""
    return Timed(0, list(range(count)), codec, False).batch()


@on_virtual_time
async def test_a_small_batch_of_many_records_does_not_stop_the_broker() -> None:
    """721 bytes of zstd with a million records and one lookup froze the event loop for seconds."""
    async with running_broker() as world:
        await world.append(tiny(10_000))
        found, turns = await turns_during(lookup(world, 9_999))
        assert (found, turns >= 10) == ((0, 9_999, 9_999), True)
        found, turns = await turns_during(lookup(world, MAX_TIMESTAMP))
        assert (found, turns >= 10) == ((0, 9_999, 9_999), True)


@pytest.mark.parametrize(
    ("limit", "value", "answer"),
    [
        ("LOOKUP_RECORDS_MAX", 2_500, (0, 2_999, 2_500)),
        ("LOOKUP_BYTES_MAX", 1_000, (0, 2_999, 0)),
        ("LOOKUP_BATCHES_MAX", 0, (0, 2_999, 0)),
    ],
)
@on_virtual_time
async def test_beyond_the_limits_of_a_lookup_no_record_is_left_out(
    limit: str, value: int, answer: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may be too early, but not too late, and is not an error for ever."""
    monkeypatch.setattr(list_offsets_api, limit, value)
    async with running_broker() as world:
        await world.append(tiny(3_000))
        assert await lookup(world, 2_800) == answer


@on_virtual_time
async def test_headers_that_claim_too_late_times_are_followed_a_limited_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(list_offsets_api, "LOOKUP_BATCHES_MAX", 3)
    async with running_broker() as world:
        liar = batch(timestamp=5)
        for _ in range(6):
            await world.append(liar._replace(data=_claiming(liar, 50), header=liar.header._replace(max_timestamp=50)))
        assert await lookup(world, 10) == (0, 50, 3)


def _claiming(produced: ProducedBatch, max_timestamp: int) -> memoryview:
    data = bytearray(produced.data)
    data[MAX_TIMESTAMP_AT : MAX_TIMESTAMP_AT + 8] = max_timestamp.to_bytes(8, "big")
    data[CRC_AT:CRC_FROM] = crc32c(data[CRC_FROM:]).to_bytes(4, "big")
    return memoryview(data)


@on_virtual_time
async def test_the_largest_time_is_looked_for_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def counted(data: memoryview, bytes_max: int) -> Iterator[tuple[int, int]]:
        opened.append(parse_header(data).base_offset)
        return iterate_times(data, bytes_max)

    monkeypatch.setattr(list_offsets_api, "iterate_times", counted)
    async with running_broker() as world:
        await world.append(*(batch(timestamp=timestamp) for timestamp in (1, 2, 3, 9, 4, 9)))
        assert await lookup(world, MAX_TIMESTAMP) == (0, 9, 3)
        assert opened == [3]


@on_virtual_time
async def test_runs_that_go_while_one_is_read_do_not_hide_others() -> None:
    """The lookup counted runs, and the count had changed: it skipped one, or fell off the end."""
    async with running_broker({"cache.tail.bytes": "0", "cache.read.bytes": "0"}) as world:
        liar = batch(timestamp=5)
        await world.append(liar._replace(header=liar.header._replace(max_timestamp=50)))
        for timestamp in (20, 30, 40):
            await world.append(batch(timestamp=timestamp))
        world.store.holds_gets = True
        asking = asyncio.create_task(lookup(world, 10))
        await settle()
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, 1)]))
        world.store.holds_gets = False
        world.store.gets[0].set_result(None)
        assert await asking == (0, 20, 1)


@pytest.mark.parametrize(("log_start", "answer"), [(1, (0, 20, 1)), (3, NOT_FOUND)])
@on_virtual_time
async def test_runs_released_while_they_are_read_are_looked_up_again(
    log_start: int, answer: tuple[int, int, int]
) -> None:
    async with running_broker({"cache.tail.bytes": "0", "cache.read.bytes": "0"}) as world:
        for timestamp in (10, 20, 5):
            await world.append(batch(timestamp=timestamp))
        world.store.holds_gets = True
        asking = asyncio.create_task(lookup(world, 10))
        await settle()
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 0, log_start)]))
        world.store.holds_gets = False
        world.store.gets[0].set_result(ObjectMissing("collected"))
        assert await asking == answer


@on_virtual_time
async def test_a_topic_deleted_while_it_is_read_is_unknown() -> None:
    async with running_broker({"cache.tail.bytes": "0", "cache.read.bytes": "0"}) as world:
        await world.append(batch(timestamp=10))
        await world.append(batch(timestamp=10))
        world.store.holds_gets = True
        asking = asyncio.create_task(lookup(world, 10))
        await settle()
        await world.services.appender.submit(DeleteTopic(TOPIC_ID))
        world.store.gets[0].set_result(ObjectMissing("collected"))
        assert await asking == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)


@pytest.mark.parametrize("version", [2, 3, 4])
@on_virtual_time
async def test_the_end_of_an_epoch(version: int) -> None:
    async with running_broker() as world:
        await world.append(batch(), batch())
        topic_class = OffsetForLeaderEpochRequest.OffsetForLeaderTopic

        async def ask(index: int, epoch: int, current: int = -1, topic: str = TOPIC) -> tuple[int, int, int]:
            asked = topic_class.OffsetForLeaderPartition(
                version=version, partition=index, leader_epoch=epoch, current_leader_epoch=current
            )
            topics = [topic_class(version=version, topic=topic, partitions=[asked])]
            response = await world.call(
                OffsetForLeaderEpochRequest(version=version, replica_id=-1, topics=topics), version
            )
            (answer,) = response.topics[0].partitions
            return answer.error_code, answer.leader_epoch, answer.end_offset

        assert await ask(0, 0) == (0, 0, 2)
        assert await ask(1, 0) == (0, 0, 0)
        assert await ask(0, 1) == await ask(0, -1) == (0, -1, -1)
        assert await ask(0, 0, current=1) == (ErrorCode.UNKNOWN_LEADER_EPOCH, -1, -1)
        assert await ask(9, 0) == await ask(0, 0, topic="other") == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1, -1)
