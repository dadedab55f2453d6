# What kafscale's commands use of kafka-python's clients. What only tests use is not typed here.

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kafka.admin import KafkaAdminClient as KafkaAdminClient

def __getattr__(name: str) -> Any: ...

class TopicPartition(NamedTuple):
    topic: str
    partition: int

class OffsetAndMetadata(NamedTuple):
    offset: int
    metadata: str
    leader_epoch: int | None

class OffsetAndTimestamp(NamedTuple):
    offset: int
    timestamp: int
    leader_epoch: int | None

class RecordMetadata(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int

class FutureRecordMetadata:
    def get(self, timeout: float | None = None) -> RecordMetadata: ...
    def __getattr__(self, name: str) -> Any: ...

class ConsumerRecord:
    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    def __getattr__(self, name: str) -> Any: ...

class KafkaProducer:
    DEFAULT_CONFIG: dict[str, Any]
    def __init__(self, **configs: Any) -> None: ...
    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Sequence[tuple[str, bytes | None]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> FutureRecordMetadata: ...
    def close(self, timeout: float | None = None) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class KafkaConsumer:
    DEFAULT_CONFIG: dict[str, Any]
    def __init__(self, *topics: str, **configs: Any) -> None: ...
    def assign(self, partitions: Iterable[TopicPartition]) -> None: ...
    def assignment(self) -> set[TopicPartition]: ...
    def partitions_for_topic(self, topic: str) -> set[int] | None: ...
    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def position(self, partition: TopicPartition, timeout_ms: int | None = None) -> int | None: ...
    def poll(
        self, timeout_ms: int = 0, max_records: int | None = None, update_offsets: bool = True
    ) -> dict[TopicPartition, list[ConsumerRecord]]: ...
    def close(self, autocommit: bool = True, timeout_ms: int | None = None) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
