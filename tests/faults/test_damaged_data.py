"""A data directory that is not what the broker left: it refuses to start and says why, or serves all that is whole.

A refusal is one line that names what is wrong and what to do, and exit code 1. One damaged batch is an error for its
partition alone.
"""

import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.records import Record, encode_batch
from tests.support.broker import BrokerProcess
from tests.support.raw_client import RawClient, create_topic, end_offset, fetch_request, produce_request, records_of
from tests.support.server_process import LOOPBACK, free_port

REFUSED: Final = 1
"""Exit code of a start that was refused."""

START_WAIT_S: Final = 30.0

PARTITIONS: Final = 3
ROUNDS: Final = 4


def refused_start(data_dir: Path, *options: str, port: int | None = None) -> str:
    """Start a broker that must refuse, and return its one line."""
    broker = BrokerProcess(data_dir, port)
    ended = subprocess.run([*broker.command, *options], capture_output=True, text=True, timeout=START_WAIT_S)
    assert ended.returncode == REFUSED, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("kafscale: ")]
    return line


def value(partition: int, number: int) -> bytes:
    """Return a value that can be found in a segment."""
    return b"partition %d value %d " % (partition, number) + b"." * 100


def fill(client: RawClient, topic: str) -> None:
    """Write ROUNDS segments with a batch for every partition each."""
    create_topic(client, topic, PARTITIONS)
    for number in range(ROUNDS):
        batches = {index: encode_batch([Record(0, value=value(index, number))]) for index in range(PARTITIONS)}
        reply = client.call(produce_request(topic, dict(batches)), 9)
        assert not any(answered.error_code for answered in reply.responses[0].partition_responses)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped broker's directory: records in two topics, a checkpoint between them, entries behind it."""
    data_dir = tmp_path_factory.mktemp("template") / "data"
    with BrokerProcess(data_dir, settings={"checkpoint.interval.ms": "1"}) as broker, RawClient(broker.port) as client:
        fill(client, "before")
        assert await_file(data_dir / "objects" / "checkpoint")
    with BrokerProcess(data_dir) as broker, RawClient(broker.port) as client:
        fill(client, "after")
    return data_dir


def await_file(directory: Path) -> bool:
    """Wait until something is in a directory."""
    deadline = time.monotonic() + START_WAIT_S
    while not (directory.is_dir() and any(directory.iterdir())):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> Path:
    """A copy of the template to be damaged."""
    return Path(shutil.copytree(template, tmp_path / "data"))


def segments_with(data_dir: Path, content: bytes) -> list[Path]:
    """Return the segments that hold `content`."""
    return [path for path in (data_dir / "objects" / "flush").rglob("*.seg") if content in path.read_bytes()]


def newest_checkpoint(data_dir: Path) -> Path:
    """Return the checkpoint that the log points to."""
    return max((data_dir / "objects" / "checkpoint").iterdir())


def flip(path: Path, at: int) -> None:
    """Turn one byte of a file around."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def assert_whole(broker: BrokerProcess, topics: Sequence[str] = ("before", "after")) -> None:
    """Check that every record of the template is read."""
    with RawClient(broker.port) as client:
        for topic in topics:
            for index in range(PARTITIONS):
                fetched = client.call(fetch_request(topic, {index: 0}), 11).responses[0].partitions[0]
                values = [stored for _, stored in records_of(fetched.records, 0)]
                assert values == [value(index, number) for number in range(ROUNDS)]


def test_undamaged_directory_starts(data_dir: Path) -> None:
    with BrokerProcess(data_dir) as broker:
        assert_whole(broker)


class TestMetadataLog:
    def test_header_damaged(self, data_dir: Path) -> None:
        flip(data_dir / "metadata.db", 3)
        line = refused_start(data_dir)
        assert "metadata.db" in line
        assert "Restore the file from a backup" in line

    def test_an_entry_damaged(self, data_dir: Path) -> None:
        database = data_dir / "metadata.db"
        with sqlite3.connect(database) as connection:
            connection.execute(
                "UPDATE entries SET payload = x'00' WHERE position = (SELECT max(position) FROM entries)"
            )
        connection.close()
        line = refused_start(data_dir)
        assert "does not have its checksum" in line
        assert "Restore the file from a backup" in line

    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_cut_short(self, data_dir: Path, share: float) -> None:
        database = data_dir / "metadata.db"
        content = database.read_bytes()
        database.write_bytes(content[: int(len(content) * share)])
        (data_dir / "metadata.db-wal").unlink(missing_ok=True)
        assert "Restore the file from a backup" in refused_start(data_dir)

    @pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
    def test_gone_while_objects_are_there(self, data_dir: Path, content: bytes | None) -> None:
        for name in ("metadata.db", "metadata.db-wal"):
            (data_dir / name).unlink(missing_ok=True)
        if content is not None:
            (data_dir / "metadata.db").write_bytes(content)
        line = refused_start(data_dir)
        assert "holds objects but there is no metadata.db" in line
        assert "restore that file from a backup" in line

    def test_something_else_in_its_place(self, data_dir: Path) -> None:
        (data_dir / "metadata.db").write_text("this is no database, but long enough to look like one\n" * 100)
        (data_dir / "metadata.db-wal").unlink(missing_ok=True)
        assert "metadata.db" in refused_start(data_dir)

    def test_a_directory_in_its_place(self, data_dir: Path) -> None:
        (data_dir / "metadata.db").unlink()
        (data_dir / "metadata.db").mkdir()
        refused_start(data_dir)


class TestCheckpoints:
    def test_missing(self, data_dir: Path) -> None:
        newest = newest_checkpoint(data_dir)
        newest.unlink()
        with BrokerProcess(data_dir) as broker:
            assert_whole(broker)
            (line,) = [line for line in broker.log_tail().splitlines() if newest.name in line]
        assert "WARNING" in line
        assert f"checkpoint/{newest.name} is missing" in line

    def test_damaged_and_moved_out_of_the_way(self, data_dir: Path) -> None:
        newest = newest_checkpoint(data_dir)
        flip(newest, -1)
        assert "move it out of the object directory and start again" in refused_start(data_dir)
        newest.rename(data_dir.parent / newest.name)
        with BrokerProcess(data_dir) as broker:
            assert_whole(broker)

    @pytest.mark.parametrize("at", [0, 20, -1])
    def test_damaged(self, data_dir: Path, at: int) -> None:
        newest = newest_checkpoint(data_dir)
        flip(newest, at)
        line = refused_start(data_dir)
        assert f"checkpoint/{newest.name} is damaged" in line
        assert "Restore it from a backup" in line

    @pytest.mark.parametrize("length", [0, 100])
    def test_cut_short(self, data_dir: Path, length: int) -> None:
        newest = newest_checkpoint(data_dir)
        newest.write_bytes(newest.read_bytes()[:length])
        assert f"checkpoint/{newest.name} is damaged" in refused_start(data_dir)


class TestSegments:
    @pytest.mark.parametrize("topic", [0, 1])
    def test_missing(self, data_dir: Path, topic: int) -> None:
        # Each of the two topics has such a value.
        lost = segments_with(data_dir, b"partition 1 value 0")[topic]
        lost.unlink()
        line = refused_start(data_dir)
        assert f"flush/{lost.parent.name}/{lost.name}" in line
        assert "Restore them from a backup" in line

    @pytest.mark.parametrize("cut", [200, 10_000])
    def test_cut_short(self, data_dir: Path, cut: int) -> None:
        segment = next((data_dir / "objects" / "flush").rglob("*.seg"))
        content = segment.read_bytes()
        segment.write_bytes(content[: max(0, len(content) - cut)])
        line = refused_start(data_dir)
        assert segment.name in line
        assert "missing or cut short" in line

    def test_without_its_footer_a_segment_still_has_its_records(self, data_dir: Path) -> None:
        # Only its length is looked at, and what comes behind the records is read by nobody but a recovery.
        for segment in (data_dir / "objects" / "flush").rglob("*.seg"):
            segment.write_bytes(segment.read_bytes()[:-1])
        with BrokerProcess(data_dir) as broker:
            assert_whole(broker)

    def test_all_missing(self, data_dir: Path) -> None:
        shutil.rmtree(data_dir / "objects" / "flush")
        assert f"{2 * ROUNDS} segment(s)" in refused_start(data_dir)

    def test_flipped_byte_spoils_one_partition_only(self, data_dir: Path) -> None:
        segments = segments_with(data_dir, b"partition 1 value 2")
        flip(segments[0], segments[0].read_bytes().index(b"partition 1 value 2") + 4)
        with BrokerProcess(data_dir) as broker, RawClient(broker.port) as client:
            spoiled = [topic for topic in ("before", "after") if self.errors(client, topic) != [0, 0, 0]]
            assert len(spoiled) == 1
            (topic,) = spoiled
            for _ in range(3):
                assert self.errors(client, topic) == [0, ErrorCode.KAFKA_STORAGE_ERROR, 0]
            (line,) = [line for line in broker.log_tail().splitlines() if segments[0].name in line]
            assert " ERROR " in line
            assert "partition 1, offset 2: " in line
            assert "wrong CRC" in line
            # What lies behind the damage is read, and the partition takes new records.
            fetched = client.call(fetch_request(topic, {1: 3}), 11).responses[0].partitions[0]
            assert [stored for _, stored in records_of(fetched.records, 3)] == [value(1, 3)]
            reply = client.call(produce_request(topic, {1: encode_batch([Record(0, value=b"new")])}), 9)
            assert reply.responses[0].partition_responses[0].base_offset == ROUNDS
            assert end_offset(client, topic, 1) == ROUNDS + 1
            assert "Traceback" not in broker.log_tail()

    def errors(self, client: RawClient, topic: str) -> list[int]:
        """Fetch all partitions from the third record on, and return their errors by index."""
        reply = client.call(fetch_request(topic, dict.fromkeys(range(PARTITIONS), 2)), 11)
        fetched = sorted(reply.responses[0].partitions, key=lambda partition: partition.partition_index)
        whole = [bool(list(records_of(partition.records, 2))) for partition in fetched]
        assert whole == [partition.error_code == 0 for partition in fetched]
        return [partition.error_code for partition in fetched]

    def test_what_an_interrupted_write_leaves_is_removed(self, data_dir: Path) -> None:
        leftover = data_dir / "objects" / ".incoming" / "17"
        leftover.write_bytes(b"half a segment")
        with BrokerProcess(data_dir) as broker:
            assert_whole(broker)
        assert not leftover.exists()


class TestDirectory:
    @pytest.mark.parametrize("content", ["", "[]", '{"format": 1}'])
    def test_format_damaged(self, data_dir: Path, content: str) -> None:
        (data_dir / "format").write_text(content)
        line = refused_start(data_dir)
        assert "'format' is damaged" in line
        assert "restore it from a backup" in line

    def test_format_of_a_later_release(self, data_dir: Path) -> None:
        (data_dir / "format").write_text('{"format": 7}')
        assert "start the release that wrote it" in refused_start(data_dir)

    def test_format_missing(self, data_dir: Path) -> None:
        (data_dir / "format").unlink()
        assert "has lost that file" in refused_start(data_dir)

    def test_objects_is_a_file(self, tmp_path: Path, template: Path) -> None:
        data_dir = tmp_path / "data"
        data_dir.mkdir()
        shutil.copy(template / "format", data_dir)
        (data_dir / "objects").write_text("")
        assert "objects" in refused_start(data_dir)

    def test_log_and_objects_elsewhere(self, template: Path, tmp_path: Path) -> None:
        objects = shutil.copytree(template / "objects", tmp_path / "bucket")
        shutil.copy(template / "metadata.db", tmp_path / "log.db")
        settings = {"storage.url": f"file://{objects}", "metadata.url": f"sqlite://{tmp_path}/log.db"}
        for _ in range(2):
            with BrokerProcess(tmp_path / "data", settings=settings) as broker:
                assert_whole(broker)
        (tmp_path / "log.db").unlink()
        options = [f"--set={name}={url}" for name, url in settings.items()]
        assert f"{objects} holds objects but there is no log.db" in refused_start(tmp_path / "data", *options)

    def test_nothing_on_disk(self, tmp_path: Path) -> None:
        settings = {"storage.url": "memory://", "metadata.url": "memory://"}
        with BrokerProcess(tmp_path / "data", settings=settings) as broker, RawClient(broker.port) as client:
            fill(client, "before")
            assert_whole(broker, ["before"])
        assert {path.name for path in (tmp_path / "data").iterdir()} == {"LOCK", "format"}

    def test_storage_that_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        line = refused_start(tmp_path / "data", "--set", f"storage.url=file://{tmp_path}/file/objects")
        assert f"{tmp_path}/file/objects" in line

    def test_another_node(self, data_dir: Path) -> None:
        assert "node.id 1" in refused_start(data_dir, "--set", "node.id=2")

    def test_a_second_broker_on_the_same_directory(self, data_dir: Path) -> None:
        with BrokerProcess(data_dir) as broker:
            line = refused_start(data_dir)
            assert f"process {broker.pid} is using it" in line
            assert "--data-dir" in line
            assert_whole(broker)

    def test_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server((LOOPBACK, 0)) as taken:
            port = taken.getsockname()[1]
            line = refused_start(tmp_path / "data", port=port)
        assert f"{LOOPBACK}:{port} is in use by another program" in line
        assert "--port" in line
        # Nothing was spoilt by the attempt.
        with BrokerProcess(tmp_path / "data"):
            pass


WRONG_SETTINGS: list[tuple[Sequence[str], Callable[[str], bool]]] = [
    (("--set", "flush.bytes=many"), lambda line: "flush.bytes" in line),
    (("--set", "no.such.setting=1"), lambda line: "no.such.setting" in line),
    (("--set", "storage.url=s3://bucket"), lambda line: "storage.url" in line),
]


@pytest.mark.parametrize(("options", "is_named"), WRONG_SETTINGS, ids=lambda each: str(each)[:40])
def test_wrong_setting(tmp_path: Path, options: Sequence[str], is_named: Callable[[str], bool]) -> None:
    assert is_named(refused_start(tmp_path / "data", *options, port=free_port()))
    assert not (tmp_path / "data").exists()
