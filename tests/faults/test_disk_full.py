"""A full disk: producing fails retriably, reading goes on, and with room again everything goes on without a restart.

The disk is a tmpfs of a few megabytes; mounting one needs root. What is acknowledged at any time is there after a
restart.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import OffsetCommitRequest, OffsetFetchRequest
from kafscale.protocol.records import Record, encode_batch
from tests.support.broker import BrokerProcess
from tests.support.raw_client import RawClient, create_topic, end_offset, fetch_request, produce_request, records_of

DISK_BYTES: Final = 8 * 1024 * 1024

BALLAST_BYTES: Final = 4 * 1024 * 1024
"""What is removed to make room again."""

VALUE_BYTES: Final = 60_000

RETRIABLE: Final = (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.REQUEST_TIMED_OUT)

REQUESTS_MAX: Final = 2_000
"""Far more than fill the disk."""

RECOVERY_S: Final = 15.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk with a ballast on it."""
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    try:
        (mount / "ballast").write_bytes(bytes(BALLAST_BYTES))
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


class Writer:
    """Produces records one by one and keeps what was acknowledged, by offset."""

    def __init__(self, client: RawClient, topic: str, value_bytes: int) -> None:
        self.acknowledged: dict[int, bytes] = {}
        self._client = client
        self._topic = topic
        self._value_bytes = value_bytes
        self._sent = 0

    def send(self) -> ErrorCode:
        """Produce one record; return its error."""
        self._sent += 1
        value = (b"%d " % self._sent).ljust(self._value_bytes, b"x")
        reply = self._client.call(produce_request(self._topic, {0: encode_batch([Record(0, value=value)])}), 9)
        (answered,) = reply.responses[0].partition_responses
        if answered.error_code == ErrorCode.NONE:
            assert answered.base_offset not in self.acknowledged
            self.acknowledged[answered.base_offset] = value
        return ErrorCode(answered.error_code)

    def fill(self) -> None:
        """Produce until the disk is full; every refusal must be one that a producer retries."""
        for _ in range(REQUESTS_MAX):
            error = self.send()
            if error is not ErrorCode.NONE:
                assert error in RETRIABLE
                return
        pytest.fail("the disk is not full yet")

    def assert_readable(self, client: RawClient) -> None:
        """Read everything and compare it with what was acknowledged: all of it, at its offsets, and densely."""
        end = end_offset(client, self._topic)
        stored: dict[int, bytes | None] = {}
        while len(stored) < end:
            (fetched,) = client.call(fetch_request(self._topic, {0: len(stored)}), 11).responses[0].partitions
            assert fetched.error_code == ErrorCode.NONE
            stored.update(records_of(fetched.records, len(stored)))
        assert sorted(stored) == list(range(end))
        assert {offset: stored.get(offset) for offset in self.acknowledged} == self.acknowledged
        # Nothing was written that was refused: the producer would write it again.
        assert len(stored) == len(self.acknowledged)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + RECOVERY_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def assert_survives(broker: BrokerProcess, disk: Path, value_bytes: int) -> None:
    """Fill the disk, read, make room, write again, restart, read."""
    with RawClient(broker.port) as client, RawClient(broker.port) as reader:
        create_topic(client, "full", 1)
        writer = Writer(client, "full", value_bytes)
        writer.fill()
        for _ in range(20):
            assert writer.send() in (ErrorCode.NONE, *RETRIABLE)
        writer.assert_readable(reader)
        assert broker.is_running
        (disk / "ballast").unlink()
        eventually(lambda: writer.send() is ErrorCode.NONE)
        for _ in range(5):
            assert writer.send() is ErrorCode.NONE
        writer.assert_readable(reader)
        assert "Traceback" not in broker.log_tail()
    broker.restart()
    with RawClient(broker.port) as client:
        writer.assert_readable(client)


def test_disk_of_everything_full(disk: Path) -> None:
    with BrokerProcess(disk / "data") as broker:
        assert_survives(broker, disk, VALUE_BYTES)


def test_disk_of_the_objects_full(disk: Path, tmp_path: Path) -> None:
    settings = {"storage.url": f"file://{disk}/objects"}
    with BrokerProcess(tmp_path / "data", settings=settings) as broker:
        assert_survives(broker, disk, VALUE_BYTES)


def test_disk_of_the_metadata_log_full(disk: Path, tmp_path: Path) -> None:
    # Objects have room; the log's own file is what cannot grow any more.
    (disk / "filler").write_bytes(bytes(DISK_BYTES - BALLAST_BYTES - 300_000))
    settings = {"metadata.url": f"sqlite://{disk}/metadata.db"}
    with BrokerProcess(tmp_path / "data", settings=settings) as broker:
        assert_survives(broker, disk, 10)


def test_checkpoints_on_a_full_disk(disk: Path) -> None:
    settings = {"checkpoint.interval.ms": "1", "checkpoint.log.entries": "1"}
    with BrokerProcess(disk / "data", settings=settings) as broker:
        with RawClient(broker.port) as client:
            create_topic(client, "full", 1)
            writer = Writer(client, "full", VALUE_BYTES)
            writer.fill()
        time.sleep(2.5)  # two attempts at a checkpoint
        with RawClient(broker.port) as client:
            writer.assert_readable(client)
        (disk / "ballast").unlink()
        eventually(lambda: len(list((disk / "data" / "objects" / "checkpoint").iterdir())) > 0)
        broker.restart()
        with RawClient(broker.port) as client:
            writer.assert_readable(client)


def test_group_commits_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    (disk / "filler").write_bytes(bytes(DISK_BYTES - BALLAST_BYTES - 300_000))
    settings = {"metadata.url": f"sqlite://{disk}/metadata.db"}
    with BrokerProcess(tmp_path / "data", settings=settings) as broker, RawClient(broker.port) as client:
        create_topic(client, "full", 1)
        committed = 0
        error = ErrorCode.NONE
        for offset in range(1, REQUESTS_MAX):
            error = commit(client, offset)
            if error is not ErrorCode.NONE:
                break
            committed = offset
        assert error in (ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.UNKNOWN_SERVER_ERROR)
        assert found_committed(client) == committed
        (disk / "ballast").unlink()
        eventually(lambda: commit(client, 77) is ErrorCode.NONE)
        assert found_committed(client) == 77


def commit(client: RawClient, offset: int) -> ErrorCode:
    at = OffsetCommitRequest.OffsetCommitRequestTopic
    partition = at.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_leader_epoch=-1, committed_metadata="x" * 2000
    )
    topics = [at(name="full", partitions=[partition])]
    request = OffsetCommitRequest(
        group_id="group", generation_id_or_member_epoch=-1, member_id="", group_instance_id=None, topics=topics
    )
    return ErrorCode(client.call(request, 7).topics[0].partitions[0].error_code)


def found_committed(client: RawClient) -> int:
    asked = OffsetFetchRequest.OffsetFetchRequestTopic(name="full", partition_indexes=[0])
    reply: Any = client.call(OffsetFetchRequest(group_id="group", topics=[asked]), 5)
    return int(reply.topics[0].partitions[0].committed_offset)
