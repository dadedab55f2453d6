"""The Produce handler: which error each fault is, times, acks, and the old versions."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from kafscale.broker.apis.produce import TIMEOUT_MS_MIN, NoReply, begin_produce
from kafscale.protocol.api import ApiKey
from kafscale.protocol.batches import check_crcs, parse_header
from kafscale.protocol.codec import decode_response, encode_request
from kafscale.protocol.compression import Codec
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import ProduceRequest
from kafscale.protocol.produce import TOPIC_ID_FROM
from kafscale.protocol.records import Record, encode_batch
from kafscale.storage.write_path import SWEEP_SECONDS
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld, context, record_batch, running_broker
from tests.unit.storage.world import OUT, Producer

Part = tuple[int, bytes | None]
HOUR_MS = 3_600_000


async def produce(
    world: BrokerWorld,
    *parts: Part,
    version: int = 9,
    topic: str = TOPIC,
    topic_id: bytes = TOPIC_ID,
    acks: int = -1,
    transactional_id: str | None = None,
) -> list[Any]:
    """Produce to one topic and return the answers for its partitions."""
    names: dict[str, Any] = {"topic_id": UUID(bytes=topic_id)} if version >= TOPIC_ID_FROM else {"name": topic}
    topic_class = ProduceRequest.TopicProduceData
    request = ProduceRequest(
        version=version,
        transactional_id=transactional_id,
        acks=acks,
        timeout_ms=1_000,
        topic_data=[
            topic_class(
                version=version,
                partition_data=[
                    topic_class.PartitionProduceData(version=version, index=index, records=records)
                    for index, records in parts or ((0, record_batch()),)
                ],
                **names,
            )
        ],
    )
    answered: asyncio.Future[bytearray | NoReply] = asyncio.get_running_loop().create_future()
    body = memoryview(bytes(encode_request(request, version)))
    begin_produce(world.services, context(ApiKey.PRODUCE, version), body, answered.set_result)
    reply = await answered
    assert isinstance(reply, bytearray)
    response: Any = decode_response(ApiKey.PRODUCE, version, reply)
    partitions: list[Any] = response.responses[0].partition_responses
    return partitions


def errors(answers: Sequence[Any]) -> list[int]:
    return [answer.error_code for answer in answers]


@pytest.mark.parametrize("version", range(3, 14))
@on_virtual_time
async def test_every_version_gets_offsets(version: int) -> None:
    async with running_broker() as world:
        answers = await produce(world, (0, record_batch([b"a", b"b"])), (2, record_batch()), version=version)
        assert errors(answers) == [0, 0]
        (again,) = await produce(world, version=version)
        assert (again.index, again.base_offset, again.log_append_time_ms) == (0, 2, -1)
        assert again.log_start_offset == (0 if version >= 5 else -1)


FAULTS = {
    "bad CRC": (record_batch()[:-1] + b"\xff", ErrorCode.CORRUPT_MESSAGE),
    "null": (None, ErrorCode.INVALID_RECORD),
    "empty": (b"", ErrorCode.INVALID_RECORD),
    "two batches": (record_batch() * 2, ErrorCode.INVALID_RECORD),
    "too large": (record_batch([bytes(2_000)]), ErrorCode.MESSAGE_TOO_LARGE),
    "too old": (record_batch(timestamp=1_700_000_000_000 - 3 * HOUR_MS), ErrorCode.INVALID_TIMESTAMP),
    "too new": (record_batch(timestamp=1_700_000_000_000 + 3 * HOUR_MS), ErrorCode.INVALID_TIMESTAMP),
}


@pytest.mark.parametrize("fault", FAULTS)
@on_virtual_time
async def test_faults_are_errors_of_their_partition(fault: str) -> None:
    records, error = FAULTS[fault]
    async with running_broker() as world:
        limits = {
            "max.message.bytes": "1000",
            "message.timestamp.before.max.ms": str(2 * HOUR_MS),
            "message.timestamp.after.max.ms": str(2 * HOUR_MS),
        }
        await world.create_topic("limited", b"L" * 16, limits)
        answers = await produce(world, (0, record_batch()), (1, records), (2, record_batch()), topic="limited")
        assert errors(answers) == [0, error, 0]
        assert [answer.index for answer in answers] == [0, 1, 2]
        assert answers[1].error_message
        assert (answers[1].base_offset, answers[1].log_append_time_ms) == (-1, -1)


@on_virtual_time
async def test_zstd_needs_version_7() -> None:
    async with running_broker() as world:
        records = encode_batch([Record(0, value=b"v")], codec=Codec.ZSTD, base_timestamp=1_700_000_000_000)
        assert errors(await produce(world, (0, records), version=6)) == [ErrorCode.UNSUPPORTED_COMPRESSION_TYPE]
        assert errors(await produce(world, (0, records), version=7)) == [0]


@on_virtual_time
async def test_unknown_topics_and_partitions() -> None:
    async with running_broker() as world:
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert errors(await produce(world, topic="other")) == [unknown]
        assert errors(await produce(world, (3, record_batch()), (-1, record_batch()))) == [unknown, unknown]
        assert errors(await produce(world, version=13, topic_id=b"U" * 16)) == [ErrorCode.UNKNOWN_TOPIC_ID]


@on_virtual_time
async def test_acks_and_transactional_ids() -> None:
    async with running_broker() as world:
        assert errors(await produce(world, acks=1)) == [0]
        for acks in (2, -2, 32_767):
            assert errors(await produce(world, acks=acks)) == [ErrorCode.INVALID_REQUIRED_ACKS]
        refused = await produce(world, transactional_id="t")
        assert errors(refused) == [ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED]


@on_virtual_time
async def test_log_append_time() -> None:
    async with running_broker() as world:
        await world.create_topic("stamped", b"S" * 16, {"message.timestamp.type": "LogAppendTime"})
        await asyncio.sleep(5.0)
        (answer,) = await produce(world, (0, record_batch(timestamp=1)), topic="stamped")
        now = world.services.clock.wall_ms()
        assert answer.log_append_time_ms == now == 1_700_000_005_000
        partition = world.services.replica.state.topics[b"S" * 16].partitions[0]
        assert partition.run(0).max_timestamp == now
        (stored,) = await world.services.read_path.reader(b"S" * 16, 0, partition).read(0, 1_000)
        check_crcs(stored)
        assert parse_header(stored).max_timestamp == now


@on_virtual_time
async def test_idempotent_producers() -> None:
    async with running_broker() as world:

        async def send(epoch: int, sequence: int) -> tuple[int, int]:
            (answer,) = await produce(world, (0, record_batch(producer=Producer(5, epoch, sequence))))
            return answer.error_code, answer.base_offset

        assert await send(1, 0) == (0, 0)
        assert await send(1, 1) == (0, 1)
        assert await send(1, 0) == (0, 0), "a duplicate is answered with its first offset"
        assert await send(1, 5) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
        assert await send(0, 2) == (ErrorCode.INVALID_PRODUCER_EPOCH, -1)
        assert await send(2, 0) == (0, 2)


@on_virtual_time
async def test_storage_errors_and_timeouts() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        failing = asyncio.create_task(produce(world, (0, record_batch())))
        slow = asyncio.create_task(produce(world, (1, record_batch())))
        await asyncio.sleep(0.1)
        world.store.puts[0].set_result(OUT)
        assert errors(await failing) == [ErrorCode.KAFKA_STORAGE_ERROR]
        second = asyncio.create_task(produce(world, (2, record_batch())))
        assert errors(await slow) == [ErrorCode.KAFKA_STORAGE_ERROR], "in the same flush, but another partition"
        assert errors(await second) == [ErrorCode.REQUEST_TIMED_OUT]
        assert 0 <= asyncio.get_running_loop().time() - 0.1 - TIMEOUT_MS_MIN / 1000 <= SWEEP_SECONDS
        for put in world.store.puts[1:]:
            put.set_result(None)


@pytest.mark.parametrize("version", [0, 1, 2])
@on_virtual_time
async def test_old_versions_are_told_so_in_their_own_shape(version: int) -> None:
    """librdkafka wants them advertised (KAFKA-18659); what it sends in them is refused."""
    async with running_broker() as world:
        body = struct.pack(">hiih", -1, 1_000, 1, 5) + b"topic" + struct.pack(">iii", 1, 0, 4) + b"data"
        answered: list[bytearray | NoReply] = []
        begin_produce(world.services, context(ApiKey.PRODUCE, version), memoryview(body), answered.append)
        expected = struct.pack(">ih5siihq", 1, 5, b"topic", 1, 0, ErrorCode.UNSUPPORTED_VERSION, -1)
        (reply,) = answered
        assert isinstance(reply, bytearray)
        assert reply == expected + b"\xff" * 8 * (version >= 2) + bytes(4) * (version >= 1)
