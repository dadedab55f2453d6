"""The types a configuration value can have, how its text is read, and what it may be.

Types, spellings and messages are Kafka's (`org.apache.kafka.common.config.ConfigDef`), because clients show them to
people. A `Setting` is everything that is said about one broker setting; its name and its default stand in the model
that carries it (`kafscale.config`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

Value: TypeAlias = bool | int | float | str | tuple[str, ...] | None
"""A value in Python: LIST is a tuple, every kind of text is a str, None stands for "not set"."""

INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1


class ConfigType(IntEnum):
    """Kafka's config types; the numbers are those of DescribeConfigs (`config_type`, version 3 and later)."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class BadValueError(ValueError):
    """A text is not a value of its type or is not allowed. `reason` says so without naming the setting."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A rule for values: `complaint` returns what is wrong (Kafka's words) or None; `text` is for documentation."""

    text: str
    complaint: Callable[[Value], str | None]


ANYTHING: Final = Allowed(text="", complaint=lambda _value: None)
"""Whatever the type allows."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
# Java's Double.valueOf takes a type suffix and spells the special values its own way.
_DOUBLE: Final = re.compile(r"([+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))[dDfF]?")
_INTEGER_BITS: Final = {ConfigType.SHORT: 16, ConfigType.INT: 32, ConfigType.LONG: 64}


def parse(kind: ConfigType, text: str) -> Value:
    """Return the value `text` stands for, read the way Kafka reads it (surrounding blanks do not count).

    Raises BadValueError when it is none of this type.
    """
    match kind:
        case ConfigType.BOOLEAN:
            return _parse_boolean(text)
        case ConfigType.SHORT | ConfigType.INT | ConfigType.LONG:
            return _parse_integer(kind, text)
        case ConfigType.DOUBLE:
            return _parse_double(text)
        case ConfigType.LIST:
            return split_list(text)
        case ConfigType.STRING | ConfigType.CLASS | ConfigType.PASSWORD:
            return text.strip()


def _parse_boolean(text: str) -> bool:
    folded = text.strip().lower()
    if folded not in ("true", "false"):
        raise BadValueError(text, "Expected value to be either true or false")
    return folded == "true"


def _parse_integer(kind: ConfigType, text: str) -> int:
    stripped = text.strip()
    limit = 2 ** (_INTEGER_BITS[kind] - 1)
    if _INTEGER.fullmatch(stripped) is None or len(stripped) > 20 or not -limit <= int(stripped) < limit:
        raise BadValueError(stripped, f"Not a number of type {kind.name}")
    return int(stripped)


def _parse_double(text: str) -> float:
    stripped = text.strip()
    number = _DOUBLE.fullmatch(stripped)
    if number is None:
        raise BadValueError(stripped, "Not a number of type DOUBLE")
    return float(number[1])


def split_list(text: str) -> tuple[str, ...]:
    """Return the elements of a comma-separated list; the empty text is the empty list, as in Kafka."""
    stripped = text.strip()
    return tuple(element.strip() for element in stripped.split(",")) if stripped else ()


def format_value(value: Value) -> str | None:
    """Return the text of a value as DescribeConfigs gives it; None where nothing is set."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def at_least(minimum: int) -> Allowed:
    """Numbers from `minimum` up; no value at all is allowed too."""

    def complaint(value: Value) -> str | None:
        return f"Value must be at least {minimum}" if _number(value, minimum) < minimum else None

    return Allowed(text=f"at least {minimum:,}", complaint=complaint)


def between(minimum: int, maximum: int) -> Allowed:
    """Numbers from `minimum` to `maximum`, both included."""

    def complaint(value: Value) -> str | None:
        number = _number(value, minimum)
        if number < minimum:
            return f"Value must be at least {minimum}"
        return f"Value must be no more than {maximum}" if number > maximum else None

    return Allowed(text=f"{minimum:,} to {maximum:,}", complaint=complaint)


def one_of(*choices: str) -> Allowed:
    """One of these texts, exactly."""
    listed = ", ".join(choices)

    def complaint(value: Value) -> str | None:
        return None if value in choices else f"String must be one of: {listed}"

    return Allowed(text=listed, complaint=complaint)


def members_of(*choices: str) -> Allowed:
    """A list whose every element is one of these texts."""
    listed = ", ".join(choices)

    def complaint(value: Value) -> str | None:
        if isinstance(value, tuple):
            for element in value:
                if element not in choices:
                    raise BadValueError(element, f"String must be one of: {listed}")
        return None

    return Allowed(text=f"list of {listed}", complaint=complaint)


def gzip_level() -> Allowed:
    """gzip's levels: -1 stands for the library's own default."""

    def complaint(value: Value) -> str | None:
        number = _number(value, -1)
        return None if number == -1 or 1 <= number <= 9 else "Value must be between 1 and 9 or equal to -1"

    return Allowed(text="1 to 9, or -1", complaint=complaint)


def _number(value: Value, absent: float) -> float:
    return value if isinstance(value, int | float) else absent


_UNITS: Final = {"ms": "ms", "bytes": "bytes", "minutes": "minutes", "hours": "hours"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is declared about one broker setting besides its name, Python type and default.

    `nullable`: "not set" is a value of its own. `shown_default` replaces a default that is made at start from other
    settings in the documentation.
    """

    kind: ConfigType
    help: str
    allowed: Allowed = ANYTHING
    unit: str = ""
    nullable: bool = False
    shown_default: str | None = None

    def unit_of(self, name: str) -> str:
        """Return the unit: the declared one, or the last word of the setting's name where that is a unit."""
        return self.unit or _UNITS.get(name.rpartition(".")[2], "")

    def read(self, raw: object) -> Value:
        """Return the value for a text or for a value that has the right type already; raises BadValueError."""
        return check_value(self.kind, self.allowed, raw, nullable=self.nullable)


def check_value(kind: ConfigType, allowed: Allowed, raw: object, *, nullable: bool = False) -> Value:
    """Return `raw` (a text, or a Python value) as a value of `kind` that is allowed; raises BadValueError otherwise."""
    if raw is None:
        if not nullable:
            raise BadValueError("null", "A value is required")
        return None
    text = _as_text(raw)
    if nullable and text.strip() == "":
        return None
    value = parse(kind, text)
    if (complaint := allowed.complaint(value)) is not None:
        raise BadValueError(format_value(value) or "", complaint)
    return value


def _as_text(raw: object) -> str:
    if isinstance(raw, list | tuple):
        return ",".join(_as_text(element) for element in raw)
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(raw)
