# What kafscale's commands use of kafka-python's admin client. What only tests use is not typed here.

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from kafka import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

def __getattr__(name: str) -> Any: ...

class ConfigResourceType(IntEnum):
    TOPIC = 2
    BROKER = 4

class ConfigResource:
    def __init__(
        self, resource_type: ConfigResourceType, name: str, configs: Mapping[str, Any] | None = None
    ) -> None: ...

class OffsetSpec(IntEnum):
    LATEST = -1
    EARLIEST = -2

class CreatePartitionsTopicResult:
    name: str
    error_code: int
    error_message: str | None

class CreatePartitionsResponse:
    results: list[CreatePartitionsTopicResult]

class KafkaAdminClient:
    DEFAULT_CONFIG: dict[str, Any]
    def __init__(self, **configs: Any) -> None: ...
    def create_topics(
        self, new_topics: Mapping[str, Mapping[str, Any]], raise_errors: bool = True
    ) -> dict[str, list[dict[str, Any]]]: ...
    def delete_topics(self, topics: Sequence[str], raise_errors: bool = True) -> dict[str, list[dict[str, Any]]]: ...
    def describe_topics(self, topics: Sequence[str] | None = None) -> list[dict[str, Any]]: ...
    def create_partitions(
        self, topic_partitions: Mapping[str, int], raise_errors: bool = True
    ) -> CreatePartitionsResponse: ...
    def describe_configs(
        self, config_resources: Sequence[ConfigResource], config_filter: str = "modified"
    ) -> dict[str, dict[str, dict[str, dict[str, Any]]]]: ...
    def alter_configs(
        self,
        config_resources: Sequence[ConfigResource],
        raise_on_unknown: bool = True,
        incremental: bool | None = None,
    ) -> dict[str, dict[str, str]]: ...
    def list_partition_offsets(
        self, topic_partition_specs: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp]: ...
    def list_groups(self) -> list[dict[str, Any]]: ...
    def describe_groups(self, group_ids: Sequence[str]) -> dict[str, dict[str, Any]]: ...
    def list_group_offsets(
        self, group_specs: Mapping[str, Sequence[TopicPartition] | None]
    ) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]: ...
    def alter_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> dict[TopicPartition, type[Exception]]: ...
    def delete_groups(self, group_ids: Sequence[str]) -> dict[str, str]: ...
    def close(self) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
