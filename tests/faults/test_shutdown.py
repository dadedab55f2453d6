"""SIGTERM: what was taken is answered and kept, nobody who waits holds the broker up, and it ends with exit code 0."""

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from kafscale.protocol.api import ApiKey
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import JoinGroupRequest, ProduceResponse, SyncGroupRequest
from kafscale.protocol.records import Record, encode_batch
from tests.support.broker import BrokerProcess
from tests.support.raw_client import (
    ConnectionClosed,
    RawClient,
    create_topic,
    end_offset,
    fetch_request,
    metadata_request,
    produce_request,
    records_of,
    request_header,
)

SECONDS_MAX: Final = 5.0
"""How long a shutdown may take with clients that wait: the grace is one second."""

WAIT_MS: Final = 60_000
"""How long clients would wait if nobody stopped."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker to be stopped by the test."""
    with BrokerProcess(tmp_path / "data", settings={"group.initial.rebalance.delay.ms": "0"}) as running:
        yield running


def stopped_after_s(broker: BrokerProcess) -> float:
    """Stop the broker, which must end with exit code 0 and without complaint; return how long it took."""
    began = time.monotonic()
    assert broker.terminate() == 0
    taken_s = time.monotonic() - began
    assert "Traceback" not in broker.log_tail()
    assert " ERROR " not in broker.log_tail()
    return taken_s


class Producer(threading.Thread):
    """Pipelines produce requests of one record each until the connection ends; keeps what was acknowledged."""

    IN_FLIGHT: Final = 20

    def __init__(self, port: int, partition: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[int, bytes] = {}
        self.refused: set[ErrorCode] = set()
        self.answered = 0
        self.sent = 0
        self._partition = partition
        self._port = port

    def run(self) -> None:
        waiting: list[bytes] = []
        try:
            with RawClient(self._port) as client:
                while True:
                    while len(waiting) < self.IN_FLIGHT:
                        waiting.append(b"%d.%d" % (self._partition, self.sent))
                        self.sent += 1
                        batch = encode_batch([Record(0, value=waiting[-1])])
                        client.send(produce_request("drained", {self._partition: batch}), 9)
                    self._take(client.receive(), waiting.pop(0))
        except (ConnectionClosed, OSError):
            return

    def _take(self, reply: ProduceResponse, value: bytes) -> None:
        (answered,) = reply.responses[0].partition_responses
        self.answered += 1
        if answered.error_code:
            self.refused.add(ErrorCode(answered.error_code))
        else:
            self.acknowledged[answered.base_offset] = value


@pytest.mark.parametrize("moment_s", [0.2, 0.7])
def test_produces_in_flight_are_answered_and_kept(broker: BrokerProcess, moment_s: float) -> None:
    with RawClient(broker.port) as client:
        create_topic(client, "drained", 4)
    producers = [Producer(broker.port, partition) for partition in range(4)]
    for producer in producers:
        producer.start()
    time.sleep(moment_s)
    assert stopped_after_s(broker) < SECONDS_MAX
    for producer in producers:
        producer.join(SECONDS_MAX)
        assert not producer.is_alive()
        assert producer.acknowledged
        assert producer.refused <= {ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.KAFKA_STORAGE_ERROR}
    broker.kill()
    broker.start()
    with RawClient(broker.port) as client:
        for partition, producer in enumerate(producers):
            stored = dict(read_all(client, partition))
            assert {offset: stored.get(offset) for offset in producer.acknowledged} == producer.acknowledged
            assert sorted(stored) == list(range(len(stored)))
            assert len(set(stored.values())) == len(stored)
            # In the order of sending, and none of them left out: what was not answered is the last of them, or lost.
            numbers = [int((value or b"").split(b".")[1]) for value in stored.values()]
            assert numbers == list(range(len(numbers)))


def read_all(client: RawClient, partition: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield every record of a partition."""
    position, end = 0, end_offset(client, "drained", partition)
    while position < end:
        (fetched,) = client.call(fetch_request("drained", {partition: position}), 11).responses[0].partitions
        for offset, value in records_of(fetched.records, position):
            yield offset, value
            position = offset + 1


def test_a_request_sent_before_the_signal_is_answered(broker: BrokerProcess) -> None:
    with RawClient(broker.port) as client, RawClient(broker.port) as other:
        create_topic(client, "drained", 1)
        for number in range(100):
            client.send(produce_request("drained", {0: encode_batch([Record(0, value=b"%d" % number)])}), 9)
        # An answer on the other connection says that the broker has had time to read.
        assert other.call(metadata_request([]), 1).brokers
        assert stopped_after_s(broker) < SECONDS_MAX
        answers: list[Any] = []
        try:
            while len(answers) < 100:
                answers.append(client.receive().responses[0].partition_responses[0])
        except ConnectionClosed:
            pass
    accepted = [answer.base_offset for answer in answers if answer.error_code == ErrorCode.NONE]
    assert accepted == list(range(len(accepted)))
    assert accepted
    broker.kill()
    broker.start()
    with RawClient(broker.port) as client:
        assert end_offset(client, "drained") == len(accepted)


def test_parked_fetches_do_not_hold_it_up(broker: BrokerProcess) -> None:
    with RawClient(broker.port) as client:
        create_topic(client, "parked", 1)
    parked = [RawClient(broker.port) for _ in range(20)]
    for client in parked:
        client.send(fetch_request("parked", {0: 0}, max_wait_ms=WAIT_MS), 11)
    time.sleep(0.3)
    assert stopped_after_s(broker) < SECONDS_MAX
    for client in parked:
        (fetched,) = client.receive().responses[0].partitions
        assert not fetched.records
        assert client.is_closed_by_server()
        client.close()


def join_request(member_id: str) -> JoinGroupRequest:
    """Return a request to join with a rebalance timeout nobody wants to wait for."""
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"")
    return JoinGroupRequest(
        group_id="parked",
        session_timeout_ms=WAIT_MS,
        rebalance_timeout_ms=WAIT_MS,
        member_id=member_id,
        group_instance_id=None,
        protocol_type="consumer",
        protocols=[protocol],
    )


def test_parked_group_requests_do_not_hold_it_up(broker: BrokerProcess) -> None:
    with RawClient(broker.port) as leader, RawClient(broker.port) as joining, RawClient(broker.port) as syncing:
        joined = leader.call(join_request(""), 3)
        assert joined.error_code == ErrorCode.NONE
        # The second member waits for the first to join again, which it never does.
        joining.send(join_request(""), 3)
        time.sleep(0.3)
        syncing.send(
            SyncGroupRequest(group_id="other", generation_id=1, member_id="x", group_instance_id=None, assignments=[]),
            3,
        )
        assert stopped_after_s(broker) < SECONDS_MAX
        refused = (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE)
        assert ErrorCode(joining.receive().error_code) in refused


def test_half_frames_and_silent_connections_do_not_hold_it_up(broker: BrokerProcess) -> None:
    opened = [RawClient(broker.port) for _ in range(30)]
    for number, client in enumerate(opened):
        client.send_bytes((struct.pack(">i", 5000) + request_header(ApiKey.PRODUCE, 7, 1))[: number % 20])
    time.sleep(0.2)
    assert stopped_after_s(broker) < SECONDS_MAX
    for client in opened:
        assert client.is_closed_by_server()
        client.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_client_that_reads_no_replies_does_not_hold_it_up(broker: BrokerProcess, signals: int) -> None:
    with RawClient(broker.port) as client:
        create_topic(client, "unread", 1)
        large = encode_batch([Record(0, value=bytes(900_000))])
        for _ in range(10):
            assert (
                not client.call(produce_request("unread", {0: large}), 9).responses[0].partition_responses[0].error_code
            )
    with RawClient(broker.port) as deaf:
        deaf._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            deaf.send(fetch_request("unread", {0: 0}, bytes_max=8_000_000), 11)
        time.sleep(0.5)
        if signals == 2:
            # It waits a second for this client; another signal meanwhile changes nothing.
            os.kill(broker.pid, signal.SIGTERM)
            time.sleep(0.2)
        assert stopped_after_s(broker) < SECONDS_MAX
