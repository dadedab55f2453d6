"""One connection: replies in order, back-pressure, and every reserved byte given back however it ends."""

import asyncio
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.broker.connection import UNANSWERED_REQUESTS_MAX, WRITE_BUFFER_BYTES_MAX
from kafscale.broker.server import Server
from kafscale.protocol.api import ApiKey
from kafscale.protocol.messages import FetchRequest, MetadataRequest, ProduceRequest
from kafscale.storage.budget import MemoryBudget
from tests.support.virtual_loop import VirtualLoop, on_virtual_time
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld, Wire, record_batch, running_broker, settle
from tests.unit.storage.world import OUT

PRODUCE_VERSION = 9
GARBAGE = b"\x00\x00\x00\x09\x7f\xff" + bytes(7)
BIG_REPLY = 300 * 1024


def produce(
    *records: bytes | None, acks: int = -1, topic: str = TOPIC, partition: int = 0, version: int = PRODUCE_VERSION
) -> ProduceRequest:
    part = ProduceRequest.TopicProduceData.PartitionProduceData
    data = [part(version=version, index=partition, records=each) for each in records or (record_batch(),)]
    return ProduceRequest(
        version=version,
        transactional_id=None,
        acks=acks,
        timeout_ms=30_000,
        topic_data=[ProduceRequest.TopicProduceData(version=version, name=topic, partition_data=data)],
    )


def metadata() -> MetadataRequest:
    return MetadataRequest(version=9, topics=[])


def fetch(*, max_wait_ms: int = 500, offset: int = 0, min_bytes: int = 1) -> FetchRequest:
    topic = FetchRequest.FetchTopic
    asked = topic.FetchPartition(version=11, partition=0, fetch_offset=offset, partition_max_bytes=2**30)
    return FetchRequest(
        version=11,
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=2**30,
        session_epoch=-1,
        topics=[topic(version=11, topic=TOPIC, partitions=[asked])],
        forgotten_topics_data=[],
        rack_id="",
    )


def base_offsets(wire: Wire) -> list[int]:
    replies = [wire.decoded(index, ApiKey.PRODUCE, PRODUCE_VERSION) for index in range(len(wire.replies()))]
    return [reply.responses[0].partition_responses[0].base_offset for reply in replies]


# Order


@on_virtual_time
async def test_produce_requests_overlap_and_are_answered_in_order() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        ids = []
        for _ in range(3):
            ids.append(wire.request(produce(), PRODUCE_VERSION))
            await settle()
        # A request that is refused at once waits for its turn all the same.
        ids.append(wire.request(produce(topic="unknown"), PRODUCE_VERSION))
        assert len(world.store.puts) == 3
        for number in (2, 1):
            world.store.puts[number].set_result(None)
            await settle()
        assert wire.replies() == []
        world.store.puts[0].set_result(None)
        await settle()
        assert wire.reply_ids() == ids
        assert base_offsets(wire) == [0, 1, 2, -1]
        assert world.services.budget.reserved == 0


@on_virtual_time
async def test_everything_else_waits_for_what_came_before() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        ids = [
            wire.request(produce(), PRODUCE_VERSION),
            wire.request(metadata(), 9),
            wire.request(metadata(), 9),
            wire.request(produce(), PRODUCE_VERSION),
        ]
        await settle()
        assert wire.replies() == []
        assert len(world.store.puts) == 1
        world.store.puts[0].set_result(None)
        await settle()
        assert wire.reply_ids() == ids[:3]
        assert len(world.store.puts) == 2
        world.store.puts[1].set_result(None)
        await settle()
        assert wire.reply_ids() == ids


@on_virtual_time
async def test_a_waiting_fetch_holds_back_its_own_connection_only() -> None:
    async with running_broker() as world:
        waiting, other = world.connect(), world.connect()
        ids = [waiting.request(fetch(), 11), waiting.request(metadata(), 9)]
        other.request(metadata(), 9)
        await settle()
        assert waiting.replies() == []
        assert len(other.replies()) == 1
        await asyncio.sleep(0.5)
        await settle()
        assert waiting.reply_ids() == ids


@on_virtual_time
async def test_a_request_in_single_bytes_is_a_request() -> None:
    async with running_broker() as world:
        wire = world.connect()
        for byte in wire.as_frame(produce(), PRODUCE_VERSION) + wire.as_frame(metadata(), 9):
            wire.send(bytes([byte]))
        await settle()
        assert wire.reply_ids() == [1, 2]
        assert world.services.budget.reserved == 0


@on_virtual_time
async def test_thousands_of_refused_requests_in_one_segment() -> None:
    """Each was started from within the answer to the one before it, until the interpreter's stack was used up."""
    async with running_broker() as world:
        wire = world.connect()
        request = produce(b"", topic="unknown")
        wire.send(b"".join(wire.as_frame(request, PRODUCE_VERSION) for _ in range(2_000)))
        await settle()
        assert wire.reply_ids() == list(range(1, 2_001))
        assert not wire.is_closing()


# acks=0, refusals and malformed requests


@on_virtual_time
async def test_acks_0_is_written_and_not_answered() -> None:
    async with running_broker() as world:
        wire = world.connect()
        wire.request(produce(acks=0), PRODUCE_VERSION)
        after = wire.request(produce(), PRODUCE_VERSION)
        await settle()
        assert wire.reply_ids() == [after]
        assert base_offsets(wire) == [1]


@on_virtual_time
async def test_acks_0_that_is_refused_closes_after_earlier_replies() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        earlier = wire.request(produce(), PRODUCE_VERSION)
        wire.request(produce(acks=0, topic="unknown"), PRODUCE_VERSION)
        wire.request(produce(), PRODUCE_VERSION)
        await settle()
        assert not wire.is_closing()
        world.store.puts[0].set_result(None)
        await settle()
        assert wire.reply_ids() == [earlier]
        assert wire.is_lost
        assert world.services.budget.reserved == 0


@on_virtual_time
async def test_acks_0_that_fails_later_closes_too_and_keeps_what_was_good() -> None:
    """A failed flush went unnoticed, and beside a refused batch the good ones were not even written."""
    async with running_broker() as world:
        world.store.holds_puts = True
        failing, mixed = world.connect(), world.connect()
        failing.request(produce(acks=0), PRODUCE_VERSION)
        await settle()
        mixed.request(produce(record_batch(), b"bad", acks=0), PRODUCE_VERSION)
        await settle()
        assert not failing.is_closing()
        world.store.puts[0].set_result(OUT)
        world.store.puts[1].set_result(None)
        await settle()
        assert failing.is_lost
        assert mixed.is_lost
        assert failing.replies() == mixed.replies() == []
        assert high_watermark(world) == 1
        assert world.services.budget.reserved == 0


def high_watermark(world: BrokerWorld) -> int:
    partition = world.services.replica.state.partition(TOPIC_ID, 0)
    assert partition is not None
    return partition.high_watermark


def malformed_produce(wire: Wire) -> None:
    wire.request_body(ApiKey.PRODUCE, PRODUCE_VERSION, b"\x00\xff")


def unknown_api(wire: Wire) -> None:
    wire.send(struct.pack(">ihhi", 12, 999, 0, 1) + bytes(4))


def negative_size(wire: Wire) -> None:
    wire.send(struct.pack(">ihh", -1, 0, 9))


def huge_size(wire: Wire) -> None:
    wire.send(struct.pack(">ihh", 2**31 - 1, 0, 9))


def produce_of_the_future(wire: Wire) -> None:
    wire.request_body(ApiKey.PRODUCE, 99, bytes(20))


def malformed_metadata(wire: Wire) -> None:
    wire.request_body(ApiKey.METADATA, 9, b"\xff")


def header_with_a_bad_client_id(wire: Wire) -> None:
    wire.send(struct.pack(">ihhih", 10, 0, 9, 1, 500))


BAD_REQUESTS = [
    malformed_produce,
    unknown_api,
    negative_size,
    huge_size,
    produce_of_the_future,
    malformed_metadata,
    header_with_a_bad_client_id,
]


@pytest.mark.parametrize("bad", BAD_REQUESTS)
@on_virtual_time
async def test_a_malformed_request_closes_after_earlier_replies(bad: Any) -> None:
    """The replies in front of it were never sent, and its own bytes stayed reserved for ever."""
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        earlier = wire.request(produce(), PRODUCE_VERSION)
        bad(wire)
        later = wire.unread()
        wire.request(produce(), PRODUCE_VERSION)
        await settle()
        assert not wire.is_closing()
        world.store.puts[0].set_result(None)
        await settle()
        assert wire.reply_ids() == [earlier]
        assert wire.is_lost
        assert later == 0
        assert world.services.budget.reserved == 0
        assert high_watermark(world) == 1


@on_virtual_time
async def test_a_good_request_in_one_segment_with_garbage_is_answered() -> None:
    async with running_broker() as world:
        wire = world.connect()
        wire.send(wire.as_frame(produce(), PRODUCE_VERSION) + GARBAGE)
        await settle()
        assert base_offsets(wire) == [0]
        assert wire.is_lost


@on_virtual_time
async def test_an_api_versions_request_of_the_future_is_answered() -> None:
    async with running_broker() as world:
        wire = world.connect()
        wire.request_body(ApiKey.API_VERSIONS, 99, b"\x02a\x021\x00")
        await settle()
        assert wire.replies()[0].rest[:2] == b"\x00\x23"
        assert not wire.is_closing()


@on_virtual_time
async def test_a_bug_in_a_handler_closes_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_broker() as world:
        bad, good = world.connect(), world.connect()
        monkeypatch.setattr("kafscale.broker.connection.begin_produce", lambda *_: 1 // 0)
        bad.request(produce(), PRODUCE_VERSION)
        good.request(metadata(), 9)
        await settle()
        assert bad.is_lost
        assert len(good.replies()) == 1
        assert world.services.budget.reserved == 0


# Back-pressure


@on_virtual_time
async def test_a_client_that_does_not_read_replies_is_not_read_from() -> None:
    async with running_broker() as world:
        await world.append_values(bytes(BIG_REPLY))
        wire = world.connect()
        wire.stops_reading = True
        ids = [wire.request(fetch(), 11) for _ in range(20)]
        await settle(400)
        answered = len(wire.replies())
        assert WRITE_BUFFER_BYTES_MAX // BIG_REPLY <= answered <= WRITE_BUFFER_BYTES_MAX // BIG_REPLY + 1
        assert not wire.is_reading()
        wire.read_everything()
        await settle(400)
        assert wire.reply_ids() == ids
        assert wire.is_reading()


@on_virtual_time
async def test_unanswered_requests_are_limited() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        ids = [wire.request(produce(), PRODUCE_VERSION) for _ in range(UNANSWERED_REQUESTS_MAX + 50)]
        await settle()
        assert not wire.is_reading()
        assert wire.unread() > 0
        world.store.holds_puts = False
        world.store.puts[0].set_result(None)
        await settle(400)
        for put in world.store.puts:
            if not put.done():
                put.set_result(None)
        await settle(400)
        assert wire.reply_ids() == ids
        assert wire.is_reading()


@on_virtual_time
async def test_large_replies_are_not_joined() -> None:
    async with running_broker() as world:
        await world.append_values(bytes(BIG_REPLY))
        wire = world.connect()
        wire.request(fetch(), 11)
        wire.request(metadata(), 9)
        await settle()
        assert max(wire.write_sizes) >= BIG_REPLY
        assert len(wire.write_sizes) > 3
        assert wire.reply_ids() == [1, 2]


# Memory


def shrink(world: BrokerWorld, limit: int) -> MemoryBudget:
    world.services.budget = MemoryBudget(limit)
    return world.services.budget


@on_virtual_time
async def test_a_large_produce_request_waits_for_memory_and_nobody_else_does() -> None:
    async with running_broker() as world:
        budget = shrink(world, 1_000)
        world.store.holds_puts = True
        first, second, third = world.connect(), world.connect(), world.connect()
        large = [wire.as_frame(produce(record_batch([bytes(700)])), PRODUCE_VERSION) for wire in (first, second)]
        for wire, data in zip((first, second), large, strict=True):
            wire.send(data[:100])
            wire.send(data[100:])
        third.request(metadata(), 9)
        await settle()
        assert budget.reserved == len(large[0]) - 4
        assert second.unread() == len(large[1]) - 100
        assert not second.is_reading()
        assert len(third.replies()) == 1
        world.store.puts[0].set_result(None)
        await settle()
        assert second.unread() == 0
        world.store.puts[1].set_result(None)
        await settle()
        assert base_offsets(second) == [1]
        assert budget.reserved == 0


@on_virtual_time
async def test_a_frame_larger_than_the_budget_passes_alone() -> None:
    async with running_broker() as world:
        budget = shrink(world, 1_000)
        wire = world.connect()
        data = wire.as_frame(produce(record_batch([bytes(5_000)])), PRODUCE_VERSION)
        wire.send(data[:100])
        wire.send(data[100:])
        await settle()
        assert base_offsets(wire) == [0]
        assert budget.reserved == 0


@on_virtual_time
async def test_small_produce_requests_stop_being_read_over_the_budget() -> None:
    async with running_broker() as world:
        budget = shrink(world, 1_000)
        world.store.holds_puts = True
        wires = [world.connect() for _ in range(3)]
        size = len(wires[0].as_frame(produce(), PRODUCE_VERSION))
        for _ in range(30):
            for wire in wires:
                wire.request(produce(), PRODUCE_VERSION)
        await settle()
        # Each connection notices with a request that it has read already.
        assert budget.reserved < 1_000 + len(wires) * size
        assert not any(wire.is_reading() for wire in wires)
        while budget.reserved:
            for put in world.store.puts:
                if not put.done():
                    put.set_result(None)
            await settle()
        assert [len(wire.replies()) for wire in wires] == [30, 30, 30]
        assert all(wire.is_reading() for wire in wires)


@on_virtual_time
async def test_who_waits_for_memory_and_goes_away_makes_way() -> None:
    """It kept its place: the memory was granted to a connection that was gone, for ever."""
    async with running_broker() as world:
        budget = shrink(world, 1_000)
        world.store.holds_puts = True
        holder, gone, next_one = world.connect(), world.connect(), world.connect()
        holder.request(produce(record_batch([bytes(900)])), PRODUCE_VERSION)
        for wire in (gone, next_one):
            data = wire.as_frame(produce(record_batch([bytes(700)])), PRODUCE_VERSION)
            wire.send(data[:100])
            wire.send(data[100:])
        await settle()
        gone.lose()
        for number in range(2):
            world.store.puts[number].set_result(None)
            await settle()
        assert len(next_one.replies()) == 1
        assert budget.reserved == 0


# Ends


@on_virtual_time
async def test_a_lost_connection_ends_its_waiting_fetch() -> None:
    async with running_broker() as world:
        wire = world.connect()
        wire.request(metadata(), 9)
        wire.request(fetch(max_wait_ms=60_000), 11)
        await settle()
        assert world.services.growth._waiting
        wire.lose(ConnectionResetError())
        await settle()
        assert not world.services.growth._waiting


@on_virtual_time
async def test_a_pipelined_fetch_ends_with_its_connection_too() -> None:
    """The task that answered the request before it took the new task's place, and the fetch waited to its end."""
    async with running_broker() as world:
        wire = world.connect()
        wire.send(wire.as_frame(metadata(), 9) + wire.as_frame(fetch(max_wait_ms=60_000), 11))
        await settle()
        assert world.services.growth._waiting
        wire.lose()
        await settle()
        assert not world.services.growth._waiting


@on_virtual_time
async def test_what_was_taken_is_written_though_the_client_is_gone() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        wire.request(produce(), PRODUCE_VERSION)
        await settle()
        wire.lose()
        assert world.services.budget.reserved > 0
        world.store.puts[0].set_result(None)
        await settle()
        assert world.services.budget.reserved == 0
        assert high_watermark(world) == 1


@on_virtual_time
async def test_drain_answers_what_was_taken_and_takes_no_more() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        busy, idle = world.connect(), world.connect()
        ids = [busy.request(produce(), PRODUCE_VERSION), busy.request(metadata(), 9)]
        draining = asyncio.create_task(world.broker.server.drain(60.0))
        await settle()
        busy.request(metadata(), 9)
        await settle()
        assert idle.is_lost
        assert not busy.is_closing()
        assert busy.unread() == 0, "read and dropped, so that closing does not reset the connection"
        world.store.puts[0].set_result(None)
        await draining
        assert busy.reply_ids() == ids
        assert asyncio.get_running_loop().time() == 0.0


@on_virtual_time
async def test_drain_closes_by_force_after_the_grace() -> None:
    async with running_broker() as world:
        world.store.holds_puts = True
        wire = world.connect()
        wire.request(produce(), PRODUCE_VERSION)
        await world.broker.server.drain(3.0)
        assert asyncio.get_running_loop().time() == 3.0
        await settle()
        assert wire.is_lost
        world.store.puts[0].set_result(None)


@on_virtual_time
async def test_limits_on_connections() -> None:
    async with running_broker({"max.connections": "3", "max.connections.per.ip": "2"}) as world:
        server: Server = world.broker.server
        wires = [world.connect("10.0.0.1"), world.connect("10.0.0.1"), world.connect("10.0.0.1")]
        assert [wire.is_aborted for wire in wires] == [False, False, True]
        wires += [world.connect("10.0.0.2"), world.connect("10.0.0.3")]
        assert [wire.is_aborted for wire in wires[3:]] == [False, True]
        await settle()
        assert server.connection_count == 3
        wires[0].lose()
        assert not world.connect("10.0.0.1").is_aborted


@on_virtual_time
async def test_idle_connections_are_closed_and_waiting_ones_are_not() -> None:
    async with running_broker({"connections.max.idle.ms": "30000"}) as world:
        idle, waiting = world.connect(), world.connect()
        waiting.request(fetch(max_wait_ms=50_000), 11)
        await asyncio.sleep(45.0)
        await settle()
        assert [idle.is_lost, waiting.is_lost] == [True, False]
        await asyncio.sleep(40.0)
        await settle()
        assert [idle.is_lost, waiting.is_lost] == [True, True]
        assert len(waiting.replies()) == 1


@on_virtual_time
async def test_a_frame_that_comes_too_slowly_ends_its_connection() -> None:
    """It keeps memory from others: whoever announces much has to send it."""
    async with running_broker({"connections.max.idle.ms": "-1"}) as world:
        slow, steady = world.connect(), world.connect()
        data = slow.as_frame(produce(record_batch([bytes(2_000)])), PRODUCE_VERSION)
        for wire in (slow, steady):
            wire.send(data[:100])
        await asyncio.sleep(20.0)
        steady.send(data[100:])
        for at in range(100, 200, 10):
            await asyncio.sleep(2.5)
            slow.send(data[at : at + 10])
        await settle()
        assert slow.is_lost
        assert not steady.is_lost
        assert base_offsets(steady) == [0]
        assert world.services.budget.reserved == 0


@on_virtual_time
async def test_a_client_that_reads_no_replies_is_idle() -> None:
    async with running_broker({"connections.max.idle.ms": "30000"}) as world:
        await world.append_values(bytes(BIG_REPLY))
        wire = world.connect()
        wire.stops_reading = True
        for _ in range(20):
            wire.request(fetch(), 11)
        await asyncio.sleep(45.0)
        await settle()
        assert wire.is_aborted
        assert wire.is_lost


# Whatever happens


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_reserved_memory_is_given_back_however_connections_end(seed: int) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_reserved_memory_is_given_back(random.Random(seed)))


async def _reserved_memory_is_given_back(rng: random.Random) -> None:
    async with running_broker({"flush.puts.max": "2", "socket.request.max.bytes": "100000"}) as world:
        budget = shrink(world, rng.choice([100, 1_000, 5_000, 100_000]))
        world.store.holds_puts = True
        wires = [world.connect() for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(1, 40)):
            _do_something(world, rng, rng.choice(wires))
            assert budget.reserved >= 0
            if rng.random() < 0.5:
                await settle(rng.randint(1, 10))
        for wire in wires:
            if rng.random() < 0.7:
                wire.lose()
        world.store.holds_puts = False
        for _ in range(20):
            _answer_puts(world, rng, count=100)
            await settle()
        for wire in wires:
            # A client that would never finish its frame goes away.
            wire.lose()
        await settle()
        assert budget.reserved == 0
        assert not budget.is_exhausted
        for wire in wires:
            assert wire.reply_ids() == sorted(wire.reply_ids())


def _do_something(world: BrokerWorld, rng: random.Random, wire: Wire) -> None:
    dice = rng.random()
    values = [bytes(rng.choice([1, 50, 2_000, 20_000]))]
    acks = rng.choice([-1, -1, 1, 0])
    topic = TOPIC if rng.random() < 0.9 else "unknown"
    if dice < 0.55:
        data = wire.as_frame(produce(record_batch(values), acks=acks, topic=topic), PRODUCE_VERSION)
        while data:
            size = rng.choice([3, 100, 5_000, 50_000])
            wire.send(data[:size])
            data = data[size:] if rng.random() < 0.97 else b""
    elif dice < 0.65:
        wire.request(metadata(), 9)
    elif dice < 0.72:
        wire.request(fetch(max_wait_ms=100), 11)
    elif dice < 0.76:
        rng.choice(BAD_REQUESTS)(wire)
    elif dice < 0.80:
        wire.lose(ConnectionResetError())
    elif dice < 0.84:
        wire.stops_reading = True
    elif dice < 0.88:
        wire.read_everything()
    else:
        _answer_puts(world, rng, count=rng.randint(1, 3))


def _answer_puts(world: BrokerWorld, rng: random.Random, *, count: int) -> None:
    waiting = [put for put in world.store.puts if not put.done()]
    rng.shuffle(waiting)
    for put in waiting[:count]:
        put.set_result(OUT if rng.random() < 0.2 else None)
