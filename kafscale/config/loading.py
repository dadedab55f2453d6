"""Where settings come from: defaults < file < environment < command line, and which of them each one came from."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from kafscale.config.files import read_config_file
from kafscale.config.settings import SETTINGS, BrokerSettings, SettingsConflictError, attribute_name
from kafscale.config.values import BadValueError, format_value
from kafscale.errors import ConfigurationError

ENVIRONMENT_PREFIX: Final = "KAFSCALE_"

ENVIRONMENT_RESERVED: Final = ("KAFSCALE_BROKERS", "KAFSCALE_TEST_")
"""What variables begin with that look like a setting and belong to the client commands or the tests instead."""


class Source(Enum):
    """Where a value can come from, weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one value came from; `detail` is the file's path or the variable's name, else empty."""

    source: Source
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source.value} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and the origin of each by its Kafka name."""

    settings: BrokerSettings
    origins: Mapping[str, Origin]


class _Given(NamedTuple):
    raw: object
    origin: Origin


def environment_name(name: str) -> str:
    """Return the environment variable of a setting: `node.id` is KAFSCALE_NODE_ID."""
    return ENVIRONMENT_PREFIX + attribute_name(name).upper()


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Loaded:
    """Return the settings of a configuration file, an environment and the command line, in rising precedence.

    Raises ConfigurationError for an unknown name (with the nearest known one) and for a value that is not allowed
    (with name, value, origin and what is allowed).
    """
    given = _from_file(file) | _from_environment(environ or {}) | _from_command_line(overrides or {})
    values = {attribute_name(name): _read(name, each) for name, each in given.items()}
    origins = {name: given[name].origin if name in given else Origin(source=Source.DEFAULT) for name in SETTINGS}
    return Loaded(settings=_put_together(values, origins), origins=origins)


def parse_overrides(texts: Iterable[str]) -> dict[str, str]:
    """Return the settings of `--set` arguments, each `key=value`; raises ConfigurationError for another form."""
    overrides = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"--set {text!r}: write it as key=value")
        overrides[name.strip()] = value
    return overrides


def _from_file(file: Path | None) -> dict[str, _Given]:
    if file is None:
        return {}
    origin = Origin(source=Source.FILE, detail=str(file))
    return {_known(name, origin): _Given(raw, origin) for name, raw in read_config_file(file).items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    return dict(_settings_of_environment(environ))


def _settings_of_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    names = {environment_name(name): name for name in SETTINGS}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(ENVIRONMENT_RESERVED):
            continue
        if variable not in names:
            raise ConfigurationError(f"unknown setting {variable} (environment){_suggestion(variable, names)}")
        yield names[variable], _Given(text, Origin(source=Source.ENVIRONMENT, detail=variable))


def _from_command_line(overrides: Mapping[str, str]) -> dict[str, _Given]:
    origin = Origin(source=Source.COMMAND_LINE)
    return {_known(name, origin): _Given(raw, origin) for name, raw in overrides.items()}


def _known(name: str, origin: Origin) -> str:
    if name in SETTINGS:
        return name
    raise ConfigurationError(f"unknown setting {name} ({origin}){_suggestion(name, SETTINGS)}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {nearest[0]}?" if nearest else ""


def _read(name: str, given: _Given) -> object:
    try:
        return SETTINGS[name].read(given.raw)
    except BadValueError as error:
        raise _refused(name, error.text, given.origin, error.reason) from None


def _put_together(values: Mapping[str, object], origins: Mapping[str, Origin]) -> BrokerSettings:
    try:
        return BrokerSettings.model_validate(values)
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if not isinstance(cause, SettingsConflictError):
            raise ConfigurationError(str(error)) from error
        raw = values.get(attribute_name(cause.name))
        raise _refused(cause.name, raw, origins[cause.name], cause.reason) from None


def _refused(name: str, raw: object, origin: Origin, reason: str) -> ConfigurationError:
    text = "" if raw is None else f" {format_value(raw) if isinstance(raw, tuple) else raw!r}"
    return ConfigurationError(f"{name}{text} ({origin}): {reason}")
