"""Every topic config of Apache Kafka 4.1: type, default, what it may be, and which broker setting stands behind it.

A config whose broker setting says everything (type, rule, help) takes it from there, so that it is declared once.
Messages follow Kafka's, which people and tools have learnt to read.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kafscale.config import BrokerSettings, Loaded
from kafscale.config.descriptions import (
    ConfigDescription,
    ConfigSource,
    ConfigSynonym,
    broker_source,
    broker_synonyms,
)
from kafscale.config.settings import SETTINGS, value_of
from kafscale.config.values import (
    ANYTHING,
    Allowed,
    BadValueError,
    ConfigType,
    Value,
    at_least,
    check_value,
    format_value,
)
from kafscale.errors import ConfigurationError

BOOLEAN, LONG, LIST = ConfigType.BOOLEAN, ConfigType.LONG, ConfigType.LIST


class InvalidTopicConfigError(ConfigurationError):
    """A topic's configs are not ones Kafka 4.1 accepts. Answer INVALID_CONFIG with the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """One topic config. `synonyms` are the broker settings that decide its default, strongest first."""

    name: str
    kind: ConfigType
    help: str
    allowed: Allowed
    default: Callable[[BrokerSettings], Value]
    synonyms: tuple[str, ...] = ()


def _behind(name: str, setting: str, help_text: str | None = None) -> TopicConfig:
    """A config that is broker setting `setting` for one topic."""
    declared = SETTINGS[setting]
    return TopicConfig(
        name=name,
        kind=declared.kind,
        help=help_text or declared.help,
        allowed=declared.allowed,
        default=lambda settings: value_of(settings, setting),
        synonyms=(setting,),
    )


def _worked_out(
    name: str, default: Callable[[BrokerSettings], int], minimum: int, *synonyms: str, help_text: str | None = None
) -> TopicConfig:
    """A config in milliseconds whose default is worked out from several broker settings."""
    return TopicConfig(
        name=name,
        kind=LONG,
        help=help_text or SETTINGS[synonyms[0]].help,
        allowed=at_least(minimum),
        default=default,
        synonyms=synonyms,
    )


def _own(name: str, kind: ConfigType, default: Value, help_text: str, allowed: Allowed = ANYTHING) -> TopicConfig:
    """A config no broker setting stands behind."""
    return TopicConfig(name=name, kind=kind, help=help_text, allowed=allowed, default=lambda _settings: default)


_REPLICA: Final = re.compile(r"[0-9]+:[0-9]+")


def _throttled_replicas() -> Allowed:
    def complaint(value: Value) -> str | None:
        replicas = tuple(filter(None, value)) if isinstance(value, tuple) else ()
        if replicas == ("*",) or all(_REPLICA.fullmatch(replica) for replica in replicas):
            return None
        raise BadValueError(f"[{', '.join(replicas)}]", "Value must be * or a list of partition:broker pairs")

    return Allowed(text="*, or a list of partition:broker", complaint=complaint)


def _untiered() -> Allowed:
    def complaint(value: Value) -> str | None:
        return "Tiered storage is not available: every record is in object storage already" if value else None

    return Allowed(text="false", complaint=complaint)


_TABLE: Final = (
    _behind("cleanup.policy", "log.cleanup.policy"),
    _behind("compression.gzip.level", "compression.gzip.level"),
    _behind("compression.lz4.level", "compression.lz4.level"),
    _behind("compression.type", "compression.type"),
    _behind("compression.zstd.level", "compression.zstd.level"),
    _behind("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    _behind("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    _behind("flush.messages", "log.flush.interval.messages"),
    _worked_out("flush.ms", lambda settings: settings.default_flush_ms, 0, "log.flush.interval.ms"),
    _own(
        "follower.replication.throttled.replicas",
        LIST,
        (),
        "Reported only: there is no replication to slow down.",
        _throttled_replicas(),
    ),
    _behind("index.interval.bytes", "log.index.interval.bytes"),
    _own(
        "leader.replication.throttled.replicas",
        LIST,
        (),
        "Reported only: there is no replication to slow down.",
        _throttled_replicas(),
    ),
    _behind(
        "local.retention.bytes",
        "log.local.retention.bytes",
        "Reported only: there is no local copy; -2 is `retention.bytes`.",
    ),
    _behind(
        "local.retention.ms",
        "log.local.retention.ms",
        "Reported only: there is no local copy; -2 is `retention.ms`.",
    ),
    _behind("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    _behind("max.message.bytes", "message.max.bytes"),
    _behind("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    _behind("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    _behind("message.timestamp.type", "log.message.timestamp.type"),
    _behind("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    _behind("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    _behind("min.insync.replicas", "min.insync.replicas"),
    _behind("preallocate", "log.preallocate"),
    _own("remote.log.copy.disable", BOOLEAN, False, "Reported only: there is no tiered storage."),
    _own("remote.log.delete.on.disable", BOOLEAN, False, "Reported only: there is no tiered storage."),
    _own("remote.storage.enable", BOOLEAN, False, "Tiered storage: there is none.", _untiered()),
    _behind("retention.bytes", "log.retention.bytes"),
    _worked_out(
        "retention.ms",
        lambda settings: settings.default_retention_ms,
        -1,
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ),
    _behind("segment.bytes", "log.segment.bytes"),
    _behind("segment.index.bytes", "log.index.size.max.bytes"),
    _worked_out(
        "segment.jitter.ms",
        lambda settings: settings.default_segment_jitter_ms,
        0,
        "log.roll.jitter.ms",
        "log.roll.jitter.hours",
    ),
    _worked_out("segment.ms", lambda settings: settings.default_segment_ms, 1, "log.roll.ms", "log.roll.hours"),
    _behind("unclean.leader.election.enable", "unclean.leader.election.enable"),
)

TOPIC_CONFIGS: Final[Mapping[str, TopicConfig]] = {config.name: config for config in _TABLE}
"""Every topic config by name."""


def reference_rows() -> list[tuple[str, ...]]:
    """Return what the documentation says about each config: name, type, default, allowed, help."""
    return [
        (f"`{config.name}`", config.kind.name.lower(), _documented_default(config), config.allowed.text, config.help)
        for config in TOPIC_CONFIGS.values()
    ]


def _documented_default(config: TopicConfig) -> str:
    if config.synonyms:
        return " or ".join(f"`{name}`" for name in config.synonyms)
    return f"`{format_value(config.default(BrokerSettings()))}`" if config.kind is not LIST else "empty"


def validate_topic_configs(configs: Mapping[str, str | None]) -> None:
    """Check what a topic is to be created with or altered to; returns where all of it is allowed.

    Raises InvalidTopicConfigError for the first thing that is not: an unknown name, no value, a value that is not of
    its type or not allowed, or two values that contradict each other.
    """
    for name in sorted(configs):
        if name not in TOPIC_CONFIGS:
            raise InvalidTopicConfigError(f"Unknown topic config name: {name}")
    values = {name: _checked(TOPIC_CONFIGS[name], text) for name, text in sorted(configs.items())}
    least, most = (values.get(f"{bound}.compaction.lag.ms") for bound in ("min", "max"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        raise InvalidTopicConfigError(
            f"conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
        )


def _checked(config: TopicConfig, text: str | None) -> Value:
    if text is None:
        raise InvalidTopicConfigError(f"Null value not supported for topic configs: {config.name}")
    try:
        return check_value(config.kind, config.allowed, text)
    except BadValueError as error:
        raise InvalidTopicConfigError(
            f"Invalid value {error.text} for configuration {config.name}: {error.reason}"
        ) from None


def topic_value(name: str, configs: Mapping[str, str], settings: BrokerSettings) -> Value:
    """Return the value of config `name` for a topic whose own, validated configs are `configs`."""
    config = TOPIC_CONFIGS[name]
    text = configs.get(name)
    return config.default(settings) if text is None else check_value(config.kind, config.allowed, text)


def describe_topic(configs: Mapping[str, str], loaded: Loaded) -> list[ConfigDescription]:
    """Return every config of a topic whose own, validated configs are `configs`, sorted by name."""
    return [_describe(config, configs, loaded) for config in TOPIC_CONFIGS.values()]


def _describe(config: TopicConfig, configs: Mapping[str, str], loaded: Loaded) -> ConfigDescription:
    value = format_value(topic_value(config.name, configs, loaded.settings))
    synonyms: tuple[ConfigSynonym, ...] = ()
    source = _default_source(config.synonyms, loaded)
    if config.name in configs:
        source = ConfigSource.TOPIC
        synonyms = (ConfigSynonym(name=config.name, value=value, source=source),)
    if config.synonyms:
        synonyms += broker_synonyms(loaded, config.synonyms[0])
    return ConfigDescription(
        name=config.name,
        kind=config.kind,
        value=value,
        source=source,
        is_read_only=False,
        is_sensitive=False,
        synonyms=synonyms,
        documentation=config.help,
    )


def _default_source(settings: Iterable[str], loaded: Loaded) -> ConfigSource:
    sources = {broker_source(loaded, name) for name in settings}
    return ConfigSource.STATIC_BROKER if ConfigSource.STATIC_BROKER in sources else ConfigSource.DEFAULT
