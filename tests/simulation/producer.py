"""A simulated producer of one partition: batches, several in flight, retries that keep sequence numbers.

It follows the Java producer. Batches stay in a queue until they are answered for good; after a failure all that are
unanswered are sent again, in order, with the same sequence numbers. A batch that could not be delivered in time is
given up together with those behind it, and an idempotent producer then goes on in a new epoch from sequence 0.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from kafka.record.default_records import DefaultRecordBatchBuilder

from kafscale.protocol.api import ApiKey
from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import InitProducerIdRequest, ProduceRequest
from tests.simulation.client import Rpc, SimClient, Unavailable
from tests.simulation.loop import SimulationFailure
from tests.simulation.network import ConnectionLost
from tests.support.history import History, Produce, Produced, ProduceOperation, TopicPartition

IN_FLIGHT_MAX: Final = 5
"""Batches in flight, as the Java producer allows an idempotent one."""

BATCH_RECORDS_MAX: Final = 4
DELIVERY_SECONDS: Final = 120.0
"""Java's delivery.timeout.ms."""

GAPS_SECONDS: Final = (0.0, 0.002, 0.02)
"""How far apart a producer sends its batches, at most: some fill slowly."""

BROKER_TIMEOUT_MS: Final = 20_000
SEQUENCES: Final = 2**31

WRITTEN: Final = frozenset({ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER})

NOT_WRITTEN: Final = frozenset(
    {
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INVALID_RECORD,
    }
)
"""Errors after which the attempt certainly wrote nothing. After any other it may have."""

FATAL: Final = frozenset({ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE, ErrorCode.INVALID_RECORD})
"""Errors that another attempt would meet again."""

BUGS: Final = frozenset(
    {
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.UNSUPPORTED_VERSION,
        ErrorCode.UNKNOWN_SERVER_ERROR,
    }
)
"""Errors that this producer never deserves."""


@dataclass(slots=True, eq=False)
class Batch:
    """Records that are sent together. `maybe_written`: an attempt of theirs may have taken effect."""

    operations: list[ProduceOperation]
    base_sequence: int
    deadline_s: float
    maybe_written: bool = False


class SimProducer:
    """One producer.

    Args:
        padding: bytes added to each record's value.
        delivery_s: how long it tries to deliver a batch.
        acks: -1, 1 or 0; nobody ever knows what became of a write with acks=0.
    """

    def __init__(
        self,
        client: SimClient,
        history: History,
        at: TopicPartition,
        *,
        idempotent: bool = True,
        acks: int = -1,
        padding: int = 0,
        delivery_s: float = DELIVERY_SECONDS,
    ) -> None:
        if idempotent and acks != -1:
            raise ValueError("an idempotent producer needs acks=-1")
        self._client = client
        self._history = history
        self._at = at
        self._idempotent = idempotent
        self._acks = acks
        self._padding = padding
        self._delivery_s = delivery_s
        self._gap_s = client.random.choice(GAPS_SECONDS)
        self._sent = count()
        self._queue: list[Batch] = []
        self._producer_id = -1
        self._epoch = -1
        self._next_sequence = 0

    async def send(self, records: int) -> None:
        """Write `records` records and return when each one's fate is known, or known to be unknown."""
        left = records
        while left or self._queue:
            while left and len(self._queue) < IN_FLIGHT_MAX:
                size = min(left, self._client.random.randint(1, BATCH_RECORDS_MAX))
                self._queue.append(self._new_batch(size))
                left -= size
            if not await self._round():
                self._give_up_late_batches()
                self._client.forget_leaders()
                await self._client.pause()

    def _new_batch(self, size: int) -> Batch:
        operations = [self._new_record() for _ in range(size)]
        batch = Batch(operations, self._next_sequence, self._client.loop.time() + self._delivery_s)
        self._next_sequence = (self._next_sequence + size) % SEQUENCES
        return batch

    def _new_record(self) -> ProduceOperation:
        name, sequence = self._client.name, next(self._sent)
        timestamp_ms = int(self._client.loop.time() * 1000) + self._client.random.randint(0, 1000)
        call = Produce(self._at, name, sequence, f"{name}.{sequence}", self._idempotent, timestamp_ms)
        return self._history.invoke(name, call)

    async def _round(self) -> bool:
        """Send everything that is queued, once; tell whether all of it is settled."""
        try:
            rpc = await self._client.leader(self._at)
            await self._ensure_producer_id(rpc)
        except (Unavailable, ConnectionLost):
            return False
        for batch, reply in await self._start_all(rpc):
            self._settle(batch, await self._outcome(rpc, reply), rpc.server_run)
        return not self._queue

    async def _start_all(self, rpc: Rpc) -> "list[tuple[Batch, asyncio.Future[Any] | None]]":
        """Send what is queued, one batch behind the other; stop when one before has been answered with an error."""
        started: list[tuple[Batch, asyncio.Future[Any] | None]] = []
        for batch in list(self._queue):
            if started and self._gap_s:
                await asyncio.sleep(self._client.random.uniform(0, self._gap_s))
            if any(reply is not None and _has_failed(reply) for _, reply in started):
                break
            started.append((batch, self._start(rpc, batch)))
        return started

    def _start(self, rpc: Rpc, batch: Batch) -> "asyncio.Future[Any] | None":
        version = self._client.version(ApiKey.PRODUCE)
        try:
            return rpc.start(self._request(batch), version, replies=self._acks != 0)
        except ConnectionLost:
            return None

    async def _outcome(self, rpc: Rpc, reply: "asyncio.Future[Any] | None") -> Any:
        """Return the partition's part of the reply, or what happened instead of one."""
        if reply is None:
            return Unavailable()
        try:
            response = await rpc.finish(reply, self._client.request_timeout_s)
        except ConnectionLost as lost:
            return lost
        return ConnectionLost("acks=0") if response is None else response.responses[0].partition_responses[0]

    def _settle(self, batch: Batch, outcome: Any, server_run: str) -> None:
        if isinstance(outcome, Unavailable):
            return
        if isinstance(outcome, ConnectionLost):
            batch.maybe_written = True
            if self._acks == 0:
                self._finish(batch, "acks=0")
            return
        error = ErrorCode(outcome.error_code)
        if error in WRITTEN:
            self._queue.remove(batch)
            for number, operation in enumerate(batch.operations):
                offset = outcome.base_offset + number if outcome.base_offset >= 0 else -1
                self._history.ok(operation, Produced(offset, server_run))
            return
        self._check_deserved(batch, error)
        batch.maybe_written |= error not in NOT_WRITTEN
        if error in FATAL:
            self._finish(batch, error.name)

    def _check_deserved(self, batch: Batch, error: ErrorCode) -> None:
        out_of_order = error is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER and self._queue[0] is batch
        if error in BUGS or out_of_order:
            raise SimulationFailure(f"{self._client.name} got {error.name} for {batch.operations[0]}")

    def _give_up_late_batches(self) -> None:
        if self._queue and self._client.loop.time() > self._queue[0].deadline_s:
            for batch in list(self._queue):
                self._finish(batch, "delivery timed out")

    def _finish(self, batch: Batch, error: str) -> None:
        self._queue.remove(batch)
        end = self._history.unknown if batch.maybe_written else self._history.fail
        for operation in batch.operations:
            end(operation, error)
        if not self._queue:
            self._start_new_epoch()

    def _start_new_epoch(self) -> None:
        if self._idempotent and self._producer_id >= 0:
            self._epoch += 1
            self._next_sequence = 0

    async def _ensure_producer_id(self, rpc: Rpc) -> None:
        if not self._idempotent or self._producer_id >= 0:
            return
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        reply = await self._client.call(rpc, request)
        if reply.error_code != ErrorCode.NONE:
            raise Unavailable(f"no producer id: {reply.error_code}")
        self._producer_id, self._epoch = reply.producer_id, reply.producer_epoch

    def _request(self, batch: Batch) -> ProduceRequest:
        topic = ProduceRequest.TopicProduceData
        partition = topic.PartitionProduceData(index=self._at.partition, records=self._encode(batch))
        topics = [topic(name=self._at.topic, partition_data=[partition])]
        return ProduceRequest(transactional_id=None, acks=self._acks, timeout_ms=BROKER_TIMEOUT_MS, topic_data=topics)

    def _encode(self, batch: Batch) -> bytes:
        sequence = batch.base_sequence if self._idempotent else -1
        calls: Sequence[Produce] = [operation.call for operation in batch.operations]
        return encode_records(calls, self._producer_id, self._epoch, sequence, self._padding)


def _has_failed(reply: "asyncio.Future[Any]") -> bool:
    if not reply.done():
        return False
    if reply.exception() is not None:
        return True
    response = reply.result()
    return response is not None and bool(response.responses[0].partition_responses[0].error_code)


def encode_records(calls: Sequence[Produce], producer_id: int, epoch: int, sequence: int, padding: int) -> bytes:
    """Return one record batch: each value is the write's name, a blank, and `padding` bytes."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=1 << 30,
    )
    for offset, call in enumerate(calls):
        value = f"{call.value} {'x' * padding}".encode()
        builder.append(offset, call.timestamp_ms, None, value, [])
    return bytes(builder.build())
