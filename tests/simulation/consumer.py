"""A simulated consumer that is told its partitions, and the final read.

Record batches are taken apart by kafka-python, not by the broker's own code.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from kafka.record import MemoryRecords

from kafscale.protocol.api import ApiKey
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import FetchRequest, ListOffsetsRequest
from tests.simulation.client import Rpc, SimClient, Unavailable, until_available
from tests.simulation.loop import SimulationFailure
from tests.simulation.network import ConnectionLost
from tests.support.history import (
    NO_OFFSET,
    OUT_OF_RANGE,
    AllRead,
    History,
    LookUpTime,
    Poll,
    Polled,
    PollOperation,
    Positioned,
    ReadAll,
    TimeFound,
    TopicPartition,
)

LATEST: Final = -1
EARLIEST: Final = -2
"""Times with a meaning, in ListOffsets."""

MAX_WAIT_MS: Final = 500
FETCH_BYTES: Final = (1, 100, 1000, 50_000)
"""What a fetch may ask for; one byte still brings one whole batch (KIP-74)."""

SESSIONS_FROM: Final = 7
"""First version of Fetch with sessions."""

SESSION_LOST: Final = frozenset({ErrorCode.FETCH_SESSION_ID_NOT_FOUND, ErrorCode.INVALID_FETCH_SESSION_EPOCH})

NO_ROOM: Final = "no room in the reply"

LEADERSHIP: Final = frozenset(
    {ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
)


class FetchSession(NamedTuple):
    """An incremental fetch session: its number, the next epoch, and what the broker has been told of positions."""

    number: int
    epoch: int
    positions: dict[TopicPartition, int]


class SimConsumer:
    """Reads partitions, each from a position of its own."""

    def __init__(self, client: SimClient, history: History, *, with_sessions: bool = False) -> None:
        self._client = client
        self._history = history
        self._with_sessions = with_sessions
        self._sessions: dict[Rpc, FetchSession] = {}
        self.positions: dict[TopicPartition, int] = {}

    def assign(self, positions: dict[TopicPartition, int]) -> None:
        """Read these partitions from now on, from these positions."""
        self.positions = dict(positions)
        for at, offset in positions.items():
            self._history.note(self._client.name, Positioned(at, offset))

    async def poll(self) -> list[str]:
        """Fetch once from each leader and return the values received."""
        values: list[str] = []
        for rpc, partitions in (await self._by_leader()).items():
            values += await self._fetch(rpc, partitions)
        return values

    async def look_up(self, at: TopicPartition, timestamp_ms: int) -> None:
        """Look up a time once, for the history."""
        operation = self._history.invoke(self._client.name, LookUpTime(at, timestamp_ms))
        try:
            rpc = await self._client.leader(at)
            found = await self._list_offset(rpc, at, timestamp_ms)
        except (Unavailable, ConnectionLost) as error:
            self._client.forget_leaders()
            self._history.unknown(operation, str(error))
        else:
            self._history.ok(operation, TimeFound(found.offset, found.timestamp, rpc.server_run))

    async def read_all(self, at: TopicPartition) -> AllRead:
        """Read a whole partition, however long it takes, and record it as the final read."""
        operation = self._history.invoke(self._client.name, ReadAll(at))
        start, end = await self._bound(at, EARLIEST), await self._bound(at, LATEST)
        read = AllRead([], [], start, end)
        while (read.offsets[-1] + 1 if read.offsets else start) < end:
            position = read.offsets[-1] + 1 if read.offsets else start
            rpc = await until_available(self._client, lambda: self._client.leader(at))
            try:
                reply = await self._client.call(rpc, fetch_request({at: position}, 1 << 20))
            except ConnectionLost:
                continue
            fetched = reply.responses[0].partitions[0]
            if fetched.error_code != ErrorCode.NONE:
                self._client.forget_leaders()
                await self._client.pause()
                continue
            for offset, value in records_from(fetched.records, position):
                read.offsets.append(offset)
                read.values.append(value)
        self._history.ok(operation, read)
        return read

    async def _by_leader(self) -> dict[Rpc, list[TopicPartition]]:
        leaders: dict[Rpc, list[TopicPartition]] = {}
        for at in self.positions:
            try:
                leaders.setdefault(await self._client.leader(at), []).append(at)
            except Unavailable:
                self._client.forget_leaders()
                await self._client.pause()
        return leaders

    async def _fetch(self, rpc: Rpc, partitions: Sequence[TopicPartition]) -> list[str]:
        asked = {at: self.positions[at] for at in partitions}
        session = self._session(rpc)
        request = fetch_request(asked, self._client.random.choice(FETCH_BYTES), session)
        name = self._client.name
        operations = {at: self._history.invoke(name, Poll(at, offset)) for at, offset in asked.items()}
        try:
            reply = await self._client.call(rpc, request)
        except ConnectionLost as lost:
            self._sessions.pop(rpc, None)
            for operation in operations.values():
                self._history.unknown(operation, str(lost))
            return []
        if not self._go_on_with_session(rpc, session, asked, reply):
            for operation in operations.values():
                self._history.fail(operation, ErrorCode(reply.error_code).name)
            return []
        values: list[str] = []
        is_filled = any(fetched.records for topic in reply.responses for fetched in topic.partitions)
        for topic in reply.responses:
            for fetched in topic.partitions:
                at = TopicPartition(topic.topic, fetched.partition_index)
                if is_filled and not fetched.records and not fetched.error_code:
                    # Perhaps another partition's records have used the limit up (KIP-74): that says nothing.
                    self._history.fail(operations.pop(at), NO_ROOM)
                else:
                    values += await self._take(operations.pop(at), fetched, rpc.server_run)
        if operations and (session is None or session.epoch == 0):
            raise SimulationFailure(f"partitions missing in a fetch reply: {list(operations)}")
        for operation in operations.values():
            if is_filled:
                self._history.fail(operation, NO_ROOM)
            else:
                # An incremental reply leaves out what has not changed.
                self._history.ok(operation, Polled([], [], NO_OFFSET, NO_OFFSET, NO_OFFSET, rpc.server_run))
        return values

    def _session(self, rpc: Rpc) -> FetchSession | None:
        """Return this connection's session, a new one where there is none, None for a client without sessions."""
        if not self._with_sessions or self._client.version(ApiKey.FETCH) < SESSIONS_FROM:
            return None
        return self._sessions.get(rpc, FetchSession(0, 0, {}))

    def _go_on_with_session(
        self, rpc: Rpc, session: FetchSession | None, asked: dict[TopicPartition, int], reply: Any
    ) -> bool:
        """Take note of what the broker says of a session; tell whether the reply says anything else."""
        error = ErrorCode(getattr(reply, "error_code", 0))
        self._sessions.pop(rpc, None)
        if session is not None and error is ErrorCode.NONE and reply.session_id:
            if session.number not in (0, reply.session_id):
                raise SimulationFailure(f"session {session.number} was answered as {reply.session_id}")
            self._sessions[rpc] = FetchSession(reply.session_id, session.epoch + 1, asked)
        if session is not None and session.epoch and error in SESSION_LOST:
            return False
        if error is not ErrorCode.NONE:
            raise SimulationFailure(f"{self._client.name} got {error.name} for a fetch")
        return True

    async def _take(self, operation: PollOperation, fetched: Any, server_run: str) -> list[str]:
        at, position = operation.call.at, operation.call.from_offset
        error = ErrorCode(fetched.error_code)
        if error is ErrorCode.OFFSET_OUT_OF_RANGE:
            self._history.fail(operation, OUT_OF_RANGE)
            self.assign({**self.positions, at: await self._bound(at, EARLIEST)})
            return []
        if error is not ErrorCode.NONE:
            self._client.forget_leaders()
            self._history.fail(operation, error.name)
            return []
        records = list(records_from(fetched.records, position))
        offsets, values = [offset for offset, _ in records], [value for _, value in records]
        bounds = (fetched.high_watermark, fetched.last_stable_offset, fetched.log_start_offset)
        self._history.ok(operation, Polled(offsets, values, *bounds, server_run))
        self.positions[at] = offsets[-1] + 1 if offsets else position
        return values

    async def _bound(self, at: TopicPartition, which: int) -> int:
        while True:
            rpc = await until_available(self._client, lambda: self._client.leader(at))
            try:
                found = await self._list_offset(rpc, at, which)
            except (Unavailable, ConnectionLost):
                self._client.forget_leaders()
                await self._client.pause()
            else:
                return int(found.offset)

    async def _list_offset(self, rpc: Rpc, at: TopicPartition, timestamp_ms: int) -> Any:
        topic = ListOffsetsRequest.ListOffsetsTopic
        partition = topic.ListOffsetsPartition(
            partition_index=at.partition, current_leader_epoch=-1, timestamp=timestamp_ms
        )
        topics = [topic(name=at.topic, partitions=[partition])]
        request = ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=topics)
        found = (await self._client.call(rpc, request)).topics[0].partitions[0]
        if found.error_code != ErrorCode.NONE:
            raise Unavailable(f"ListOffsets of {at}: {ErrorCode(found.error_code).name}")
        if timestamp_ms >= 0 and (found.offset == NO_OFFSET) != (found.timestamp == -1):
            raise SimulationFailure(f"half an answer to ListOffsets: {found}")
        return found


def fetch_request(
    positions: dict[TopicPartition, int], partition_bytes: int, session: FetchSession | None = None
) -> FetchRequest:
    """Return a fetch from these positions: all of them, or what is new in a session (KIP-227)."""
    topics: dict[str, list[Any]] = {}
    told = {} if session is None else session.positions
    for at, position in positions.items():
        if told.get(at) == position:
            continue
        partition = FetchRequest.FetchTopic.FetchPartition(
            partition=at.partition,
            current_leader_epoch=-1,
            fetch_offset=position,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=partition_bytes,
        )
        topics.setdefault(at.topic, []).append(partition)
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=MAX_WAIT_MS,
        min_bytes=1,
        max_bytes=50 << 20,
        isolation_level=0,
        session_id=0 if session is None else session.number,
        session_epoch=-1 if session is None else session.epoch,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=named) for topic, named in topics.items()],
        forgotten_topics_data=[
            FetchRequest.ForgottenTopic(topic=at.topic, partitions=[at.partition]) for at in told if at not in positions
        ],
        rack_id="",
    )


def records_from(data: bytes | None, position: int) -> Iterator[tuple[int, str]]:
    """Yield (offset, the write's name) of every record at or after `position`. Raises `SimulationFailure`."""
    batches = MemoryRecords(data or b"")
    first = True
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise SimulationFailure(f"bad CRC in the batch at {batch.base_offset}")
        if first and batch.base_offset + batch.last_offset_delta < position:
            raise SimulationFailure(f"a fetch from {position} brought the batch at {batch.base_offset}")
        first = False
        for record in batch:
            if record.offset >= position and not batch.is_control_batch:
                yield record.offset, record.value.split(b" ", 1)[0].decode()
    if data and first:
        raise SimulationFailure(f"not one whole batch in {len(data)} bytes from {position}")
