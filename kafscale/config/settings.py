"""All settings of one broker as one frozen object, and what follows from several of them.

A `BrokerSettings` is complete and checked; whoever needs another value makes another object.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ValidationInfo, field_validator, model_validator

from kafscale.config.listeners import (
    Listener,
    check_addresses,
    check_advertised,
    parse_listeners,
    parse_protocol_map,
)
from kafscale.config.sections import (
    SECTIONS,
    GroupSettings,
    ServerSettings,
    StorageSettings,
    TopicDefaults,
    TopicSettings,
)
from kafscale.config.values import LONG_MAX, Setting, Value

T = TypeVar("T")

_HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000


class SettingsConflictError(ValueError):
    """Settings that are fine one by one do not fit together; `name` is the one to correct."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def kafka_name(attribute: str) -> str:
    """Return the setting's name for its attribute: `node_id` is `node.id`."""
    return attribute.replace("_", ".")


def attribute_name(name: str) -> str:
    """Return the attribute of `BrokerSettings` for a setting's name."""
    return name.replace(".", "_")


def local_url(scheme: str, path: Path) -> str:
    """Return the URL of a file or directory of this machine: `scheme:///absolute/path`."""
    return f"{scheme}://{quote(str(path.absolute()))}"


def local_path(url: str) -> Path:
    """Return the path a `file://` or `sqlite://` URL names."""
    return Path(unquote(urlsplit(url).path))


class BrokerSettings(
    ServerSettings, StorageSettings, TopicSettings, TopicDefaults, GroupSettings, frozen=True, extra="forbid"
):
    """Every setting of one broker. Values may also be given as text; a wrong one raises pydantic's ValidationError."""

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, raw: object, info: ValidationInfo) -> Value:
        return SETTINGS[kafka_name(info.field_name or "")].read(raw)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: Any) -> Any:
        return derived_defaults(values) | dict(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _fit_together(self) -> "BrokerSettings":
        _naming("listener.security.protocol.map", lambda: self._protocols)
        _naming("listeners", lambda: check_addresses(self.bound_listeners))
        _naming("advertised.listeners", lambda: check_advertised(self.client_listeners, self.bound_listeners))
        _ordered(self, "group.min.session.timeout.ms", "group.max.session.timeout.ms")
        _ordered(self, "log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms")
        return self

    @property
    def _protocols(self) -> dict[str, str]:
        return parse_protocol_map(self.listener_security_protocol_map)

    @property
    def bound_listeners(self) -> tuple[Listener, ...]:
        """The addresses to listen on."""
        return parse_listeners(self.listeners, self._protocols)

    @property
    def client_listeners(self) -> tuple[Listener, ...]:
        """The addresses given to clients. Port 0 is to be replaced by the port the listener of that name got."""
        return parse_listeners(self.advertised_listeners, self._protocols)

    @property
    def default_retention_ms(self) -> int:
        """The default of a topic's retention.ms, from whichever of ms, minutes and hours is set; -1 is for ever."""
        if self.log_retention_ms is not None:
            return self.log_retention_ms
        if self.log_retention_minutes is not None:
            return _scaled(self.log_retention_minutes, _MINUTE_MS)
        return _scaled(self.log_retention_hours, _HOUR_MS)

    @property
    def default_segment_ms(self) -> int:
        """The default of a topic's segment.ms."""
        return self.log_roll_hours * _HOUR_MS if self.log_roll_ms is None else self.log_roll_ms

    @property
    def default_segment_jitter_ms(self) -> int:
        """The default of a topic's segment.jitter.ms."""
        jitter_ms = self.log_roll_jitter_ms
        return self.log_roll_jitter_hours * _HOUR_MS if jitter_ms is None else jitter_ms

    @property
    def default_flush_ms(self) -> int:
        """The default of a topic's flush.ms."""
        return LONG_MAX if self.log_flush_interval_ms is None else self.log_flush_interval_ms


def derived_defaults(values: Mapping[str, object]) -> dict[str, object]:
    """Return the defaults, by attribute, that are made from other settings, of which `values` are given."""
    given = {"data_dir": "./data", "listeners": BrokerSettings.model_fields["listeners"].default, **values}
    data_dir = Path(str(given["data_dir"])).expanduser()
    return {
        "advertised_listeners": given["listeners"],
        "storage_url": local_url("file", data_dir / "objects"),
        "metadata_url": local_url("sqlite", data_dir / "metadata.db"),
    }


def _scaled(count: int, unit_ms: int) -> int:
    return -1 if count < 0 else count * unit_ms


def _naming(name: str, action: Callable[[], T]) -> T:
    """Do `action`; a ValueError in it becomes a SettingsConflictError of `name`."""
    try:
        return action()
    except ValueError as error:
        raise SettingsConflictError(name, str(error)) from None


def _ordered(settings: BrokerSettings, lesser: str, greater: str) -> None:
    low, high = getattr(settings, attribute_name(lesser)), getattr(settings, attribute_name(greater))
    if low > high:
        raise SettingsConflictError(lesser, f"Value {low} must not be greater than {greater}, which is {high}")


def _declared_in(section: type[BaseModel]) -> dict[str, Setting]:
    return {
        kafka_name(attribute): next(item for item in field.metadata if isinstance(item, Setting))
        for attribute, field in section.model_fields.items()
    }


SETTINGS: Final[Mapping[str, Setting]] = {
    name: setting for section in SECTIONS for name, setting in _declared_in(section).items()
}
"""Every setting's declaration by name, in the order of the documentation."""


def default_of(name: str) -> Value:
    """Return a setting's declared default ("" for one that is derived from others)."""
    value: Value = BrokerSettings.model_fields[attribute_name(name)].default
    return value


def value_of(settings: BrokerSettings, name: str) -> Value:
    """Return the value of the setting `name`."""
    value: Value = getattr(settings, attribute_name(name))
    return value
