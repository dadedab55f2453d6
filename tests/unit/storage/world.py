"""The write and the read path over a log and an object store in memory, on virtual time.

Log, replica, appender, paths and caches are the real ones. The store can hold requests until told to go on, refuse
them, and damage what it returns; the log can refuse.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kafscale.clock import SeededClock
from kafscale.errors import StorageUnavailable
from kafscale.metadata.appender import Appender
from kafscale.metadata.entries import CreateTopic, TopicId
from kafscale.metadata.log import AppendUid
from kafscale.metadata.memory import MemoryLog
from kafscale.metadata.replica import Replica
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.partition import Partition
from kafscale.protocol.batches import parse_header
from kafscale.protocol.records import Record, encode_batch
from kafscale.storage.cache import RunCache
from kafscale.storage.objects.base import Buffer
from kafscale.storage.objects.memory import MemoryObjectStore
from kafscale.storage.read_path import PartitionReader, ReadPath
from kafscale.storage.write_path import BatchResult, ProducedBatch, WritePath

INCARNATION = 0xABC
TOPIC: TopicId = b"T" * 16
UNKNOWN: TopicId = b"U" * 16
PARTITIONS = 3
ROOMY = 1 << 30

Answer = Exception | None


class Producer(NamedTuple):
    """Producer id, epoch and base sequence of a batch."""

    producer_id: int
    epoch: int
    sequence: int


class HeldStore(MemoryObjectStore):
    """A memory store whose puts, and gets, wait for an answer while `holds_puts`, or `holds_gets`, is set."""

    def __init__(self, clock: SeededClock) -> None:
        super().__init__(clock)
        self.holds_puts = False
        self.holds_gets = False
        self.puts: list[asyncio.Future[Answer]] = []
        self.gets: list[asyncio.Future[Answer]] = []
        self.put_keys: list[str] = []
        self.asked: list[tuple[str, int, int]] = []
        self.damage: Callable[[bytearray], bytearray] = lambda data: data

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self.put_keys.append(key)
        if self.holds_puts:
            await _answered(self.puts)
        await super().put(key, parts)

    async def get_range(self, key: str, start: int, length: int) -> bytearray:
        self.asked.append((key, start, length))
        if self.holds_gets:
            await _answered(self.gets)
        return self.damage(await super().get_range(key, start, length))

    def lose(self, key: str) -> None:
        """Delete an object behind the broker's back."""
        del self._objects[key]

    def stored(self, key: str) -> bytes:
        return self._objects[key][0]


async def _answered(waiting: list[asyncio.Future[Answer]]) -> None:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    waiting.append(future)
    error = await future
    if error is not None:
        raise error


class RefusingLog(MemoryLog):
    """A memory log that refuses while `refusal` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: Exception | None = None

    async def append(self, uid: AppendUid, payload: bytes) -> int:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        return await super().append(uid, payload)


class World:
    """One broker's storage, with one topic of three partitions."""

    def __init__(
        self, *, flush_bytes: int = ROOMY, puts_max: int = 4, tail_bytes: int = ROOMY, recent_bytes: int = ROOMY
    ) -> None:
        loop = asyncio.get_running_loop()
        self.failures: list[Exception] = []
        self.clock = SeededClock(1, loop.time)
        self.log = RefusingLog()
        self.store = HeldStore(self.clock)
        self.state = ClusterState()
        self.replica = Replica(self.log, self.state, 0, INCARNATION, self.failures.append)
        self.replica.start()
        self.appender = Appender(self.log, self.replica, self.clock, INCARNATION, self.failures.append)
        self.tail = RunCache(tail_bytes, keep_used=False)
        self.recent = RunCache(recent_bytes, keep_used=True)
        self.write_path = WritePath(
            self.store,
            self.appender,
            self.tail,
            self.clock,
            INCARNATION,
            flush_bytes=flush_bytes,
            puts_max=puts_max,
            on_failure=self.failures.append,
        )
        self.read_path = ReadPath(self.store, self.state, self.tail, self.recent)
        self.given: list[tuple[ProducedBatch, asyncio.Future[list[BatchResult]], int]] = []

    @classmethod
    async def with_topic(
        cls, *, flush_bytes: int = ROOMY, puts_max: int = 4, tail_bytes: int = ROOMY, partitions: int = PARTITIONS
    ) -> "World":
        world = cls(flush_bytes=flush_bytes, puts_max=puts_max, tail_bytes=tail_bytes)
        await world.appender.submit(CreateTopic(TOPIC, "topic", partitions, {}))
        return world

    def send(
        self, *batches: ProducedBatch, connection: int = 1, timeout_seconds: float = 1e6
    ) -> "asyncio.Future[list[BatchResult]]":
        """Hand the batches of one request to the write path."""
        future: asyncio.Future[list[BatchResult]] = asyncio.get_running_loop().create_future()
        self.given += [(batch, future, slot) for slot, batch in enumerate(batches)]
        self.write_path.append(list(batches), connection, timeout_seconds, future.set_result)
        return future

    async def settle(self) -> None:
        """Let everything that needs no answer happen."""
        for _ in range(30):
            await asyncio.sleep(0)

    def partition(self, index: int = 0) -> Partition:
        partition = self.state.partition(TOPIC, index)
        assert partition is not None
        return partition

    def reader(self, index: int = 0, *, cold: bool = False) -> PartitionReader:
        """Return a reader of a partition; a cold one has caches of its own, empty ones."""
        path = self.read_path
        if cold:
            nothing = RunCache(0, keep_used=False)
            path = ReadPath(self.store, self.state, nothing, RunCache(ROOMY, keep_used=True))
        return path.reader(TOPIC, index, self.partition(index))

    async def read_all(self, index: int = 0, *, cold: bool = False) -> bytes:
        """Return everything in a partition, as a consumer gets it."""
        out = b""
        partition = self.partition(index)
        reader = self.reader(index, cold=cold)
        for number in range(partition.run_count):
            run = partition.run(number)
            out += b"".join(await reader.read(run.base_offset, run.length))
        return out


def batch(
    partition: int = 0,
    *,
    values: Sequence[bytes] = (b"value",),
    producer: Producer | None = None,
    topic_id: TopicId = TOPIC,
    timestamp: int = 0,
) -> ProducedBatch:
    """Return a batch as the produce handler makes it."""
    producer_id, epoch, sequence = producer or (-1, -1, -1)
    data = encode_batch(
        [Record(delta, 0, None, value) for delta, value in enumerate(values)],
        base_timestamp=timestamp,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
    )
    return ProducedBatch(topic_id, "topic", partition, memoryview(data), parse_header(memoryview(data)))


def at_offset(produced: ProducedBatch, offset: int) -> bytes:
    """Return the bytes of a batch as a consumer must see them at `offset`."""
    return offset.to_bytes(8, "big") + bytes(produced.data[8:12]) + bytes(4) + bytes(produced.data[16:])


OUT = StorageUnavailable("the test says so")
