"""docs/configuration.md, made from the declarations: `kafscale config reference` prints it."""

from collections.abc import Iterable, Iterator

from kafscale.config.loading import environment_name
from kafscale.config.sections import SECTIONS
from kafscale.config.settings import SETTINGS, default_of, kafka_name
from kafscale.config.values import INT_MAX, LONG_MAX, Setting, Value, format_value

_INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from the declarations in kafscale/config/sections.py and kafscale/topic_configs.py. -->

`kafscale broker` needs no configuration. What it takes, weakest first:

1. the defaults below;
2. a file, `--config FILE`: Java properties (`key=value`, `#` starts a comment), or TOML where the name ends in `.toml`;
3. the environment: `KAFSCALE_` and the name in capitals, dots as underscores (`{example}` is `num.partitions`);
4. the command line: `--set key=value`, and `--data-dir`, `--host`, `--port`.

A name that is not listed here stops the broker, with the nearest name that is. `kafscale config show --origin` prints
every value and where it came from. Names are Kafka's own wherever Kafka has the setting. "Reported only" means:
accepted and shown to clients, because tools set it, without any effect.
"""

_TOPIC_INTRODUCTION = """\
## Topic configs

Set when a topic is created (`kafscale topic create orders -c retention.ms=3600000`). One that is not set follows the
broker setting beside it, or the default where there is none.
"""


def broker_reference() -> str:
    """Return the part of the document about broker settings, as Markdown."""
    parts = [_INTRODUCTION.format(example=environment_name("num.partitions"))]
    for section in SECTIONS:
        names = [kafka_name(attribute) for attribute in section.model_fields]
        parts.append(f"## {section.__doc__}\n")
        parts.append(table(("Setting", "Type", "Default", "Allowed", "What it does"), map(_row, names)))
    return "\n".join(parts)


def topic_reference(rows: Iterable[tuple[str, ...]]) -> str:
    """Return the part about topic configs, as Markdown, for rows of name, type, default, allowed and help."""
    return _TOPIC_INTRODUCTION + "\n" + table(("Config", "Type", "Default", "Allowed", "What it does"), rows)


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "".join(_lines(header, rows))


def _lines(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |\n"
    yield f"|{'|'.join('---' for _ in header)}|\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n"


def _row(name: str) -> tuple[str, ...]:
    setting = SETTINGS[name]
    return (f"`{name}`", _type(name, setting), _default(name, setting), setting.allowed.text, setting.help)


def _type(name: str, setting: Setting) -> str:
    return " ".join(filter(None, (setting.kind.name.lower(), setting.unit_of(name))))


def _default(name: str, setting: Setting) -> str:
    return setting.shown_default or shown(default_of(name))


def shown(value: Value) -> str:
    """Return a default the way the document shows it: the largest numbers stand for "no limit"."""
    if value in (INT_MAX, LONG_MAX) and not isinstance(value, bool):
        return f"{value} (no limit)"
    return f"`{format_value(value)}`" if value not in (None, "", ()) else "empty"
