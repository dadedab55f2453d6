# Written by typings/generate.py
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.data_container import DataContainer

class ListTransactionsRequest(ApiMessage):
    state_filters: list[str]
    producer_id_filters: list[int]
    duration_filter: int
    transactional_id_pattern: str | None
    def __init__(
        self,
        *,
        state_filters: list[str] = ...,
        producer_id_filters: list[int] = ...,
        duration_filter: int = ...,
        transactional_id_pattern: str | None = ...,
        version: int | None = ...,
    ) -> None: ...

class ListTransactionsResponse(ApiMessage):
    class TransactionState(DataContainer):
        transactional_id: str
        producer_id: int
        transaction_state: str
        def __init__(
            self,
            *,
            transactional_id: str = ...,
            producer_id: int = ...,
            transaction_state: str = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    unknown_state_filters: list[str]
    transaction_states: list[TransactionState]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        unknown_state_filters: list[str] = ...,
        transaction_states: list[TransactionState] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeTransactionsRequest(ApiMessage):
    transactional_ids: list[str]
    def __init__(
        self,
        *,
        transactional_ids: list[str] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeTransactionsResponse(ApiMessage):
    class TransactionState(DataContainer):
        class TopicData(DataContainer):
            topic: str
            partitions: list[int]
            def __init__(
                self,
                *,
                topic: str = ...,
                partitions: list[int] = ...,
                version: int | None = ...,
            ) -> None: ...

        error_code: int
        transactional_id: str
        transaction_state: str
        transaction_timeout_ms: int
        transaction_start_time_ms: int
        producer_id: int
        producer_epoch: int
        topics: list[TopicData]
        def __init__(
            self,
            *,
            error_code: int = ...,
            transactional_id: str = ...,
            transaction_state: str = ...,
            transaction_timeout_ms: int = ...,
            transaction_start_time_ms: int = ...,
            producer_id: int = ...,
            producer_epoch: int = ...,
            topics: list[TopicData] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    transaction_states: list[TransactionState]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        transaction_states: list[TransactionState] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeProducersRequest(ApiMessage):
    class TopicRequest(DataContainer):
        name: str
        partition_indexes: list[int]
        def __init__(
            self,
            *,
            name: str = ...,
            partition_indexes: list[int] = ...,
            version: int | None = ...,
        ) -> None: ...

    topics: list[TopicRequest]
    def __init__(
        self,
        *,
        topics: list[TopicRequest] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeProducersResponse(ApiMessage):
    class TopicResponse(DataContainer):
        class PartitionResponse(DataContainer):
            class ProducerState(DataContainer):
                producer_id: int
                producer_epoch: int
                last_sequence: int
                last_timestamp: int
                coordinator_epoch: int
                current_txn_start_offset: int
                def __init__(
                    self,
                    *,
                    producer_id: int = ...,
                    producer_epoch: int = ...,
                    last_sequence: int = ...,
                    last_timestamp: int = ...,
                    coordinator_epoch: int = ...,
                    current_txn_start_offset: int = ...,
                    version: int | None = ...,
                ) -> None: ...

            partition_index: int
            error_code: int
            error_message: str | None
            active_producers: list[ProducerState]
            def __init__(
                self,
                *,
                partition_index: int = ...,
                error_code: int = ...,
                error_message: str | None = ...,
                active_producers: list[ProducerState] = ...,
                version: int | None = ...,
            ) -> None: ...

        name: str
        partitions: list[PartitionResponse]
        def __init__(
            self,
            *,
            name: str = ...,
            partitions: list[PartitionResponse] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    topics: list[TopicResponse]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        topics: list[TopicResponse] = ...,
        version: int | None = ...,
    ) -> None: ...
