"""What the client suites share: names, records, the comparison of sent with read, and a ledger for groups.

Every suite turns what its library returns into a `Stored` and hands it to `assert_log`, so that "the client
works" means the same in all of them: every value, key, header and timestamp, in order within each partition,
at dense offsets. Topics are made, and group tests are fed, through librdkafka, so that a suite exercises only
the calls it is about.
Every wait takes a limit; a wait that runs out raises `AssertionError` and says what it was waiting for.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, TypeVar

from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

T = TypeVar("T")

admin_api: Any = import_module("confluent_kafka.admin")
"""The module re-exports its classes in a way that type checkers take for private."""

Headers = tuple[tuple[str, bytes | None], ...]

PARTITIONS = 6
"""Three members of a group own two partitions each, and one key in six lands on each partition."""

WAIT_S = 30.0
"""Limit of one wait. Far above what a loaded two-core machine needs, so that only a real stall reaches it."""

BASE_TIMESTAMP_MS = time.time_ns() // 1_000_000 - 3_600_000
"""An hour ago: no broker that stamps records itself hits it by luck, and retention does not delete it meanwhile."""

LARGE_VALUE_BYTES = 1_000_000
"""Kafka's default `max.message.bytes` is 1,048,588 for the whole batch: this fits, one half more does not."""

TOO_LARGE_VALUE_BYTES = 1_500_000

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a producer is given. `timestamp_ms` None leaves the time to the client."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record and its place. `offset` None: the client was not told (acks=0)."""

    partition: int
    offset: int | None
    record: Record


def unique(prefix: str) -> str:
    """A name for a topic or group that no other test or run uses."""
    return f"{prefix}-{secrets.token_hex(5)}"


def incompressible(size_bytes: int, *, seed: int = 1) -> bytes:
    """Bytes that no codec makes smaller; the same for the same seed."""
    return random.Random(seed).randbytes(size_bytes)


def keyed_records(count: int, *, keys: int = 97, start: int = 0) -> list[Record]:
    """`count` distinguishable records over `keys` keys, with values of many sizes up to 300 bytes."""
    return [
        Record(key=b"key-%d" % (n % keys), value=b"value-%d-" % n + bytes([33 + n % 90]) * (n * 7 % 290))
        for n in range(start, start + count)
    ]


def timed_records(count: int, *, step_ms: int = 1_000) -> list[Record]:
    """Records whose timestamps rise by `step_ms` from `BASE_TIMESTAMP_MS`."""
    return [
        replace(record, timestamp_ms=BASE_TIMESTAMP_MS + n * step_ms) for n, record in enumerate(keyed_records(count))
    ]


def peculiar_records(*, null_header_values: bool = True) -> list[Record]:
    """Everything the record format can say that a plain key and value do not.

    `null_header_values=False` is for clients whose producer refuses them.
    """
    headers: list[Headers] = [
        (("one", b"1"),),
        (("twice", b"first"), ("other", b"x"), ("twice", b"second"), ("twice", b"first")),
        (("empty", b""), ("binary", bytes(range(256)))),
        (("", b"no name"), ("naïve-ключ", "значение".encode())),
        tuple((f"h{n}", b"v%d" % n) for n in range(150)),
    ]
    if null_header_values:
        headers.append((("null", None), ("null", b"not"), ("null", None)))
    records = [Record(key=b"headers", value=b"%d" % n, headers=each) for n, each in enumerate(headers)]
    return [
        *records,
        Record(key=None, value=b"null key"),
        Record(key=b"null value", value=None),
        Record(key=None, value=None),
        Record(key=b"empty value", value=b""),
        Record(key=b"", value=b"empty key"),
        Record(key=b"", value=b""),
        Record(key=None, value=None, headers=(("only", b"headers"),)),
        Record(key=bytes(range(256)), value=bytes(reversed(range(256)))),
    ]


def by_partition(stored: Iterable[Stored]) -> dict[int, list[Stored]]:
    """Group by partition; the order within each stays as it was."""
    grouped: defaultdict[int, list[Stored]] = defaultdict(list)
    for each in stored:
        grouped[each.partition].append(each)
    return dict(grouped)


def assert_log(
    sent: Iterable[Stored], read: Iterable[Stored], *, first_offsets: Mapping[int, int] | None = None
) -> None:
    """Check that `read` is exactly `sent`, partition by partition, in the order of sending, at dense offsets.

    Offsets must count up from `first_offsets` (0 where a partition is not named). A time or an offset that
    `sent` does not know is not compared.
    """
    sent_by_partition, read_by_partition = by_partition(sent), by_partition(read)
    assert sent_by_partition.keys() == read_by_partition.keys(), "records came back from other partitions"
    for partition, expected in sorted(sent_by_partition.items()):
        first_offset = (first_offsets or {}).get(partition, 0)
        _assert_partition(partition, expected, read_by_partition[partition], first_offset)


def _assert_partition(partition: int, sent: Sequence[Stored], read: Sequence[Stored], first_offset: int) -> None:
    for offset, (expected, actual) in enumerate(zip(sent, read, strict=False), start=first_offset):
        assert actual.offset == offset, f"partition {partition}: offset {actual.offset} where {offset} was due"
        assert expected.offset in (None, offset), f"partition {partition}: {expected.offset} acknowledged for {offset}"
        wanted = expected.record
        if wanted.timestamp_ms is None:
            wanted = replace(wanted, timestamp_ms=actual.record.timestamp_ms)
        assert actual.record == wanted, f"partition {partition}, offset {offset}: not the record that was sent"
    assert len(read) == len(sent), f"partition {partition}: {len(sent)} records sent, {len(read)} read"


def assert_spread(stored: Iterable[Stored], partitions: int = PARTITIONS) -> None:
    """Check that every partition got records and that each key stayed in one of them."""
    homes: defaultdict[bytes | None, set[int]] = defaultdict(set)
    for each in stored:
        homes[each.record.key].add(each.partition)
    assert all(len(home) == 1 for home in homes.values()), "a key was sent to more than one partition"
    assert set().union(*homes.values()) == set(range(partitions))


class Deadline:
    """A limit on a wait: `left()` is never negative, `turns()` goes on until it is reached."""

    def __init__(self, what: str, limit_s: float = WAIT_S) -> None:
        self._what, self._limit_s = what, limit_s
        self._end = time.monotonic() + limit_s

    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def turns(self) -> Iterator[float]:
        """Yield the seconds that are left until the caller breaks out; fail when there are none."""
        while (left := self.left()) > 0:
            yield left
        raise AssertionError(f"{self._what}: not within {self._limit_s:g} s")


def eventually(probe: Callable[[], T | None], what: str, limit_s: float = WAIT_S) -> T:
    """Ask again until the answer is not None: only for what a server tells nobody about unasked."""
    pause = threading.Event()
    for left in Deadline(what, limit_s).turns():
        if (answer := probe()) is not None:
            return answer
        pause.wait(min(0.05, left))
    raise AssertionError  # unreachable: turns() raises


def admin_client(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


def result(future: Future[T], limit_s: float = WAIT_S) -> T:
    """The answer of one admin operation; its error is raised."""
    return future.result(timeout=limit_s)


def create_topic(
    bootstrap: str, prefix: str, *, partitions: int = PARTITIONS, config: Mapping[str, str] | None = None
) -> str:
    """Make a topic with a fresh name and wait until every partition can be used."""
    topic, admin = unique(prefix), admin_client(bootstrap)
    created = admin.create_topics([admin_api.NewTopic(topic, partitions, 1, config=dict(config or {}))])
    result(created[topic])
    await_partitions(admin, topic, partitions)
    return topic


def await_partitions(admin: AdminClient, topic: str, partitions: int) -> None:
    """Wait until metadata shows `partitions` partitions and the leader of each answers for it.

    Brokers learn of topics after the reply, and of leading them later still. A produce request that comes in
    between is repeated by the client, which costs a producer without idempotence the order of its records.
    """

    def probe() -> bool | None:
        found = admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
        if len(found) != partitions or any(each.leader < 0 for each in found.values()):
            return None
        latest = admin_api.OffsetSpec.latest()
        asked = admin.list_offsets({TopicPartition(topic, partition): latest for partition in found})
        return True if all(future.exception(WAIT_S) is None for future in asked.values()) else None

    eventually(probe, f"{topic} with {partitions} partitions")


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Record],
    *,
    partition: int | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[Stored]:
    """Send with librdkafka, await every delivery report, and return the records in the order of sending."""
    producer = Producer({"bootstrap.servers": bootstrap, **(settings or {})})
    return send_all(producer, topic, records, partition=partition)


def send_all(
    producer: Producer, topic: str, records: Iterable[Record], *, partition: int | None = None
) -> list[Stored]:
    """As `produce`, through a producer that the caller made. The first delivery that fails is raised."""
    outcome = Deliveries()
    for n, record in enumerate(records):
        producer.produce(
            topic,
            record.value,
            record.key,
            -1 if partition is None else partition,
            on_delivery=outcome.reporter(n, record),
            timestamp=record.timestamp_ms or 0,
            headers=list(record.headers),
        )
        producer.poll(0)
    assert producer.flush(WAIT_S) == 0, "records without a delivery report"
    return outcome.stored()


@dataclass(slots=True)
class Deliveries:
    """Collects librdkafka's delivery reports: they arrive by partition, not in the order of sending."""

    reports: dict[int, Stored] = field(default_factory=dict)
    errors: list[KafkaError] = field(default_factory=list)

    def reporter(self, n: int, record: Record) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.errors.append(error)
                return
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            known = offset if offset is not None and offset >= 0 else None
            self.reports[n] = Stored(partition=partition, offset=known, record=record)

        return report

    def stored(self) -> list[Stored]:
        assert not self.errors, f"not delivered: {self.errors[0]}"
        return [self.reports[n] for n in sorted(self.reports)]


class Ledger:
    """Who owns which partition of a group's topic, and what was read by whom.

    Members run in threads or on an event loop and report here; tests wait here. A partition handed to a
    member while another still holds it, and a member that dies, are remembered and fail every later wait.
    """

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self._partitions = partitions
        self._changed = threading.Condition()
        self._owners: dict[int, str] = {}
        self._read: list[Stored] = []
        self._faults: list[str] = []
        self._rebalances: defaultdict[str, int] = defaultdict(int)

    def assigned(self, member: str, partitions: Iterable[int]) -> None:
        with self._changed:
            self._rebalances[member] += 1
            for partition in partitions:
                holder = self._owners.get(partition, member)
                if holder != member:
                    self._faults.append(f"partition {partition} given to {member} while {holder} holds it")
                self._owners[partition] = member
            self._changed.notify_all()

    def revoked(self, member: str, partitions: Iterable[int]) -> None:
        with self._changed:
            for partition in partitions:
                if self._owners.get(partition) == member:
                    del self._owners[partition]
            self._changed.notify_all()

    def left(self, member: str) -> None:
        self.revoked(member, range(self._partitions))

    def read(self, records: Iterable[Stored]) -> None:
        with self._changed:
            self._read.extend(records)
            self._changed.notify_all()

    def died(self, member: str, cause: BaseException) -> None:
        with self._changed:
            self._faults.append(f"{member} died: {cause!r}")
            self._changed.notify_all()

    def owned(self, member: str) -> set[int]:
        with self._changed:
            return {partition for partition, owner in self._owners.items() if owner == member}

    def rebalances(self, member: str) -> int:
        """How many times the member was given partitions."""
        with self._changed:
            return self._rebalances[member]

    def await_balanced(self, members: Collection[str], limit_s: float = WAIT_S) -> None:
        """Wait until exactly these members own all partitions, in shares that differ by one at most."""

        def balanced() -> bool:
            shares = dict.fromkeys(members, 0)
            for owner in self._owners.values():
                shares[owner] = shares.get(owner, 0) + 1
            whole = len(self._owners) == self._partitions and shares.keys() == set(members)
            return whole and max(shares.values()) - min(shares.values()) <= 1

        self._await(balanced, f"{self._partitions} partitions spread over {sorted(members)}", limit_s)

    def await_read(self, count: int, limit_s: float = WAIT_S) -> None:
        self._await(lambda: len(self._read) >= count, f"{count} records read", limit_s)

    def records(self) -> list[Stored]:
        with self._changed:
            return list(self._read)

    def _await(self, reached: Callable[[], bool], what: str, limit_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._faults) or reached(), limit_s)
            assert not self._faults, "; ".join(self._faults)
            assert reached(), f"{what}: not within {limit_s:g} s; owners {self._owners}, {len(self._read)} records read"


def assert_consumed_once(sent: Iterable[Stored], ledger: Ledger) -> None:
    """Check that the members together read every record once, and each partition in order.

    Partitions change hands with their offsets committed, so nothing may be read twice either; a partition's
    records are in the order in which its successive owners reported them.
    """
    assert_log(sent, ledger.records())


class Pump:
    """One member in its own thread: `step` polls once, `close` leaves the group; both run in that thread."""

    def __init__(self, name: str, ledger: Ledger, step: Callable[[], None], close: Callable[[], None]) -> None:
        self.name = name
        self._ledger, self._step, self._close = ledger, step, close
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the group; returns when the member is gone."""
        self._stopping.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), f"{self.name} does not stop"

    def _run(self) -> None:
        with self._reported():
            while not self._stopping.is_set():
                self._step()
        with self._reported():
            self._close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as cause:  # noqa: BLE001 - whatever it is, the test has to hear of it
            self._ledger.died(self.name, cause)


def grow_and_shrink(
    bootstrap: str,
    topic: str,
    ledger: Ledger,
    join: Callable[[str], Pump],
    *,
    at_three: Callable[[], None] = lambda: None,
) -> None:
    """The life of a group: one member, three, one again, with records arriving all the time.

    `join` starts a member of the group on `topic`, which has `PARTITIONS` partitions and is empty; `at_three` checks
    what else there is to check while three members share it and nothing changes.
    """
    sent: list[Stored] = []
    running: list[Pump] = []

    def feed(count: int = 300) -> None:
        sent.extend(produce(bootstrap, topic, keyed_records(count, start=len(sent))))

    try:
        feed()
        running.append(join("first"))
        ledger.await_balanced({"first"})
        ledger.await_read(len(sent))
        running += [join("second"), join("third")]
        feed()
        ledger.await_balanced({"first", "second", "third"})
        feed()
        ledger.await_read(len(sent))
        at_three()
        running.pop(0).stop()
        feed()
        # A member that leaves while the group is still about the last one may have its commit refused.
        ledger.await_balanced({"second", "third"})
        running.pop(0).stop()
        ledger.await_balanced({"third"})
        feed()
        ledger.await_read(len(sent))
    finally:
        for pump in running:
            pump.stop()
    assert_consumed_once(sent, ledger)
