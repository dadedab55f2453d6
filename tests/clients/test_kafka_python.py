"""kafka-python: producing, consuming, offsets, groups and administration.

The library has no types, so its modules are `Any` here and every suite-wide type begins at `stored_from`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from uuid import UUID

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
    eventually,
    grow_and_shrink,
    incompressible,
    keyed_records,
    peculiar_records,
    timed_records,
    unique,
)
from tests.clients.support import produce as produce_with_librdkafka

with warnings.catch_warnings():
    # It reads its schemas through a function that Python 3.11 deprecates and 3.13 keeps after all.
    warnings.simplefilter("ignore", DeprecationWarning)
    kafka: Any = import_module("kafka")
    kafka_admin: Any = import_module("kafka.admin")
    kafka_errors: Any = import_module("kafka.errors")
    assignors: dict[str, Any] = {
        "range": import_module("kafka.coordinator.assignors.range").RangePartitionAssignor,
        "roundrobin": import_module("kafka.coordinator.assignors.roundrobin").RoundRobinPartitionAssignor,
        "cooperative-sticky": import_module("kafka.coordinator.assignors.cooperative_sticky").CooperativeStickyAssignor,
    }
    structs: Any = import_module("kafka.structs")

POLL_MS = 200

CODEC_PARAMETERS = [
    pytest.param(
        codec,
        marks=pytest.mark.skipif(
            codec == "snappy" and find_spec("snappy") is None,
            reason="python-snappy missing: kafka-python needs it for snappy",
        ),
    )
    for codec in CODECS
]


def stored_from(found: Any) -> Stored:
    record = Record(key=found.key, value=found.value, headers=tuple(found.headers), timestamp_ms=found.timestamp)
    return Stored(partition=found.partition, offset=found.offset, record=record)


def produce(
    bootstrap: str, topic: str, records: Iterable[Record], *, partition: int | None = None, **settings: Any
) -> list[Stored]:
    """Send, await every acknowledgement, and return the records in the order of sending."""
    with kafka.KafkaProducer(bootstrap_servers=bootstrap, **settings) as producer:
        return send_all(producer, topic, records, partition=partition)


def send_all(producer: Any, topic: str, records: Iterable[Record], *, partition: int | None = None) -> list[Stored]:
    sending = [
        (record, producer.send(topic, record.value, record.key, list(record.headers), partition, record.timestamp_ms))
        for record in records
    ]
    producer.flush(WAIT_S)
    return [_acknowledged(record, future.get(WAIT_S)) for record, future in sending]


def _acknowledged(record: Record, answer: Any) -> Stored:
    return Stored(partition=answer.partition, offset=answer.offset if answer.offset >= 0 else None, record=record)


@contextmanager
def consumer(bootstrap: str, *topics: str, **settings: Any) -> Iterator[Any]:
    defaults = {"auto_offset_reset": "earliest", "fetch_max_wait_ms": 100}
    with kafka.KafkaConsumer(*topics, bootstrap_servers=bootstrap, **(defaults | settings)) as opened:
        for topic in topics:
            learn_partitions(opened, topic)
        yield opened


@contextmanager
def reader_of(bootstrap: str, topic: str, partitions: int = PARTITIONS, **settings: Any) -> Iterator[Any]:
    """A consumer of all partitions by assignment, outside any group."""
    with consumer(bootstrap, **settings) as reader:
        reader.assign(partitions_of(topic, partitions))
        yield reader


def partitions_of(topic: str, partitions: int) -> list[Any]:
    return [kafka.TopicPartition(topic, partition) for partition in range(partitions)]


def learn_partitions(subscriber: Any, topic: str) -> None:
    """Fetch the topic's metadata before joining a group.

    A leader that joins faster than it learns of the topic's partitions assigns none of them, and notices only when its
    metadata grows old.
    """
    assert subscriber.partitions_for_topic(topic)


def poll(reader: Any) -> list[Stored]:
    found: dict[Any, list[Any]] = reader.poll(timeout_ms=POLL_MS)
    return [stored_from(each) for part in found.values() for each in part]


def take(reader: Any, count: int) -> list[Stored]:
    """The next `count` records; fails when they do not come, and when more come along."""
    taken: list[Stored] = []
    deadline = Deadline(f"{count} records")
    while len(taken) < count:
        next(deadline.turns())
        taken += poll(reader)
    assert len(taken) == count
    return taken


@pytest.fixture
def admin(bootstrap: str) -> Iterator[Any]:
    with kafka.KafkaAdminClient(bootstrap_servers=bootstrap) as opened:
        yield opened


class TestProduceAndConsume:
    def test_default_settings(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-defaults")
        sent = produce(bootstrap, topic, keyed_records(3000))
        assert_spread(sent)
        settings = {"group_id": unique("group"), "auto_offset_reset": "earliest"}
        with kafka.KafkaConsumer(topic, bootstrap_servers=bootstrap, **settings) as reader:
            learn_partitions(reader, topic)
            assert_log(sent, take(reader, 3000))

    @pytest.mark.parametrize("acks", [0, 1, "all"])
    def test_acks(self, bootstrap: str, acks: int | str) -> None:
        topic = create_topic(bootstrap, "kp-acks")
        sent = produce(bootstrap, topic, keyed_records(1000), acks=acks, enable_idempotence=False)
        if acks == 0:
            # Nobody told the producer; what it reports is the place within its own batch.
            sent = [replace(each, offset=None) for each in sent]
        with reader_of(bootstrap, topic) as reader:
            assert_log(sent, take(reader, 1000))

    def test_idempotence(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-idempotent")
        sent = produce(bootstrap, topic, keyed_records(2000), enable_idempotence=True, batch_size=2000)
        with reader_of(bootstrap, topic) as reader:
            assert_log(sent, take(reader, 2000))

    @pytest.mark.parametrize("codec", CODEC_PARAMETERS)
    def test_compression(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "kp-codec")
        compression = None if codec == "none" else codec
        sent = produce(bootstrap, topic, keyed_records(1000), compression_type=compression, linger_ms=20)
        with reader_of(bootstrap, topic) as reader:
            assert_log(sent, take(reader, 1000))

    @pytest.mark.parametrize("codec", CODEC_PARAMETERS)
    def test_what_librdkafka_wrote(self, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "kp-foreign")
        records = [*keyed_records(500), *peculiar_records()]
        sent = produce_with_librdkafka(bootstrap, topic, records, settings={"compression.type": codec})
        with reader_of(bootstrap, topic) as reader:
            assert_log(sent, take(reader, len(records)))

    def test_nulls_headers_and_timestamps(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-peculiar", partitions=1)
        # The producer refuses null header values, and records without key and value.
        peculiar = peculiar_records(null_header_values=False)
        records = [*(each for each in peculiar if (each.key, each.value) != (None, None)), *timed_records(50)]
        sent = produce(bootstrap, topic, records)
        with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, take(reader, len(records)))

    def test_log_append_time(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-append", partitions=1, config={"message.timestamp.type": "LogAppendTime"})
        with kafka.KafkaProducer(bootstrap_servers=bootstrap) as producer:
            answer = producer.send(topic, b"v", timestamp_ms=BASE_TIMESTAMP_MS).get(WAIT_S)
        with reader_of(bootstrap, topic, 1) as reader:
            (found,) = take(reader, 1)
        assert found.record.timestamp_ms == answer.timestamp > BASE_TIMESTAMP_MS + 3_000_000

    def test_record_of_a_million_bytes(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-large", partitions=1)
        records = [Record(value=incompressible(LARGE_VALUE_BYTES, seed=n)) for n in range(3)]
        sent = produce(bootstrap, topic, records, max_request_size=10_000_000)
        with reader_of(bootstrap, topic, 1, max_partition_fetch_bytes=1000) as reader:
            assert_log(sent, take(reader, 3))

    def test_record_too_large_is_refused_alone(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-toolarge", partitions=1)
        # The idempotent producer takes the refusal of one record for fatal and refuses everything after it itself.
        settings = {"max_request_size": 10_000_000, "enable_idempotence": False}
        with kafka.KafkaProducer(bootstrap_servers=bootstrap, **settings) as producer:
            refused = producer.send(topic, incompressible(TOO_LARGE_VALUE_BYTES))
            with pytest.raises(kafka_errors.MessageSizeTooLargeError):
                refused.get(WAIT_S)
            sent = send_all(producer, topic, keyed_records(10))
        with reader_of(bootstrap, topic, 1) as reader:
            assert_log(sent, take(reader, 10))

    def test_unknown_topic_is_created(self, bootstrap: str) -> None:
        topic = unique("kp-auto")
        with kafka.KafkaProducer(bootstrap_servers=bootstrap) as producer:
            sent = send_all(producer, topic, keyed_records(10))
            partitions = len(producer.partitions_for(topic))
        with reader_of(bootstrap, topic, partitions) as reader:
            assert_log(sent, take(reader, 10))


class TestOffsets:
    def test_seek_pause_and_resume(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-seek", partitions=2)
        quiet = produce(bootstrap, topic, keyed_records(100), partition=0)
        heard = produce(bootstrap, topic, keyed_records(100), partition=1)
        first, second = partitions_of(topic, 2)
        with reader_of(bootstrap, topic, 2) as reader:
            reader.pause(first)
            assert_log(heard, take(reader, 100))
            assert reader.paused() == {first}
            reader.seek(second, 60)
            assert_log(heard[60:], take(reader, 40), first_offsets={1: 60})
            assert reader.position(second) == 100
            reader.resume(first)
            assert_log(quiet, take(reader, 100))
            reader.seek_to_beginning(first)
            assert reader.position(first) == 0
            reader.seek_to_end(first)
            assert reader.position(first) == 100

    def test_offsets_for_times_and_ends(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-times", partitions=2)
        produce(bootstrap, topic, timed_records(100), partition=0, batch_size=500)
        first, second = partitions_of(topic, 2)
        with consumer(bootstrap) as reader:
            for at, n in ((0, 0), (1, 1), (999, 1), (1_000, 1), (42_000, 42), (98_001, 99)):
                asked = {first: BASE_TIMESTAMP_MS + at, second: BASE_TIMESTAMP_MS + at}
                found = reader.offsets_for_times(asked)
                assert (found[first].offset, found[first].timestamp) == (n, BASE_TIMESTAMP_MS + n * 1_000)
                assert found[second] is None
            assert reader.offsets_for_times({first: BASE_TIMESTAMP_MS + 99_001}) == {first: None}
            assert reader.beginning_offsets([first, second]) == {first: 0, second: 0}
            assert reader.end_offsets([first, second]) == {first: 100, second: 0}

    def test_commit_with_metadata(self, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "kp-commit", partitions=2), unique("group")
        first, second = partitions_of(topic, 2)
        with reader_of(bootstrap, topic, 2, group_id=group, enable_auto_commit=False) as reader:
            assert reader.committed(first) is None
            reader.commit({first: structs.OffsetAndMetadata(7, "seven ✓", -1)})
        with reader_of(bootstrap, topic, 2, group_id=group) as reader:
            assert reader.committed(first) == 7
            assert reader.committed(first, metadata=True).metadata == "seven ✓"
            assert reader.committed(second) is None

    def test_offset_out_of_range_without_a_reset(self, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-range", partitions=1)
        produce(bootstrap, topic, keyed_records(5))
        (partition,) = partitions_of(topic, 1)
        with reader_of(bootstrap, topic, 1, auto_offset_reset="none") as reader:
            reader.seek(partition, 50)
            with pytest.raises(kafka_errors.OffsetOutOfRangeError):
                take(reader, 1)

    @pytest.mark.parametrize(("reset", "first"), [("earliest", 0), ("latest", 5)])
    def test_offset_reset(self, bootstrap: str, reset: str, first: int) -> None:
        topic = create_topic(bootstrap, "kp-reset", partitions=1)
        produce(bootstrap, topic, keyed_records(5))
        (partition,) = partitions_of(topic, 1)
        with reader_of(bootstrap, topic, 1, auto_offset_reset=reset) as reader:
            assert reader.position(partition) == first


class _Member:
    """A member of a group, run by a `Pump`.

    Rebalances happen within `poll` and on the loop of the client, where a listener must not wait: so the client itself
    commits what was read, before it gives partitions away and when it closes.
    """

    def __init__(self, bootstrap: str, topic: str, group: str, assignor: Any, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, name
        self._consumer = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id=name,
            group_id=group,
            auto_offset_reset="earliest",
            partition_assignment_strategy=[assignor],
            session_timeout_ms=6000,
            heartbeat_interval_ms=200,
        )
        self._consumer.subscribe([topic], listener=_listener(ledger, name))
        learn_partitions(self._consumer, topic)

    def step(self) -> None:
        self._ledger.read(poll(self._consumer))

    def close(self) -> None:
        self._ledger.left(self._name)
        self._consumer.close()


def _listener(ledger: Ledger, name: str) -> Any:
    class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            ledger.assigned(name, [each.partition for each in assigned])

        def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            ledger.revoked(name, [each.partition for each in revoked])

        def on_partitions_lost(self, lost: Iterable[Any]) -> None:
            ledger.revoked(name, [each.partition for each in lost])

    return Listener()


class TestGroups:
    @pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
    def test_grows_and_shrinks(self, bootstrap: str, assignor: str) -> None:
        topic, group, ledger = create_topic(bootstrap, "kp-grow"), unique("group"), Ledger()

        def join(name: str) -> Pump:
            member = _Member(bootstrap, topic, group, assignors[assignor], ledger, name)
            return Pump(name, ledger, member.step, member.close)

        grow_and_shrink(bootstrap, topic, ledger, join)


class TestAdmin:
    def test_create_describe_and_delete_topics(self, admin: Any) -> None:
        names = [unique("kp-admin"), unique("kp-admin")]
        created = admin.create_topics(
            {name: {"num_partitions": 3, "replication_factor": 1} for name in names}, wait_for_metadata=True
        )
        assert [(each["name"], each["error_code"], each["num_partitions"]) for each in created["topics"]] == [
            (name, 0, 3) for name in names
        ]
        assert set(names) <= set(admin.list_topics())
        described = {each["name"]: each for each in admin.describe_topics(names)}
        for name in names:
            assert described[name]["error_code"] == 0
            assert not described[name]["is_internal"]
            assert sorted(each["partition_index"] for each in described[name]["partitions"]) == [0, 1, 2]
        by_id = admin.describe_topics([UUID(described[names[0]]["topic_id"])])
        assert [each["name"] for each in by_id] == [names[0]]
        with pytest.raises(kafka_errors.TopicAlreadyExistsError):
            admin.create_topics([names[0]])
        deleted = admin.delete_topics(names)
        assert {each["name"]: each["error_code"] for each in deleted["topics"]} == dict.fromkeys(names, 0)
        eventually(lambda: True if set(names).isdisjoint(admin.list_topics()) else None, "deleted topics")
        with pytest.raises(kafka_errors.UnknownTopicOrPartitionError):
            admin.delete_topics(names)

    def test_defaults_of_the_broker(self, admin: Any) -> None:
        name = unique("kp-default")
        created = admin.create_topics([name], wait_for_metadata=True)
        (topic,) = created["topics"]
        assert topic["num_partitions"] >= 1
        assert topic["replication_factor"] >= 1
        assert topic["configs"]["cleanup.policy"]["value"] == "delete"
        (described,) = admin.describe_topics([name])
        assert len(described["partitions"]) == topic["num_partitions"]

    def test_topic_by_page(self, admin: Any, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-page", partitions=5)
        page = admin.describe_topic_partitions([topic], response_partition_limit=3)
        (described,) = page["topics"]
        assert [each["partition_index"] for each in described["partitions"]] == [0, 1, 2]
        assert page["next_cursor"] == {"topic_name": topic, "partition_index": 3}
        page = admin.describe_topic_partitions([topic], cursor=page["next_cursor"])
        (described,) = page["topics"]
        assert [each["partition_index"] for each in described["partitions"]] == [3, 4]
        assert page["next_cursor"] is None

    def test_create_partitions(self, admin: Any, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-widen", partitions=1)
        admin.create_partitions({topic: 4})

        def partitions() -> bool | None:
            (described,) = admin.describe_topics([topic])
            return True if len(described["partitions"]) == 4 else None

        eventually(partitions, "four partitions")
        with pytest.raises(kafka_errors.InvalidPartitionsError):
            admin.create_partitions({topic: 2})

    def test_configs(self, admin: Any, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-config", partitions=1, config={"retention.ms": "3600000"})
        resource = kafka_admin.ConfigResource("TOPIC", topic)
        assert values(admin, resource) == {"retention.ms": "3600000"}
        admin.alter_configs([kafka_admin.ConfigResource("TOPIC", topic, {"max.message.bytes": "2000000"})])
        wanted = {"retention.ms": "3600000", "max.message.bytes": "2000000"}
        eventually(lambda: True if values(admin, resource) == wanted else None, "altered configs")
        admin.reset_configs([kafka_admin.ConfigResource("TOPIC", topic, ["retention.ms"])])
        eventually(
            lambda: True if values(admin, resource) == {"max.message.bytes": "2000000"} else None, "reset configs"
        )
        everything = admin.describe_configs([resource], include_synonyms=True, config_filter="all")
        entry = everything["topic"][topic]["retention.ms"]
        assert (entry["value"], entry["config_source"], entry["config_type"]) == ("604800000", "DEFAULT_CONFIG", "LONG")
        changed = everything["topic"][topic]["max.message.bytes"]
        assert [each["source"] for each in changed["synonyms"]][:1] == ["DYNAMIC_TOPIC_CONFIG"]
        refused = admin.alter_configs([kafka_admin.ConfigResource("TOPIC", topic, {"retention.ms": "soon"})])
        assert "InvalidConfigurationError" in refused["topic"][topic]
        assert values(admin, resource) == {"max.message.bytes": "2000000"}

    def test_cluster(self, admin: Any, bootstrap: str) -> None:
        cluster = admin.describe_cluster()
        brokers = {each["broker_id"]: f"{each['host']}:{each['port']}" for each in cluster["brokers"]}
        assert bootstrap in brokers.values()
        assert cluster["controller_id"] in brokers
        assert cluster["cluster_id"]

    def test_life_of_a_group(self, admin: Any, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "kp-group", partitions=2), unique("group")
        sent = produce(bootstrap, topic, keyed_records(40), partition=1)
        first, second = partitions_of(topic, 2)
        with consumer(bootstrap, topic, group_id=group, client_id="the-client", enable_auto_commit=False) as reader:
            assert_log(sent, take(reader, 40))
            reader.commit({second: structs.OffsetAndMetadata(40, "read", -1)})
            described = admin.describe_groups([group])[group]
            assert (described["group_state"], described["protocol_type"]) == ("Stable", "consumer")
            assert described["protocol_data"] == "range"
            (member,) = described["members"]
            assert member["client_id"] == "the-client"
            assert member["member_metadata"]["topics"] == [topic]
            (assigned,) = member["member_assignment"]["assigned_partitions"]
            assert (assigned["topic"], sorted(assigned["partitions"])) == (topic, [0, 1])
            listed = {each["group_id"]: each for each in admin.list_groups(states_filter=["Stable"])}
            assert listed[group]["protocol_type"] == "consumer"
            assert listed[group]["group_state"] == "Stable"
            assert admin.delete_groups([group]) == {group: "NonEmptyGroupError"}
        assert admin.describe_groups([group])[group]["group_state"] == "Empty"
        offsets = admin.list_group_offsets({group: [first, second]})[group]
        assert (offsets[first].offset, offsets[second].offset, offsets[second].metadata) == (-1, 40, "read")
        assert set(admin.list_group_offsets(group)[group]) == {second}
        admin.alter_group_offsets(group, {first: structs.OffsetAndMetadata(3, "", -1)})
        assert admin.list_group_offsets(group)[group][first].offset == 3
        reset = admin.reset_group_offsets(group, {second: kafka.OffsetSpec.EARLIEST})
        assert reset[second]["offset"] == 0
        assert admin.delete_group_offsets(group, [first]) == {first: kafka_errors.NoError}
        assert set(admin.list_group_offsets(group)[group]) == {second}
        assert admin.delete_groups([group]) == {group: "OK"}
        assert group not in {each["group_id"] for each in admin.list_groups()}

    def test_partition_offsets_and_deleted_records(self, admin: Any, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kp-offsets", partitions=1)
        records = [Record(value=b"x", timestamp_ms=BASE_TIMESTAMP_MS + n) for n in (1, 3, 2)]
        produce(bootstrap, topic, records)
        (partition,) = partitions_of(topic, 1)

        def ask(spec: Any) -> tuple[int, int]:
            found = admin.list_partition_offsets({partition: spec})[partition]
            return found.offset, found.timestamp

        assert ask(kafka.OffsetSpec.EARLIEST) == (0, -1)
        assert ask(kafka.OffsetSpec.LATEST) == (3, -1)
        assert ask(kafka.OffsetSpec.MAX_TIMESTAMP) == (1, BASE_TIMESTAMP_MS + 3)
        assert ask(BASE_TIMESTAMP_MS + 2) == (1, BASE_TIMESTAMP_MS + 3)
        deleted = admin.delete_records({partition: 2})
        assert deleted[partition]["low_watermark"] == 2
        assert ask(kafka.OffsetSpec.EARLIEST) == (2, -1)


def values(admin: Any, resource: Any) -> dict[str, str]:
    """The configs that differ from their defaults."""
    entries: dict[str, dict[str, str]] = admin.describe_configs([resource])["topic"][resource.name]
    return {name: entry["value"] for name, entry in entries.items()}
