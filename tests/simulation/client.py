"""What simulated Kafka clients share: connections with pipelined requests, and knowledge of the cluster.

Requests are encoded by kafka-python and responses decoded by the broker's strict codec, each client in protocol
versions of its own. A client behaves as the well-kept ones do: a request that times out costs its connection, errors
of leadership make it ask for metadata again, and it waits a little before it repeats anything.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kafka.protocol.api_message import ApiMessage

from kafscale.protocol.api import ApiKey, response_header_is_flexible
from kafscale.protocol.codec import decode_response
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import FindCoordinatorRequest, MetadataRequest
from tests.simulation.loop import SimulatedLoop, SimulationFailure
from tests.simulation.network import Address, ClientEnd, ConnectionLost, Network
from tests.support.history import TopicPartition

R = TypeVar("R")

REQUEST_TIMEOUT_SECONDS: Final = 30.0
"""As Java clients and librdkafka have it, about."""

REQUEST_TIMEOUTS_SECONDS: Final = (1.0, 5.0, REQUEST_TIMEOUT_SECONDS, REQUEST_TIMEOUT_SECONDS)
"""What clients have been configured to. An impatient one repeats requests that the broker is still working on."""

BACKOFF_SECONDS: Final = (0.05, 0.3)
"""Pause before something is tried again, at least and at most."""

VERSIONS: Final[dict[ApiKey, tuple[int, int]]] = {
    ApiKey.PRODUCE: (3, 12),
    ApiKey.FETCH: (4, 12),
    ApiKey.LIST_OFFSETS: (1, 7),
    ApiKey.METADATA: (1, 12),
    ApiKey.OFFSET_COMMIT: (2, 9),
    ApiKey.OFFSET_FETCH: (1, 7),
    ApiKey.FIND_COORDINATOR: (0, 3),
    ApiKey.JOIN_GROUP: (0, 9),
    ApiKey.HEARTBEAT: (0, 4),
    ApiKey.LEAVE_GROUP: (0, 5),
    ApiKey.SYNC_GROUP: (0, 5),
    ApiKey.INIT_PRODUCER_ID: (0, 4),
    ApiKey.CREATE_TOPICS: (2, 7),
    ApiKey.DELETE_TOPICS: (1, 5),
    ApiKey.CREATE_PARTITIONS: (0, 3),
    ApiKey.DELETE_RECORDS: (0, 2),
}
"""Oldest and newest version a simulated client speaks. Later ones of Produce and Fetch name topics by id."""


class Unavailable(Exception):
    """Nobody could be asked, or whoever was asked does not know. Nothing was changed; try again."""


class Rpc:
    """One connection: requests go out in order, replies come back in the same order."""

    def __init__(self, loop: SimulatedLoop, end: ClientEnd, client_id: str) -> None:
        self.server_run = end.server_run
        self._loop = loop
        self._end = end
        self._client_id = client_id
        self._correlation = 0
        self._waiting: deque[tuple[int, ApiKey, int, asyncio.Future[Any]]] = deque()
        self._reader = loop.create_task(self._read())

    def is_lost(self) -> bool:
        """Tell whether the connection is gone."""
        return self._end.is_lost()

    def start(self, request: Any, version: int, *, replies: bool = True) -> "asyncio.Future[Any]":
        """Send a request now and return its coming reply. Raises `ConnectionLost` when it could not be sent."""
        self._correlation += 1
        request.API_VERSION = version
        request.with_header(correlation_id=self._correlation, client_id=self._client_id)
        payload = bytes(request.encode(version=version, header=True))
        self._end.send_bytes(len(payload).to_bytes(4, "big") + payload)
        future = self._loop.create_future()
        if replies:
            self._waiting.append((self._correlation, ApiKey(request.API_KEY), version, future))
        else:
            future.set_result(None)
        return future

    async def finish(self, reply: "asyncio.Future[R]", timeout_s: float = REQUEST_TIMEOUT_SECONDS) -> R:
        """Return a reply that `start` promised. Raises `ConnectionLost`; a reply too late is one too."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(reply)
        except TimeoutError:
            self.abort()
            raise ConnectionLost("request timed out") from None

    async def call(self, request: ApiMessage, version: int, timeout_s: float = REQUEST_TIMEOUT_SECONDS) -> Any:
        """Send a request and return its reply. Raises `ConnectionLost`: the request may have been executed."""
        return await self.finish(self.start(request, version), timeout_s)

    def abort(self) -> None:
        """Break the connection off."""
        self._end.abort()
        self._end.lost("aborted here")

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._end.read_frame())
        except ConnectionLost as lost:
            self._lose(lost)
        except Exception as error:  # noqa: BLE001 (a reply nobody can read is the server's bug: the run fails)
            self._lose(ConnectionLost("unreadable reply"))
            self._loop.call_exception_handler({"message": f"bad reply to {self._client_id}", "exception": error})

    def _take(self, frame: bytes) -> None:
        if not self._waiting:
            raise SimulationFailure("a reply to nothing")
        correlation, key, version, future = self._waiting.popleft()
        if int.from_bytes(frame[:4], "big") != correlation:
            raise SimulationFailure(f"reply {int.from_bytes(frame[:4], 'big')} instead of {correlation} to {key!r}")
        body_at = 4
        if response_header_is_flexible(key, version):
            if frame[4] != 0:
                raise SimulationFailure("tagged fields in a response header")
            body_at = 5
        response = decode_response(key, version, frame[body_at:])
        if not future.done():
            future.set_result(response)

    def _lose(self, lost: ConnectionLost) -> None:
        while self._waiting:
            future = self._waiting.popleft()[3]
            if not future.done():
                future.set_exception(lost)
                # Looked at here, because a caller that was cancelled never will.
                future.exception()


class SimClient:
    """One client program: its connections, its protocol versions, and what it knows of the cluster."""

    def __init__(self, network: Network, name: str, bootstrap: list[Address]) -> None:
        self.name = name
        self.loop = network.loop
        self.random = random.Random(network.dice.random.getrandbits(64))
        self._network = network
        self._bootstrap = bootstrap
        self._versions = {key: self.random.randint(*bounds) for key, bounds in VERSIONS.items()}
        self._connections: dict[Address, Rpc] = {}
        self._leaders: dict[TopicPartition, Address] = {}
        self.request_timeout_s = self.random.choice(REQUEST_TIMEOUTS_SECONDS)

    def version(self, key: ApiKey) -> int:
        """Return the version in which this client speaks an API."""
        return self._versions[key]

    async def call(self, rpc: Rpc, request: ApiMessage, timeout_s: float | None = None) -> Any:
        """Send a request in this client's version and return the reply. Raises `ConnectionLost`."""
        version = self.version(ApiKey(request.API_KEY))
        return await rpc.call(request, version, self.request_timeout_s if timeout_s is None else timeout_s)

    async def connection(self, address: Address) -> Rpc:
        """Return a living connection. Raises `Unavailable`."""
        known = self._connections.get(address)
        if known is not None and not known.is_lost():
            return known
        try:
            end = await self._network.connect(address)
        except ConnectionRefusedError as refused:
            raise Unavailable(str(refused)) from None
        self._connections[address] = Rpc(self.loop, end, self.name)
        return self._connections[address]

    async def any_connection(self) -> Rpc:
        """Return a connection to some broker. Raises `Unavailable`."""
        return await self.connection(self.random.choice(self._bootstrap))

    async def leader(self, at: TopicPartition) -> Rpc:
        """Return a connection to a partition's leader. Raises `Unavailable`."""
        if at not in self._leaders:
            await self._refresh(at.topic)
        if at not in self._leaders:
            raise Unavailable(f"{at} has no leader")
        return await self.connection(self._leaders[at])

    def forget_leaders(self) -> None:
        """Ask for metadata again before the next request."""
        self._leaders.clear()

    async def coordinator(self, group: str) -> Rpc:
        """Return a connection to a group's coordinator. Raises `Unavailable`."""
        rpc = await self.any_connection()
        found = await self._ask(rpc, FindCoordinatorRequest(key=group, key_type=0))
        if found.error_code != ErrorCode.NONE:
            raise Unavailable(f"no coordinator: {found.error_code}")
        return await self.connection((found.host, found.port))

    async def pause(self) -> None:
        """Wait before trying again."""
        await asyncio.sleep(self.random.uniform(*BACKOFF_SECONDS))

    def close(self) -> None:
        """Close every connection."""
        for rpc in self._connections.values():
            rpc.abort()
        self._connections.clear()

    async def _refresh(self, topic: str) -> None:
        rpc = await self.any_connection()
        topics = [MetadataRequest.MetadataRequestTopic(name=topic)]
        metadata = await self._ask(rpc, MetadataRequest(topics=topics, allow_auto_topic_creation=True))
        addresses = {broker.node_id: (broker.host, broker.port) for broker in metadata.brokers}
        for described in metadata.topics:
            for partition in described.partitions:
                if partition.leader_id in addresses:
                    at = TopicPartition(described.name, partition.partition_index)
                    self._leaders[at] = addresses[partition.leader_id]

    async def _ask(self, rpc: Rpc, request: ApiMessage) -> Any:
        try:
            return await self.call(rpc, request)
        except ConnectionLost as lost:
            raise Unavailable(str(lost)) from None


async def until_available(client: SimClient, connect: Callable[[], Any]) -> Rpc:
    """Return the connection that `connect` makes, however long it takes."""
    while True:
        try:
            rpc: Rpc = await connect()
        except Unavailable:
            client.forget_leaders()
            await client.pause()
        else:
            return rpc
