"""Bytes that are no request, and requests that make no sense, against a running broker over raw sockets.

What is promised: the connection is closed or the right error given, no other connection notices, memory stays bounded,
and the broker lives. Error codes are Apache Kafka's; where it is laxer, the test says so.
"""

import os
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafscale.protocol.api import ApiKey
from kafscale.protocol.codec import encode_request
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import (
    ApiVersionsRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    SyncGroupRequest,
)
from kafscale.protocol.records import Record, encode_batch
from tests.support.broker import BrokerProcess
from tests.support.raw_client import (
    LATEST,
    ConnectionClosed,
    RawClient,
    create_topic,
    create_topics_request,
    end_offset,
    fetch_request,
    frame,
    list_offsets_request,
    metadata_request,
    produce_request,
    request_header,
)

REQUEST_BYTES_MAX = 104_857_600
"""Default of socket.request.max.bytes."""

GROWTH_BYTES_MAX = 64 * 1024 * 1024
"""What hostile input may cost in memory at most."""

MEMORY_WAIT_S = 5.0

IDLE_WAIT_S = 30.0
"""The broker looks for idle connections every ten seconds."""


@pytest.fixture
def neighbour(port: int) -> Iterator[RawClient]:
    """Another client's connection: it works after everything that was done to the server."""
    with RawClient(port) as opened:
        assert opened.call(metadata_request([]), 1).brokers
        yield opened
        assert opened.call(metadata_request([]), 1).brokers


def rss_bytes(broker: BrokerProcess) -> int:
    """Return the broker's resident memory."""
    pages = int(Path(f"/proc/{broker.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(broker: BrokerProcess) -> int:
    """Return how many files and sockets the broker has open."""
    return len(list(Path(f"/proc/{broker.pid}/fd").iterdir()))


def eventually(condition: Callable[[], bool], limit_s: float = MEMORY_WAIT_S) -> bool:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class TestHeaders:
    @pytest.mark.parametrize("key", [-1, ApiKey.LEADER_AND_ISR, ApiKey.VOTE, 93, 999, 32_767])
    def test_unknown_api_closes_its_connection(self, port: int, neighbour: RawClient, key: int) -> None:
        with RawClient(port) as client:
            client.send_bytes(frame(request_header(key, 0, 1)))
            assert client.is_closed_by_server()

    @pytest.mark.parametrize("version", [5, 99, 32_767])
    def test_api_versions_from_the_future(self, client: RawClient, version: int) -> None:
        body = encode_request(ApiVersionsRequest(client_software_name="raw", client_software_version="1"), 3)
        client.send_body(ApiKey.API_VERSIONS, version, body)
        reply = client.receive()
        assert reply.error_code == ErrorCode.UNSUPPORTED_VERSION
        assert [key.api_key for key in reply.api_keys] == [ApiKey.API_VERSIONS]
        # The connection stays, and a version that exists is answered.
        client.send_body(ApiKey.API_VERSIONS, 3, body)
        assert client.receive().error_code == ErrorCode.NONE

    @pytest.mark.parametrize(
        ("key", "version"),
        [
            (ApiKey.METADATA, 99),
            (ApiKey.FETCH, 3),
            (ApiKey.PRODUCE, 99),
            (ApiKey.LIST_OFFSETS, 0),
            (ApiKey.METADATA, -1),
        ],
    )
    def test_unknown_version_closes_the_connection(
        self, port: int, neighbour: RawClient, key: int, version: int
    ) -> None:
        with RawClient(port) as client:
            client.send_body(key, version, bytes(64))
            assert client.is_closed_by_server()

    @pytest.mark.parametrize(
        "header",
        [
            struct.pack(">hhih", ApiKey.METADATA, 1, 1, 500),
            struct.pack(">hhih", ApiKey.METADATA, 1, 1, -2),
            struct.pack(">hhih", ApiKey.METADATA, 9, 1, -1) + b"\x80\x80\x80\x80\x80\x80\x80",
            struct.pack(">hhih", ApiKey.METADATA, 9, 1, -1) + b"\x01\x00\xff\xff\xff\xff\x07",
            struct.pack(">hhi", ApiKey.METADATA, 1, 1),
        ],
        ids=["client id too long", "client id of -2", "endless varint", "tag beyond the frame", "no client id"],
    )
    def test_damaged_header_closes_the_connection(self, port: int, neighbour: RawClient, header: bytes) -> None:
        with RawClient(port) as client:
            client.send_bytes(frame(header))
            assert client.is_closed_by_server()


class TestFrames:
    @pytest.mark.parametrize("size", [REQUEST_BYTES_MAX + 1, 2**31 - 1, -1, -(2**31), 0, 1, 7])
    def test_impossible_size_closes_the_connection(self, port: int, neighbour: RawClient, size: int) -> None:
        with RawClient(port) as client:
            client.send_bytes(struct.pack(">i", size) + request_header(ApiKey.METADATA, 1, 1))
            assert client.is_closed_by_server()

    def test_impossible_sizes_cost_no_memory(self, broker: BrokerProcess) -> None:
        before = rss_bytes(broker)
        for _ in range(50):
            with RawClient(broker.port) as client:
                client.send_bytes(struct.pack(">i", 2**31 - 1) + request_header(ApiKey.METADATA, 1, 1) + bytes(1000))
                assert client.is_closed_by_server()
        assert rss_bytes(broker) - before < GROWTH_BYTES_MAX

    def test_large_frames_that_never_come_cost_no_memory(self, broker: BrokerProcess, neighbour: RawClient) -> None:
        before = rss_bytes(broker)
        silent = [RawClient(broker.port) for _ in range(40)]
        for client in silent:
            client.send_bytes(struct.pack(">i", REQUEST_BYTES_MAX) + request_header(ApiKey.METADATA, 1, 1))
        for _ in range(5):
            assert neighbour.call(metadata_request([]), 1).brokers
        assert rss_bytes(broker) - before < GROWTH_BYTES_MAX
        for client in silent:
            client.close()

    def test_200_connections_dropped_inside_a_frame(self, broker: BrokerProcess, neighbour: RawClient) -> None:
        memory, files = rss_bytes(broker), descriptors(broker)
        opened = [RawClient(broker.port) for _ in range(200)]
        for number, client in enumerate(opened):
            key = ApiKey.PRODUCE if number % 2 else ApiKey.METADATA
            client.send_bytes((struct.pack(">i", 1000 + number) + request_header(key, 1, 1))[: 3 + number % 20])
        assert neighbour.call(metadata_request([]), 1).brokers
        for client in opened:
            client.close()
        assert eventually(lambda: descriptors(broker) <= files)
        assert rss_bytes(broker) - memory < GROWTH_BYTES_MAX

    def test_dropped_produce_frames_give_their_memory_back(self, broker: BrokerProcess) -> None:
        # Three of them are more than buffer.memory; if any were kept, the last produce would wait for ever.
        for _ in range(6):
            with RawClient(broker.port) as client:
                client.send_bytes(struct.pack(">i", REQUEST_BYTES_MAX) + request_header(ApiKey.PRODUCE, 7, 1))
        with RawClient(broker.port) as client:
            create_topic(client, "after-drops", 1)
            large = encode_batch([Record(0, value=os.urandom(1_000_000))])
            reply = client.call(produce_request("after-drops", {0: large}), 7)
            assert reply.responses[0].partition_responses[0].error_code == ErrorCode.NONE

    def test_half_frames_harm_nobody(self, port: int, neighbour: RawClient) -> None:
        slow = [RawClient(port) for _ in range(50)]
        for number, client in enumerate(slow):
            client.send_bytes(struct.pack(">i", 5_000) + request_header(ApiKey.PRODUCE, 7, 1)[: number % 10])
        began = time.monotonic()
        for _ in range(20):
            assert neighbour.call(metadata_request([]), 1).brokers
            for client in slow:
                client.send_bytes(b"\0")
        assert time.monotonic() - began < 10
        for client in slow:
            client.close()

    @pytest.mark.slow
    def test_half_frames_are_closed_when_idle(self, tmp_path: Path) -> None:
        with BrokerProcess(tmp_path / "data", settings={"connections.max.idle.ms": "500"}) as broker:
            slow = [RawClient(broker.port, timeout_s=IDLE_WAIT_S) for _ in range(20)]
            for number, client in enumerate(slow):
                client.send_bytes((struct.pack(">i", 5_000) + request_header(ApiKey.PRODUCE, 7, 1))[:number])
            for client in slow:
                assert client.is_closed_by_server()
                client.close()

    def test_bytes_one_by_one(self, client: RawClient) -> None:
        for byte in frame(request_header(ApiKey.METADATA, 1, 1) + encode_request(metadata_request([]), 1)):
            client.send_bytes(bytes([byte]))
        assert struct.unpack_from(">i", client.receive_frame()) == (1,)


MESSAGES: dict[str, tuple[Any, int]] = {
    "Metadata v1": (metadata_request(["a", "b"]), 1),
    "Metadata v12": (metadata_request(["a", "b"]), 12),
    "Produce v7": (produce_request("t", {0: b"x" * 70}), 7),
    "Produce v11": (produce_request("t", {0: b"x" * 70}), 11),
    "Fetch v4": (fetch_request("t", {0: 0}), 4),
    "Fetch v12": (fetch_request("t", {0: 0}), 12),
    "ListOffsets v5": (list_offsets_request("t", [0, 1], LATEST), 5),
    "ListOffsets v7": (list_offsets_request("t", [0, 1], LATEST), 7),
    "FindCoordinator v2": (FindCoordinatorRequest(key="g", key_type=0), 2),
    "FindCoordinator v4": (FindCoordinatorRequest(key_type=0, coordinator_keys=["g"]), 4),
    "CreateTopics v5": (create_topics_request("t", 1), 5),
    "Heartbeat v4": (HeartbeatRequest(group_id="g", generation_id=1, member_id="m", group_instance_id=None), 4),
}


class TestBodies:
    @pytest.mark.parametrize("name", MESSAGES)
    def test_cut_off_anywhere_closes_the_connection(self, port: int, neighbour: RawClient, name: str) -> None:
        message, version = MESSAGES[name]
        body = bytes(encode_request(message, version))
        for length in sorted({0, 1, len(body) // 3, len(body) // 2, len(body) - 1}):
            with RawClient(port) as client:
                client.send_body(message.API_KEY, version, body[:length])
                assert client.is_closed_by_server(), f"{length} of {len(body)} bytes"

    @pytest.mark.parametrize("name", MESSAGES)
    def test_trailing_bytes_close_the_connection(
        self, port: int, neighbour: RawClient, name: str, is_elsewhere: bool
    ) -> None:
        if is_elsewhere:
            pytest.skip("Apache Kafka ignores bytes behind a request")
        # Four, because up to three are allowed where librdkafka sends them.
        message, version = MESSAGES[name]
        with RawClient(port) as client:
            client.send_body(message.API_KEY, version, encode_request(message, version) + bytes(4))
            assert client.is_closed_by_server()

    @pytest.mark.parametrize("count", [2**31 - 1, 100_000, -2, -(2**31)])
    @pytest.mark.parametrize("key", [ApiKey.METADATA, ApiKey.DELETE_TOPICS, ApiKey.DESCRIBE_GROUPS])
    def test_impossible_count_closes_the_connection(
        self, port: int, neighbour: RawClient, key: int, count: int, is_elsewhere: bool
    ) -> None:
        if is_elsewhere and count < 0:
            pytest.skip("Apache Kafka takes every negative count for null")
        with RawClient(port) as client:
            client.send_body(key, 1, struct.pack(">i", count) + bytes(40))
            assert client.is_closed_by_server()

    @pytest.mark.parametrize(
        "count", [b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 40]
    )
    def test_impossible_compact_count_closes_the_connection(
        self, port: int, neighbour: RawClient, count: bytes, is_elsewhere: bool
    ) -> None:
        if is_elsewhere and count == b"\xff\xff\xff\xff\x0f":
            pytest.skip("Apache Kafka takes every negative count for null")
        with RawClient(port) as client:
            client.send_body(ApiKey.METADATA, 12, count + bytes(40))
            assert client.is_closed_by_server()

    def test_impossible_counts_cost_no_memory(self, broker: BrokerProcess) -> None:
        before = rss_bytes(broker)
        for _ in range(50):
            with RawClient(broker.port) as client:
                client.send_body(ApiKey.METADATA, 1, struct.pack(">i", 2**31 - 1) + bytes(1000))
                assert client.is_closed_by_server()
        assert rss_bytes(broker) - before < GROWTH_BYTES_MAX

    def test_random_bodies_never_end_the_broker(self, port: int, neighbour: RawClient) -> None:
        import random

        dice = random.Random(7)
        for _ in range(200):
            message, version = MESSAGES[dice.choice(list(MESSAGES))]
            body = bytearray(encode_request(message, version))
            for _ in range(dice.randint(1, 4)):
                body[dice.randrange(len(body))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
            with RawClient(port, timeout_s=2) as client:
                client.send_body(message.API_KEY, version, body)


BAD_NAMES = ["", ".", "..", "a/b", "../up", "x" * 250, "nul\0", "naïve", "with space", "semi;colon", "new\nline"]


class TestNames:
    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    def test_bad_topic_names_are_refused(self, client: RawClient, name: str) -> None:
        (created,) = client.call(create_topics_request(name, 1), 5).topics
        assert ErrorCode(created.error_code) is ErrorCode.INVALID_TOPIC_EXCEPTION

    @pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
    def test_bad_topic_names_are_not_created_by_asking(self, client: RawClient, name: str) -> None:
        (topic,) = client.call(metadata_request([name], create=True), 9).topics
        assert ErrorCode(topic.error_code) is ErrorCode.INVALID_TOPIC_EXCEPTION

    def test_names_that_collide(self, client: RawClient) -> None:
        stem = uuid.uuid4().hex[:8]
        create_topic(client, f"{stem}.x", 1)
        (created,) = client.call(create_topics_request(f"{stem}_x", 1), 5).topics
        assert ErrorCode(created.error_code) is ErrorCode.INVALID_TOPIC_EXCEPTION

    @pytest.mark.parametrize(
        ("partitions", "error"), [(0, ErrorCode.INVALID_PARTITIONS), (-2, ErrorCode.INVALID_PARTITIONS)]
    )
    def test_bad_partition_counts(self, client: RawClient, partitions: int, error: ErrorCode) -> None:
        (created,) = client.call(create_topics_request("counted", partitions), 5).topics
        assert ErrorCode(created.error_code) is error

    def test_bad_offsets_and_partitions_in_a_fetch(self, client: RawClient) -> None:
        topic = f"fetched-{uuid.uuid4().hex[:8]}"
        create_topic(client, topic, 1)
        for offset in (-5, 1, 2**62):
            (fetched,) = client.call(fetch_request(topic, {0: offset}), 11).responses[0].partitions
            assert ErrorCode(fetched.error_code) is ErrorCode.OFFSET_OUT_OF_RANGE
        for index in (-1, 1, 2**31 - 1):
            (fetched,) = client.call(fetch_request(topic, {index: 0}), 11).responses[0].partitions
            assert ErrorCode(fetched.error_code) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert end_offset(client, topic) == 0


def join_request(group: str, **fields: Any) -> JoinGroupRequest:
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"")
    defaults: dict[str, Any] = {
        "group_id": group,
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 10_000,
        "member_id": "",
        "group_instance_id": None,
        "protocol_type": "consumer",
        "protocols": [protocol],
    }
    return JoinGroupRequest(**defaults | fields)


def commit_request(group: str, generation: int, member: str, topic: str) -> OffsetCommitRequest:
    at = OffsetCommitRequest.OffsetCommitRequestTopic
    partition = at.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=7, committed_leader_epoch=-1, committed_metadata=""
    )
    return OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member,
        group_instance_id=None,
        topics=[at(name=topic, partitions=[partition])],
    )


class TestGroups:
    @pytest.fixture
    def group(self, client: RawClient) -> str:
        """A group's name whose coordinator is ready."""
        name = f"group-{uuid.uuid4().hex[:8]}"
        find = FindCoordinatorRequest(key=name, key_type=0)
        assert eventually(lambda: client.call(find, 2).error_code == ErrorCode.NONE, 20)
        return name

    @pytest.fixture
    def topic(self, client: RawClient) -> str:
        name = f"committed-{uuid.uuid4().hex[:8]}"
        create_topic(client, name, 1)
        return name

    def joined(self, client: RawClient, group: str) -> tuple[str, int]:
        """Join as the only member; return the member id and the generation."""

        def join() -> bool:
            self.reply = client.call(join_request(group, member_id=""), 3)
            return bool(self.reply.error_code == ErrorCode.NONE)

        assert eventually(join, 20)
        assignment = SyncGroupRequest.SyncGroupRequestAssignment(member_id=self.reply.member_id, assignment=b"all")
        sync = SyncGroupRequest(
            group_id=group,
            generation_id=self.reply.generation_id,
            member_id=self.reply.member_id,
            group_instance_id=None,
            assignments=[assignment],
        )
        assert client.call(sync, 3).error_code == ErrorCode.NONE
        return self.reply.member_id, self.reply.generation_id

    def committed(self, client: RawClient, group: str, topic: str) -> int:
        asked = OffsetFetchRequest.OffsetFetchRequestTopic(name=topic, partition_indexes=[0])
        reply = client.call(OffsetFetchRequest(group_id=group, topics=[asked]), 5)
        return int(reply.topics[0].partitions[0].committed_offset)

    def commit(self, client: RawClient, group: str, generation: int, member: str, topic: str) -> ErrorCode:
        reply = client.call(commit_request(group, generation, member, topic), 7)
        return ErrorCode(reply.topics[0].partitions[0].error_code)

    def test_wrong_generations(self, client: RawClient, group: str, topic: str) -> None:
        member, generation = self.joined(client, group)
        for wrong in (generation + 1, generation - 1, 0, 2**31 - 1):
            heartbeat = HeartbeatRequest(group_id=group, generation_id=wrong, member_id=member, group_instance_id=None)
            assert client.call(heartbeat, 3).error_code == ErrorCode.ILLEGAL_GENERATION
            sync = SyncGroupRequest(group_id=group, generation_id=wrong, member_id=member, assignments=[])
            assert client.call(sync, 2).error_code == ErrorCode.ILLEGAL_GENERATION
            assert self.commit(client, group, wrong, member, topic) is ErrorCode.ILLEGAL_GENERATION
        assert self.committed(client, group, topic) == -1
        assert self.commit(client, group, generation, member, topic) is ErrorCode.NONE
        assert self.committed(client, group, topic) == 7

    def test_strangers(self, client: RawClient, group: str, topic: str) -> None:
        _, generation = self.joined(client, group)
        stranger: dict[str, Any] = {"group_id": group, "member_id": "stranger"}
        heartbeat = HeartbeatRequest(generation_id=generation, group_instance_id=None, **stranger)
        assert client.call(heartbeat, 3).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        sync = SyncGroupRequest(generation_id=generation, assignments=[], **stranger)
        assert client.call(sync, 2).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert client.call(LeaveGroupRequest(**stranger), 2).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert client.call(join_request(group, member_id="stranger"), 3).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert self.commit(client, group, generation, "stranger", topic) is ErrorCode.UNKNOWN_MEMBER_ID
        # Commits without membership are for groups without members.
        assert self.commit(client, group, -1, "", topic) is ErrorCode.UNKNOWN_MEMBER_ID
        assert self.committed(client, group, topic) == -1

    def test_group_that_does_not_exist(self, client: RawClient, group: str, topic: str) -> None:
        heartbeat = HeartbeatRequest(group_id=group, generation_id=1, member_id="m", group_instance_id=None)
        assert client.call(heartbeat, 3).error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert self.commit(client, group, 3, "m", topic) is ErrorCode.ILLEGAL_GENERATION
        assert self.committed(client, group, topic) == -1

    def test_joins_that_are_refused(self, client: RawClient, group: str) -> None:
        for fields, error in (
            ({"session_timeout_ms": 1}, ErrorCode.INVALID_SESSION_TIMEOUT),
            ({"session_timeout_ms": 2**31 - 1}, ErrorCode.INVALID_SESSION_TIMEOUT),
            ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
            ({"protocols": []}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
            ({"protocol_type": ""}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
            ({"member_id": "nobody"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ):
            assert ErrorCode(client.call(join_request(group, **fields), 3).error_code) is error, fields

    def test_another_protocol_than_the_groups(self, client: RawClient, port: int, group: str) -> None:
        self.joined(client, group)
        other = [JoinGroupRequest.JoinGroupRequestProtocol(name="sticky", metadata=b"")]
        with RawClient(port) as second:
            reply = second.call(join_request(group, protocols=other), 3)
            assert ErrorCode(reply.error_code) is ErrorCode.INCONSISTENT_GROUP_PROTOCOL
            reply = second.call(join_request(group, protocol_type="connect"), 3)
            assert ErrorCode(reply.error_code) is ErrorCode.INCONSISTENT_GROUP_PROTOCOL

    def test_commit_of_a_partition_that_does_not_exist(self, client: RawClient, group: str) -> None:
        assert self.commit(client, group, -1, "", "nobody-made-this") is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_closed_connections_say_so(port: int) -> None:
    """The helper tells a closed connection from a reply, so that the tests above mean something."""
    with RawClient(port) as client:
        client.send(metadata_request([]), 1)
        assert not client.is_closed_by_server()
        client.send_bytes(struct.pack(">i", -1) + bytes(8))
        with pytest.raises(ConnectionClosed):
            client.receive_frame()
