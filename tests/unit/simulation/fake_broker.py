"""A tiny broker in memory, right by default, for proving clients, network and checker together.

It answers one request after the other, after a random time. `faults` names the mistakes it makes on purpose:

- `lose acknowledged`: acknowledges a write now and then without keeping it;
- `write twice`: keeps a retried batch a second time instead of answering with the first one's offset;
- `forget commits`: answers -1 for a group's offset now and then;
- `share partitions`: gives every member the leader's own assignment;
- `read stale`: lets the high watermark lag behind what it has acknowledged;
- `look up late`: finds the record after the right one.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from kafka.record import MemoryRecords

from kafscale.protocol import messages as m
from kafscale.protocol.api import ApiKey
from kafscale.protocol.batches import parse_header
from kafscale.protocol.codec import decode_request, encode_response
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.headers import encode_response_header, parse_request_header
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Address
from tests.support.history import TopicPartition

PARTITIONS: Final = [TopicPartition("t", number) for number in range(3)]
THINKING_SECONDS: Final = 0.05
REBALANCE_SECONDS: Final = 1.0
MISTAKE_CHANCE: Final = 0.5


class Group:
    """A consumer group: whoever joins within a second of the first is in the next generation."""

    def __init__(self) -> None:
        self.generation = 0
        self.joining: dict[str, bytes] = {}
        self.members: dict[str, bytes] = {}
        self.assignments: dict[str, bytes] | None = None
        self.changed = asyncio.Event()
        self.committed: dict[TopicPartition, int] = {}

    def wake(self) -> None:
        """Let all who wait look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class FakeBroker:
    """What survives: logs as lists of (offset of the first record, batch), producers, groups."""

    def __init__(self, loop: SimulatedLoop, address: Address, faults: frozenset[str] = frozenset()) -> None:
        self.loop = loop
        self.address = address
        self.faults = faults
        self.logs: dict[TopicPartition, list[tuple[int, bytes]]] = {at: [] for at in PARTITIONS}
        self.ends = dict.fromkeys(PARTITIONS, 0)
        self.sequences: dict[tuple[TopicPartition, int, int], dict[int, int]] = {}
        self.epochs: dict[tuple[TopicPartition, int], int] = {}
        self.group = Group()
        self.producer_ids = 0
        self.member_ids = 0

    def mistake(self, fault: str) -> bool:
        """Tell whether to make this mistake now."""
        return fault in self.faults and self.loop.random.random() < MISTAKE_CHANCE

    async def answer(self, key: int, version: int, request: Any) -> Any:
        """Return the response to a request."""
        await asyncio.sleep(self.loop.random.random() * THINKING_SECONDS)
        handlers: dict[int, Callable[[Any], Any]] = {
            ApiKey.METADATA: self._metadata,
            ApiKey.PRODUCE: self._produce,
            ApiKey.LIST_OFFSETS: self._list_offsets,
            ApiKey.INIT_PRODUCER_ID: self._init_producer,
            ApiKey.FIND_COORDINATOR: self._find_coordinator,
            ApiKey.HEARTBEAT: self._heartbeat,
            ApiKey.LEAVE_GROUP: self._leave,
            ApiKey.OFFSET_COMMIT: self._commit,
            ApiKey.OFFSET_FETCH: self._offset_fetch,
        }
        if key == ApiKey.FETCH:
            return await self._fetch(request)
        if key == ApiKey.JOIN_GROUP:
            return await self._join(request, version)
        if key == ApiKey.SYNC_GROUP:
            return await self._sync(request)
        return handlers[key](request)

    def _metadata(self, _: Any) -> Any:
        topic = m.MetadataResponse.MetadataResponseTopic
        partitions = [
            topic.MetadataResponsePartition(
                error_code=0, partition_index=at.partition, leader_id=1, leader_epoch=0,
                replica_nodes=[1], isr_nodes=[1], offline_replicas=[],
            )
            for at in PARTITIONS
        ]  # fmt: skip
        host, port = self.address
        broker = m.MetadataResponse.MetadataResponseBroker(node_id=1, host=host, port=port, rack=None)
        topics = [topic(error_code=0, name="t", is_internal=False, partitions=partitions)]
        return m.MetadataResponse(
            throttle_time_ms=0, brokers=[broker], cluster_id="c", controller_id=1, topics=topics, error_code=0
        )

    def _init_producer(self, _: Any) -> Any:
        self.producer_ids += 1
        return m.InitProducerIdResponse(
            throttle_time_ms=0, error_code=0, producer_id=self.producer_ids, producer_epoch=0
        )

    def _produce(self, request: Any) -> Any:
        topic = request.topic_data[0]
        partition = topic.partition_data[0]
        at = PARTITIONS[partition.index]
        error, offset = self._append(at, bytes(partition.records))
        reply = m.ProduceResponse.TopicProduceResponse.PartitionProduceResponse(
            index=at.partition, error_code=error, base_offset=offset, log_append_time_ms=-1, log_start_offset=0,
            record_errors=[], error_message=None,
        )  # fmt: skip
        topics = [m.ProduceResponse.TopicProduceResponse(name="t", partition_responses=[reply])]
        return None if request.acks == 0 else m.ProduceResponse(responses=topics, throttle_time_ms=0)

    def _append(self, at: TopicPartition, batch: bytes) -> tuple[ErrorCode, int]:
        header = parse_header(memoryview(batch))
        if header.producer_id >= 0:
            newest = self.epochs.setdefault((at, header.producer_id), header.producer_epoch)
            if header.producer_epoch < newest:
                return ErrorCode.INVALID_PRODUCER_EPOCH, -1
            self.epochs[at, header.producer_id] = header.producer_epoch
            known = self.sequences.setdefault((at, header.producer_id, header.producer_epoch), {0: -1})
            offset = known.get(header.base_sequence)
            if offset is None:
                return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
            if offset >= 0 and not self.mistake("write twice"):
                return ErrorCode.NONE, offset
            known[header.base_sequence] = self.ends[at]
            known.setdefault(header.base_sequence + header.record_count, -1)
        offset = self.ends[at]
        if self.mistake("lose acknowledged"):
            return ErrorCode.NONE, offset
        self.logs[at].append((offset, offset.to_bytes(8, "big") + batch[8:]))
        self.ends[at] += header.record_count
        return ErrorCode.NONE, offset

    async def _fetch(self, request: Any) -> Any:
        wanted = {
            TopicPartition(topic.topic, asked.partition): asked.fetch_offset
            for topic in request.topics
            for asked in topic.partitions
        }
        deadline_s = self.loop.time() + request.max_wait_ms / 1000
        # Polling is good enough for a fake.
        while self.loop.time() < deadline_s and all(self.ends[at] <= offset for at, offset in wanted.items()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        partitions = [self._read(at, offset) for at, offset in wanted.items()]
        topics = [m.FetchResponse.FetchableTopicResponse(topic="t", partitions=partitions)]
        return m.FetchResponse(throttle_time_ms=0, error_code=0, session_id=0, responses=topics)

    def _read(self, at: TopicPartition, offset: int) -> Any:
        end = self.ends[at]
        if self.mistake("read stale"):
            end = min(end, max(0, end - 5))
        following = [first for first, _ in self.logs[at][1:]] + [self.ends[at]]
        batches = [batch for (_, batch), after in zip(self.logs[at], following, strict=False) if offset < after <= end]
        return m.FetchResponse.FetchableTopicResponse.PartitionData(
            partition_index=at.partition, error_code=0 if offset <= self.ends[at] else 1, high_watermark=end,
            last_stable_offset=end, log_start_offset=0, aborted_transactions=None, preferred_read_replica=-1,
            records=b"".join(batches[:3]),
        )  # fmt: skip

    def _list_offsets(self, request: Any) -> Any:
        asked = request.topics[0].partitions[0]
        at = PARTITIONS[asked.partition_index]
        offset, timestamp = self._offset_at(at, asked.timestamp)
        reply = m.ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse(
            partition_index=at.partition, error_code=0, timestamp=timestamp, offset=offset, leader_epoch=0
        )
        topics = [m.ListOffsetsResponse.ListOffsetsTopicResponse(name="t", partitions=[reply])]
        return m.ListOffsetsResponse(throttle_time_ms=0, topics=topics)

    def _offset_at(self, at: TopicPartition, timestamp_ms: int) -> tuple[int, int]:
        if timestamp_ms < 0:
            return (self.ends[at] if timestamp_ms == -1 else 0), -1
        records = [record for _, batch in self.logs[at] for record in next(iter(MemoryRecords(batch)))]
        found = [(record.offset, record.timestamp) for record in records if record.timestamp >= timestamp_ms]
        if self.mistake("look up late"):
            found = found[1:]
        return found[0] if found else (-1, -1)

    def _find_coordinator(self, _: Any) -> Any:
        host, port = self.address
        return m.FindCoordinatorResponse(
            throttle_time_ms=0, error_code=0, error_message=None, node_id=1, host=host, port=port
        )

    async def _join(self, request: Any, version: int) -> Any:
        member_id = request.member_id
        if not member_id:
            self.member_ids += 1
            member_id = f"member-{self.member_ids}"
            if version >= 4:
                return self._joined(ErrorCode.MEMBER_ID_REQUIRED, member_id, [])
        if not self.group.joining:
            self.loop.call_later(REBALANCE_SECONDS, self._complete_join)
        self.group.joining[member_id] = bytes(request.protocols[0].metadata)
        await self.group.changed.wait()
        if member_id not in self.group.members:
            return self._joined(ErrorCode.UNKNOWN_MEMBER_ID, member_id, [])
        leader = min(self.group.members)
        member = m.JoinGroupResponse.JoinGroupResponseMember
        members = [member(member_id=name, metadata=data) for name, data in self.group.members.items()]
        return self._joined(ErrorCode.NONE, member_id, members if member_id == leader else [])

    def _complete_join(self) -> None:
        group = self.group
        group.generation += 1
        group.members, group.joining, group.assignments = group.joining, {}, None
        group.wake()

    def _joined(self, error: ErrorCode, member_id: str, members: list[Any]) -> Any:
        return m.JoinGroupResponse(
            throttle_time_ms=0, error_code=error, generation_id=self.group.generation, protocol_type="consumer",
            protocol_name="roundrobin", leader=min(self.group.members, default=""), member_id=member_id,
            members=members,
        )  # fmt: skip

    def _stale(self, request: Any) -> ErrorCode:
        if request.member_id not in self.group.members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        generation = getattr(request, "generation_id", None)
        if generation is None:
            generation = request.generation_id_or_member_epoch
        return ErrorCode.NONE if generation == self.group.generation else ErrorCode.ILLEGAL_GENERATION

    async def _sync(self, request: Any) -> Any:
        error, generation = self._stale(request), self.group.generation
        if error is ErrorCode.NONE and request.assignments:
            given = {entry.member_id: bytes(entry.assignment) for entry in request.assignments}
            if "share partitions" in self.faults:
                given = dict.fromkeys(given, given[request.member_id])
            self.group.assignments = given
            self.group.wake()
        while error is ErrorCode.NONE and self.group.assignments is None:
            await self.group.changed.wait()
            error = ErrorCode.NONE if generation == self.group.generation else ErrorCode.REBALANCE_IN_PROGRESS
        assignments = self.group.assignments or {}
        assignment = assignments.get(request.member_id, b"") if error is ErrorCode.NONE else b""
        return m.SyncGroupResponse(
            throttle_time_ms=0, error_code=error, protocol_type="consumer", protocol_name="roundrobin",
            assignment=assignment,
        )  # fmt: skip

    def _heartbeat(self, request: Any) -> Any:
        error = self._stale(request)
        if error is ErrorCode.NONE and self.group.joining:
            error = ErrorCode.REBALANCE_IN_PROGRESS
        return m.HeartbeatResponse(throttle_time_ms=0, error_code=error)

    def _leave(self, _: Any) -> Any:
        return m.LeaveGroupResponse(throttle_time_ms=0, error_code=0, members=[])

    def _commit(self, request: Any) -> Any:
        error = self._stale(request)
        committed = request.topics[0].partitions[0]
        at = PARTITIONS[committed.partition_index]
        if error is ErrorCode.NONE:
            self.group.committed[at] = committed.committed_offset
        topic = m.OffsetCommitResponse.OffsetCommitResponseTopic
        reply = topic.OffsetCommitResponsePartition(partition_index=at.partition, error_code=error)
        return m.OffsetCommitResponse(throttle_time_ms=0, topics=[topic(name="t", partitions=[reply])])

    def _offset_fetch(self, request: Any) -> Any:
        at = PARTITIONS[request.topics[0].partition_indexes[0]]
        offset = -1 if self.mistake("forget commits") else self.group.committed.get(at, -1)
        topic = m.OffsetFetchResponse.OffsetFetchResponseTopic
        reply = topic.OffsetFetchResponsePartition(
            partition_index=at.partition, committed_offset=offset, committed_leader_epoch=-1, metadata="", error_code=0
        )
        topics = [topic(name="t", partitions=[reply])]
        return m.OffsetFetchResponse(throttle_time_ms=0, topics=topics, error_code=0)


class FakeConnection(asyncio.BufferedProtocol):
    """Cuts frames, and answers them one after the other."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._buffer = bytearray(4096)
        self._received = bytearray()
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._worker: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._worker = asyncio.get_running_loop().create_task(self._work())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._worker is not None:
            self._worker.cancel()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received += self._buffer[:nbytes]
        while len(self._received) >= 4:
            size = int.from_bytes(self._received[:4], "big")
            if len(self._received) < 4 + size:
                return
            self._frames.put_nowait(bytes(self._received[4 : 4 + size]))
            del self._received[: 4 + size]

    def eof_received(self) -> bool:
        return False

    async def _work(self) -> None:
        while True:
            frame = await self._frames.get()
            header = parse_request_header(frame)
            key, version = header.api_key, header.api_version
            request = decode_request(key, version, frame[header.body_start :])
            response = await self._broker.answer(key, version, request)
            if response is not None and self._transport is not None:
                body = encode_response_header(key, version, header.correlation_id) + encode_response(response, version)
                self._transport.write(len(body).to_bytes(4, "big") + body)
