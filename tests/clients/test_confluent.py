"""librdkafka through confluent-kafka: producing, consuming, offsets, administration and groups."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

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
    admin_api,
    admin_client,
    assert_log,
    assert_spread,
    await_partitions,
    create_topic,
    eventually,
    grow_and_shrink,
    incompressible,
    keyed_records,
    peculiar_records,
    produce,
    result,
    send_all,
    timed_records,
    unique,
)

POLL_S = 0.2
"""How long one poll of a group member waits: short, so that a member notices quickly that it shall stop."""

QUICK_GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200}
"""Members learn of a rebalance from a heartbeat; the default of 3 s would only make the tests longer."""


def stored_from(message: Message) -> Stored:
    """The record in a message; raises the error that the message carries instead."""
    if (error := message.error()) is not None:
        raise KafkaException(error)
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    record = Record(
        key=message.key(),
        value=message.value(),
        headers=tuple(_headers(message)),
        timestamp_ms=message.timestamp()[1],
    )
    return Stored(partition=partition, offset=offset, record=record)


def _headers(message: Message) -> Iterator[tuple[str, bytes | None]]:
    headers = message.headers() or []
    assert isinstance(headers, list)
    for name, value in headers:
        assert not isinstance(value, str)
        yield name, value


@contextmanager
def consumer(bootstrap: str, **settings: Any) -> Iterator[Consumer]:
    """A consumer of its own group, from the beginning on, unless `settings` (`_` for `.`) says otherwise."""
    defaults = {
        "bootstrap.servers": bootstrap,
        "group.id": unique("group"),
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
    }
    opened = Consumer(defaults | {name.replace("_", "."): value for name, value in settings.items()})
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def reader_of(bootstrap: str, topic: str, partitions: int = PARTITIONS, **settings: Any) -> Iterator[Consumer]:
    """A consumer of all partitions by assignment: nothing of it waits for a group to form."""
    with consumer(bootstrap, **settings) as reader:
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
        yield reader


def take(reader: Consumer, count: int) -> list[Stored]:
    """The next `count` records; fails when they do not come."""
    taken: list[Stored] = []
    deadline = Deadline(f"{count} records")
    while len(taken) < count:
        left = next(deadline.turns())
        taken += [stored_from(message) for message in reader.consume(count - len(taken), timeout=min(1.0, left))]
    return taken


def read_topic(bootstrap: str, topic: str, count: int) -> list[Stored]:
    """Read `count` records and check that every partition ends there."""
    with reader_of(bootstrap, topic, enable_partition_eof=True) as reader:
        taken, ends = until_ends(reader, PARTITIONS)
    assert len(taken) == count
    assert sum(ends.values()) == count
    return taken


def until_ends(reader: Consumer, partitions: int) -> tuple[list[Stored], dict[int, int]]:
    """Read until so many partitions have reported their end; return the records and the end offsets."""
    taken: list[Stored] = []
    ends: dict[int, int] = {}
    for left in Deadline(f"the end of {partitions} partitions").turns():
        for message in reader.consume(1000, timeout=min(POLL_S, left)):
            error = message.error()
            if error is None:
                taken.append(stored_from(message))
                continue
            assert error.code() == KafkaError._PARTITION_EOF, error
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            assert ends.setdefault(partition, offset) == offset, "one partition ended at two offsets"
        if len(ends) == partitions:
            break
    return taken, ends


def expect_error(code: int, call: Callable[[], object]) -> KafkaError:
    with pytest.raises(KafkaException) as caught:
        call()
    error = caught.value.args[0]
    assert isinstance(error, KafkaError)
    assert error.code() == code, error
    return error


class TestProduceAndConsume:
    def test_default_settings(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "defaults")
        sent = produce(bootstrap, topic, keyed_records(5000))
        assert_spread(sent)
        reader = Consumer({"bootstrap.servers": bootstrap, "group.id": unique("g"), "auto.offset.reset": "earliest"})
        reader.subscribe([topic])
        assert_log(sent, take(reader, 5000))
        reader.close()

    def test_idempotent_producer(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "idempotent")
        settings = {"enable.idempotence": True, "batch.num.messages": 50, "linger.ms": 1}
        sent = produce(bootstrap, topic, keyed_records(3000), settings=settings)
        assert_log(sent, read_topic(bootstrap, topic, 3000))

    @pytest.mark.parametrize("acks", [0, 1, "all"])
    def test_acks(self, bootstrap: str, acks: int | str) -> None:
        topic = create_topic(bootstrap, "acks")
        sent = produce(bootstrap, topic, keyed_records(2000), settings={"acks": acks})
        assert all((each.offset is None) == (acks == 0) for each in sent)
        with reader_of(bootstrap, topic) as reader:
            assert_log(sent, take(reader, 2000))

    @pytest.mark.parametrize("codec", CODECS)
    def test_compression(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, codec)
        records = [*keyed_records(2000), *peculiar_records()]
        sent = produce(bootstrap, topic, records, settings={"compression.type": codec, "linger.ms": 20})
        assert_log(sent, read_topic(bootstrap, topic, len(records)))

    @pytest.mark.parametrize("codec", ["gzip", "zstd"])
    def test_topic_that_compresses_by_itself(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "recompress", config={"compression.type": codec})
        records = [*keyed_records(500), *peculiar_records()]
        sent = produce(bootstrap, topic, records, settings={"compression.type": "lz4"})
        assert_log(sent, read_topic(bootstrap, topic, len(records)))

    def test_nulls_and_headers(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "peculiar", partitions=1)
        sent = produce(bootstrap, topic, peculiar_records(), partition=0)
        with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, take(reader, len(sent)))

    def test_timestamps_are_kept(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "timestamps", partitions=1)
        records = [*timed_records(100), *reversed(timed_records(100))]
        sent = produce(bootstrap, topic, records)
        with reader_of(bootstrap, topic, 1) as reader:
            messages = [reader.poll(WAIT_S) for _ in records]
        read = [stored_from(message) for message in messages if message is not None]
        assert_log(sent, read)
        assert {message.timestamp()[0] for message in messages if message is not None} == {TIMESTAMP_CREATE_TIME}

    def test_log_append_time(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "appendtime", partitions=1, config={"message.timestamp.type": "LogAppendTime"})
        with consumer(bootstrap) as reader:
            reader.assign([TopicPartition(topic, 0, 0)])
            sent = produce(bootstrap, topic, timed_records(50))
            messages = [reader.poll(WAIT_S) for _ in sent]
        for expected, message in zip(sent, messages, strict=True):
            assert message is not None
            kind, timestamp_ms = message.timestamp()
            assert kind == TIMESTAMP_LOG_APPEND_TIME
            assert timestamp_ms > BASE_TIMESTAMP_MS + 3_000_000
            assert message.value() == expected.record.value

    def test_record_of_a_million_bytes(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "large", partitions=1)
        records = [Record(key=b"large", value=incompressible(LARGE_VALUE_BYTES, seed=n)) for n in range(4)]
        sent = produce(bootstrap, topic, records, settings={"message.max.bytes": 10_000_000})
        with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, take(reader, len(records)))

    def test_record_larger_than_the_fetch_limits(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "overfetch", partitions=1)
        records = [Record(value=incompressible(200_000, seed=n)) for n in range(5)]
        sent = produce(bootstrap, topic, records)
        with reader_of(bootstrap, topic, 1, fetch_message_max_bytes=1000) as reader:
            assert_log(sent, take(reader, len(records)))

    def test_record_too_large_is_refused_alone(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "toolarge", partitions=1)
        producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 10_000_000})
        errors: list[KafkaError | None] = []
        producer.produce(
            topic,
            incompressible(TOO_LARGE_VALUE_BYTES),
            on_delivery=lambda error, _message: errors.append(error),
        )
        assert producer.flush(WAIT_S) == 0
        assert [error and error.code() for error in errors] == [KafkaError.MSG_SIZE_TOO_LARGE]
        sent = send_all(producer, topic, keyed_records(10))
        with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, take(reader, 10))

    def test_limit_of_the_topic(self, bootstrap: str) -> None:
        settings = {"message.max.bytes": 10_000_000}
        strict = create_topic(bootstrap, "strict", partitions=1, config={"max.message.bytes": "10000"})
        with pytest.raises(AssertionError, match="MSG_SIZE_TOO_LARGE"):
            produce(bootstrap, strict, [Record(value=incompressible(20_000))], settings=settings)
        generous = create_topic(bootstrap, "generous", partitions=1, config={"max.message.bytes": "4000000"})
        record = Record(value=incompressible(TOO_LARGE_VALUE_BYTES))
        sent = produce(bootstrap, generous, [record], settings=settings)
        with reader_of(bootstrap, generous, 1) as reader:
            assert_log(sent, take(reader, 1))

    def test_consumer_waits_for_records_to_come(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "tail")
        with reader_of(bootstrap, topic, enable_partition_eof=True) as reader:
            assert until_ends(reader, PARTITIONS) == ([], dict.fromkeys(range(PARTITIONS), 0))
            sent = produce(bootstrap, topic, keyed_records(500))
            ends = {each.partition: 0 for each in sent}
            for each in sent:
                ends[each.partition] += 1
            read, read_ends = until_ends_at(reader, ends)
        assert_log(sent, read)
        assert read_ends == ends

    def test_fetch_of_compressed_batches_from_the_middle(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "middle", partitions=1)
        settings = {"compression.type": "lz4", "linger.ms": 50}
        sent = produce(bootstrap, topic, keyed_records(1000), settings=settings)
        with consumer(bootstrap) as reader:
            for start in (0, 1, 499, 998, 999):
                reader.assign([TopicPartition(topic, 0, start)])
                assert_log(sent[start:], take(reader, 1000 - start), first_offsets={0: start})


def until_ends_at(reader: Consumer, ends: dict[int, int]) -> tuple[list[Stored], dict[int, int]]:
    """Read until each partition has reported its end at the offset in `ends`."""
    taken: list[Stored] = []
    seen: dict[int, int] = {}
    for left in Deadline("the ends of partitions that grow").turns():
        for message in reader.consume(1000, timeout=min(POLL_S, left)):
            if message.error() is None:
                taken.append(stored_from(message))
            else:
                seen[message.partition() or 0] = message.offset() or 0
        if seen == ends:
            break
    return taken, seen


class TestOffsets:
    def test_offsets_for_times_to_the_record(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "times", partitions=2)
        first = produce(bootstrap, topic, timed_records(500), partition=0, settings={"batch.num.messages": 7})
        produce(bootstrap, topic, timed_records(500), partition=1, settings={"compression.type": "zstd"})
        assert len(first) == 500
        with consumer(bootstrap) as reader:

            def offsets_at(timestamp_ms: int) -> list[int]:
                query = [TopicPartition(topic, partition, timestamp_ms) for partition in (0, 1)]
                answer = reader.offsets_for_times(query, timeout=WAIT_S)
                assert [each.error for each in answer] == [None, None]
                return [each.offset for each in answer]

            for n in (0, 1, 6, 7, 250, 498, 499):
                at = BASE_TIMESTAMP_MS + n * 1_000
                assert offsets_at(at) == [n, n]
                assert offsets_at(at - 1) == [n, n]
                assert offsets_at(at - 999) == [n, n]
            assert offsets_at(0) == [0, 0]
            assert offsets_at(BASE_TIMESTAMP_MS + 499_001) == [OFFSET_END, OFFSET_END]

    def test_offsets_for_times_out_of_order(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "jumble", partitions=1)
        for seconds in ([1, 5, 2], [6, 3], [4, 9, 7, 8]):
            records = [Record(value=b"%d" % n, timestamp_ms=BASE_TIMESTAMP_MS + n * 1_000) for n in seconds]
            produce(bootstrap, topic, records, settings={"linger.ms": 100})
        with consumer(bootstrap) as reader:
            found = {}
            for n in range(11):
                query = [TopicPartition(topic, 0, BASE_TIMESTAMP_MS + n * 1_000)]
                found[n] = reader.offsets_for_times(query, timeout=WAIT_S)[0].offset
        assert found == {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 3, 7: 6, 8: 6, 9: 6, 10: OFFSET_END}

    def test_watermarks(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "watermarks", partitions=2)
        produce(bootstrap, topic, keyed_records(25), partition=1)
        with consumer(bootstrap) as reader:
            assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S) == (0, 0)
            assert reader.get_watermark_offsets(TopicPartition(topic, 1), timeout=WAIT_S) == (0, 25)
            expect_error(
                KafkaError._UNKNOWN_PARTITION,
                lambda: reader.get_watermark_offsets(TopicPartition(topic, 2), timeout=WAIT_S),
            )

    def test_deleted_records_raise_the_low_watermark(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "trimmed", partitions=1)
        sent = produce(bootstrap, topic, keyed_records(100), settings={"batch.num.messages": 10})
        admin = admin_client(bootstrap)
        deleted = admin.delete_records([TopicPartition(topic, 0, 42)])
        assert [result(future).low_watermark for future in deleted.values()] == [42]
        with consumer(bootstrap) as reader:
            assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S) == (42, 100)
            reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
            assert_log(sent[42:], take(reader, 58), first_offsets={0: 42})
            reader.seek(TopicPartition(topic, 0, 41))
            assert_log(sent[42:], take(reader, 58), first_offsets={0: 42})
        beyond = admin.delete_records([TopicPartition(topic, 0, 101)])
        expect_error(KafkaError.OFFSET_OUT_OF_RANGE, lambda: [result(future) for future in beyond.values()])

    def test_list_offsets(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "listoffsets", partitions=1)
        records = [Record(value=b"x", timestamp_ms=BASE_TIMESTAMP_MS + n) for n in (10, 30, 20)]
        produce(bootstrap, topic, records)
        admin = admin_client(bootstrap)

        def ask(wanted: Any) -> tuple[int, int]:
            listed = admin.list_offsets({TopicPartition(topic, 0): wanted})
            found = result(next(iter(listed.values())))
            return found.offset, found.timestamp

        assert ask(admin_api.OffsetSpec.earliest()) == (0, -1)
        assert ask(admin_api.OffsetSpec.latest()) == (3, -1)
        assert ask(admin_api.OffsetSpec.max_timestamp()) == (1, BASE_TIMESTAMP_MS + 30)
        assert ask(admin_api.OffsetSpec.for_timestamp(BASE_TIMESTAMP_MS + 11)) == (1, BASE_TIMESTAMP_MS + 30)
        assert ask(admin_api.OffsetSpec.for_timestamp(BASE_TIMESTAMP_MS + 31)) == (-1, -1)

    def test_commit_with_metadata(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "metadata"), unique("group")
        produce(bootstrap, topic, keyed_records(100), partition=3)
        with consumer(bootstrap, group_id=group, enable_auto_commit=False) as writer:
            offsets = [
                TopicPartition(topic, 3, 17, metadata="seventeen ✓"),
                TopicPartition(topic, 4, 0, metadata=""),
            ]
            committed = writer.commit(offsets=offsets, asynchronous=False)
            assert [each.error for each in committed] == [None, None]
        with consumer(bootstrap, group_id=group) as reader:
            wanted = [TopicPartition(topic, partition) for partition in (3, 4, 5)]
            found = reader.committed(wanted, timeout=WAIT_S)
        assert [(each.partition, each.offset) for each in found] == [(3, 17), (4, 0), (5, OFFSET_INVALID)]
        assert found[0].metadata == "seventeen ✓"
        assert not found[1].metadata

    def test_commit_metadata_too_large(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "longmetadata", partitions=1)
        with consumer(bootstrap) as writer:
            offsets = [TopicPartition(topic, 0, 1, metadata="m" * 4097)]
            expect_error(
                KafkaError.OFFSET_METADATA_TOO_LARGE,
                lambda: writer.commit(offsets=offsets, asynchronous=False),
            )

    def test_stored_offsets_are_what_is_committed(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "stored", partitions=1), unique("group")
        sent = produce(bootstrap, topic, keyed_records(20))
        with consumer(bootstrap, group_id=group, enable_auto_offset_store=False) as reader:
            reader.assign([TopicPartition(topic, 0)])
            taken = [message for message in (reader.poll(WAIT_S) for _ in range(20)) if message is not None]
            assert len(taken) == 20
            reader.store_offsets(message=taken[6])
        with consumer(bootstrap, group_id=group) as reader:
            assert reader.committed([TopicPartition(topic, 0)], timeout=WAIT_S)[0].offset == 7
            reader.assign([TopicPartition(topic, 0)])
            assert_log(sent[7:], take(reader, 13), first_offsets={0: 7})

    def test_seek_and_position(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "seek", partitions=1)
        sent = produce(bootstrap, topic, keyed_records(300))
        with consumer(bootstrap) as reader:
            reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
            take(reader, 1)
            for start in (250, 0, 299, 100):
                reader.seek(TopicPartition(topic, 0, start))
                assert take(reader, 1)[0].record.value == sent[start].record.value
                assert reader.position([TopicPartition(topic, 0)])[0].offset == start + 1

    def test_pause_and_resume(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "pause", partitions=2)
        quiet = produce(bootstrap, topic, keyed_records(50), partition=0)
        heard = produce(bootstrap, topic, keyed_records(50), partition=1)
        with consumer(bootstrap, enable_partition_eof=True) as reader:
            reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in (0, 1)])
            reader.pause([TopicPartition(topic, 0)])
            read, ends = until_ends(reader, 1)
            assert ends == {1: 50}
            assert_log(heard, read)
            reader.resume([TopicPartition(topic, 0)])
            read, ends = until_ends(reader, 1)
            assert ends == {0: 50}
            assert_log(quiet, read)


class TestOffsetReset:
    def test_earliest(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "earliest", partitions=1)
        sent = produce(bootstrap, topic, keyed_records(10))
        with consumer(bootstrap, auto_offset_reset="earliest") as reader:
            reader.assign([TopicPartition(topic, 0)])
            assert_log(sent, take(reader, 10))

    def test_latest(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "latest", partitions=1)
        produce(bootstrap, topic, keyed_records(10))
        with consumer(bootstrap, auto_offset_reset="latest", enable_partition_eof=True) as reader:
            reader.assign([TopicPartition(topic, 0)])
            assert until_ends(reader, 1) == ([], {0: 10})
            late = produce(bootstrap, topic, keyed_records(5, start=10))
            assert_log(late, until_ends_at(reader, {0: 15})[0], first_offsets={0: 10})

    def test_error(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "noreset", partitions=1)
        with consumer(bootstrap, auto_offset_reset="error") as reader:
            reader.assign([TopicPartition(topic, 0)])
            assert first_error(reader).code() == KafkaError._AUTO_OFFSET_RESET

    @pytest.mark.parametrize(("reset", "first"), [("earliest", 0), ("latest", 20)])
    def test_offset_out_of_range(self, bootstrap: str, reset: str, first: int) -> None:
        topic = create_topic(bootstrap, "outofrange", partitions=1)
        sent = produce(bootstrap, topic, keyed_records(20))
        with consumer(bootstrap, auto_offset_reset=reset, enable_partition_eof=True) as reader:
            reader.assign([TopicPartition(topic, 0, 1000)])
            read, ends = until_ends(reader, 1)
            assert ends == {0: 20}
            assert [each.offset for each in read] == list(range(first, 20))
            assert [each.record.value for each in read] == [each.record.value for each in sent[first:]]


def first_error(reader: Consumer) -> KafkaError:
    """Poll until a message carries an error."""

    def error_of_poll() -> KafkaError | None:
        message = reader.poll(POLL_S)
        return None if message is None else message.error()

    return eventually(error_of_poll, "an error")


class TestMetadata:
    def test_list_topics(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "listed")
        metadata: Any = admin_client(bootstrap).list_topics(timeout=WAIT_S)
        assert metadata.cluster_id
        assert metadata.controller_id in metadata.brokers
        found = metadata.topics[topic]
        assert found.error is None
        assert sorted(found.partitions) == list(range(PARTITIONS))
        for partition in found.partitions.values():
            assert partition.error is None
            assert partition.leader in metadata.brokers
            assert partition.leader in partition.replicas
            assert set(partition.isrs) <= set(partition.replicas)

    def test_topic_that_is_not_there(self, bootstrap: str) -> None:
        topic, admin = unique("absent"), admin_client(bootstrap)
        with consumer(bootstrap) as reader:
            found = reader.list_topics(topic, timeout=WAIT_S).topics[topic]
            assert found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            assert not found.partitions
            reader.subscribe([topic])
            assert first_error(reader).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        assert topic not in admin.list_topics(timeout=WAIT_S).topics

    def test_consumer_that_creates_its_topic(self, bootstrap: str) -> None:
        topic = unique("autoconsume")
        refresh = {"topic_metadata_refresh_interval_ms": 200}
        with reader_of(bootstrap, topic, 1, allow_auto_create_topics=True, **refresh) as reader:
            admin = admin_client(bootstrap)
            eventually(lambda: True if topic in topics_after_poll(reader, admin) else None, "the topic")
            sent = produce(bootstrap, topic, keyed_records(10), partition=0)
            assert_log(sent, take_when_there(reader, 10))

    def test_producer_creates_its_topic(self, bootstrap: str) -> None:
        topic = unique("autoproduce")
        sent = produce(bootstrap, topic, keyed_records(10))
        partitions = len(admin_client(bootstrap).list_topics(topic, timeout=WAIT_S).topics[topic].partitions)
        with reader_of(bootstrap, topic, partitions) as reader:
            assert_log(sent, take(reader, 10))

    def test_producer_that_may_not_create_its_topic(self, bootstrap: str) -> None:
        settings = {"allow.auto.create.topics": False, "topic.metadata.propagation.max.ms": 500}
        with pytest.raises(AssertionError, match="UNKNOWN_TOPIC"):
            produce(bootstrap, unique("forbidden"), [Record(value=b"x")], settings=settings)


def quiet_poll(reader: Consumer) -> None:
    """Let librdkafka work; that the topic is not there yet is no failure."""
    message = reader.poll(POLL_S)
    if message is not None and (error := message.error()) is not None:
        assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def take_when_there(reader: Consumer, count: int) -> list[Stored]:
    """As `take`, while reports that the topic was not there are still queued."""
    taken: list[Stored] = []
    for left in Deadline(f"{count} records").turns():
        messages = reader.consume(count - len(taken), timeout=min(POLL_S, left))
        taken += [stored_from(message) for message in messages if message.error() is None]
        if len(taken) == count:
            break
    return taken


def topics_after_poll(reader: Consumer, admin: AdminClient) -> set[str]:
    quiet_poll(reader)
    return set(admin.list_topics(timeout=WAIT_S).topics)


class TestAdmin:
    def test_create_describe_and_delete_topics(self, bootstrap: str) -> None:
        admin, names = admin_client(bootstrap), [unique("admin"), unique("admin")]
        created = admin.create_topics([admin_api.NewTopic(name, 3, 1) for name in names])
        assert [result(created[name]) for name in names] == [None, None]
        for name in names:
            await_partitions(admin, name, 3)
        described = describe_topics(admin, names)
        assert [len(each.partitions) for each in described] == [3, 3]
        assert [each.is_internal for each in described] == [False, False]
        assert len({str(each.topic_id) for each in described}) == 2
        expect_error(
            KafkaError.TOPIC_ALREADY_EXISTS,
            lambda: result(admin.create_topics([admin_api.NewTopic(names[0], 1, 1)])[names[0]]),
        )
        deleted = admin.delete_topics(names)
        assert [result(deleted[name]) for name in names] == [None, None]
        await_absence(admin, names)
        expect_error(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: result(admin.delete_topics(names)[names[0]]))

    def test_recreated_topic_is_empty_and_new(self, bootstrap: str) -> None:
        admin, name = admin_client(bootstrap), create_topic(bootstrap, "again", partitions=1)
        produce(bootstrap, name, keyed_records(10))
        before = describe_topics(admin, [name])[0]
        result(admin.delete_topics([name])[name])
        await_absence(admin, [name])
        result(admin.create_topics([admin_api.NewTopic(name, 1, 1)])[name])
        await_partitions(admin, name, 1)
        assert str(describe_topics(admin, [name])[0].topic_id) != str(before.topic_id)
        sent = produce(bootstrap, name, keyed_records(3, start=100))
        with reader_of(bootstrap, name, 1) as reader:
            assert_log(sent, take(reader, 3))

    @pytest.mark.parametrize(
        ("name", "partitions", "config", "code"),
        [
            ("bad name!", 1, {}, KafkaError.TOPIC_EXCEPTION),
            ("..", 1, {}, KafkaError.TOPIC_EXCEPTION),
            ("n" * 250, 1, {}, KafkaError.TOPIC_EXCEPTION),
            (None, 0, {}, KafkaError.INVALID_PARTITIONS),
            (None, 1, {"no.such.config": "1"}, KafkaError.INVALID_CONFIG),
            (None, 1, {"retention.ms": "soon"}, KafkaError.INVALID_CONFIG),
        ],
    )
    def test_topics_that_are_refused(
        self, bootstrap: str, name: str | None, partitions: int, config: dict[str, str], code: int
    ) -> None:
        admin, topic = admin_client(bootstrap), name or unique("refused")
        created = admin.create_topics([admin_api.NewTopic(topic, partitions, 1, config=config)])
        expect_error(code, lambda: result(created[topic]))
        assert topic not in admin.list_topics(timeout=WAIT_S).topics

    def test_validate_only_creates_nothing(self, bootstrap: str) -> None:
        admin, name = admin_client(bootstrap), unique("dryrun")
        assert result(admin.create_topics([admin_api.NewTopic(name, 3, 1)], validate_only=True)[name]) is None
        assert name not in admin.list_topics(timeout=WAIT_S).topics

    def test_create_partitions(self, bootstrap: str) -> None:
        admin, name = admin_client(bootstrap), create_topic(bootstrap, "widened", partitions=2)
        before = produce(bootstrap, name, keyed_records(20), partition=1)
        assert result(admin.create_partitions([admin_api.NewPartitions(name, 5)])[name]) is None
        await_partitions(admin, name, 5)
        after = produce(bootstrap, name, keyed_records(20), partition=4)
        with reader_of(bootstrap, name, 5) as reader:
            assert_log([*before, *after], take(reader, 40))
        absent = unique("absent")
        refused = [
            (name, 5, KafkaError.INVALID_PARTITIONS),
            (name, 1, KafkaError.INVALID_PARTITIONS),
            (absent, 2, KafkaError.UNKNOWN_TOPIC_OR_PART),
        ]
        for topic, count, code in refused:
            future = admin.create_partitions([admin_api.NewPartitions(topic, count)])[topic]
            with pytest.raises(KafkaException) as caught:
                result(future)
            assert caught.value.args[0].code() == code

    def test_describe_and_alter_topic_configs(self, bootstrap: str) -> None:
        admin = admin_client(bootstrap)
        name = create_topic(bootstrap, "configured", partitions=1, config={"retention.ms": "3600000"})
        before = describe_configs(admin, admin_api.ResourceType.TOPIC, name)
        assert before["retention.ms"].value == "3600000"
        assert before["retention.ms"].source == admin_api.ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        assert not before["retention.ms"].is_default
        assert before["cleanup.policy"].value == "delete"
        assert before["cleanup.policy"].source == admin_api.ConfigSource.DEFAULT_CONFIG.value
        assert before["cleanup.policy"].is_default
        assert before["max.message.bytes"].value == "1048588"
        assert not any(entry.is_read_only for entry in before.values())
        changes = [
            admin_api.ConfigEntry(
                "cleanup.policy", "compact", incremental_operation=admin_api.AlterConfigOpType.APPEND
            ),
            admin_api.ConfigEntry(
                "max.message.bytes", "2000000", incremental_operation=admin_api.AlterConfigOpType.SET
            ),
            admin_api.ConfigEntry("retention.ms", None, incremental_operation=admin_api.AlterConfigOpType.DELETE),
        ]
        alter(admin, name, changes)
        after = eventually(
            lambda: found if (found := describe_configs(admin, admin_api.ResourceType.TOPIC, name)) != before else None,
            "altered configs",
        )
        assert after["cleanup.policy"].value == "delete,compact"
        assert after["max.message.bytes"].value == "2000000"
        assert after["retention.ms"].value == "604800000"
        assert after["retention.ms"].is_default
        wrong = [admin_api.ConfigEntry("retention.ms", "soon", incremental_operation=admin_api.AlterConfigOpType.SET)]
        expect_error(KafkaError.INVALID_CONFIG, lambda: alter(admin, name, wrong))
        expect_error(
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            lambda: describe_configs(admin, admin_api.ResourceType.TOPIC, unique("absent")),
        )

    def test_describe_broker_configs(self, bootstrap: str) -> None:
        admin = admin_client(bootstrap)
        broker = next(iter(admin.list_topics(timeout=WAIT_S).brokers))
        configs = describe_configs(admin, admin_api.ResourceType.BROKER, str(broker))
        assert configs["message.max.bytes"].value == "1048588"
        assert configs["auto.create.topics.enable"].value == "true"
        assert {"num.partitions", "log.retention.ms", "advertised.listeners"} <= configs.keys()

    def test_describe_cluster(self, bootstrap: str) -> None:
        admin = admin_client(bootstrap)
        cluster = result(admin.describe_cluster())
        metadata = admin.list_topics(timeout=WAIT_S)
        assert cluster.cluster_id == metadata.cluster_id
        assert {node.id for node in cluster.nodes} == set(metadata.brokers)
        assert cluster.controller.id in metadata.brokers
        assert bootstrap in {f"{node.host}:{node.port}" for node in cluster.nodes}

    def test_life_of_a_group(self, bootstrap: str) -> None:
        admin, topic, group = admin_client(bootstrap), create_topic(bootstrap, "described"), unique("group")
        sent = produce(bootstrap, topic, keyed_records(60))
        with consumer(bootstrap, group_id=group, client_id="the-client", enable_auto_commit=False) as reader:
            reader.subscribe([topic])
            assert_log(sent, take(reader, 60))
            reader.commit(asynchronous=False)
            assert listed_state(admin, group) is ConsumerGroupState.STABLE
            assert group in groups_in(admin, ConsumerGroupState.STABLE)
            assert group not in groups_in(admin, ConsumerGroupState.EMPTY)
            described = describe_group(admin, group)
            assert described.state is ConsumerGroupState.STABLE
            assert described.partition_assignor == "range"
            assert not described.is_simple_consumer_group
            (member,) = described.members
            assert (member.client_id, member.member_id) == ("the-client", reader.memberid())
            assert member.group_instance_id is None
            owned = {(each.topic, each.partition) for each in member.assignment.topic_partitions}
            assert owned == {(topic, partition) for partition in range(PARTITIONS)}
            busy = admin.delete_consumer_groups([group])[group]
            expect_error(KafkaError.NON_EMPTY_GROUP, lambda: result(busy))
        described = describe_group(admin, group)
        assert described.state is ConsumerGroupState.EMPTY
        assert described.members == []
        assert listed_state(admin, group) is ConsumerGroupState.EMPTY
        assert group_offsets(admin, group, topic) == ends_of(sent)
        alter_offsets(admin, group, TopicPartition(topic, 2, 1))
        assert group_offsets(admin, group, topic)[2] == 1
        assert result(admin.delete_consumer_groups([group])[group]) is None
        assert group not in {each.group_id for each in result(admin.list_consumer_groups()).valid}
        assert group_offsets(admin, group, topic) == {}
        gone = admin.delete_consumer_groups([group])[group]
        expect_error(KafkaError.GROUP_ID_NOT_FOUND, lambda: result(gone))

    def test_offsets_of_chosen_partitions(self, bootstrap: str) -> None:
        admin, topic, group = admin_client(bootstrap), create_topic(bootstrap, "chosen"), unique("group")
        alter_offsets(admin, group, TopicPartition(topic, 0, 5), TopicPartition(topic, 1, 6))
        wanted = [TopicPartition(topic, 1), TopicPartition(topic, 2)]
        request = ConsumerGroupTopicPartitions(group, wanted)
        found = result(admin.list_consumer_group_offsets([request])[group])
        assert [(each.partition, each.offset) for each in found.topic_partitions] == [
            (1, 6),
            (2, OFFSET_INVALID),
        ]


def describe_topics(admin: AdminClient, names: Sequence[str]) -> list[Any]:
    described = admin.describe_topics(TopicCollection(list(names)))
    return [result(described[name]) for name in names]


def await_absence(admin: AdminClient, names: Iterable[str]) -> None:
    absent = set(names)
    eventually(
        lambda: True if absent.isdisjoint(admin.list_topics(timeout=WAIT_S).topics) else None,
        "deleted topics",
    )


def describe_configs(admin: AdminClient, kind: Any, name: str) -> dict[str, Any]:
    resource = admin_api.ConfigResource(kind, name)
    configs: dict[str, Any] = result(admin.describe_configs([resource])[resource])
    return configs


def alter(admin: AdminClient, topic: str, changes: list[Any]) -> None:
    resource = admin_api.ConfigResource(admin_api.ResourceType.TOPIC, topic, incremental_configs=changes)
    result(admin.incremental_alter_configs([resource])[resource])


def describe_group(admin: AdminClient, group: str) -> Any:
    return result(admin.describe_consumer_groups([group])[group])


def listed_state(admin: AdminClient, group: str) -> ConsumerGroupState:
    listed = {each.group_id: each for each in result(admin.list_consumer_groups()).valid}
    assert not listed[group].is_simple_consumer_group
    state: ConsumerGroupState = listed[group].state
    return state


def groups_in(admin: AdminClient, state: ConsumerGroupState) -> set[str]:
    listed = result(admin.list_consumer_groups(states={state}))
    assert not listed.errors
    return {each.group_id for each in listed.valid}


def group_offsets(admin: AdminClient, group: str, topic: str) -> dict[int, int]:
    found = result(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
    assert {each.topic for each in found.topic_partitions} <= {topic}
    return {each.partition: each.offset for each in found.topic_partitions}


def alter_offsets(admin: AdminClient, group: str, *offsets: TopicPartition) -> None:
    altered = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, list(offsets))])
    assert all(each.error is None for each in result(altered[group]).topic_partitions)


def ends_of(sent: Iterable[Stored]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for each in sent:
        ends[each.partition] = ends.get(each.partition, 0) + 1
    return ends


class Member:
    """A member of a group, run by a `Pump`: commits what it has read before it gives partitions away."""

    def __init__(self, bootstrap: str, topic: str, ledger: Ledger, name: str, settings: dict[str, Any]) -> None:
        self._ledger, self._name = ledger, name
        defaults = {
            "bootstrap.servers": bootstrap,
            "client.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        self.consumer = Consumer(defaults | settings)
        self.consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def step(self) -> None:
        messages = self.consumer.consume(100, timeout=POLL_S)
        self._ledger.read([stored_from(message) for message in messages])

    def close(self) -> None:
        self.consumer.close()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._ledger.assigned(self._name, [each.partition for each in partitions])

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        read = [each for each in consumer.position(partitions) if each.offset >= 0]
        try:
            if read:
                consumer.commit(offsets=read, asynchronous=False)
        except KafkaException as cause:
            # The library does not survive an exception that leaves a callback.
            self._ledger.died(self._name, cause)
        self._ledger.revoked(self._name, [each.partition for each in partitions])

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._ledger.revoked(self._name, [each.partition for each in partitions])


class TestGroups:
    @pytest.mark.parametrize(
        "settings",
        [
            pytest.param({**QUICK_GROUP, "partition.assignment.strategy": "range"}, id="range"),
            pytest.param({**QUICK_GROUP, "partition.assignment.strategy": "roundrobin"}, id="roundrobin"),
            pytest.param({**QUICK_GROUP, "partition.assignment.strategy": "cooperative-sticky"}, id="cooperative"),
            pytest.param({"group.protocol": "consumer"}, id="kip-848", marks=pytest.mark.apache_only("KIP-848 groups")),
        ],
    )
    def test_grows_and_shrinks(self, bootstrap: str, settings: dict[str, Any]) -> None:
        topic, group, ledger = create_topic(bootstrap, "grow"), unique("group"), Ledger()

        def join(name: str) -> Pump:
            member = Member(bootstrap, topic, ledger, name, {**settings, "group.id": group})
            return Pump(name, ledger, member.step, member.close)

        def check_description() -> None:
            described = describe_group(admin_client(bootstrap), group)
            assert described.state is ConsumerGroupState.STABLE
            strategy = settings.get("partition.assignment.strategy", "uniform")
            assert described.partition_assignor == strategy
            shares = {
                member.client_id: {each.partition for each in member.assignment.topic_partitions}
                for member in described.members
            }
            assert shares == {name: ledger.owned(name) for name in ("first", "second", "third")}

        grow_and_shrink(bootstrap, topic, ledger, join, at_three=check_description)

    def test_static_member_comes_back_unnoticed(self, bootstrap: str) -> None:
        topic, group, ledger = create_topic(bootstrap, "static"), unique("group"), Ledger()
        settings = {**QUICK_GROUP, "session.timeout.ms": 30_000, "group.id": group}

        def join(name: str) -> Pump:
            member = Member(bootstrap, topic, ledger, name, {**settings, "group.instance.id": name})
            return Pump(name, ledger, member.step, member.close)

        stays = join("stays")
        ledger.await_balanced({"stays"})
        returns = join("returns")
        ledger.await_balanced({"stays", "returns"})
        try:
            share, rebalances = ledger.owned("returns"), ledger.rebalances("stays")
            sent = produce(bootstrap, topic, keyed_records(200))
            ledger.await_read(200)
            returns.stop()
            sent += produce(bootstrap, topic, keyed_records(200, start=200))
            returns = join("returns")
            ledger.await_balanced({"stays", "returns"})
            ledger.await_read(400)
            assert ledger.owned("returns") == share
            assert ledger.rebalances("stays") == rebalances
            assert_log(sent, ledger.records())
            instances = {
                m.client_id: m.group_instance_id for m in describe_group(admin_client(bootstrap), group).members
            }
            assert instances == {"stays": "stays", "returns": "returns"}
        finally:
            stays.stop()
            returns.stop()

    def test_second_holder_of_an_instance_id_fences_the_first(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "fenced"), unique("group")
        settings = {**QUICK_GROUP, "group.id": group, "group.instance.id": "only-one"}
        old_ledger, new_ledger = Ledger(), Ledger()
        old = Member(bootstrap, topic, old_ledger, "old", settings)
        fenced: list[KafkaError] = []
        stop = threading.Event()

        def poll_until_fenced() -> None:
            while not stop.is_set() and not fenced:
                message = old.consumer.poll(POLL_S)
                if message is not None and (error := message.error()) is not None:
                    fenced.append(error)

        thread = threading.Thread(target=poll_until_fenced, daemon=True)
        thread.start()
        old_ledger.await_balanced({"old"})
        new = Member(bootstrap, topic, new_ledger, "new", settings)
        pump = Pump("new", new_ledger, new.step, new.close)
        try:
            new_ledger.await_balanced({"new"})
            sent = produce(bootstrap, topic, keyed_records(100))
            new_ledger.await_read(100)
            assert_log(sent, new_ledger.records())
            thread.join(WAIT_S)
            (error,) = fenced
            assert error.code() == KafkaError._FATAL
            assert "Static consumer fenced" in error.str()
        finally:
            stop.set()
            thread.join(WAIT_S)
            pump.stop()
            old.close()

    def test_member_that_dies_is_replaced_after_its_session(self, bootstrap: str) -> None:
        topic, group, ledger = create_topic(bootstrap, "session"), unique("group"), Ledger()
        settings = {**QUICK_GROUP, "group.id": group, "max.poll.interval.ms": 6000}
        silent = Member(bootstrap, topic, ledger, "silent", settings)

        def joined() -> bool | None:
            silent.step()
            return True if ledger.owned("silent") else None

        eventually(joined, "an assignment")
        ledger.left("silent")
        survivor = Member(bootstrap, topic, ledger, "survivor", settings)
        pump = Pump("survivor", ledger, survivor.step, survivor.close)
        try:
            sent = produce(bootstrap, topic, keyed_records(100))
            ledger.await_balanced({"survivor"})
            ledger.await_read(100)
            assert_log(sent, ledger.records())
        finally:
            pump.stop()
            silent.close()
