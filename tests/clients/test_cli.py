"""Our own commands against a running broker, each in a process of its own, the way people type them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.support import CODECS, WAIT_S, eventually

Run = Callable[..., str]
UniqueName = Callable[[str], str]


@pytest.fixture
def attempt(bootstrap: str) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command against the broker, whatever comes of it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAFSCALE_")}

    def run_command(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kafscale", *arguments]
        environment = inherited | {"KAFSCALE_BROKERS": bootstrap}
        return subprocess.run(
            command, check=False, input=stdin, capture_output=True, text=True, timeout=WAIT_S, env=environment
        )

    return run_command


@pytest.fixture
def run(attempt: Callable[..., "subprocess.CompletedProcess[str]"]) -> Run:
    """Run a command that has to succeed; returns its stdout."""

    def run_command(*arguments: str, stdin: str = "") -> str:
        done = attempt(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_command


@pytest.fixture
def refused(attempt: Callable[..., "subprocess.CompletedProcess[str]"]) -> Run:
    """Run a command that has to fail, with one line on stderr, which it returns."""

    def run_command(*arguments: str, stdin: str = "") -> str:
        done = attempt(*arguments, stdin=stdin)
        assert done.returncode == 1, done.stdout
        assert done.stderr.startswith("kafscale: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    return run_command


@pytest.fixture
def topic(run: Run, unique_name: UniqueName) -> str:
    """A topic with one partition."""
    name = unique_name("cli")
    run("topic", "create", name, "-p", "1")
    return name


def read_json(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--format", "json"))


class TestTopics:
    def test_life_of_a_topic(self, run: Run, refused: Run, unique_name: UniqueName) -> None:
        name = unique_name("life")
        assert run("topic", "create", name, "-p", "3", "-r", "1", "-c", "retention.ms=1000000") == f"created {name}\n"
        assert "TOPIC_ALREADY_EXISTS" in refused("topic", "create", name)
        listed = {row["name"]: row for row in read_json(run, "topic", "list")}
        assert listed[name] == {"name": name, "partitions": 3, "replicas": 1}
        (described,) = read_json(run, "topic", "describe", name)
        assert [row["partition"] for row in described["partitions"]] == [0, 1, 2]
        assert {(row["start"], row["end"]) for row in described["partitions"]} == {(0, 0)}
        configs = {row["name"]: (row["value"], row["source"]) for row in described["configs"]}
        assert configs["retention.ms"] == ("1000000", "DYNAMIC_TOPIC_CONFIG")
        assert configs["cleanup.policy"] == ("delete", "DEFAULT_CONFIG")
        assert name in run("topic", "list")
        assert name in run("topic", "list", "--format", "yaml")
        assert name in run("topic", "describe", name)
        assert run("topic", "delete", name) == f"deleted {name}\n"
        assert "UNKNOWN_TOPIC_OR_PARTITION" in refused("topic", "delete", name)
        assert "UNKNOWN_TOPIC_OR_PARTITION" in refused("topic", "describe", name)

    def test_refused_configs(self, refused: Run, unique_name: UniqueName) -> None:
        line = refused("topic", "create", unique_name("bad"), "-c", "retention.ms=soon")
        assert "INVALID_CONFIG: Invalid value soon for configuration retention.ms: Not a number of type LONG" in line
        assert "Unknown topic config name: nope" in refused("topic", "create", unique_name("bad"), "-c", "nope=1")
        assert "INVALID_TOPIC" in refused("topic", "create", "a b")

    def test_some_of_many_fail(self, attempt: Any, topic: str, unique_name: UniqueName) -> None:
        other = unique_name("other")
        done = attempt("topic", "create", other, topic)
        assert (done.returncode, done.stdout) == (1, f"created {other}\n")

    def test_more_partitions(self, run: Run, refused: Run, topic: str) -> None:
        assert run("topic", "alter", topic, "-p", "3") == f"altered {topic}\n"
        (described,) = read_json(run, "topic", "describe", topic)
        assert described["partition_count"] == 3
        assert "INVALID_PARTITIONS" in refused("topic", "alter", topic, "-p", "2")

    def test_nothing_to_alter(self, refused: Run, topic: str) -> None:
        assert "nothing to alter" in refused("topic", "alter", topic)


class TestRecords:
    def test_out_as_they_went_in(self, run: Run, topic: str) -> None:
        run("produce", topic, "-K", ":", "-H", "from=test", "-H", "n=1", stdin="a:1\nb:2\nc:\n")
        run("produce", "-t", topic, "-k", "all", "-p", "0", stdin="x:y")
        shown = run("consume", topic, "-e", "-f", "%t %p %o %k=%v [%h]\\n")
        assert shown.splitlines() == [
            f"{topic} 0 0 a=1 [from=test,n=1]",
            f"{topic} 0 1 b=2 [from=test,n=1]",
            f"{topic} 0 2 c= [from=test,n=1]",
            f"{topic} 0 3 all=x:y []",
        ]

    @pytest.mark.parametrize("codec", CODECS)
    def test_codecs(self, run: Run, topic: str, codec: str) -> None:
        lines = "".join(f"value {n}\n" for n in range(2000))
        run("produce", topic, "-z", codec, stdin=lines)
        assert run("consume", topic, "-e") == lines

    @pytest.mark.parametrize("acks", ["0", "1", "all"])
    def test_acks(self, run: Run, topic: str, acks: str) -> None:
        run("produce", topic, "--acks", acks, stdin="a\nb\n")
        assert run("consume", topic, "-n", "2") == "a\nb\n"

    def test_places(self, run: Run, topic: str) -> None:
        run("produce", topic, stdin="".join(f"{n}\n" for n in range(10)))
        assert run("consume", topic, "-o", "7", "-e") == "7\n8\n9\n"
        assert run("consume", topic, "-o", "-2", "-e") == "8\n9\n"
        assert run("consume", topic, "-o", "end", "-e") == ""
        assert run("consume", topic, "-n", "1") == "0\n"
        times = [int(line) for line in run("consume", topic, "-e", "-f", "%T\\n").split()]
        assert run("consume", topic, "-o", f"@{times[0]}", "-n", "1") == "0\n"
        assert run("consume", topic, "-o", f"@{times[-1] + 1}", "-e") == ""

    def test_unknown(self, refused: Run, topic: str, unique_name: UniqueName) -> None:
        assert "UNKNOWN_TOPIC_OR_PARTITION" in refused("consume", unique_name("absent"), "-e")
        assert "no partition 5" in refused("consume", topic, "-p", "5")
        refused("produce", topic, "-p", "5", stdin="x\n")

    def test_too_large(self, refused: Run, topic: str) -> None:
        large = "x" * 2_000_000
        assert "MESSAGE" in refused("produce", topic, "-X", "max.request.size=10000000", stdin=large)


class TestGroups:
    def test_life_of_a_group(self, run: Run, topic: str, unique_name: UniqueName, tmp_path: Path) -> None:
        group = unique_name("group")
        run("produce", topic, stdin="".join(f"{n}\n" for n in range(5)))
        assert run("consume", topic, "-g", group, "-n", "3") == "0\n1\n2\n"
        assert run("consume", topic, "-g", group, "-e") == "3\n4\n"
        described = eventually(lambda: empty_group(run, group), "an empty group")
        assert described["lag"] == 0
        assert [(row["committed"], row["end"]) for row in described["offsets"]] == [(5, 5)]
        assert group in {row["group"] for row in read_json(run, "group", "list")}
        assert group in run("group", "describe", group)

        seek = ("group", "seek", group, "--to")
        moved = {"topic": topic, "partition": 0}
        assert read_json(run, *seek, "start", "--dry-run") == [moved | {"before": 5, "after": 0}]
        assert read_json(run, *seek, "-2") == [moved | {"before": 5, "after": 3}]
        assert run("consume", topic, "-g", group, "-n", "1") == "3\n"
        eventually(lambda: empty_group(run, group), "an empty group")
        file = tmp_path / "offsets"
        file.write_text(f"{topic} 0 1\n")
        assert read_json(run, *seek, str(file)) == [moved | {"before": 4, "after": 1}]
        assert read_json(run, *seek, "@0", "-t", topic) == [moved | {"before": 1, "after": 0}]

    def test_absent(self, refused: Run, unique_name: UniqueName) -> None:
        group = unique_name("absent")
        refused("group", "describe", group)
        assert "name a topic" in refused("group", "seek", group, "--to", "start")

    def test_deleted(self, run: Run, refused: Run, topic: str, unique_name: UniqueName) -> None:
        group = unique_name("deleted")
        run("group", "seek", group, "--to", "end", "-t", topic)
        assert run("group", "delete", group) == f"deleted {group}\n"
        assert "GROUP_ID_NOT_FOUND" in refused("group", "delete", group)
        refused("group", "describe", group)


def empty_group(run: Run, group: str) -> Any:
    """The group's description once its members have left, None before."""
    (described,) = read_json(run, "group", "describe", group)
    return described if described["state"] == "Empty" else None
