"""Fetch (1), versions 4-18.

KIP-74 (at least one whole batch, limits by request and partition), KIP-227 (incremental sessions), KIP-320 (leader
epochs: always 0 here), KIP-392 (preferred replica: none with one broker), KIP-516 (topic ids, v13). min.bytes and
max.wait are honoured with a wake-up per grown partition. read_committed reads up to the last stable offset, which is
the high watermark until there are transactions. Followers do not exist: a replica id is treated as a consumer.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from kafka.protocol.consumer import FetchRequest

from kafscale.broker.fetch_sessions import (
    EPOCH_FINAL,
    EPOCH_INITIAL,
    NO_SESSION,
    FetchKey,
    FetchPartition,
    FetchSession,
)
from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.broker.turns import Turns
from kafscale.errors import DataCorrupt, ObjectMissing, StorageUnavailable
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.api import ApiKey
from kafscale.protocol.batches import LEADER_EPOCH
from kafscale.protocol.codec import decode_request
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.fetch import (
    SESSION_FROM,
    TOPIC_ID_FROM,
    Buffer,
    PartitionData,
    TopicData,
    encode_fetch_response,
)
from kafscale.storage.read_path import PartitionReader

_READ_COMMITTED = 1
_NO_ID = b"\0" * 16

WARM_PARTITIONS_MAX = 16
"""Partitions of one fetch whose first miss is loaded at once; further ones are read one after another until `max_wait`
is over, and the rest by the client's next fetches."""

PLANS_MAX = 2
"""Times a read is planned whose object is gone: after a barrier only one that is really lost is missing again."""

PARTITIONS_PER_TURN = 200
"""Partitions answered in one step of the event loop, some 2 ms."""

Partitions = dict[FetchKey, FetchPartition]


class _Plan(NamedTuple):
    """What to read, and under which session the reply goes."""

    partitions: Partitions
    session: FetchSession | None
    is_incremental: bool
    error: ErrorCode


async def fetch(services: Services, context: RequestContext, body: memoryview) -> Sequence[Buffer]:
    """Answer with record batches, waiting for `min_bytes` up to `max_wait`."""
    request = decode_request(ApiKey.FETCH, context.api_version, body)
    if not isinstance(request, FetchRequest):
        raise TypeError(request)
    plan = _plan(services, context.api_version, request)
    committed = request.isolation_level == _READ_COMMITTED
    if plan.error is not ErrorCode.NONE:
        return encode_fetch_response(context.api_version, plan.error, NO_SESSION, [], read_committed=committed)
    reading = _Reading(services, context.api_version, request, plan)
    await reading.wait_for_bytes()
    data = await reading.read()
    session_id = plan.session.session_id if plan.session is not None else NO_SESSION
    if plan.session is not None:
        data = _told(plan, data)
    topics = _by_topic(data)
    return encode_fetch_response(context.api_version, 0, session_id, topics, read_committed=committed)


def _plan(services: Services, version: int, request: FetchRequest) -> _Plan:
    asked = _asked(version, request)
    epoch, session_id = request.session_epoch, request.session_id
    sessions = services.fetch_sessions
    if version < SESSION_FROM:
        return _Plan(asked, None, False, ErrorCode.NONE)
    now = asyncio.get_running_loop().time()
    if epoch in (EPOCH_INITIAL, EPOCH_FINAL):
        if session_id != NO_SESSION:
            sessions.remove(session_id)
        session = sessions.create(version >= TOPIC_ID_FROM, asked, now) if epoch == EPOCH_INITIAL else None
        return _Plan(asked, session, False, ErrorCode.NONE)
    known = sessions.get(session_id)
    if known is None:
        return _Plan({}, None, True, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    if known.epoch != epoch:
        return _Plan({}, None, True, ErrorCode.INVALID_FETCH_SESSION_EPOCH)
    if known.uses_topic_ids != (version >= TOPIC_ID_FROM):
        return _Plan({}, None, True, ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
    if not sessions.update(known, asked, _forgotten(version, request)):
        # The client asks for everything then, and is answered without a session.
        return _Plan({}, None, True, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    known.advance()
    sessions.touch(known, now)
    return _Plan(known.partitions, known, True, ErrorCode.NONE)


def _asked(version: int, request: FetchRequest) -> Partitions:
    return {
        FetchKey(*_topic_key(version, topic), asked.partition): FetchPartition(
            fetch_offset=asked.fetch_offset,
            bytes_max=asked.partition_max_bytes,
            current_leader_epoch=asked.current_leader_epoch,
        )
        for topic in request.topics
        for asked in topic.partitions
    }


def _forgotten(version: int, request: FetchRequest) -> list[FetchKey]:
    return [
        FetchKey(*_topic_key(version, topic), partition)
        for topic in request.forgotten_topics_data
        for partition in topic.partitions
    ]


def _topic_key(version: int, topic: FetchRequest.FetchTopic | FetchRequest.ForgottenTopic) -> tuple[str, bytes]:
    if version >= TOPIC_ID_FROM:
        return "", topic.topic_id.bytes if topic.topic_id is not None else _NO_ID
    return topic.topic, b""


class _Reading:
    """One fetch: which partitions can be read now, and reading them."""

    __slots__ = ("_deadline", "_has_bytes", "_has_resynced", "_plan", "_request", "_services", "_version", "_warmed")

    def __init__(self, services: Services, version: int, request: FetchRequest, plan: _Plan) -> None:
        self._services = services
        self._version = version
        self._request = request
        self._plan = plan
        self._deadline = asyncio.get_running_loop().time() + request.max_wait_ms / 1000
        self._warmed: set[FetchKey] = set()
        self._has_bytes = False
        self._has_resynced = False

    @property
    def _bytes_max(self) -> int:
        return min(self._request.max_bytes, self._services.settings.fetch_max_bytes)

    async def wait_for_bytes(self) -> None:
        """Return when `min_bytes` can be read, something is wrong with a partition, or `max_wait` is over."""
        growth = self._services.growth
        while not growth.is_stopped:
            missing = self._bytes_missing()
            left = self._seconds_left()
            if missing <= 0 or left <= 0:
                return
            await growth.wait(self._growth_keys(), missing, left)

    def _seconds_left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    def _bytes_missing(self) -> int:
        """Return how many bytes are missing to `min_bytes`; 0 too where an error has to be told at once."""
        missing = min(self._request.min_bytes, self._bytes_max)
        if not self._plan.partitions:
            return missing if self._plan.is_incremental else 0
        for key, asked in self._plan.partitions.items():
            topic = self._topic(key)
            if topic is None or not 0 <= key.partition < topic.partition_count:
                return 0
            partition = topic.partitions[key.partition]
            if asked.current_leader_epoch > LEADER_EPOCH:
                return 0
            if not partition.log_start_offset <= asked.fetch_offset <= partition.high_watermark:
                return 0
            if asked.fetch_offset < partition.high_watermark and missing > 0:
                missing -= min(partition.bytes_from(asked.fetch_offset, missing), asked.bytes_max)
        return max(0, missing)

    def _growth_keys(self) -> list[tuple[bytes, int]]:
        topics = ((key, self._topic(key)) for key in self._plan.partitions)
        return [(topic.topic_id, key.partition) for key, topic in topics if topic is not None]

    def _topic(self, key: FetchKey) -> Topic | None:
        state = self._services.replica.state
        return state.topics.get(key.topic_id) if self._version >= TOPIC_ID_FROM else state.topic_named(key.topic_name)

    async def read(self) -> dict[FetchKey, PartitionData]:
        """Read the partitions in order, within the request's and each partition's limit."""
        left = self._bytes_max
        answers: dict[FetchKey, PartitionData] = {}
        partitions = list(self._plan.partitions.items())
        self._warm(partitions)
        turns = Turns(PARTITIONS_PER_TURN)
        for key, asked in partitions:
            answers[key] = answer = await self._read_partition(key, asked, min(left, asked.bytes_max))
            if answer.batches:
                left -= answer.size
                self._has_bytes = True
            await turns.done()
        return answers

    def _warm(self, partitions: list[tuple[FetchKey, FetchPartition]]) -> None:
        for key, asked in partitions:
            reader = self._reader(key)
            if reader is not None and _is_readable(reader, asked) and reader.warm(asked.fetch_offset):
                self._warmed.add(key)
                if len(self._warmed) >= WARM_PARTITIONS_MAX:
                    return

    def _reader(self, key: FetchKey) -> PartitionReader | None:
        topic = self._topic(key)
        if topic is None or not 0 <= key.partition < topic.partition_count:
            return None
        return self._services.read_path.reader(topic.topic_id, key.partition, topic.partitions[key.partition])

    async def _read_partition(self, key: FetchKey, asked: FetchPartition, bytes_max: int) -> PartitionData:
        for plan in range(PLANS_MAX):
            if plan:
                # Runs that are missing may have been released since: what is left, this broker knows after a barrier.
                await self._services.replica.barrier()
            reader = await self._checked_reader(key, asked)
            if isinstance(reader, ErrorCode):
                return _error(key.partition, reader)
            try:
                return await self._answer(reader, key, asked.fetch_offset, bytes_max)
            except ObjectMissing:
                continue
            except (StorageUnavailable, DataCorrupt):
                break
        return _error(key.partition, ErrorCode.KAFKA_STORAGE_ERROR)

    async def _checked_reader(self, key: FetchKey, asked: FetchPartition) -> PartitionReader | ErrorCode:
        reader = self._reader(key)
        if reader is None or not _in_range(reader, asked):
            await self._resync()
            reader = self._reader(key)
        if reader is None:
            return self._missing(key)
        if asked.current_leader_epoch > LEADER_EPOCH:
            return ErrorCode.UNKNOWN_LEADER_EPOCH
        return reader if _in_range(reader, asked) else ErrorCode.OFFSET_OUT_OF_RANGE

    async def _answer(self, reader: PartitionReader, key: FetchKey, offset: int, bytes_max: int) -> PartitionData:
        partition = reader.partition
        high_watermark, log_start_offset = partition.high_watermark, partition.log_start_offset
        batches = await self._read_batches(reader, key, offset, bytes_max)
        return PartitionData(reader.index, 0, high_watermark, high_watermark, log_start_offset, batches)

    async def _resync(self) -> None:
        """Pass a barrier, one for the whole fetch: what looks wrong may only be news not applied here yet."""
        if not self._has_resynced:
            await self._services.replica.barrier()
            self._has_resynced = True

    async def _read_batches(
        self, reader: PartitionReader, key: FetchKey, offset: int, bytes_max: int
    ) -> list[memoryview]:
        if offset == reader.partition.high_watermark or (bytes_max <= 0 and self._has_bytes):
            return []
        batches = reader.read_cached(offset, bytes_max)
        if batches is None:
            if self._has_bytes and key not in self._warmed and self._seconds_left() <= 0:
                return []
            batches = await reader.read(offset, bytes_max)
        # Only the first partition with data may exceed its limit, so that a large batch cannot block a consumer.
        return [] if self._has_bytes and len(batches[0]) > bytes_max else batches

    def _missing(self, key: FetchKey) -> ErrorCode:
        is_unknown_id = self._version >= TOPIC_ID_FROM and self._topic(key) is None
        return ErrorCode.UNKNOWN_TOPIC_ID if is_unknown_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _in_range(reader: PartitionReader, asked: FetchPartition) -> bool:
    return reader.partition.log_start_offset <= asked.fetch_offset <= reader.partition.high_watermark


def _is_readable(reader: PartitionReader, asked: FetchPartition) -> bool:
    return _in_range(reader, asked) and asked.fetch_offset < reader.partition.high_watermark


def _error(partition: int, error: ErrorCode) -> PartitionData:
    return PartitionData(partition, int(error), -1, -1, -1, [])


def _told(plan: _Plan, data: dict[FetchKey, PartitionData]) -> dict[FetchKey, PartitionData]:
    """Return what a session's reply has to say, and remember it: in an incremental one, only what is new."""
    told: dict[FetchKey, PartitionData] = {}
    for key, answer in data.items():
        known = plan.partitions.get(key)
        if known is None:
            continue
        is_news = (
            bool(answer.batches)
            or answer.error_code != 0
            or answer.error_code != known.told_error
            or answer.high_watermark != known.told_high_watermark
            or answer.log_start_offset != known.told_log_start_offset
        )
        known.told_error = answer.error_code
        known.told_high_watermark = answer.high_watermark
        known.told_log_start_offset = answer.log_start_offset
        if is_news or not plan.is_incremental:
            told[key] = answer
    if plan.session is not None:
        plan.session.move_to_end([key for key, answer in told.items() if answer.batches])
    return told


def _by_topic(data: dict[FetchKey, PartitionData]) -> list[TopicData]:
    topics: dict[tuple[str, bytes], TopicData] = {}
    for key, answer in data.items():
        name = (key.topic_name, key.topic_id)
        topic = topics.get(name)
        if topic is None:
            topic = topics[name] = TopicData(key.topic_name, key.topic_id, [])
        topic.partitions.append(answer)
    return list(topics.values())
