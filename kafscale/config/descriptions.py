"""Configs the way DescribeConfigs shows them: value, type, where it came from, and what stood behind it."""

from dataclasses import dataclass
from enum import IntEnum

from kafscale.config.loading import Loaded, Source
from kafscale.config.settings import SETTINGS, default_of, value_of
from kafscale.config.values import ConfigType, format_value


class ConfigSource(IntEnum):
    """Where a config's value comes from; the numbers are DescribeConfigs' `config_source`."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSynonym:
    """One of the places a value is looked for, strongest first."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDescription:
    """One config of a resource. `value` is None where nothing is set and where the value is a secret."""

    name: str
    kind: ConfigType
    value: str | None
    source: ConfigSource
    is_read_only: bool
    is_sensitive: bool
    synonyms: tuple[ConfigSynonym, ...]
    documentation: str


def broker_source(loaded: Loaded, name: str) -> ConfigSource:
    """Return where a broker setting's value comes from, as Kafka tells apart: set by somebody, or a default."""
    is_default = loaded.origins[name].source is Source.DEFAULT
    return ConfigSource.DEFAULT if is_default else ConfigSource.STATIC_BROKER


def broker_synonyms(loaded: Loaded, name: str) -> tuple[ConfigSynonym, ...]:
    """Return what stands behind a broker setting: the value somebody set, then the default, where there is one."""
    synonyms = []
    if broker_source(loaded, name) is ConfigSource.STATIC_BROKER:
        text = format_value(value_of(loaded.settings, name))
        synonyms.append(ConfigSynonym(name=name, value=text, source=ConfigSource.STATIC_BROKER))
    if (default := format_value(default_of(name))) not in (None, ""):
        synonyms.append(ConfigSynonym(name=name, value=default, source=ConfigSource.DEFAULT))
    return tuple(synonyms)


def describe_broker(loaded: Loaded) -> list[ConfigDescription]:
    """Return every setting of the broker, sorted by name. None can be changed while the broker runs."""
    return [_describe_setting(loaded, name) for name in sorted(SETTINGS)]


def _describe_setting(loaded: Loaded, name: str) -> ConfigDescription:
    kind = SETTINGS[name].kind
    is_sensitive = kind is ConfigType.PASSWORD
    return ConfigDescription(
        name=name,
        kind=kind,
        value=None if is_sensitive else format_value(value_of(loaded.settings, name)),
        source=broker_source(loaded, name),
        is_read_only=True,
        is_sensitive=is_sensitive,
        synonyms=() if is_sensitive else broker_synonyms(loaded, name),
        documentation=SETTINGS[name].help,
    )
