"""Lists on the terminal: a table for people, JSON and YAML for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer

Row: TypeAlias = Mapping[str, Any]
"""One line of a list: column name to value. Values are what JSON can say."""

_PIPE_WIDTH = 100_000
"""Columns of a table that no person reads: wide enough that nothing is ever wrapped or cut."""


class OutputFormat(StrEnum):
    """How a list is shown."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How to show the result.")]


def show(rows: Sequence[Row], columns: Sequence[str], form: OutputFormat) -> None:
    """Print rows. A table shows `columns`; JSON and YAML show everything a row has."""
    if form is OutputFormat.TABLE:
        show_table(rows, columns)
    else:
        show_value([dict(row) for row in rows], form)


def show_value(value: object, form: OutputFormat) -> None:
    """Print nested lists and mappings as JSON or YAML."""
    if form is OutputFormat.JSON:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_yaml(value)))


def show_table(rows: Sequence[Row], columns: Sequence[str], title: str | None = None) -> None:
    """Print a table with a heading line; None is shown as a dash."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in columns:
        numeric = bool(rows) and all(isinstance(row.get(column), int) for row in rows)
        table.add_column(column.upper().replace("_", "-"), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _yaml(value: object) -> Iterator[str]:
    """Yield the lines of block-style YAML; scalars are written as JSON, which YAML includes."""
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from _yaml_entry(f"{_scalar(key)}:", item)
        case list() | tuple() if value:
            for item in value:
                lines = _yaml(item)
                yield f"- {next(lines)}"
                yield from (f"  {line}" for line in lines)
        case _:
            yield _scalar(value)


def _yaml_entry(key: str, item: object) -> Iterator[str]:
    if isinstance(item, dict | list | tuple) and item:
        yield key
        yield from (f"  {line}" for line in _yaml(item))
    else:
        yield f"{key} {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that YAML readers take for something else than text."""
