"""A message or docstring that sends somebody to a command names one that exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import kafscale
from kafscale.cli.main import app

COMMAND = re.compile(r"`kafscale ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")


def named_commands() -> Iterator[tuple[Path, str, str]]:
    for path in sorted(Path(kafscale.__file__).parent.rglob("*.py")):
        for first, second in COMMAND.findall(path.read_text()):
            yield path, first, second


def test_commands_named_in_the_code_exist() -> None:
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    found = list(named_commands())
    assert found
    for path, first, second in found:
        assert first in commands, f"{path.name} names `kafscale {first}`"
        inner = vars(commands[first]).get("commands")
        assert not (second and inner) or second in inner, f"{path.name} names `kafscale {first} {second}`"
