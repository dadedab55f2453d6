"""Topic configs: what Apache Kafka 4.1 has, accepts and answers. The expected texts are Kafka's own."""

import pytest

from kafscale.config import BrokerSettings, load_settings
from kafscale.config.descriptions import ConfigSource
from kafscale.config.values import LONG_MAX, ConfigType, format_value
from kafscale.topic_configs import (
    TOPIC_CONFIGS,
    InvalidTopicConfigError,
    describe_topic,
    topic_value,
    validate_topic_configs,
)

# name: type, default, as DescribeConfigs of Kafka 4.1.0 answers for a topic without configs of its own.
KAFKA = {
    "cleanup.policy": ("LIST", "delete"),
    "compression.gzip.level": ("INT", "-1"),
    "compression.lz4.level": ("INT", "9"),
    "compression.type": ("STRING", "producer"),
    "compression.zstd.level": ("INT", "3"),
    "delete.retention.ms": ("LONG", "86400000"),
    "file.delete.delay.ms": ("LONG", "60000"),
    "flush.messages": ("LONG", "9223372036854775807"),
    "flush.ms": ("LONG", "9223372036854775807"),
    "follower.replication.throttled.replicas": ("LIST", ""),
    "index.interval.bytes": ("INT", "4096"),
    "leader.replication.throttled.replicas": ("LIST", ""),
    "local.retention.bytes": ("LONG", "-2"),
    "local.retention.ms": ("LONG", "-2"),
    "max.compaction.lag.ms": ("LONG", "9223372036854775807"),
    "max.message.bytes": ("INT", "1048588"),
    "message.timestamp.after.max.ms": ("LONG", "3600000"),
    "message.timestamp.before.max.ms": ("LONG", "9223372036854775807"),
    "message.timestamp.type": ("STRING", "CreateTime"),
    "min.cleanable.dirty.ratio": ("DOUBLE", "0.5"),
    "min.compaction.lag.ms": ("LONG", "0"),
    "min.insync.replicas": ("INT", "1"),
    "preallocate": ("BOOLEAN", "false"),
    "remote.log.copy.disable": ("BOOLEAN", "false"),
    "remote.log.delete.on.disable": ("BOOLEAN", "false"),
    "remote.storage.enable": ("BOOLEAN", "false"),
    "retention.bytes": ("LONG", "-1"),
    "retention.ms": ("LONG", "604800000"),
    "segment.bytes": ("INT", "1073741824"),
    "segment.index.bytes": ("INT", "10485760"),
    "segment.jitter.ms": ("LONG", "0"),
    "segment.ms": ("LONG", "604800000"),
    "unclean.leader.election.enable": ("BOOLEAN", "false"),
}


def test_types_and_defaults_are_kafkas() -> None:
    described = {each.name: (each.kind.name, each.value) for each in describe_topic({}, load_settings())}
    assert described == KAFKA


@pytest.mark.parametrize("name", TOPIC_CONFIGS)
def test_every_default_is_allowed(name: str) -> None:
    default = format_value(TOPIC_CONFIGS[name].default(BrokerSettings()))
    assert default is not None
    validate_topic_configs({name: default})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nope", "1", "Unknown topic config name: nope"),
        ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ("segment.bytes", "7", "Invalid value 7 for configuration segment.bytes: Value must be at least 1048576"),
        (
            "compression.type",
            "none",
            (
                "Invalid value none for configuration compression.type: "
                "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"
            ),
        ),
        (
            "cleanup.policy",
            "delete,",
            "Invalid value  for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "preallocate",
            "1",
            "Invalid value 1 for configuration preallocate: Expected value to be either true or false",
        ),
    ],
)
def test_refusals_read_as_kafkas(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidTopicConfigError) as caught:
        validate_topic_configs({name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", None),
        ("remote.storage.enable", "true"),
        ("leader.replication.throttled.replicas", "a:b"),
        ("compression.zstd.level", "-131073"),
        ("max.compaction.lag.ms", "0"),
    ],
)
def test_other_refusals(name: str, value: str | None) -> None:
    with pytest.raises(InvalidTopicConfigError, match=name):
        validate_topic_configs({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention.ms", " 7 "),
        ("retention.bytes", "-3"),
        ("cleanup.policy", "compact, delete"),
        ("cleanup.policy", ""),
        ("preallocate", "True"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "0:1,"),
        ("min.insync.replicas", "5"),
    ],
)
def test_accepted_as_by_kafka(name: str, value: str) -> None:
    validate_topic_configs({name: value})


def test_contradicting_lags() -> None:
    with pytest.raises(InvalidTopicConfigError, match=r"min.compaction.lag.ms \(6\) > max.compaction.lag.ms \(5\)"):
        validate_topic_configs({"max.compaction.lag.ms": "5", "min.compaction.lag.ms": "6"})


def test_values_follow_topic_then_broker_then_default() -> None:
    settings = load_settings(overrides={"message.max.bytes": "2000", "log.retention.hours": "1"}).settings
    assert topic_value("max.message.bytes", {"max.message.bytes": "1000"}, settings) == 1000
    assert topic_value("max.message.bytes", {}, settings) == 2000
    assert topic_value("retention.ms", {}, settings) == 3_600_000
    assert topic_value("cleanup.policy", {"cleanup.policy": "compact"}, settings) == ("compact",)
    assert topic_value("flush.ms", {}, settings) == LONG_MAX


def test_described_sources_and_synonyms() -> None:
    loaded = load_settings(overrides={"message.max.bytes": "2000", "log.retention.hours": "1"})
    described = {each.name: each for each in describe_topic({"max.message.bytes": "1000"}, loaded)}
    largest = described["max.message.bytes"]
    assert (largest.value, largest.source, largest.kind) == ("1000", ConfigSource.TOPIC, ConfigType.INT)
    assert [(each.name, each.value, each.source.value) for each in largest.synonyms] == [
        ("max.message.bytes", "1000", 1),
        ("message.max.bytes", "2000", 4),
        ("message.max.bytes", "1048588", 5),
    ]
    assert described["retention.ms"].source is ConfigSource.STATIC_BROKER
    assert described["segment.ms"].source is ConfigSource.DEFAULT
    assert described["segment.ms"].synonyms == ()
    assert all(each.documentation and not each.is_read_only for each in described.values())
