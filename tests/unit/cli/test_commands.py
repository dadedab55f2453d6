"""The command line without a broker: arguments, formats, places, output, and how failures look."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from kafscale.cli import main as cli
from kafscale.cli.banner import banner
from kafscale.cli.broker import load
from kafscale.cli.client import Connection, connection, key_value
from kafscale.cli.consume import compile_format
from kafscale.cli.errors import CommandError
from kafscale.cli.group import _read_offsets
from kafscale.cli.offsets import Anchor, Place, _within, parse_place
from kafscale.cli.output import OutputFormat, show, show_value
from kafscale.cli.produce import RecordTemplate
from tests.support.server_process import free_port

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is set where the tests run is none of the broker's settings."""
    for name in [name for name in os.environ if name.startswith("KAFSCALE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process; returns exit code, stdout and stderr."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kafscale", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run_command


class TestFailures:
    def test_wrong_setting_is_one_line(self, run: Run) -> None:
        code, out, error = run("broker", "--set", "num.partitons=3")
        assert (code, out) == (1, "")
        assert error == "kafscale: unknown setting num.partitons (command line): did you mean num.partitions?\n"

    def test_port_contradicts_listeners(self, run: Run) -> None:
        code, _, error = run("broker", "--port", "1", "--set", "listeners=PLAINTEXT://h:1")
        assert code == 1
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments", [["nonsense"], ["consume"], ["consume", "a", "-t", "b"], ["produce", "a", "-k", "x", "-K", ":"]]
    )
    def test_wrong_usage(self, run: Run, arguments: list[str]) -> None:
        assert run(*arguments)[0] == 2

    @pytest.mark.parametrize("command", [["topic", "list"], ["produce", "a"], ["consume", "a"]])
    def test_unreachable_broker(self, command: list[str]) -> None:
        # In a process of its own: kafka-python leaves a socket behind.
        address = ["-b", f"127.0.0.1:{free_port()}", "-X", "bootstrap.timeout.ms=200"]
        done = subprocess.run(
            [sys.executable, "-m", "kafscale", *command, *address], input="x\n", capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("kafscale: no answer from 127.0.0.1:")
        assert done.stderr.count("\n") == 1

    def test_unknown_client_setting(self, run: Run) -> None:
        code, _, error = run("topic", "list", "-X", "clent.id=x")
        assert (code, error) == (1, "kafscale: unknown client setting clent.id: did you mean client.id?\n")


def commands(command: Any, path: str = "kafscale") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


def test_everything_a_person_can_type_is_explained() -> None:
    for path, command in commands(typer.main.get_command(cli.app)):
        assert command.help, path
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


class TestConfig:
    def test_show_with_origin(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "a.properties"
        file.write_text("node.id=7\n")
        arguments = ["--config", str(file), "--set", "num.partitions=3", "--format", "json", "--origin"]
        code, out, _ = run("config", "show", *arguments)
        rows = {row["name"]: row for row in json.loads(out)}
        assert code == 0
        assert rows["node.id"] == {"name": "node.id", "value": 7, "origin": f"file {file}"}
        assert rows["num.partitions"]["origin"] == "command line"
        assert rows["log.cleanup.policy"]["value"] == ["delete"]

    def test_table(self, run: Run) -> None:
        lines = run("config", "show")[1].splitlines()
        assert lines[0].split() == ["NAME", "VALUE"]
        assert ["delete.topic.enable", "true"] in [line.split() for line in lines]
        assert ["log.retention.ms", "-"] in [line.split() for line in lines]

    def test_flags_become_settings(self) -> None:
        loaded = load(None, ["node.id=2"], "/srv/k", "::1", 0)
        assert loaded.settings.listeners == "PLAINTEXT://[::1]:0"
        assert loaded.settings.data_dir == "/srv/k"
        assert load(None, [], None, None, 9093).settings.listeners == "PLAINTEXT://127.0.0.1:9093"
        assert load(None, [], None, "box", None).settings.listeners == "PLAINTEXT://box:9092"

    def test_version(self, run: Run) -> None:
        assert run("version")[1].startswith("kafscale 0.")


def test_banner_has_lines_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    banner("127.0.0.1:9092", "/srv/data")
    text = capsys.readouterr().out
    assert "kcat -b 127.0.0.1:9092" in text
    assert "bootstrap_servers='127.0.0.1:9092'" in text
    assert "/srv/data" in text


class TestClientSettings:
    def test_take_the_type_of_the_default(self) -> None:
        defaults = {"linger_ms": 0, "security_protocol": "PLAINTEXT", "enable_idempotence": True, "api_version": None}
        to = connection("a:1,b:2", ["linger.ms=5", "enable_idempotence=false", "security.protocol=SSL"])
        configs = to.configs(defaults, linger_ms=1)
        assert configs["bootstrap_servers"] == ["a:1", "b:2"]
        assert (configs["linger_ms"], configs["enable_idempotence"], configs["security_protocol"]) == (5, False, "SSL")

    def test_refused(self) -> None:
        with pytest.raises(CommandError, match="not a number"):
            Connection(brokers="a", settings={"linger.ms": "x"}).configs({"linger_ms": 0})
        with pytest.raises(CommandError, match="key=value"):
            key_value("-X", "=x")


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("start", Place(anchor=Anchor.START)),
            ("end", Place(anchor=Anchor.END)),
            ("17", Place(anchor=Anchor.OFFSET, number=17)),
            ("-5", Place(anchor=Anchor.END, number=5)),
            ("@1700", Place(anchor=Anchor.TIME, number=1700)),
        ],
    )
    def test_meaning(self, text: str, place: Place) -> None:
        assert parse_place(text) == place

    @pytest.mark.parametrize("text", ["", "@", "@x", "middle", "1.5"])
    def test_meaningless(self, text: str) -> None:
        with pytest.raises(CommandError):
            parse_place(text)

    @pytest.mark.parametrize(
        ("text", "offset"), [("start", 10), ("end", 20), ("-3", 17), ("-99", 10), ("5", 10), ("15", 15), ("99", 20)]
    )
    def test_stays_within_the_partition(self, text: str, offset: int) -> None:
        assert _within(parse_place(text), 10, 20, None) == offset

    def test_time(self) -> None:
        assert _within(parse_place("@5"), 10, 20, 12) == 12
        assert _within(parse_place("@5"), 10, 20, None) == 20

    def test_file(self, tmp_path: Path) -> None:
        file = tmp_path / "offsets"
        file.write_text("# comment\n\norders 0 17\norders 1 0\n")
        assert _read_offsets(file) == {("orders", 0): 17, ("orders", 1): 0}
        file.write_text("orders 0\n")
        with pytest.raises(CommandError, match="line 1"):
            _read_offsets(file)


def record(**fields: Any) -> Any:
    basis = {"topic": "t", "partition": 1, "offset": 2, "timestamp": 3, "key": None, "value": None, "headers": ()}
    return SimpleNamespace(**basis | fields)


class TestFormat:
    def test_fields(self) -> None:
        formatter = compile_format(r"%t %p %o %k %v %h %T%%\n\t\q")
        made = formatter(record(key=b"\xff", value=b"v", headers=[("a", b"1"), ("b", None)]))
        assert made == b"t 1 2 \xff v a=1,b= 3%\n\t\\q"

    def test_unknown_field(self) -> None:
        with pytest.raises(CommandError, match="%q"):
            compile_format("%q")

    def test_lone_percent_sign_at_the_end(self) -> None:
        assert compile_format("100%")(record()) == b"100%"


class TestLines:
    def test_key_and_value(self) -> None:
        plain = RecordTemplate(key=b"k", delimiter=None, headers=[], partition=None)
        keyed = RecordTemplate(key=None, delimiter=b"::", headers=[], partition=None)
        assert plain.split(b"a::b") == (b"k", b"a::b")
        assert keyed.split(b"a::b::c") == (b"a", b"b::c")
        with pytest.raises(CommandError, match="delimiter"):
            keyed.split(b"ab")


class TestOutput:
    def test_yaml(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = [{"name": "a", "list": [1, "yes", None], "empty": [], "nested": [{"x": True, "y": "é: b"}]}]
        show_value(rows, OutputFormat.YAML)
        assert capsys.readouterr().out == (
            '- name: a\n  list:\n    - 1\n    - "yes"\n    - null\n  empty: []\n'
            '  nested:\n    - x: true\n      "y": "é: b"\n'
        )

    def test_empty_lists(self, capsys: pytest.CaptureFixture[str]) -> None:
        for form, text in [(OutputFormat.YAML, "[]\n"), (OutputFormat.JSON, "[]\n"), (OutputFormat.TABLE, "A  B\n")]:
            show([], ("a", "b"), form)
            assert capsys.readouterr().out == text

    def test_table_shows_no_markup_and_wraps_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        show([{"some_name": "[bold]x[/bold]" + "y" * 300, "count": 1}], ("some_name", "count"), OutputFormat.TABLE)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["SOME-NAME", "COUNT"]
        assert lines[1].split() == ["[bold]x[/bold]" + "y" * 300, "1"]
