"""aiokafka: producing, consuming, offsets, groups and administration.

The library's types do not reach its users, so its modules are `Any` here and every suite-wide type begins at
`stored_from`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest

from tests.clients.support import (
    BASE_TIMESTAMP_MS,
    CODECS,
    LARGE_VALUE_BYTES,
    PARTITIONS,
    TOO_LARGE_VALUE_BYTES,
    WAIT_S,
    Deadline,
    Ledger,
    Pump,
    Record,
    Stored,
    assert_log,
    assert_spread,
    create_topic,
    grow_and_shrink,
    incompressible,
    keyed_records,
    peculiar_records,
    timed_records,
    unique,
)
from tests.clients.support import produce as produce_with_librdkafka

aiokafka: Any = import_module("aiokafka")
aiokafka_admin: Any = import_module("aiokafka.admin")
aiokafka_errors: Any = import_module("aiokafka.errors")
config_resource: Any = import_module("aiokafka.admin.config_resource")
assignors: dict[str, Any] = {
    "range": import_module("aiokafka.coordinator.assignors.range").RangePartitionAssignor,
    "roundrobin": import_module("aiokafka.coordinator.assignors.roundrobin").RoundRobinPartitionAssignor,
    "sticky": import_module("aiokafka.coordinator.assignors.sticky.sticky_assignor").StickyPartitionAssignor,
}

POLL_MS = 200


def stored_from(found: Any) -> Stored:
    record = Record(key=found.key, value=found.value, headers=tuple(found.headers), timestamp_ms=found.timestamp)
    return Stored(partition=found.partition, offset=found.offset, record=record)


@asynccontextmanager
async def producer(bootstrap: str, **settings: Any) -> AsyncIterator[Any]:
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, **settings) as opened:
        yield opened


@asynccontextmanager
async def consumer(bootstrap: str, *topics: str, **settings: Any) -> AsyncIterator[Any]:
    defaults = {"auto_offset_reset": "earliest", "fetch_max_wait_ms": 100}
    async with aiokafka.AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, **(defaults | settings)) as opened:
        yield opened


@asynccontextmanager
async def reader_of(bootstrap: str, topic: str, partitions: int = PARTITIONS, **settings: Any) -> AsyncIterator[Any]:
    """A consumer of all partitions by assignment: it waits for no group to form."""
    async with consumer(bootstrap, **settings) as reader:
        reader.assign(partitions_of(topic, partitions))
        yield reader


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[Any]:
    opened = aiokafka_admin.AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


def partitions_of(topic: str, partitions: int) -> list[Any]:
    return [aiokafka.TopicPartition(topic, partition) for partition in range(partitions)]


async def produce(
    bootstrap: str, topic: str, records: Iterable[Record], *, partition: int | None = None, **settings: Any
) -> list[Stored]:
    """Send, await every acknowledgement, and return the records in the order of sending."""
    async with producer(bootstrap, **settings) as opened:
        return await send_all(opened, topic, records, partition=partition)


async def send_all(opened: Any, topic: str, records: Iterable[Record], *, partition: int | None = None) -> list[Stored]:
    sending: list[tuple[Record, asyncio.Future[Any]]] = []
    for record in records:
        headers, timestamp_ms = list(record.headers), record.timestamp_ms
        future = await opened.send(topic, record.value, record.key, partition, timestamp_ms, headers)
        sending.append((record, future))
    async with asyncio.timeout(WAIT_S):
        answers = [(record, await future) for record, future in sending]
    return [Stored(partition=answer.partition, offset=answer.offset, record=record) for record, answer in answers]


async def take(reader: Any, count: int) -> list[Stored]:
    """The next `count` records; fails when they do not come, and when more come along."""
    taken: list[Stored] = []
    async with asyncio.timeout(WAIT_S):
        while len(taken) < count:
            taken += await poll(reader)
    assert len(taken) == count
    return taken


async def poll(reader: Any) -> list[Stored]:
    found: dict[Any, list[Any]] = await reader.getmany(timeout_ms=POLL_MS)
    return [stored_from(each) for part in found.values() for each in part]


async def until(probe: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again until the answer is true: only for what a server tells nobody about unasked."""
    for left in Deadline(what).turns():
        if await probe():
            break
        await asyncio.sleep(min(0.05, left))


class TestProduceAndConsume:
    async def test_default_settings(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-defaults")
        sent = await produce(bootstrap, topic, keyed_records(3000))
        assert_spread(sent)
        settings = {"group_id": unique("group"), "auto_offset_reset": "earliest"}
        async with aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, **settings) as reader:
            assert_log(sent, await take(reader, 3000))

    @pytest.mark.parametrize("idempotent", [True, False])
    async def test_idempotence(self, bootstrap: str, idempotent: bool) -> None:
        topic = create_topic(bootstrap, "aio-idempotent")
        settings = {"enable_idempotence": idempotent, "max_batch_size": 2000}
        sent = await produce(bootstrap, topic, keyed_records(2000), **settings)
        async with reader_of(bootstrap, topic) as reader:
            assert_log(sent, await take(reader, 2000))

    @pytest.mark.parametrize("acks", [1, "all"])
    async def test_acks(self, bootstrap: str, acks: int | str) -> None:
        topic = create_topic(bootstrap, "aio-acks")
        sent = await produce(bootstrap, topic, keyed_records(1000), acks=acks)
        async with reader_of(bootstrap, topic) as reader:
            assert_log(sent, await take(reader, 1000))

    async def test_no_acks(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-acks0", partitions=1)
        records = keyed_records(1000)
        async with producer(bootstrap, acks=0) as opened:
            answers = [await opened.send(topic, record.value, record.key) for record in records]
            assert [await answer for answer in answers] == [None] * 1000
        sent = [Stored(partition=0, offset=None, record=record) for record in records]
        async with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, await take(reader, 1000))

    @pytest.mark.parametrize("codec", CODECS)
    async def test_compression(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "aio-codec")
        compression = None if codec == "none" else codec
        sent = await produce(bootstrap, topic, keyed_records(1000), compression_type=compression, linger_ms=20)
        async with reader_of(bootstrap, topic) as reader:
            assert_log(sent, await take(reader, 1000))

    @pytest.mark.parametrize("codec", CODECS)
    async def test_what_librdkafka_wrote(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "aio-foreign")
        records = [*keyed_records(500), *peculiar_records()]
        sent = produce_with_librdkafka(bootstrap, topic, records, settings={"compression.type": codec})
        async with reader_of(bootstrap, topic) as reader:
            assert_log(sent, await take(reader, len(records)))

    async def test_nulls_headers_and_timestamps(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-peculiar", partitions=1)
        # The producer refuses records without key and value.
        peculiar = [each for each in peculiar_records() if (each.key, each.value) != (None, None)]
        records = [*peculiar, *timed_records(50)]
        sent = await produce(bootstrap, topic, records)
        async with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, await take(reader, len(records)))

    async def test_log_append_time(self, bootstrap: str) -> None:
        config = {"message.timestamp.type": "LogAppendTime"}
        topic = create_topic(bootstrap, "aio-append", partitions=1, config=config)
        async with producer(bootstrap) as opened:
            answer = await opened.send_and_wait(topic, b"v", timestamp_ms=BASE_TIMESTAMP_MS)
        assert answer.timestamp_type == 1
        async with reader_of(bootstrap, topic, 1) as reader:
            found = await reader.getone()
        assert found.timestamp_type == 1
        assert found.timestamp == answer.timestamp > BASE_TIMESTAMP_MS + 3_000_000

    async def test_record_of_a_million_bytes(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-large", partitions=1)
        records = [Record(value=incompressible(LARGE_VALUE_BYTES, seed=n)) for n in range(3)]
        sent = await produce(bootstrap, topic, records, max_request_size=10_000_000)
        async with reader_of(bootstrap, topic, 1, max_partition_fetch_bytes=1000) as reader:
            assert_log(sent, await take(reader, 3))

    async def test_record_too_large_is_refused_alone(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-toolarge", partitions=1)
        async with producer(bootstrap, max_request_size=10_000_000) as opened:
            with pytest.raises(aiokafka_errors.MessageSizeTooLargeError):
                await opened.send_and_wait(topic, incompressible(TOO_LARGE_VALUE_BYTES))
            sent = await send_all(opened, topic, keyed_records(10))
        async with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, await take(reader, 10))

    async def test_batch_made_by_hand(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-batch", partitions=2)
        records = timed_records(100)
        async with producer(bootstrap) as opened:
            batch = opened.create_batch()
            for record in records:
                assert batch.append(key=record.key, value=record.value, timestamp=record.timestamp_ms) is not None
            answer = await (await opened.send_batch(batch, topic, partition=1))
        assert answer.offset == 0
        async with reader_of(bootstrap, topic, 2) as reader:
            sent = [Stored(partition=1, offset=n, record=record) for n, record in enumerate(records)]
            assert_log(sent, await take(reader, 100))

    async def test_unknown_topic_is_created(self, bootstrap: str) -> None:
        topic = unique("aio-auto")
        async with producer(bootstrap) as opened:
            sent = await send_all(opened, topic, keyed_records(10))
            partitions = len(await opened.partitions_for(topic))
        async with reader_of(bootstrap, topic, partitions) as reader:
            assert_log(sent, await take(reader, 10))


class TestOffsets:
    async def test_seek_pause_and_resume(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-seek", partitions=2)
        quiet = await produce(bootstrap, topic, keyed_records(100), partition=0)
        heard = await produce(bootstrap, topic, keyed_records(100), partition=1)
        first, second = partitions_of(topic, 2)
        async with reader_of(bootstrap, topic, 2) as reader:
            reader.pause(first)
            assert_log(heard, await take(reader, 100))
            assert reader.paused() == {first}
            reader.seek(second, 60)
            assert_log(heard[60:], await take(reader, 40), first_offsets={1: 60})
            assert await reader.position(second) == 100
            reader.resume(first)
            assert_log(quiet, await take(reader, 100))
            assert (reader.highwater(first), reader.last_stable_offset(first)) == (100, 100)
            await reader.seek_to_beginning(first)
            assert await reader.position(first) == 0
            await reader.seek_to_end(first)
            assert await reader.position(first) == 100

    async def test_getmany_of_one_partition_and_a_limit(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-many", partitions=2)
        sent = await produce(bootstrap, topic, keyed_records(50), partition=0)
        await produce(bootstrap, topic, keyed_records(50), partition=1)
        first, _ = partitions_of(topic, 2)
        async with reader_of(bootstrap, topic, 2) as reader:
            taken: list[Stored] = []
            async with asyncio.timeout(WAIT_S):
                while len(taken) < 50:
                    found = await reader.getmany(first, timeout_ms=POLL_MS, max_records=7)
                    assert set(found) <= {first}
                    assert sum(len(part) for part in found.values()) <= 7
                    taken += [stored_from(each) for part in found.values() for each in part]
        assert_log(sent, taken)

    async def test_offsets_for_times_and_ends(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-times", partitions=2)
        await produce(bootstrap, topic, timed_records(100), partition=0, max_batch_size=500)
        first, second = partitions_of(topic, 2)
        async with consumer(bootstrap) as reader:
            for at, n in ((0, 0), (1, 1), (999, 1), (1_000, 1), (42_000, 42), (98_001, 99)):
                asked = {first: BASE_TIMESTAMP_MS + at, second: BASE_TIMESTAMP_MS + at}
                found = await reader.offsets_for_times(asked)
                assert (found[first].offset, found[first].timestamp) == (n, BASE_TIMESTAMP_MS + n * 1_000)
                assert found[second] is None
            assert await reader.offsets_for_times({first: BASE_TIMESTAMP_MS + 99_001}) == {first: None}
            assert await reader.beginning_offsets([first, second]) == {first: 0, second: 0}
            assert await reader.end_offsets([first, second]) == {first: 100, second: 0}

    async def test_commit_with_metadata(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "aio-commit", partitions=2), unique("group")
        first, second = partitions_of(topic, 2)
        settings = {"group_id": group, "enable_auto_commit": False}
        async with reader_of(bootstrap, topic, 2, **settings) as reader:
            assert await reader.committed(first) is None
            await reader.commit({first: aiokafka.structs.OffsetAndMetadata(7, "seven ✓")})
        async with reader_of(bootstrap, topic, 2, **settings) as reader:
            assert await reader.committed(first) == 7
            assert await reader.committed(second) is None
        async with admin_of(bootstrap) as admin:
            listed = await admin.list_consumer_group_offsets(group)
            chosen = await admin.list_consumer_group_offsets(group, partitions=[first, second])
        assert listed == {first: (7, "seven ✓")}
        assert chosen == {first: (7, "seven ✓"), second: (-1, "")}

    async def test_offset_out_of_range_without_a_reset(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-range", partitions=1)
        await produce(bootstrap, topic, keyed_records(5))
        (partition,) = partitions_of(topic, 1)
        async with reader_of(bootstrap, topic, 1, auto_offset_reset="none") as reader:
            reader.seek(partition, 50)
            with pytest.raises(aiokafka_errors.OffsetOutOfRangeError):
                await take(reader, 1)

    @pytest.mark.parametrize(("reset", "first"), [("earliest", 0), ("latest", 5)])
    async def test_offset_reset(self, bootstrap: str, reset: str, first: int) -> None:
        topic = create_topic(bootstrap, "aio-reset", partitions=1)
        await produce(bootstrap, topic, keyed_records(5))
        (partition,) = partitions_of(topic, 1)
        async with reader_of(bootstrap, topic, 1, auto_offset_reset=reset) as reader:
            assert await reader.position(partition) == first


class _Member(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a group with an event loop of its own, which runs while its `Pump` steps.

    It commits what it has read before it gives partitions away; until then nothing more may be read from them.
    """

    def __init__(self, bootstrap: str, topic: str, group: str, assignor: Any, ledger: Ledger, name: str) -> None:
        self._ledger, self._name, self._topic = ledger, name, topic
        self._settings = {
            "bootstrap_servers": bootstrap,
            "client_id": name,
            "group_id": group,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "partition_assignment_strategy": [assignor],
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 200,
        }
        self._runner = asyncio.Runner()
        self._consumer: Any = None

    def step(self) -> None:
        self._runner.run(self._step())

    def close(self) -> None:
        self._runner.run(self._stop())
        self._runner.close()

    async def _step(self) -> None:
        if self._consumer is None:
            self._consumer = aiokafka.AIOKafkaConsumer(**self._settings)
            self._consumer.subscribe([self._topic], listener=self)
            await self._consumer.start()
        self._ledger.read(await poll(self._consumer))

    async def _stop(self) -> None:
        if self._consumer is not None:
            await self.on_partitions_revoked(self._consumer.assignment())
            await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._ledger.assigned(self._name, [each.partition for each in assigned])

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        given = list(revoked)
        if given:
            await self._consumer.commit()
        self._ledger.revoked(self._name, [each.partition for each in given])


class TestGroups:
    @pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky"])
    def test_grows_and_shrinks(self, bootstrap: str, assignor: str) -> None:
        topic, group, ledger = create_topic(bootstrap, "aio-grow"), unique("group"), Ledger()

        def join(name: str) -> Pump:
            member = _Member(bootstrap, topic, group, assignors[assignor], ledger, name)
            return Pump(name, ledger, member.step, member.close)

        grow_and_shrink(bootstrap, topic, ledger, join)


class TestAdmin:
    async def test_create_describe_and_delete_topics(self, bootstrap: str) -> None:
        names = [unique("aio-admin"), unique("aio-admin")]
        new_topics = [aiokafka_admin.NewTopic(name, 3, 1) for name in names]
        async with admin_of(bootstrap) as admin:
            created = await admin.create_topics(new_topics)
            assert {each[0]: each[1] for each in created.topic_errors} == dict.fromkeys(names, 0)
            again = await admin.create_topics(new_topics[:1])
            assert [each[1] for each in again.topic_errors] == [aiokafka_errors.TopicAlreadyExistsError.errno]

            async def listed() -> set[str]:
                return set(names) & set(await admin.list_topics())

            async def all_listed() -> bool:
                return await listed() == set(names)

            async def none_listed() -> bool:
                return not await listed()

            await until(all_listed, "created topics")
            for described in await admin.describe_topics(names):
                assert described["error_code"] == 0
                assert not described["is_internal"]
                assert sorted(each["partition"] for each in described["partitions"]) == [0, 1, 2]
            deleted = await admin.delete_topics(names)
            assert dict(deleted.topic_error_codes) == dict.fromkeys(names, 0)
            await until(none_listed, "deleted topics")
            gone = await admin.delete_topics(names[:1])
            unknown = aiokafka_errors.UnknownTopicOrPartitionError.errno
            assert dict(gone.topic_error_codes) == {names[0]: unknown}

    async def test_create_partitions(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-widen", partitions=1)
        async with admin_of(bootstrap) as admin:
            await admin.create_partitions({topic: aiokafka_admin.NewPartitions(3)})

            async def widened() -> bool:
                (described,) = await admin.describe_topics([topic])
                return len(described["partitions"]) == 3

            await until(widened, "three partitions")
            with pytest.raises(aiokafka_errors.InvalidPartitionsError):
                await admin.create_partitions({topic: aiokafka_admin.NewPartitions(2)})

    async def test_configs(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-config", partitions=1, config={"retention.ms": "3600000"})
        kind = config_resource.ConfigResourceType.TOPIC
        resource = config_resource.ConfigResource(kind, topic)
        change = config_resource.ConfigResource(kind, topic, {"max.message.bytes": "2000000"})
        async with admin_of(bootstrap) as admin:
            assert (await values(admin, resource))["retention.ms"] == "3600000"
            (altered,) = await admin.alter_configs([change])
            assert [each[0] for each in altered.resources] == [0]

            async def applied() -> bool:
                return (await values(admin, resource))["max.message.bytes"] == "2000000"

            await until(applied, "altered configs")
            # This request replaces all configs of the topic: what it does not name is at its default again.
            assert (await values(admin, resource))["retention.ms"] == "604800000"

    async def test_cluster(self, bootstrap: str) -> None:
        async with admin_of(bootstrap) as admin:
            cluster = await admin.describe_cluster()
        brokers = {each["node_id"]: f"{each['host']}:{each['port']}" for each in cluster["brokers"]}
        assert bootstrap in brokers.values()
        assert cluster["controller_id"] in brokers
        assert cluster["cluster_id"]

    async def test_groups(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "aio-group", partitions=2), unique("group")
        sent = await produce(bootstrap, topic, keyed_records(20), partition=0)
        async with admin_of(bootstrap) as admin:
            async with consumer(bootstrap, topic, group_id=group, client_id="the-client") as reader:
                assert_log(sent, await take(reader, 20))
                assert (group, "consumer") in {each[:2] for each in await admin.list_consumer_groups()}
                (described,) = (await admin.describe_consumer_groups([group]))[0].groups
                error, name, state, protocol_type, protocol, members, *_ = described
                assert (error, name, state, protocol_type) == (0, group, "Stable", "consumer")
                assert protocol == "roundrobin"
                assert [member[1] for member in members] == ["the-client"]
            first, _ = partitions_of(topic, 2)
            # Closing committed what had been read.
            assert (await admin.list_consumer_group_offsets(group))[first].offset == 20
            (described,) = (await admin.describe_consumer_groups([group]))[0].groups
            assert described[2] == "Empty"

    async def test_delete_records(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "aio-trim", partitions=1)
        sent = await produce(bootstrap, topic, keyed_records(10))
        (partition,) = partitions_of(topic, 1)
        async with admin_of(bootstrap) as admin:
            deleted = await admin.delete_records({partition: aiokafka_admin.RecordsToDelete(before_offset=4)})
            assert deleted == {partition: 4}
        async with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent[4:], await take(reader, 6), first_offsets={0: 4})


async def values(admin: Any, resource: Any) -> dict[str, str]:
    (described,) = await admin.describe_configs([resource])
    ((error, _, _, name, entries),) = described.resources
    assert (error, name) == (0, resource.name)
    return {entry[0]: entry[1] for entry in entries}
