"""Whose directory it is, which format it has, and who is using it."""

import base64
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from kafscale.clock import SeededClock
from kafscale.errors import StartRefused
from kafscale.storage.data_directory import DataDirectory, new_cluster_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def made(path: Path) -> Path:
    DataDirectory.open(path).close()
    return path


def refusal(path: Path, node_id: int = 1) -> str:
    with pytest.raises(StartRefused) as raised:
        DataDirectory.open(path, node_id=node_id)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_a_new_directory_gets_an_identity_that_it_keeps(path: Path) -> None:
    first = DataDirectory.open(path, node_id=7)
    identity = first.identity
    first.close()
    second = DataDirectory.open(path, node_id=7)
    assert second.identity == identity
    assert identity.node_id == 7
    assert len(identity.cluster_id) == 22
    assert uuid.UUID(bytes=base64.urlsafe_b64decode(identity.cluster_id + "==")).version == 4
    assert second.metadata_path == path / "metadata.db"
    assert second.objects_path == path / "objects"
    second.close()


def test_missing_parents_are_made(tmp_path: Path) -> None:
    DataDirectory.open(tmp_path / "a" / "b" / "data").close()
    assert (tmp_path / "a" / "b" / "data" / "format").exists()


def test_nobody_else_can_look_inside(made: Path) -> None:
    assert made.stat().st_mode & 0o077 == 0


def test_cluster_ids_differ_and_never_begin_with_a_dash() -> None:
    clock = SeededClock(1, now=lambda: 0.0)
    ids = {new_cluster_id(clock) for _ in range(2000)}
    assert len(ids) == 2000
    assert not any(cluster_id.startswith("-") for cluster_id in ids)


def test_a_second_broker_is_refused_and_told_who_has_it(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kafscale.storage.data_directory import DataDirectory;"
        "held = DataDirectory.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        message = refusal(path)
        process.communicate()
    assert f"process {process.pid} is using it" in message
    assert "--data-dir" in message
    DataDirectory.open(path).close()


def test_closing_twice_is_harmless_and_frees_it(path: Path) -> None:
    directory = DataDirectory.open(path)
    assert "is using it" in refusal(path)
    directory.close()
    directory.close()
    DataDirectory.open(path).close()


def test_a_foreign_directory_is_refused_and_not_touched(path: Path) -> None:
    path.mkdir()
    (path / "holiday.jpg").write_bytes(b"")
    message = refusal(path)
    assert "'holiday.jpg'" in message
    assert "--data-dir" in message
    assert [entry.name for entry in path.iterdir()] == ["holiday.jpg"]


def test_a_data_directory_without_its_format_is_refused(made: Path) -> None:
    (made / "objects").mkdir()
    (made / "format").unlink()
    assert "'format'" in refusal(made)


@pytest.mark.parametrize("leftover", ["LOCK", "format.new", "lost+found"])
def test_an_interrupted_first_start_is_gone_on_with(path: Path, leftover: str) -> None:
    path.mkdir()
    if leftover == "lost+found":
        (path / leftover).mkdir()
    else:
        (path / leftover).write_bytes(b"{half")
    DataDirectory.open(path).close()
    DataDirectory.open(path).close()


def test_a_newer_format_is_refused(made: Path) -> None:
    (made / "format").write_text(json.dumps({"format": 2, "layout": "new"}))
    message = refusal(made)
    assert "version 2" in message
    assert "start the release that wrote it" in message


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "\xff",
        '{"format": "1"}',
        '{"format": 1}',
        '{"format": 1, "cluster_id": "short", "node_id": 1}',
        '{"format": 1, "cluster_id": "!!!!!!!!!!!!!!!!!!!!!!", "node_id": 1}',
        '{"format": 1, "cluster_id": "AAAAAAAAAAAAAAAAAAAAAA", "node_id": "1"}',
    ],
)
def test_a_damaged_format_is_refused(made: Path, content: str) -> None:
    (made / "format").write_bytes(content.encode("latin-1"))
    assert "'format' is damaged; restore it from a backup" in refusal(made)


def test_another_node_id_is_refused(made: Path) -> None:
    message = refusal(made, node_id=2)
    assert "node.id 1" in message
    assert "say 2" in message
    DataDirectory.open(made, node_id=1).close()


def test_a_path_that_is_a_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    refusal(path)


@pytest.mark.parametrize("log", [None, b""])
def test_objects_without_their_log_are_refused(made: Path, log: bytes | None) -> None:
    (made / "objects" / "flush" / "ab").mkdir(parents=True)
    (made / "objects" / ".incoming").mkdir()
    (made / "objects" / ".incoming" / "1").write_bytes(b"unfinished")
    if log is not None:
        (made / "metadata.db").write_bytes(log)
    DataDirectory.open(made).close()
    (made / "objects" / "flush" / "ab" / "1-1").write_bytes(b"segment")
    assert "restore that file from a backup" in refusal(made)
    (made / "metadata.db").write_bytes(b"something")
    DataDirectory.open(made).close()
