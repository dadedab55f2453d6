"""The clients of the benchmarks, the same for every server.

Throughput is Kafka's own performance tools in a JVM of their own. One record at a time is a bare socket that sends one
prepared frame again and again, so that what is measured is the server and the kernel.
"""

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.measure import MEGABYTE
from kafscale.protocol.codec import encode_request
from kafscale.protocol.messages import CreateTopicsRequest
from kafscale.protocol.records import Record, encode_batch
from tests.support.apache_kafka import server_jars
from tests.support.raw_client import ConnectionClosed, RawClient, frame, produce_request, request_header
from tests.support.toolchain import run_tool

RECORD_BYTES: Final = 1000
PARTITION_COUNT: Final = 6
CLIENT_HEAP_MAX: Final = "512m"
"""Ample for the producer's 32 MB of buffer and the consumer's 50 MB of fetch; the same for every server."""

TOPIC_WAIT_S: Final = 30.0
"""How long a new topic may take to accept records: Kafka's brokers learn of one after it was created."""
TOPIC_PAUSE_S: Final = 0.02

_PRODUCE_VERSION: Final = 8
_CREATE_TOPICS_VERSION: Final = 5
# Size and correlation id, then one topic: count, name, one partition: count, index, error code.
_TOPIC_ALREADY_EXISTS: Final = 36
_ERROR_CODE: Final = struct.Struct(">h")


class SingleRecords:
    """A producer with acks=all and one record in flight."""

    def __init__(self, port: int, topic: str, partition: int = 0) -> None:
        self._client = RawClient(port)
        batch = encode_batch(
            [Record(offset_delta=0, value=bytes(RECORD_BYTES))], base_timestamp=time.time_ns() // 1_000_000
        )
        message = produce_request(topic, {partition: batch})
        body = encode_request(message, _PRODUCE_VERSION)
        self._frame = frame(request_header(int(message.API_KEY), _PRODUCE_VERSION, 1) + body)
        self._error_at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4

    def send(self) -> int:
        """Produce the record once more and return the error code of its acknowledgement."""
        self._client.send_bytes(self._frame)
        try:
            reply = self._client.receive_frame()
        except ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        code: int = _ERROR_CODE.unpack_from(reply, self._error_at)[0]
        return code

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def create_topic(port: int, topic: str, partition_count: int) -> None:
    """Create a topic, or leave the one that is there, and wait until each partition has taken a record."""
    wanted = CreateTopicsRequest.CreatableTopic(
        name=topic, num_partitions=partition_count, replication_factor=1, assignments=[], configs=[]
    )
    with RawClient(port) as client:
        request = CreateTopicsRequest(topics=[wanted], timeout_ms=10_000, validate_only=False)
        created = client.call(request, _CREATE_TOPICS_VERSION).topics[0]
    if created.error_code not in (0, _TOPIC_ALREADY_EXISTS):
        raise RuntimeError(f"cannot create topic {topic}: error {created.error_code} {created.error_message}")
    deadline = time.monotonic() + TOPIC_WAIT_S
    for partition in range(partition_count):
        with SingleRecords(port, topic, partition) as records:
            while code := records.send():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{topic}-{partition} takes no records: error {code}")
                time.sleep(TOPIC_PAUSE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a performance tool says about its run."""

    megabytes_per_second: float


def produce(bootstrap: str, topic: str, record_count: int, properties: Mapping[str, str]) -> Throughput:
    """Run Kafka's ProducerPerformance, as fast as it goes."""
    settings = {"bootstrap.servers": bootstrap} | dict(properties)
    output = _run_tool_class(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(record_count), "--record-size", str(RECORD_BYTES)),
        *("--throughput", "-1", "--producer-props", *(f"{key}={value}" for key, value in settings.items())),
    )
    # "300000 records sent, 61000.4 records/sec (58.17 MB/sec), 12.3 ms avg latency, ..."
    summary = output.strip().splitlines()[-1]
    sent, rate = summary.split(" records sent, ", 1)
    if int(sent) != record_count:
        raise RuntimeError(f"of {record_count} records, ProducerPerformance says: {summary}")
    records_per_second = float(rate.split(" records/sec", 1)[0])
    return Throughput(megabytes_per_second=records_per_second * RECORD_BYTES / MEGABYTE)


def consume(bootstrap: str, topic: str, record_count: int) -> Throughput:
    """Run Kafka's ConsumerPerformance from the earliest offset; joining the group is not counted."""
    output = _run_tool_class(
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--bootstrap-server", bootstrap, "--topic", topic, "--messages", str(record_count), "--hide-header"),
    )
    # start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
    fields = output.strip().splitlines()[-1].split(", ")
    received, fetch_ms = int(fields[4]), int(fields[7])
    if received < record_count:
        raise RuntimeError(f"of {record_count} records, ConsumerPerformance got {received}")
    return Throughput(megabytes_per_second=received * RECORD_BYTES / MEGABYTE / (max(fetch_ms, 1) / 1000))


def _run_tool_class(name: str, *arguments: str) -> str:
    return run_tool(["java", f"-Xmx{CLIENT_HEAP_MAX}", "-cp", f"{server_jars()}/*", *_quiet_log(), name, *arguments])


def _quiet_log() -> list[str]:
    return [f"-Dlog4j2.configurationFile={Path(__file__).parent / 'log4j2.properties'}"]
