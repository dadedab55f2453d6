"""The write path: when a flush closes, in which order it commits, and who fails with whom."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.errors import ObjectExists, OutcomeUnknown, StorageUnavailable
from kafscale.metadata.appender import Done
from kafscale.metadata.entries import BATCH_FACTS, AppendBatches, PartitionBatches, encoded_size
from kafscale.metadata.state.outcomes import Verdict
from kafscale.metadata.state.producers import SEQUENCE_MAX
from kafscale.protocol.batches import iterate_batches
from kafscale.storage import write_path
from kafscale.storage.format.paths import flush_key
from kafscale.storage.format.segment import FOOTER_BYTES, HEAD_BYTES, IndexRun, decode_footer, decode_index
from kafscale.storage.write_path import STRETCH_BYTES_MAX, AppendFailure, BatchResult
from tests.support.virtual_loop import on_virtual_time
from tests.unit.storage import properties
from tests.unit.storage.world import INCARNATION, OUT, TOPIC, UNKNOWN, Producer, World, at_offset, batch

Sent = asyncio.Future[list[BatchResult]]


def verdict(sent: Sent, slot: int = 0) -> object:
    return sent.result()[slot].verdict


def offsets(*sent: Sent) -> list[int]:
    return [result.base_offset for each in sent for result in each.result()]


# When a flush closes


@on_virtual_time
async def test_a_free_slot_takes_a_batch_at_once() -> None:
    world = await World.with_topic()
    sent = world.send(batch(values=[b"a", b"b"]))
    await world.settle()
    assert sent.result() == [BatchResult(Verdict.ACCEPTED, 0, 0)]
    assert asyncio.get_running_loop().time() == 0.0
    assert len(world.store.put_keys) == 1


@on_virtual_time
async def test_what_arrives_in_one_turn_shares_a_flush() -> None:
    world = await World.with_topic()
    one, other = world.send(batch(), connection=1), world.send(batch(1), batch(), connection=2)
    await world.settle()
    assert offsets(one, other) == [0, 0, 1]
    assert world.store.put_keys == [flush_key(INCARNATION, 1)]


@on_virtual_time
async def test_what_arrives_while_the_slots_are_busy_waits_together() -> None:
    world = await World.with_topic(puts_max=2)
    world.store.holds_puts = True
    sent = []
    for _ in range(6):
        sent.append(world.send(batch()))
        await world.settle()
    assert len(world.store.puts) == 2
    world.store.puts[0].set_result(None)
    await world.settle()
    assert len(world.store.puts) == 3
    assert len(world.store.put_keys) == 3
    for put in world.store.puts[1:]:
        put.set_result(None)
    await world.settle()
    assert offsets(*sent) == [0, 1, 2, 3, 4, 5]
    assert world.partition().run_count == 3


@on_virtual_time
async def test_a_full_flush_closes_though_no_slot_is_free() -> None:
    size = len(batch().data)
    world = await World.with_topic(puts_max=1, flush_bytes=2 * size)
    world.store.holds_puts = True
    sent = [world.send(batch())]
    await world.settle()
    for _ in range(5):
        sent.append(world.send(batch()))
        await world.settle()
    for number in range(4):
        world.store.puts[number].set_result(None)
        await world.settle()
    assert offsets(*sent) == list(range(6))
    partition = world.partition()
    assert [partition.run(number).length // size for number in range(partition.run_count)] == [1, 2, 2, 1]


@on_virtual_time
async def test_a_request_is_never_cut_in_two() -> None:
    world = await World.with_topic(flush_bytes=1)
    sent = world.send(batch(0), batch(1), batch(2))
    await world.settle()
    assert offsets(sent) == [0, 0, 0]
    assert len(world.store.put_keys) == 1


@on_virtual_time
async def test_a_segment_describes_what_is_in_it() -> None:
    world = await World.with_topic()
    batches = [batch(1), batch(0, values=[b"x", b"y"]), batch(1, values=[b"z"])]
    world.send(*batches)
    await world.settle()
    stored = world.store.stored(flush_key(INCARNATION, 1))
    footer = decode_footer(stored)
    index = decode_index(stored[footer.index_position : -FOOTER_BYTES], footer)
    first, middle, last = (len(each.data) for each in batches)
    assert index == [
        IndexRun(TOPIC, "topic", 1, HEAD_BYTES, first + last, 2),
        IndexRun(TOPIC, "topic", 0, HEAD_BYTES + first + last, middle, 1),
    ]
    assert stored[HEAD_BYTES : footer.index_position] == bytes(batches[0].data) + batches[2].data + batches[1].data
    assert (footer.incarnation, footer.number) == (INCARNATION, 1)


# In which order flushes commit


@on_virtual_time
async def test_flushes_commit_in_their_order_whatever_the_order_of_the_puts() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    sent = []
    for connection in range(3):
        sent.append(world.send(batch(), connection=connection))
        await world.settle()
    for number in (2, 1):
        world.store.puts[number].set_result(None)
        await world.settle()
        assert not any(each.done() for each in sent)
    world.store.puts[0].set_result(None)
    await world.settle()
    assert offsets(*sent) == [0, 1, 2]


@on_virtual_time
async def test_what_is_decided_is_told_to_the_log() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    resolved_below = world.appender.resolved_below
    assert resolved_below() == 1
    for partition in range(3):
        world.send(batch(partition))
        await world.settle()
    assert resolved_below() == 1
    world.store.puts[1].set_result(OUT)
    await world.settle()
    assert resolved_below() == 1
    world.store.puts[0].set_result(None)
    await world.settle()
    assert resolved_below() == 3
    world.store.puts[2].set_result(None)
    await world.settle()
    assert resolved_below() == 4


# Who fails with whom


@on_virtual_time
async def test_a_failed_put_fails_later_batches_of_the_same_sender_and_partition_only() -> None:
    world = await World.with_topic(puts_max=3)
    world.store.holds_puts = True
    failed = world.send(batch(), connection=1)
    await world.settle()
    same = world.send(batch(), connection=1)
    await world.settle()
    other_partition = world.send(batch(1), connection=1)
    other_connection = world.send(batch(), connection=2)
    with_id = world.send(batch(producer=Producer(1, 0, 0)), connection=1)
    mixed = world.send(batch(2), batch(), connection=1)
    await world.settle()
    waiting = world.send(batch(), connection=1)
    await world.settle()
    world.store.puts[0].set_result(OUT)
    await world.settle()
    assert [verdict(each) for each in (failed, same, waiting)] == [AppendFailure.STORAGE] * 3
    for put in world.store.puts[1:]:
        put.set_result(None)
    await world.settle()
    assert offsets(other_partition, other_connection, with_id) == [0, 0, 1]
    assert [result.verdict for result in mixed.result()] == [Verdict.ACCEPTED, AppendFailure.STORAGE]
    afterwards = world.send(batch(), connection=1)
    await world.settle()
    world.store.puts[-1].set_result(None)
    await world.settle()
    assert offsets(afterwards) == [2]


@on_virtual_time
async def test_a_failed_put_leaves_flushes_in_front_of_it_alone() -> None:
    """A slow put in front failed with it, though it could still be committed."""
    world = await World.with_topic()
    world.store.holds_puts = True
    producer = [world.send(batch(producer=Producer(5, 0, number))) for number in range(1)]
    await world.settle()
    producer.append(world.send(batch(producer=Producer(5, 0, 1))))
    await world.settle()
    world.store.puts[1].set_result(OUT)
    await world.settle()
    assert not producer[0].done()
    assert verdict(producer[1]) is AppendFailure.STORAGE
    world.store.puts[0].set_result(None)
    await world.settle()
    assert offsets(producer[0]) == [0]


@on_virtual_time
async def test_a_producer_id_is_the_same_sender_on_every_connection() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    first = world.send(batch(producer=Producer(5, 0, 0)), connection=1)
    await world.settle()
    second = world.send(batch(producer=Producer(5, 0, 1)), connection=2)
    await world.settle()
    world.store.puts[0].set_result(OUT)
    world.store.puts[1].set_result(None)
    await world.settle()
    assert verdict(first) is verdict(second) is AppendFailure.STORAGE
    assert world.partition().high_watermark == 0


@on_virtual_time
async def test_a_refused_append_fails_what_waits_behind_it() -> None:
    world = await World.with_topic(puts_max=1)
    world.log.refusal = StorageUnavailable("disk full")
    world.store.holds_puts = True
    first = world.send(batch(), batch(1))
    await world.settle()
    same, other = world.send(batch()), world.send(batch(), connection=2)
    world.store.puts[0].set_result(None)
    await world.settle()
    assert [result.verdict for result in first.result()] == [AppendFailure.STORAGE] * 2
    assert verdict(same) is AppendFailure.STORAGE
    world.log.refusal = None
    world.store.puts[1].set_result(None)
    await world.settle()
    assert offsets(other) == [0]
    assert world.failures == []


@on_virtual_time
async def test_an_append_of_unknown_outcome_fails_nothing() -> None:
    world = await World.with_topic()
    world.log.refusal = OutcomeUnknown("no reply")
    sent = world.send(batch())
    await world.settle()
    assert not sent.done()
    world.log.refusal = None
    await asyncio.sleep(1.0)
    assert offsets(sent) == [0]


@on_virtual_time
async def test_a_second_writer_of_a_segment_stops_the_broker_and_closing_goes_on() -> None:
    """With every slot used by the put that broke, closing turned for ever around what would never be stored."""
    world = await World.with_topic(puts_max=1)
    world.store.holds_puts = True
    world.send(batch())
    await world.settle()
    world.send(batch())
    world.store.puts[0].set_result(ObjectExists("taken"))
    await world.settle()
    assert [type(error) for error in world.failures] == [ObjectExists]
    async with asyncio.timeout(5.0):
        closing = asyncio.create_task(world.write_path.close())
        await world.settle()
        assert closing.done()


# Timeouts


@on_virtual_time
async def test_a_batch_past_its_deadline_fails_with_those_behind_it() -> None:
    world = await World.with_topic(puts_max=1)
    world.store.holds_puts = True
    late = world.send(batch(), timeout_seconds=1.0)
    await world.settle()
    behind, other = world.send(batch()), world.send(batch(), connection=2)
    sweeping = asyncio.create_task(world.write_path.run_sweep())
    await asyncio.sleep(0.9)
    assert not late.done()
    await asyncio.sleep(0.6)
    assert late.result() == [BatchResult(AppendFailure.TIMED_OUT, -1, -1)]
    assert verdict(behind) is AppendFailure.STORAGE
    world.store.puts[0].set_result(None)
    await world.settle()
    world.store.puts[1].set_result(None)
    await world.settle()
    assert offsets(other) == [0]
    assert world.partition().high_watermark == 1
    sweeping.cancel()


@on_virtual_time
async def test_a_batch_on_its_way_into_the_log_does_not_time_out() -> None:
    world = await World.with_topic()
    world.log.refusal = OutcomeUnknown("no reply")
    sent = world.send(batch(), timeout_seconds=1.0)
    await asyncio.sleep(5.0)
    world.write_path.sweep()
    assert not sent.done()
    world.log.refusal = None
    await asyncio.sleep(1.0)
    assert offsets(sent) == [0]


@on_virtual_time
async def test_a_flush_whose_batches_all_failed_is_not_committed() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    late = world.send(batch(), timeout_seconds=1.0)
    await asyncio.sleep(2.0)
    world.write_path.sweep()
    entries = world.replica.entries_applied
    world.store.puts[0].set_result(None)
    await world.settle()
    assert verdict(late) is AppendFailure.TIMED_OUT
    assert world.replica.entries_applied == entries
    assert world.appender.resolved_below() == 2


# Closing


@on_virtual_time
async def test_close_stores_and_commits_everything() -> None:
    size = len(batch().data)
    world = await World.with_topic(puts_max=1, flush_bytes=2 * size)
    sent = [world.send(batch(), connection=number) for number in range(7)]
    await world.write_path.close()
    await world.appender.close()
    assert offsets(*sent) == list(range(7))
    assert len(world.store.put_keys) == 4


@on_virtual_time
async def test_close_with_nothing_to_do() -> None:
    world = await World.with_topic()
    await world.write_path.close()
    assert world.store.put_keys == []


# Large flushes


@on_virtual_time
async def test_a_large_flush_is_cut_into_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_path, "APPEND_BYTES_MAX", 3 * (STRETCH_BYTES_MAX + BATCH_FACTS.size))
    monkeypatch.setattr(write_path, "ROWS_PER_PARTITION_MAX", 2)
    commands: list[AppendBatches] = []
    world = await World.with_topic(partitions=10)
    original = world.appender.append

    def append(command: AppendBatches, done: Done) -> None:
        commands.append(command)
        original(command, done)

    monkeypatch.setattr(world.appender, "append", append)
    batches = [batch(number % 10) for number in range(35)]
    sent = world.send(*batches)
    await world.settle()
    assert offsets(sent) == [number // 10 for number in range(35)]
    assert {command.object_number for command in commands} == {1}
    assert len(commands) > 3
    for command in commands:
        assert encoded_size(command) <= write_path.APPEND_BYTES_MAX + 16
        assert all(len(each.facts) <= 2 * BATCH_FACTS.size for each in command.partitions)
    assert world.appender.resolved_below() == 2
    for index in range(10):
        expected = [at_offset(each, number // 10) for number, each in enumerate(batches) if number % 10 == index]
        assert await world.read_all(index, cold=True) == b"".join(expected) == await world.read_all(index)


def test_what_a_partition_takes_in_a_command_is_bounded() -> None:
    """A flush for 17,000 partitions gave a command that no entry could hold, so that all of it failed, every time."""
    largest = PartitionBatches(TOPIC, 2**31 - 1, 2**32 - 1, bytes(BATCH_FACTS.size * write_path.ROWS_PER_PARTITION_MAX))
    for facts in (b"", largest.facts[: BATCH_FACTS.size], largest.facts):
        one = PartitionBatches(largest.topic_id, largest.partition, largest.position, facts)
        grown = encoded_size(AppendBatches(1, [one] * 15)) - encoded_size(AppendBatches(1, []))
        assert grown <= 15 * (STRETCH_BYTES_MAX + len(facts))


# Verdicts


@on_virtual_time
async def test_a_rejected_batch_splits_the_run() -> None:
    world = await World.with_topic()
    batches = [
        batch(producer=Producer(1, 0, 0)),
        batch(producer=Producer(1, 0, 1)),
        batch(producer=Producer(1, 0, 0)),
        batch(producer=Producer(2, 0, 7)),
        batch(producer=Producer(2, 0, 7)),
        batch(producer=Producer(1, 0, 9)),
        batch(producer=Producer(1, 0, 2)),
    ]
    sent = world.send(*batches)
    await world.settle()
    ok, duplicate = Verdict.ACCEPTED, Verdict.DUPLICATE
    assert [(result.verdict, result.base_offset) for result in sent.result()] == [
        (ok, 0),
        (ok, 1),
        (duplicate, 0),
        (ok, 2),
        (duplicate, 2),
        (Verdict.OUT_OF_ORDER_SEQUENCE, -1),
        (ok, 3),
    ]
    partition = world.partition()
    assert [partition.run(number).base_offset for number in range(partition.run_count)] == [0, 2, 3]
    accepted = [at_offset(batches[slot], offset) for slot, offset in ((0, 0), (1, 1), (3, 2), (6, 3))]
    assert await world.read_all() == b"".join(accepted) == await world.read_all(cold=True)


@on_virtual_time
async def test_a_topic_that_is_gone_is_a_verdict() -> None:
    world = await World.with_topic()
    sent = world.send(batch(topic_id=UNKNOWN), batch())
    await world.settle()
    assert sent.result() == [BatchResult(Verdict.UNKNOWN_TOPIC, -1, -1), BatchResult(Verdict.ACCEPTED, 0, 0)]


@on_virtual_time
async def test_a_consumer_that_wakes_up_finds_the_batch_in_memory() -> None:
    """The tail cache is filled before anybody hears that the partition has grown."""
    world = await World.with_topic()
    found: list[list[memoryview] | None] = []

    class Observer:
        def appended(self, command: object, outcome: object) -> None:
            found.append(world.reader().read_cached(0, 1000))

    world.replica.observe(Observer())
    world.send(batch())
    await world.settle()
    assert len(found) == 1
    assert found[0] is not None


@on_virtual_time
async def test_the_frames_of_requests_are_let_go() -> None:
    """The body of the segment is the only copy: what is served does not refer to request frames."""
    world = await World.with_topic()
    produced = batch()
    world.send(produced)
    await world.settle()
    (served,) = await world.reader().read(0, 1000)
    assert served.obj is not produced.data.obj
    ((header, _),) = iterate_batches(produced.data)
    assert header.base_offset == 0
    assert header.leader_epoch == -1


@settings(max_examples=25)
@given(st.integers(26, 2**32))
def test_what_was_accepted_is_served(seed: int) -> None:
    properties.what_was_accepted_is_served(seed)


@settings(max_examples=25)
@given(st.integers(26, 2**32))
def test_nothing_overtakes_a_failed_batch(seed: int) -> None:
    properties.nothing_overtakes_a_failed_batch(seed)


# What is owed


async def failing_world(producer: Producer) -> World:
    """A world in which a batch of this producer could not be stored."""
    world = await World.with_topic()
    world.store.holds_puts = True
    failed = world.send(batch(producer=producer))
    await world.settle()
    world.store.puts[0].set_result(OUT)
    await world.settle()
    assert verdict(failed) is AppendFailure.STORAGE
    world.store.holds_puts = False
    return world


async def sent_to(world: World, *producers: Producer, partition: int = 0) -> list[object]:
    """Send a batch after another and return the verdicts."""
    verdicts = []
    for producer in producers:
        sent = world.send(batch(partition, producer=producer))
        await world.settle()
        verdicts.append(verdict(sent))
    return verdicts


STORAGE, ACCEPTED = AppendFailure.STORAGE, Verdict.ACCEPTED


@on_virtual_time
async def test_a_batch_behind_a_missing_one_is_refused_until_that_comes_again() -> None:
    world = await failing_world(Producer(9, 0, 10))
    tries = [Producer(9, 0, 11), Producer(9, 0, 12), Producer(9, 0, 10), Producer(9, 0, 11), Producer(9, 0, 12)]
    assert await sent_to(world, *tries) == [STORAGE, STORAGE, ACCEPTED, ACCEPTED, ACCEPTED]


@on_virtual_time
async def test_a_missing_batch_holds_back_nobody_else() -> None:
    world = await failing_world(Producer(9, 0, 10))
    assert await sent_to(world, Producer(8, 0, 11)) == [ACCEPTED]
    assert await sent_to(world, Producer(9, 0, 11), partition=1) == [ACCEPTED]
    assert await sent_to(world, Producer(9, 0, 11)) == [STORAGE]


@on_virtual_time
async def test_an_earlier_batch_and_a_new_epoch_pass() -> None:
    world = await failing_world(Producer(9, 0, 10))
    assert await sent_to(world, Producer(9, 1, 0)) == [ACCEPTED]
    world = await failing_world(Producer(9, 0, 10))
    assert await sent_to(world, Producer(9, 0, 8)) == [ACCEPTED]


@on_virtual_time
async def test_the_log_judges_a_producer_it_knows() -> None:
    world = await World.with_topic()
    assert await sent_to(world, Producer(9, 0, 0)) == [ACCEPTED]
    world.store.holds_puts = True
    world.send(batch(producer=Producer(9, 0, 1)))
    await world.settle()
    world.store.puts[0].set_result(OUT)
    await world.settle()
    world.store.holds_puts = False
    tries = [Producer(9, 0, 2), Producer(9, 0, 1), Producer(9, 0, 2)]
    assert await sent_to(world, *tries) == [Verdict.OUT_OF_ORDER_SEQUENCE, ACCEPTED, ACCEPTED]


@on_virtual_time
async def test_the_first_of_several_missing_batches_counts() -> None:
    world = await World.with_topic(puts_max=1)
    world.store.holds_puts = True
    for sequence in (SEQUENCE_MAX, 0, 1):
        world.send(batch(producer=Producer(9, 0, sequence)))
    await world.settle()
    world.store.puts[0].set_result(OUT)
    await world.settle()
    world.store.holds_puts = False
    tries = [Producer(9, 0, 0), Producer(9, 0, 1), Producer(9, 0, SEQUENCE_MAX), Producer(9, 0, 0), Producer(9, 0, 1)]
    assert await sent_to(world, *tries) == [STORAGE, STORAGE, ACCEPTED, ACCEPTED, ACCEPTED]


@on_virtual_time
async def test_a_timed_out_batch_is_owed_too() -> None:
    world = await World.with_topic()
    world.store.holds_puts = True
    world.send(batch(producer=Producer(9, 0, 0)), timeout_seconds=1.0)
    await asyncio.sleep(2.0)
    world.write_path.sweep()
    world.store.puts[0].set_result(None)
    world.store.holds_puts = False
    await world.settle()
    assert await sent_to(world, Producer(9, 0, 1), Producer(9, 0, 0)) == [STORAGE, ACCEPTED]


@on_virtual_time
async def test_what_is_owed_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_path, "OWED_MAX", 2)
    world = await World.with_topic()
    world.store.holds_puts = True
    world.send(*(batch(producer=Producer(number, 0, 0)) for number in range(4)))
    await world.settle()
    world.store.puts[0].set_result(OUT)
    await world.settle()
    world.store.holds_puts = False
    verdicts = await sent_to(world, *(Producer(number, 0, 1) for number in range(4)))
    assert verdicts == [ACCEPTED, ACCEPTED, STORAGE, STORAGE]


@on_virtual_time
async def test_a_request_is_never_answered_while_it_is_handed_over() -> None:
    """Answering may begin the connection's next request, and who hands over is not prepared for that."""
    world = await failing_world(Producer(9, 0, 10))
    sent = world.send(batch(producer=Producer(9, 0, 11)))
    assert not sent.done()
    await world.settle()
    assert verdict(sent) is STORAGE
    assert len(world.store.put_keys) == 1
    mixed = world.send(batch(producer=Producer(9, 0, 11)), batch(1))
    assert not mixed.done()
    await world.settle()
    assert [result.verdict for result in mixed.result()] == [STORAGE, ACCEPTED]


@on_virtual_time
async def test_in_one_request_the_missing_batch_makes_way_for_the_next() -> None:
    world = await failing_world(Producer(9, 0, 10))
    sent = world.send(batch(producer=Producer(9, 0, 10)), batch(producer=Producer(9, 0, 11)))
    await world.settle()
    assert offsets(sent) == [0, 1]
