# Written by typings/generate.py
from uuid import UUID

from kafka.protocol.api_message import ApiMessage
from kafka.protocol.data_container import DataContainer

class DescribeClusterRequest(ApiMessage):
    include_cluster_authorized_operations: bool
    endpoint_type: int
    include_fenced_brokers: bool
    def __init__(
        self,
        *,
        include_cluster_authorized_operations: bool = ...,
        endpoint_type: int = ...,
        include_fenced_brokers: bool = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeClusterResponse(ApiMessage):
    class DescribeClusterBroker(DataContainer):
        broker_id: int
        host: str
        port: int
        rack: str | None
        is_fenced: bool
        def __init__(
            self,
            *,
            broker_id: int = ...,
            host: str = ...,
            port: int = ...,
            rack: str | None = ...,
            is_fenced: bool = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    error_message: str | None
    endpoint_type: int
    cluster_id: str
    controller_id: int
    brokers: list[DescribeClusterBroker]
    authorized_operations: set[int] | None
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        error_message: str | None = ...,
        endpoint_type: int = ...,
        cluster_id: str = ...,
        controller_id: int = ...,
        brokers: list[DescribeClusterBroker] = ...,
        authorized_operations: set[int] | None = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeLogDirsRequest(ApiMessage):
    class DescribableLogDirTopic(DataContainer):
        topic: str
        partitions: list[int]
        def __init__(
            self,
            *,
            topic: str = ...,
            partitions: list[int] = ...,
            version: int | None = ...,
        ) -> None: ...

    topics: list[DescribableLogDirTopic] | None
    def __init__(
        self,
        *,
        topics: list[DescribableLogDirTopic] | None = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeLogDirsResponse(ApiMessage):
    class DescribeLogDirsResult(DataContainer):
        class DescribeLogDirsTopic(DataContainer):
            class DescribeLogDirsPartition(DataContainer):
                partition_index: int
                partition_size: int
                offset_lag: int
                is_future_key: bool
                def __init__(
                    self,
                    *,
                    partition_index: int = ...,
                    partition_size: int = ...,
                    offset_lag: int = ...,
                    is_future_key: bool = ...,
                    version: int | None = ...,
                ) -> None: ...

            name: str
            partitions: list[DescribeLogDirsPartition]
            def __init__(
                self,
                *,
                name: str = ...,
                partitions: list[DescribeLogDirsPartition] = ...,
                version: int | None = ...,
            ) -> None: ...

        error_code: int
        log_dir: str
        topics: list[DescribeLogDirsTopic]
        total_bytes: int
        usable_bytes: int
        is_cordoned: bool
        def __init__(
            self,
            *,
            error_code: int = ...,
            log_dir: str = ...,
            topics: list[DescribeLogDirsTopic] = ...,
            total_bytes: int = ...,
            usable_bytes: int = ...,
            is_cordoned: bool = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    results: list[DescribeLogDirsResult]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        results: list[DescribeLogDirsResult] = ...,
        version: int | None = ...,
    ) -> None: ...

class AlterReplicaLogDirsRequest(ApiMessage):
    class AlterReplicaLogDir(DataContainer):
        class AlterReplicaLogDirTopic(DataContainer):
            name: str
            partitions: list[int]
            def __init__(
                self,
                *,
                name: str = ...,
                partitions: list[int] = ...,
                version: int | None = ...,
            ) -> None: ...

        path: str
        topics: list[AlterReplicaLogDirTopic]
        def __init__(
            self,
            *,
            path: str = ...,
            topics: list[AlterReplicaLogDirTopic] = ...,
            version: int | None = ...,
        ) -> None: ...

    dirs: list[AlterReplicaLogDir]
    def __init__(
        self,
        *,
        dirs: list[AlterReplicaLogDir] = ...,
        version: int | None = ...,
    ) -> None: ...

class AlterReplicaLogDirsResponse(ApiMessage):
    class AlterReplicaLogDirTopicResult(DataContainer):
        class AlterReplicaLogDirPartitionResult(DataContainer):
            partition_index: int
            error_code: int
            def __init__(
                self,
                *,
                partition_index: int = ...,
                error_code: int = ...,
                version: int | None = ...,
            ) -> None: ...

        topic_name: str
        partitions: list[AlterReplicaLogDirPartitionResult]
        def __init__(
            self,
            *,
            topic_name: str = ...,
            partitions: list[AlterReplicaLogDirPartitionResult] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    results: list[AlterReplicaLogDirTopicResult]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        results: list[AlterReplicaLogDirTopicResult] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeQuorumRequest(ApiMessage):
    class TopicData(DataContainer):
        class PartitionData(DataContainer):
            partition_index: int
            def __init__(
                self,
                *,
                partition_index: int = ...,
                version: int | None = ...,
            ) -> None: ...

        topic_name: str
        partitions: list[PartitionData]
        def __init__(
            self,
            *,
            topic_name: str = ...,
            partitions: list[PartitionData] = ...,
            version: int | None = ...,
        ) -> None: ...

    topics: list[TopicData]
    def __init__(
        self,
        *,
        topics: list[TopicData] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeQuorumResponse(ApiMessage):
    class TopicData(DataContainer):
        class PartitionData(DataContainer):
            class ReplicaState(DataContainer):
                replica_id: int
                replica_directory_id: UUID | None
                log_end_offset: int
                last_fetch_timestamp: int
                last_caught_up_timestamp: int
                def __init__(
                    self,
                    *,
                    replica_id: int = ...,
                    replica_directory_id: UUID | None = ...,
                    log_end_offset: int = ...,
                    last_fetch_timestamp: int = ...,
                    last_caught_up_timestamp: int = ...,
                    version: int | None = ...,
                ) -> None: ...

            partition_index: int
            error_code: int
            error_message: str | None
            leader_id: int
            leader_epoch: int
            high_watermark: int
            current_voters: list[ReplicaState]
            observers: list[ReplicaState]
            def __init__(
                self,
                *,
                partition_index: int = ...,
                error_code: int = ...,
                error_message: str | None = ...,
                leader_id: int = ...,
                leader_epoch: int = ...,
                high_watermark: int = ...,
                current_voters: list[ReplicaState] = ...,
                observers: list[ReplicaState] = ...,
                version: int | None = ...,
            ) -> None: ...

        topic_name: str
        partitions: list[PartitionData]
        def __init__(
            self,
            *,
            topic_name: str = ...,
            partitions: list[PartitionData] = ...,
            version: int | None = ...,
        ) -> None: ...

    class Node(DataContainer):
        class Listener(DataContainer):
            name: str
            host: str
            port: int
            def __init__(
                self,
                *,
                name: str = ...,
                host: str = ...,
                port: int = ...,
                version: int | None = ...,
            ) -> None: ...

        node_id: int
        listeners: list[Listener]
        def __init__(
            self,
            *,
            node_id: int = ...,
            listeners: list[Listener] = ...,
            version: int | None = ...,
        ) -> None: ...

    error_code: int
    error_message: str | None
    topics: list[TopicData]
    nodes: list[Node]
    def __init__(
        self,
        *,
        error_code: int = ...,
        error_message: str | None = ...,
        topics: list[TopicData] = ...,
        nodes: list[Node] = ...,
        version: int | None = ...,
    ) -> None: ...

class UpdateFeaturesRequest(ApiMessage):
    class FeatureUpdateKey(DataContainer):
        feature: str
        max_version_level: int
        allow_downgrade: bool
        upgrade_type: int
        def __init__(
            self,
            *,
            feature: str = ...,
            max_version_level: int = ...,
            allow_downgrade: bool = ...,
            upgrade_type: int = ...,
            version: int | None = ...,
        ) -> None: ...

    timeout_ms: int
    feature_updates: list[FeatureUpdateKey]
    validate_only: bool
    def __init__(
        self,
        *,
        timeout_ms: int = ...,
        feature_updates: list[FeatureUpdateKey] = ...,
        validate_only: bool = ...,
        version: int | None = ...,
    ) -> None: ...

class UpdateFeaturesResponse(ApiMessage):
    class UpdatableFeatureResult(DataContainer):
        feature: str
        error_code: int
        error_message: str | None
        def __init__(
            self,
            *,
            feature: str = ...,
            error_code: int = ...,
            error_message: str | None = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    error_message: str | None
    results: list[UpdatableFeatureResult]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        error_message: str | None = ...,
        results: list[UpdatableFeatureResult] = ...,
        version: int | None = ...,
    ) -> None: ...
