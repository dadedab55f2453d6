"""kcat: metadata, producing, consuming from every kind of offset, balanced groups and queries by time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.clients.support import (
    BASE_TIMESTAMP_MS,
    CODECS,
    LARGE_VALUE_BYTES,
    PARTITIONS,
    TOO_LARGE_VALUE_BYTES,
    WAIT_S,
    Ledger,
    Record,
    Stored,
    assert_log,
    assert_spread,
    by_partition,
    create_topic,
    eventually,
    keyed_records,
    produce,
    timed_records,
    unique,
)

ASSIGNMENT = re.compile(r"(assigned|revoked): (.*)$")
PARTITION = re.compile(r"\[(\d+)\]")
PROMPT_END = ("-X", "fetch.wait.max.ms=50")
"""kcat sees the end of a partition in an empty reply, for which the server waits 500 ms by default."""

QUICK_GROUP = ("-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200")


class Kcat:
    """Runs kcat against one server."""

    def __init__(self, program: str, bootstrap: str) -> None:
        self._command = [program, "-b", bootstrap]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run to the end and return stdout; fails when kcat does."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self._command, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=WAIT_S, check=False)

    def produce(self, topic: str, records: Sequence[Record], *arguments: str) -> list[Stored]:
        """Send records of text without tabs and newlines; where they land, kcat does not tell."""
        lines = [(record.key or b"") + b"\t" + (record.value or b"") + b"\n" for record in records]
        self("-P", "-t", topic, "-K", r"\t", *arguments, stdin=b"".join(lines))
        return [Stored(partition=0, offset=None, record=record) for record in records]

    def consume(self, topic: str, *arguments: str) -> list[Stored]:
        """Read until the end of every partition; `arguments` say from where."""
        printed = self("-C", "-t", topic, "-J", "-e", *PROMPT_END, *arguments)
        return [parse(line) for line in printed.splitlines()]

    @contextmanager
    def member(self, name: str, group: str, topic: str, ledger: Ledger) -> Iterator[None]:
        """A member of a balanced group that reports to the ledger until the context ends."""
        arguments = ["-G", group, topic, "-J", "-u", "-X", "auto.offset.reset=earliest", *QUICK_GROUP]
        with subprocess.Popen(
            [*self._command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            threads = [
                threading.Thread(target=_report_records, args=(process, ledger), daemon=True),
                threading.Thread(target=_report_ownership, args=(process, name, ledger), daemon=True),
            ]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                ledger.left(name)
                process.terminate()
                for thread in threads:
                    thread.join(WAIT_S)
                process.wait(WAIT_S)


def _report_records(process: subprocess.Popen[str], ledger: Ledger) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        ledger.read([parse(line)])


def _report_ownership(process: subprocess.Popen[str], name: str, ledger: Ledger) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if (change := ASSIGNMENT.search(line)) is not None:
            partitions = [int(number) for number in PARTITION.findall(change[2])]
            if change[1] == "assigned":
                ledger.assigned(name, partitions)
            else:
                ledger.revoked(name, partitions)


def parse(line: str) -> Stored:
    """A record from one line of kcat's JSON."""
    found: dict[str, Any] = json.loads(line)
    names_and_values = found.get("headers", [])
    headers = zip(names_and_values[::2], names_and_values[1::2], strict=True)
    record = Record(
        key=_bytes(found["key"]),
        value=_bytes(found["payload"]),
        headers=tuple((name, _bytes(value)) for name, value in headers),
        timestamp_ms=found["ts"],
    )
    return Stored(partition=found["partition"], offset=found["offset"], record=record)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def assert_same_records(sent: Sequence[Stored], read: Sequence[Stored]) -> None:
    """Compare by key, for records whose partition the producer chose and did not tell: order within a key is kept."""
    homes = {each.record.key: each.partition for each in read}
    placed = [Stored(partition=homes[each.record.key], offset=None, record=each.record) for each in sent]
    assert_log(placed, read)


@pytest.fixture
def kcat(bootstrap: str) -> Kcat:
    program = shutil.which("kcat")
    if program is None:
        pytest.skip("kcat missing: it is not on the PATH")
    return Kcat(program, bootstrap)


class TestMetadata:
    def test_text(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-text")
        listed = kcat("-L", "-t", topic)
        assert f" at {bootstrap}" in listed
        assert "(controller)" in listed
        assert f'topic "{topic}" with {PARTITIONS} partitions:' in listed
        found = re.findall(r"partition (\d+), leader (\d+), replicas: (\S+), isrs: (\S+)$", listed, re.MULTILINE)
        assert [int(partition) for partition, *_ in found] == list(range(PARTITIONS))
        for _, leader, replicas, in_sync in found:
            assert leader in replicas.split(",")
            assert set(in_sync.split(",")) <= set(replicas.split(","))

    def test_json(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-json")
        listed = json.loads(kcat("-L", "-J", "-t", topic))
        brokers = {broker["id"]: broker["name"] for broker in listed["brokers"]}
        assert bootstrap in brokers.values()
        assert listed["controllerid"] in brokers
        (found,) = listed["topics"]
        assert found["topic"] == topic
        assert [each["partition"] for each in found["partitions"]] == list(range(PARTITIONS))
        for each in found["partitions"]:
            assert {"id": each["leader"]} in each["replicas"]
            assert all(replica in each["replicas"] for replica in each["isrs"])

    def test_all_topics(self, kcat: Kcat, bootstrap: str) -> None:
        topics = {create_topic(bootstrap, "kcat-all", partitions=n) for n in (1, 2)}
        listed = json.loads(kcat("-L", "-J"))
        assert topics <= {each["topic"] for each in listed["topics"]}


class TestProduce:
    def test_keys_spread_over_partitions(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-keys")
        sent = kcat.produce(topic, keyed_records(3000))
        read = kcat.consume(topic)
        assert_spread(read)
        assert_same_records(sent, read)

    @pytest.mark.parametrize("codec", CODECS)
    def test_compression(self, kcat: Kcat, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "kcat-z")
        sent = kcat.produce(topic, keyed_records(2000), "-z", codec)
        assert_same_records(sent, kcat.consume(topic))

    @pytest.mark.parametrize("acks", ["0", "1", "all"])
    def test_acks(self, kcat: Kcat, bootstrap: str, acks: str) -> None:
        topic = create_topic(bootstrap, "kcat-acks")
        sent = kcat.produce(topic, keyed_records(500), "-X", f"acks={acks}")
        # Nobody confirmed acks=0: the records may still be on their way.
        read = eventually(lambda: found if len(found := kcat.consume(topic)) >= 500 else None, "500 records")
        assert_same_records(sent, read)

    def test_idempotence(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-idempotent")
        sent = kcat.produce(topic, keyed_records(1000), "-X", "enable.idempotence=true", "-X", "batch.num.messages=20")
        assert_same_records(sent, kcat.consume(topic))

    def test_headers_and_a_fixed_key(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-headers")
        headers = ("-H", "twice=1", "-H", "twice=2", "-H", "empty=", "-H", "null")
        kcat("-P", "-t", topic, "-p", "4", "-k", "fixed", *headers, stdin=b"hello\n")
        expected = Record(
            key=b"fixed",
            value=b"hello",
            headers=(("twice", b"1"), ("twice", b"2"), ("empty", b""), ("null", None)),
        )
        assert_log([Stored(partition=4, offset=0, record=expected)], kcat.consume(topic))

    def test_nulls(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-null", partitions=1)
        kcat("-P", "-t", topic, "-K", ":", "-Z", stdin=b"key:\n:value\n:\n")
        kcat("-P", "-t", topic, "-K", ":", stdin=b"key:\n")
        records = [
            Record(key=b"key", value=None),
            Record(key=None, value=b"value"),
            Record(key=None, value=None),
            Record(key=b"key", value=b""),
        ]
        sent = [Stored(partition=0, offset=n, record=record) for n, record in enumerate(records)]
        assert_log(sent, kcat.consume(topic))
        printed = kcat("-C", "-t", topic, "-e", "-Z", "-f", r"%k=%s(%K,%S)\n")
        # With -Z kcat prints what is empty as NULL as well: only the length tells them apart.
        assert printed.splitlines() == ["key=NULL(3,-1)", "NULL=value(-1,5)", "NULL=NULL(-1,-1)", "key=NULL(3,0)"]

    def test_unknown_topic_is_created(self, kcat: Kcat) -> None:
        topic = unique("kcat-auto")
        sent = kcat.produce(topic, keyed_records(10))
        assert_same_records(sent, kcat.consume(topic))

    def test_large_record(self, kcat: Kcat, bootstrap: str) -> None:
        topic, value = create_topic(bootstrap, "kcat-large", partitions=1), b"x" * LARGE_VALUE_BYTES
        kcat("-P", "-t", topic, "-X", "message.max.bytes=10000000", stdin=value + b"\n")
        assert [each.record.value for each in kcat.consume(topic)] == [value]

    def test_record_too_large(self, kcat: Kcat, bootstrap: str) -> None:
        topic, value = create_topic(bootstrap, "kcat-toolarge", partitions=1), b"x" * TOO_LARGE_VALUE_BYTES
        refused = kcat.run("-P", "-t", topic, "-X", "message.max.bytes=10000000", stdin=value + b"\n")
        assert refused.returncode == 1
        assert b"Message size too large" in refused.stderr
        assert kcat.consume(topic) == []


class TestConsume:
    def test_format(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-format", partitions=1)
        record = Record(key=b"k", value=b"v", headers=(("h", b"1"), ("h", b"2")), timestamp_ms=BASE_TIMESTAMP_MS)
        produce(bootstrap, topic, [record])
        printed = kcat("-C", "-t", topic, "-e", "-f", r"%t|%p|%o|%T|%k|%s|%h|%K|%S\n")
        assert printed == f"{topic}|0|0|{BASE_TIMESTAMP_MS}|k|v|h=1,h=2|1|1\n"

    @pytest.mark.parametrize("codec", CODECS)
    def test_what_newer_clients_wrote(self, kcat: Kcat, bootstrap: str, codec: str) -> None:
        topic = create_topic(bootstrap, "kcat-codec")
        settings = {"compression.type": codec, "linger.ms": 20}
        sent = produce(bootstrap, topic, keyed_records(1000), settings=settings)
        assert_log(sent, kcat.consume(topic))

    def test_offsets(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-offsets", partitions=2)
        sent = produce(bootstrap, topic, keyed_records(100), partition=1, settings={"batch.num.messages": 9})
        for argument, first in (("beginning", 0), ("0", 0), ("37", 37), ("99", 99), ("-1", 99), ("-64", 36)):
            read = kcat.consume(topic, "-p", "1", "-o", argument)
            assert_log(sent[first:], read, first_offsets={1: first})
        for argument in ("end", "100"):
            assert kcat.consume(topic, "-p", "1", "-o", argument) == []
        assert kcat.consume(topic, "-p", "0") == []

    def test_count(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-count", partitions=1)
        sent = produce(bootstrap, topic, keyed_records(100))
        assert_log(sent[10:17], kcat.consume(topic, "-o", "10", "-c", "7"), first_offsets={0: 10})

    def test_times(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-times", partitions=1)
        sent = produce(bootstrap, topic, timed_records(60), settings={"batch.num.messages": 7})
        start, stop = f"s@{BASE_TIMESTAMP_MS + 9_001}", f"e@{BASE_TIMESTAMP_MS + 40_000}"
        assert_log(sent[10:], kcat.consume(topic, "-o", start), first_offsets={0: 10})
        assert_log(sent[10:40], kcat.consume(topic, "-o", start, "-o", stop), first_offsets={0: 10})

    def test_query(self, kcat: Kcat, bootstrap: str) -> None:
        topic = create_topic(bootstrap, "kcat-query", partitions=2)
        produce(bootstrap, topic, timed_records(60), partition=0, settings={"batch.num.messages": 7})
        produce(bootstrap, topic, timed_records(60, step_ms=500), partition=1)
        at = BASE_TIMESTAMP_MS + 20_001
        answer = kcat("-Q", "-t", f"{topic}:0:{at}", "-t", f"{topic}:1:{at}")
        assert sorted(answer.splitlines()) == [f"{topic} [0] offset 21", f"{topic} [1] offset 41"]
        for timestamp, offset in ((-1, 60), (-2, 0), (0, 0), (BASE_TIMESTAMP_MS + 59_001, -1)):
            assert kcat("-Q", "-t", f"{topic}:0:{timestamp}").strip() == f"{topic} [0] offset {offset}"

    def test_unknown_topic(self, kcat: Kcat) -> None:
        topic = unique("kcat-absent")
        refused = kcat.run("-C", "-t", topic, "-e")
        assert refused.returncode == 1
        assert b"Unknown topic or partition" in refused.stderr


class TestGroup:
    def test_goes_on_where_it_stopped(self, kcat: Kcat, bootstrap: str) -> None:
        topic, group = create_topic(bootstrap, "kcat-group"), unique("group")
        arguments = ("-G", group, topic, "-e", "-J", "-X", "auto.offset.reset=earliest", *QUICK_GROUP)
        sent = produce(bootstrap, topic, keyed_records(300))
        assert_log(sent, [parse(line) for line in kcat(*arguments).splitlines()])
        more = produce(bootstrap, topic, keyed_records(300, start=300))
        ends = {partition: len(part) for partition, part in by_partition(sent).items()}
        read = [parse(line) for line in kcat(*arguments).splitlines()]
        assert_log(more, read, first_offsets=ends)

    def test_two_members_share_and_one_takes_over(self, kcat: Kcat, bootstrap: str) -> None:
        topic, group, ledger = create_topic(bootstrap, "kcat-balanced"), unique("group"), Ledger()
        sent: list[Stored] = []

        def feed() -> None:
            sent.extend(produce(bootstrap, topic, keyed_records(300, start=len(sent))))
            ledger.await_read(len(sent))

        with ExitStack() as outlives:
            with kcat.member("first", group, topic, ledger):
                ledger.await_balanced({"first"})
                feed()
                outlives.enter_context(kcat.member("second", group, topic, ledger))
                ledger.await_balanced({"first", "second"})
                feed()
            ledger.await_balanced({"second"})
            feed()
        assert_log(sent, ledger.records())
