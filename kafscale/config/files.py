"""Configuration files: Java properties as Kafka's `server.properties` has them, and TOML.

Both give setting name -> raw value. A name is not checked here; `kafscale.config` knows the names.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from kafscale.errors import ConfigurationError

_FILE_BYTES_MAX: Final = 1024 * 1024
"""A configuration is a few kilobytes; what is larger is some other file named by mistake."""

_KEY: Final = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


def read_config_file(path: Path) -> dict[str, object]:
    """Return what a configuration file sets: TOML where the name ends in `.toml`, else Java properties.

    Raises ConfigurationError when the file cannot be read or is not of its format.
    """
    text = _read_text(path)
    if path.suffix != ".toml":
        return dict(parse_properties(text))
    try:
        return dict(_flatten(tomllib.loads(text), ""))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise ConfigurationError(f"{path} is larger than {_FILE_BYTES_MAX} bytes: that is no configuration file")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the configuration file {path} is not UTF-8 text") from None


def parse_properties(text: str) -> dict[str, str]:
    """Return the keys and values of a Java properties text (`java.util.Properties`); a later line wins."""
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _KEY.fullmatch(line)
        if match is not None:
            properties[_unescape(match[1])] = _unescape(match[2]).rstrip()
    return properties


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that say something, those that end in a backslash joined with the next."""
    joined = ""
    for line in text.splitlines():
        stripped = line.lstrip()
        if not joined and (not stripped or stripped[0] in "#!"):
            continue
        joined += stripped
        if (len(joined) - len(joined.rstrip("\\"))) % 2:
            joined = joined[:-1]
            continue
        yield joined
        joined = ""
    if joined:
        yield joined


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        escaped = match[1]
        return chr(int(escaped[1:], 16)) if len(escaped) > 1 else _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(character, text)


def _flatten(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Yield name and value of a TOML table; tables in it are the dots of a name: `[log] retention.ms = 1`."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
