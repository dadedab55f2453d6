"""A whole broker in memory, on virtual time, and clients that speak bytes to it over a wire without a network.

`BrokerWorld.call` asks a handler; `Wire` is a transport with a client's end on it, for tests of the connection itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from kafka.protocol.api_message import ApiMessage

from kafscale.broker.broker import Broker, Foundations
from kafscale.broker.connection import Connection
from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.clock import SeededClock
from kafscale.config import load_settings
from kafscale.metadata.checkpointer import InlineBuilder
from kafscale.metadata.entries import CreateTopic, TopicId
from kafscale.protocol.api import response_header_is_flexible
from kafscale.protocol.codec import decode_response, encode_request
from kafscale.protocol.records import Record, encode_batch
from kafscale.storage.objects.base import Buffer
from kafscale.storage.write_path import BatchResult, ProducedBatch
from tests.support.raw_client import frame, request_header
from tests.unit.storage.world import HeldStore, Producer, RefusingLog
from tests.unit.storage.world import batch as produced_batch

LISTENER = "PLAINTEXT"
TOPIC = "topic"
TOPIC_ID: TopicId = b"T" * 16
NEVER = {"checkpoint.interval.ms": "1000000000"}


class BrokerWorld:
    """One broker with one topic of three partitions."""

    def __init__(self, broker: Broker, store: HeldStore, log: RefusingLog) -> None:
        self.broker = broker
        self.store = store
        self.log = log

    @property
    def services(self) -> Services:
        return self.broker.services

    async def create_topic(
        self, name: str = TOPIC, topic_id: TopicId = TOPIC_ID, configs: Mapping[str, str] | None = None
    ) -> None:
        await self.services.appender.submit(CreateTopic(topic_id, name, 3, dict(configs or {})))

    async def call(self, request: ApiMessage, version: int) -> Any:
        """Answer a request as a connection would, both ways through the codec."""
        key = int(request.API_KEY)
        route = self.broker.server.router.route(key)
        assert route is not None
        assert route.version_min <= version <= route.version_max
        body = memoryview(bytes(encode_request(request, version)))
        chunks = await route.handle(self.services, context(key, version), body)
        return decode_response(key, version, b"".join(chunks))

    async def append(self, *batches: ProducedBatch) -> list[BatchResult]:
        """Write batches, past the protocol."""
        done: asyncio.Future[list[BatchResult]] = asyncio.get_running_loop().create_future()
        self.services.write_path.append(list(batches), 1, 1e6, done.set_result)
        return await done

    async def append_values(self, *values: bytes, partition: int = 0, topic_id: TopicId = TOPIC_ID) -> None:
        """Write one batch of one record for each value."""
        await self.append(*(produced_batch(partition, values=[value], topic_id=topic_id) for value in values))

    def connect(self, host: str = "10.0.0.9") -> "Wire":
        wire = Wire(Connection(self.broker.server, LISTENER), host)
        wire.connection.connection_made(wire)
        return wire


def context(key: int, version: int) -> RequestContext:
    return RequestContext(
        api_key=key,
        api_version=version,
        correlation_id=1,
        client_id="client",
        client_host="10.0.0.9",
        connection_id=1,
        listener_name=LISTENER,
    )


@asynccontextmanager
async def running_broker(settings: Mapping[str, str] | None = None) -> AsyncIterator[BrokerWorld]:
    """Start a broker without listeners, with one topic, and stop it in the end."""
    clock = SeededClock(1, asyncio.get_running_loop().time)
    store, log = HeldStore(clock), RefusingLog()
    broker = await Broker.start(
        Foundations(
            loaded=load_settings(overrides=NEVER | dict(settings or {})),
            log=log,
            store=store,
            clock=clock,
            checkpoint_builder=InlineBuilder(),
            cluster_id="cluster",
        )
    )
    broker.services.node.advertise({LISTENER: ("broker.example", 9092)})
    world = BrokerWorld(broker, store, log)
    await world.create_topic()
    yield world
    await broker.stop()
    assert not broker.failed.done()


class Reply(NamedTuple):
    """A frame from the broker: its correlation id and what follows it."""

    correlation_id: int
    rest: bytes


class Wire(asyncio.Transport):
    """A transport and the client's end of it. Written bytes are taken at once, unless the client `stops_reading`."""

    def __init__(self, connection: Connection, host: str) -> None:
        super().__init__({"peername": (host, 50_000)})
        self.connection = connection
        self.is_closing_ = False
        self.is_aborted = False
        self.is_lost = False
        self.stops_reading = False
        self.sent = bytearray()
        self.write_sizes: list[int] = []
        self._unsent = 0
        self._paused_writing = False
        self._reading = True
        self._high = 64 * 1024
        self._waiting: deque[bytes] = deque()
        self._correlation_id = 0

    # The client's end

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def request(self, message: ApiMessage, version: int) -> int:
        """Send a request and return its correlation id."""
        return self.request_body(int(message.API_KEY), version, bytes(encode_request(message, version)))

    def request_body(self, key: int, version: int, body: bytes) -> int:
        self._correlation_id += 1
        self.send(frame(request_header(key, version, self._correlation_id) + body))
        return self._correlation_id

    def as_frame(self, message: ApiMessage, version: int) -> bytes:
        """Return a request's frame without sending it."""
        self._correlation_id += 1
        header = request_header(int(message.API_KEY), version, self._correlation_id)
        return frame(header + encode_request(message, version))

    def send(self, data: bytes) -> None:
        """Send bytes; they wait here while the broker does not read."""
        self._waiting.append(data)
        self._deliver()

    def unread(self) -> int:
        """Return how many sent bytes the broker has not taken."""
        return sum(map(len, self._waiting))

    def replies(self) -> list[Reply]:
        """Take apart everything received so far."""
        data, out = bytes(self.sent), []
        while data:
            size = int.from_bytes(data[:4], "big")
            assert len(data) >= 4 + size
            out.append(Reply(int.from_bytes(data[4:8], "big", signed=True), data[8 : 4 + size]))
            data = data[4 + size :]
        return out

    def reply_ids(self) -> list[int]:
        return [reply.correlation_id for reply in self.replies()]

    def decoded(self, index: int, key: int, version: int) -> Any:
        body = self.replies()[index].rest[response_header_is_flexible(key, version) :]
        return decode_response(key, version, body)

    def lose(self, error: Exception | None = None) -> None:
        """Break the connection off."""
        if not self.is_lost:
            self.is_lost = self.is_closing_ = True
            self._waiting.clear()
            self.connection.connection_lost(error)

    def read_everything(self) -> None:
        """Let the client read again after `stops_reading`."""
        self.stops_reading = False
        self._unsent = 0
        if self._paused_writing and not self.is_closing_:
            self._paused_writing = False
            self.connection.resume_writing()
        if self.is_closing_:
            self.lose()

    def _deliver(self) -> None:
        while self._waiting and self._reading and not self.is_closing_:
            data = self._waiting.popleft()
            room = self.connection.get_buffer(-1)
            count = min(len(room), len(data))
            room[:count] = data[:count]
            if count < len(data):
                self._waiting.appendleft(data[count:])
            self.connection.buffer_updated(count)

    # The broker's end

    def write(self, data: Buffer) -> None:
        assert not self.is_lost, "written after the connection was lost"
        self.sent += data
        self.write_sizes.append(len(data))
        if self.stops_reading:
            self._unsent += len(data)
            if self._unsent > self._high and not self._paused_writing:
                self._paused_writing = True
                self.connection.pause_writing()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        for data in list_of_data:
            self.write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True
        asyncio.get_running_loop().call_soon(self._deliver)

    def is_reading(self) -> bool:
        return self._reading

    def close(self) -> None:
        if not self.is_closing_:
            self.is_closing_ = True
            if not self.stops_reading or not self._unsent:
                asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.is_aborted = self.is_closing_ = True
        asyncio.get_running_loop().call_soon(self.lose)

    def is_closing(self) -> bool:
        return self.is_closing_


async def settle(turns: int = 40) -> None:
    """Let everything that is ready run, without letting time pass."""
    for _ in range(turns):
        await asyncio.sleep(0)


def record_batch(
    values: Sequence[bytes] = (b"value",), *, producer: Producer | None = None, timestamp: int = 1_700_000_000_000
) -> bytes:
    """Return a batch as a producer sends it."""
    producer_id, epoch, sequence = producer or (-1, -1, -1)
    return encode_batch(
        [Record(delta, 0, None, value) for delta, value in enumerate(values)],
        base_timestamp=timestamp,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
    )
