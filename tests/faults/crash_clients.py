"""The clients of the crash campaign: real ones in threads, each recording what it did and saw.

Every client keeps a history of its own in a file of its own, all on one clock, so that nothing is shared between the
threads and the files are evidence after a finding (`tests.support.history_file` merges them). A client runs until it is
stopped; paused, it settles what is under way, writes its history out and waits.
"""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as ClientPartition

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import OffsetFetchRequest
from tests.support.history import (
    OUT_OF_RANGE,
    CommitOffset,
    Committed,
    CommittedFound,
    FetchCommitted,
    History,
    Poll,
    Polled,
    PollOperation,
    Positioned,
    Produce,
    Produced,
    ProduceOperation,
    TopicPartition,
)
from tests.support.history_file import HistoryFile
from tests.support.raw_client import ConnectionClosed, RawClient, fetch_request, records_of

NODE: Final = "broker"
"""All runs of the broker count as one: it is alone, so whatever one run has shown, the next must know."""

SETTLE_S: Final = 30.0
"""How long a client may take to settle after the broker is back: a healthy broker needs a second or two."""

STEP_S: Final = 0.05
"""How long one step of a client waits for something to happen."""

WAITING_MAX: Final = 400
"""Records a producer has unacknowledged at most, so that a dead broker does not pile up work."""

RECONNECT: Final = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 150, "log_level": 0}
"""Clients that wait ten seconds for a broker that is back after one would make every run longer, and test nothing."""


def now_us() -> int:
    """Return the time all histories of one machine are stamped with."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a client has to know."""

    port: int
    partitions: tuple[TopicPartition, ...]
    group: str
    histories: Path

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def topics(self) -> dict[str, list[TopicPartition]]:
        """Return the partitions by topic."""
        found: dict[str, list[TopicPartition]] = {}
        for at in self.partitions:
            found.setdefault(at.topic, []).append(at)
        return found


class CrashClient(ABC):
    """A client in a thread. `problems` holds what it knows to be wrong without any checker."""

    def __init__(self, name: str, cluster: Cluster, seed: int) -> None:
        self.name = name
        self.problems: list[str] = []
        self.history_path = cluster.histories / f"{name}.jsonl"
        self.cluster = cluster
        self.random = random.Random(seed)
        self._stop = threading.Event()
        self._resume = threading.Event()
        self._settled = threading.Event()
        self._resume.set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Ask the client to settle; `wait_settled` says when it has."""
        self._settled.clear()
        self._resume.clear()

    def wait_settled(self) -> bool:
        """Wait until a paused client has settled; tells whether it has in time."""
        return self._settled.wait(SETTLE_S)

    def resume(self) -> None:
        """Go on after a pause."""
        self._resume.set()

    def stop(self) -> None:
        """End the client, if it was started, and wait for that."""
        if self._thread.ident is None:
            return
        self._stop.set()
        self._resume.set()
        self._thread.join(SETTLE_S)
        if self._thread.is_alive():
            self.problems.append(f"{self.name} did not end")

    def _run(self) -> None:
        try:
            with HistoryFile(self.history_path) as file:
                self.history = History(now_us, file)
                with self.opened():
                    while not self._stop.is_set():
                        if self._resume.is_set():
                            self.step()
                            continue
                        self.settle()
                        file.flush()
                        self._settled.set()
                        self._resume.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, the campaign has to hear of it
            self.problems.append(f"{self.name} died: {error!r}")
            self._settled.set()

    @abstractmethod
    @contextmanager
    def opened(self) -> Iterator[None]:
        """Connect, and disconnect at the end."""
        yield

    @abstractmethod
    def step(self) -> None:
        """Do a little; return after about STEP_S."""

    def settle(self) -> None:  # noqa: B027 - most clients have nothing under way between two steps
        """Finish what is under way."""


class CrashProducer(CrashClient):
    """Writes uniquely named records to random partitions and hears what became of each."""

    def __init__(self, name: str, cluster: Cluster, seed: int, *, idempotent: bool) -> None:
        super().__init__(name, cluster, seed)
        self.acknowledged = 0
        self._idempotent = idempotent
        self._sent = 0
        self._waiting = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        settings: dict[str, Any] = {
            **RECONNECT,
            "bootstrap.servers": self.cluster.bootstrap,
            "enable.idempotence": self._idempotent,
            "acks": "all",
            "linger.ms": self.random.choice([0, 1, 5, 20]),
            "batch.num.messages": self.random.choice([1, 7, 1000]),
            "compression.type": self.random.choice(["none", "lz4", "zstd"]),
            "retry.backoff.ms": 50,
            "message.timeout.ms": 120_000,
        }
        self._producer = Producer(settings)
        yield
        self._producer.flush(SETTLE_S)

    def step(self) -> None:
        if self._waiting < WAITING_MAX:
            for _ in range(self.random.randint(1, 40)):
                self._send()
        self._producer.poll(self.random.uniform(0.001, STEP_S))

    def _send(self) -> None:
        at = self.random.choice(self.cluster.partitions)
        value = f"{self.name}.{self._sent}"
        operation = self.history.invoke(self.name, Produce(at, self.name, self._sent, value, self._idempotent))
        self._sent += 1
        self._waiting += 1

        def reported(error: KafkaError | None, message: Message) -> None:
            self._reported(operation, error, message.offset())

        padding = "x" * self.random.choice([0, 10, 200, 2000])
        self._producer.produce(at.topic, f"{value} {padding}".encode(), partition=at.partition, on_delivery=reported)

    def _reported(self, operation: ProduceOperation, error: KafkaError | None, offset: int | None) -> None:
        self._waiting -= 1
        if error is None and offset is not None:
            self.acknowledged += 1
            self.history.ok(operation, Produced(offset, NODE))
            return
        # The broker is never gone for as long as a record may take, so every one can be delivered.
        self.history.unknown(operation, str(error))
        self.problems.append(f"{self.name}: {operation.call.value} was not delivered: {error}")

    def settle(self) -> None:
        left = self._producer.flush(SETTLE_S - 5)
        if left:
            self.problems.append(f"{self.name}: {left} records without an answer after {SETTLE_S - 5:g} s")


class CrashReader(CrashClient):
    """Reads every partition in order through librdkafka, without a group."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._consumer = Consumer(
            {
                **RECONNECT,
                "bootstrap.servers": self.cluster.bootstrap,
                "group.id": f"{self.name}-unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
            }
        )
        self._positions = dict.fromkeys(self.cluster.partitions, 0)
        self._consumer.assign([ClientPartition(*at, 0) for at in self._positions])
        yield
        self._consumer.close()

    def step(self) -> None:
        polls = {at: self.history.invoke(self.name, Poll(at, offset)) for at, offset in self._positions.items()}
        found: dict[TopicPartition, Polled] = {}
        for message in self._consumer.consume(500, STEP_S):
            self._take(message, found)
        for at, poll in polls.items():
            if at not in found:
                self.history.fail(poll, "nothing came")
                continue
            self.history.ok(poll, found[at])
            self._positions[at] = found[at].offsets[-1] + 1

    def _take(self, message: Message, found: dict[TopicPartition, Polled]) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                self.problems.append(f"{self.name}: {error.str()}")
            return
        topic, partition, offset, value = message.topic(), message.partition(), message.offset(), message.value()
        if topic is None or partition is None or offset is None:
            raise TypeError(message)
        read = found.setdefault(TopicPartition(topic, partition), Polled([], [], -1, -1, -1, self.name))
        read.offsets.append(offset)
        read.values.append(write_name(value))


class CrashWatcher(CrashClient):
    """Reads bounds, records and committed offsets byte by byte, so that it knows which reply said what."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._client: RawClient | None = None
        self._positions = dict.fromkeys(self.cluster.partitions, 0)
        yield
        self._disconnect()

    def step(self) -> None:
        time.sleep(self.random.uniform(0, STEP_S / 2))
        try:
            if self._client is None:
                self._client = RawClient(self.cluster.port)
            for partitions in self.cluster.topics().values():
                self._fetch(self._client, partitions)
            find_committed(self._client, self.cluster, self.history, self.name, self.problems)
        except (ConnectionClosed, OSError):
            self._disconnect()
            time.sleep(STEP_S)

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _fetch(self, client: RawClient, partitions: Sequence[TopicPartition]) -> None:
        if self.random.random() < 0.05:
            self._seek(self.random.choice(partitions))
        polls = {
            at.partition: self.history.invoke(self.name, Poll(at, self._positions[at]))
            for at in self.random.sample(partitions, len(partitions))
        }
        request = fetch_request(
            partitions[0].topic,
            {index: poll.call.from_offset for index, poll in polls.items()},
            bytes_max=self.random.choice([1, 3_000, 100_000, 1_000_000]),
            max_wait_ms=self.random.choice([0, 30]),
        )
        try:
            reply = client.call(request, 11)
        except (ConnectionClosed, OSError) as error:
            for poll in polls.values():
                self.history.unknown(poll, str(error))
            raise
        fetched = reply.responses[0].partitions
        is_filled = any(partition.records for partition in fetched)
        for partition in fetched:
            self._polled(polls[partition.partition_index], partition, is_filled=is_filled)

    def _seek(self, at: TopicPartition) -> None:
        self._positions[at] = self.random.randint(0, self._positions[at])
        self.history.note(self.name, Positioned(at, self._positions[at]))

    def _polled(self, poll: PollOperation, fetched: Any, *, is_filled: bool) -> None:
        at = poll.call.at
        error = ErrorCode(fetched.error_code)
        if error is not ErrorCode.NONE:
            self.history.fail(poll, OUT_OF_RANGE if error is ErrorCode.OFFSET_OUT_OF_RANGE else error.name)
            self.problems.append(f"{self.name}: {error.name} at {at}@{poll.call.from_offset}")
            return
        if is_filled and not fetched.records:
            # Perhaps another partition's records have used the limit up (KIP-74): that says nothing.
            self.history.fail(poll, "no room in the reply")
            return
        records = list(records_of(fetched.records, poll.call.from_offset))
        offsets, values = [offset for offset, _ in records], [write_name(value) for _, value in records]
        bounds = (fetched.high_watermark, fetched.last_stable_offset, fetched.log_start_offset)
        self.history.ok(poll, Polled(offsets, values, *bounds, NODE))
        if offsets:
            self._positions[at] = offsets[-1] + 1


class CrashMember(CrashClient):
    """A member of the consumer group that commits, and waits for the answer, after every few records."""

    def __init__(self, name: str, cluster: Cluster, seed: int, settings: Mapping[str, Any]) -> None:
        super().__init__(name, cluster, seed)
        self.rebalances = 0
        """Assignments and revocations so far."""
        self.owned: frozenset[TopicPartition] = frozenset()
        self._settings = settings
        self._uncommitted: dict[TopicPartition, int] = {}
        """Read and not yet committed, of partitions that are still ours."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._consumer = Consumer(
            {
                **RECONNECT,
                "bootstrap.servers": self.cluster.bootstrap,
                "group.id": self.cluster.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 200,
                # librdkafka waits for this before it asks again for the metadata without which it does not join, when
                # the connection broke with the answer on it; the default is five minutes.
                "topic.metadata.refresh.interval.ms": 1_000,
                **self._settings,
            }
        )
        topics = list(self.cluster.topics())
        self._consumer.subscribe(
            topics, on_assign=self._rebalanced, on_revoke=self._rebalanced, on_lost=self._rebalanced
        )
        yield
        self.owned = frozenset()
        self._consumer.close()

    def step(self) -> None:
        for message in self._consumer.consume(self.random.choice([20, 300]), STEP_S):
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if message.error() is None and topic is not None and partition is not None and offset is not None:
                self._uncommitted[TopicPartition(topic, partition)] = offset + 1
        self.owned = frozenset(TopicPartition(at.topic, at.partition) for at in self._consumer.assignment())
        self._uncommitted = {at: offset for at, offset in self._uncommitted.items() if at in self.owned}
        if self._uncommitted:
            self._commit(self._uncommitted)

    def _rebalanced(self, _consumer: Consumer, _partitions: list[ClientPartition]) -> None:
        self.rebalances += 1

    def _commit(self, reached: Mapping[TopicPartition, int]) -> None:
        commits = {
            at: self.history.invoke(self.name, CommitOffset(self.cluster.group, at, offset))
            for at, offset in reached.items()
        }
        try:
            results = self._consumer.commit(
                offsets=[ClientPartition(*at, offset) for at, offset in reached.items()], asynchronous=False
            )
        except KafkaException as error:
            for commit in commits.values():
                self.history.unknown(commit, str(error))
            return
        for result in results or []:
            commit = commits[TopicPartition(result.topic, result.partition)]
            if result.error is None:
                self.history.ok(commit, Committed())
                del self._uncommitted[commit.call.at]
            else:
                self.history.unknown(commit, str(result.error))


def find_committed(
    client: RawClient, cluster: Cluster, history: History, process: str, problems: list[str]
) -> dict[TopicPartition, int]:
    """Ask for the group's committed offsets of every partition, record it, and return them.

    Raises `ConnectionClosed`, OSError.
    """
    operations = {at: history.invoke(process, FetchCommitted(cluster.group, at)) for at in cluster.partitions}
    topics = [
        OffsetFetchRequest.OffsetFetchRequestTopic(name=topic, partition_indexes=[at.partition for at in partitions])
        for topic, partitions in cluster.topics().items()
    ]
    try:
        reply = client.call(OffsetFetchRequest(group_id=cluster.group, topics=topics), 5)
    except (ConnectionClosed, OSError) as error:
        for operation in operations.values():
            history.unknown(operation, str(error))
        raise
    found: dict[TopicPartition, int] = {}
    for topic in reply.topics:
        for partition in topic.partitions:
            at = TopicPartition(topic.name, partition.partition_index)
            code = ErrorCode(partition.error_code or reply.error_code)
            if code is not ErrorCode.NONE:
                history.fail(operations[at], code.name)
                if code not in _COORDINATOR_MOVES:
                    problems.append(f"{process}: OffsetFetch of {at}: {code.name}")
                continue
            history.ok(operations[at], CommittedFound(partition.committed_offset))
            found[at] = partition.committed_offset
    return found


_COORDINATOR_MOVES: Final = (
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
)


def write_name(value: bytes | None) -> str:
    """Return the name of the write that stands at the beginning of a record's value."""
    return (value or b"").split(b" ", 1)[0].decode()
