"""Random histories of a broker that does everything right, for proving the checker.

`correct_history(seed)` lets a handful of simulated clients take turns in random order against a model of a broker: a
list per partition, a dictionary of committed offsets. Each client is a generator that yields wherever others may act,
so operations overlap; replies get lost, writes land late, the broker restarts, the log start moves.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.support.history import (
    NO_OFFSET,
    OUT_OF_RANGE,
    AllRead,
    BrokerStarted,
    CommitOffset,
    Committed,
    CommittedFound,
    FetchCommitted,
    History,
    LookUpTime,
    Owned,
    Poll,
    Polled,
    PollOperation,
    Positioned,
    Produce,
    Produced,
    ProduceOperation,
    ReadAll,
    TimeFound,
    TopicPartition,
)

PARTITIONS: Final = tuple(TopicPartition("topic", number) for number in range(3))
GROUP: Final = "group"
POLL_RECORDS_MAX: Final = 5

Turns: TypeAlias = Generator[None, None, None]


@dataclass(slots=True)
class Log:
    """One partition: values and timestamps by offset."""

    values: list[str] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    start: int = 0
    stable: int = 0

    def append(self, call: Produce) -> int:
        """Append a record and return its offset."""
        self.values.append(call.value)
        self.timestamps.append(call.timestamp_ms)
        return len(self.values) - 1


class Model:
    """The broker and its clients. `operations` is how many each client performs."""

    def __init__(self, seed: int, operations: int) -> None:
        self.random = random.Random(seed)
        self.history = History(lambda: 0)
        self.operations = operations
        self.logs = {at: Log() for at in PARTITIONS}
        self.committed: dict[TopicPartition, int] = {}
        self.node = "1/0"

    def run(self) -> History:
        """Let all clients finish, read everything, and return the history."""
        self.history.note("harness", BrokerStarted(self.node))
        clients = self._clients()
        while clients:
            client = self.random.choice(clients)
            if next(client, self) is self:
                clients.remove(client)
        self._read_all()
        return self.history

    def _clients(self) -> list[Turns]:
        producers = [self._produce(f"producer-{n}", idempotent=n < 2) for n in range(3)]
        consumers = [self._consume(f"consumer-{n}") for n in range(2)]
        return [*producers, *consumers, self._commit(), self._look_up(), self._rebalance(), self._administer()]

    def _produce(self, name: str, *, idempotent: bool) -> Turns:
        for sequence in range(self.operations):
            value = f"{name}.{sequence}"
            at = self.random.choice(PARTITIONS)
            call = Produce(at, name, sequence, value, idempotent, self.random.randrange(1000) + self.history.ticks())
            operation = self.history.invoke(name, call)
            yield
            yield from self._write(operation)

    def _write(self, operation: ProduceOperation) -> Turns:
        log, call = self.logs[operation.call.at], operation.call
        fate = self.random.choice(["ok", "ok", "ok", "ok", "lost reply", "never", "late", "refused", "retried"])
        if fate == "refused":
            self.history.fail(operation, "MESSAGE_TOO_LARGE")
            return
        if fate in ("never", "late"):
            self.history.unknown(operation, "timeout")
            yield
        if fate == "retried" and not call.idempotent:
            log.append(call)
            yield
        offset = log.append(call) if fate != "never" else NO_OFFSET
        node = self.node
        yield
        if fate == "lost reply":
            self.history.unknown(operation, "connection lost")
        elif fate in ("ok", "retried"):
            self.history.ok(operation, Produced(offset, node))

    def _consume(self, name: str) -> Turns:
        positions = dict.fromkeys(PARTITIONS, 0)
        for _ in range(self.operations):
            at = self.random.choice(PARTITIONS)
            if self.random.random() < 0.1:
                positions[at] = self.random.randint(self.logs[at].start, len(self.logs[at].values))
                self.history.note(name, Positioned(at, positions[at]))
            operation = self.history.invoke(name, Poll(at, positions[at]))
            yield
            yield from self._poll(operation, positions)

    def _poll(self, operation: PollOperation, positions: dict[TopicPartition, int]) -> Turns:
        at, position = operation.call.at, operation.call.from_offset
        log = self.logs[at]
        if position < log.start:
            positions[at] = log.start
            self.history.fail(operation, OUT_OF_RANGE)
            self.history.note(operation.process, Positioned(at, log.start))
            return
        end = min(len(log.values), position + self.random.randint(1, POLL_RECORDS_MAX))
        log.stable = self.random.randint(max(log.stable, log.start), len(log.values))
        bounds = (len(log.values), log.stable, log.start)
        reply = Polled(list(range(position, end)), log.values[position:end], *bounds, self.node)
        yield
        if self.random.random() < 0.1:
            self.history.unknown(operation, "timeout")
            return
        positions[at] = end
        self.history.ok(operation, reply)

    def _commit(self) -> Turns:
        for _ in range(self.operations):
            at = self.random.choice(PARTITIONS)
            yield from self._commit_once(at) if self.random.random() < 0.5 else self._fetch_committed(at)

    def _commit_once(self, at: TopicPartition) -> Turns:
        offset = self.history.ticks()
        operation = self.history.invoke("committer", CommitOffset(GROUP, at, offset))
        yield
        fate = self.random.choice(["ok", "ok", "refused", "never", "lost reply"])
        if fate in ("ok", "lost reply"):
            self.committed[at] = offset
        yield
        if fate == "ok":
            self.history.ok(operation, Committed())
        elif fate == "refused":
            self.history.fail(operation, "ILLEGAL_GENERATION")
        else:
            self.history.unknown(operation, "timeout")

    def _fetch_committed(self, at: TopicPartition) -> Turns:
        operation = self.history.invoke("committer", FetchCommitted(GROUP, at))
        yield
        found = CommittedFound(self.committed.get(at, NO_OFFSET))
        yield
        self.history.ok(operation, found)

    def _look_up(self) -> Turns:
        for _ in range(self.operations):
            at = self.random.choice(PARTITIONS)
            timestamp_ms = self.random.randrange(2000)
            operation = self.history.invoke("looker", LookUpTime(at, timestamp_ms))
            yield
            log = self.logs[at]
            stamps = enumerate(log.timestamps[log.start :], log.start)
            offset = next((offset for offset, stamp in stamps if stamp >= timestamp_ms), NO_OFFSET)
            reply = TimeFound(offset, -1 if offset == NO_OFFSET else log.timestamps[offset], self.node)
            yield
            self.history.ok(operation, reply)

    def _rebalance(self) -> Turns:
        for generation in range(1, 1 + self.operations // 5):
            members = [f"member-{n}" for n in range(self.random.randint(1, 3))]
            for number, member in enumerate(members):
                mine = [at for at in PARTITIONS if at.partition % len(members) == number]
                self.history.note(member, Owned(GROUP, generation, member, mine))
                yield

    def _administer(self) -> Turns:
        for run in range(1, 1 + self.operations // 5):
            yield
            log = self.logs[self.random.choice(PARTITIONS)]
            log.start = self.random.randint(log.start, (log.start + len(log.values)) // 2)
            log.stable = max(log.stable, log.start)
            yield
            self.history.note("harness", BrokerStarted(f"1/{run}"))
            self.node = f"1/{run}"

    def _read_all(self) -> None:
        for at, log in self.logs.items():
            operation = self.history.invoke("harness", ReadAll(at))
            offsets = list(range(log.start, len(log.values)))
            self.history.ok(operation, AllRead(offsets, log.values[log.start :], log.start, len(log.values)))


def correct_history(seed: int, operations: int = 40) -> History:
    """Return the history of a correct broker under `operations` operations of each client."""
    return Model(seed, operations).run()
