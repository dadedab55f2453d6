# Written by typings/generate.py
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.data_container import DataContainer

class AlterClientQuotasRequest(ApiMessage):
    class EntryData(DataContainer):
        class EntityData(DataContainer):
            entity_type: str
            entity_name: str | None
            def __init__(
                self,
                *,
                entity_type: str = ...,
                entity_name: str | None = ...,
                version: int | None = ...,
            ) -> None: ...

        class OpData(DataContainer):
            key: str
            value: float
            remove: bool
            def __init__(
                self,
                *,
                key: str = ...,
                value: float = ...,
                remove: bool = ...,
                version: int | None = ...,
            ) -> None: ...

        entity: list[EntityData]
        ops: list[OpData]
        def __init__(
            self,
            *,
            entity: list[EntityData] = ...,
            ops: list[OpData] = ...,
            version: int | None = ...,
        ) -> None: ...

    entries: list[EntryData]
    validate_only: bool
    def __init__(
        self,
        *,
        entries: list[EntryData] = ...,
        validate_only: bool = ...,
        version: int | None = ...,
    ) -> None: ...

class AlterClientQuotasResponse(ApiMessage):
    class EntryData(DataContainer):
        class EntityData(DataContainer):
            entity_type: str
            entity_name: str | None
            def __init__(
                self,
                *,
                entity_type: str = ...,
                entity_name: str | None = ...,
                version: int | None = ...,
            ) -> None: ...

        error_code: int
        error_message: str | None
        entity: list[EntityData]
        def __init__(
            self,
            *,
            error_code: int = ...,
            error_message: str | None = ...,
            entity: list[EntityData] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    entries: list[EntryData]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        entries: list[EntryData] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeClientQuotasRequest(ApiMessage):
    class ComponentData(DataContainer):
        entity_type: str
        match_type: int
        match: str | None
        def __init__(
            self,
            *,
            entity_type: str = ...,
            match_type: int = ...,
            match: str | None = ...,
            version: int | None = ...,
        ) -> None: ...

    components: list[ComponentData]
    strict: bool
    def __init__(
        self,
        *,
        components: list[ComponentData] = ...,
        strict: bool = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeClientQuotasResponse(ApiMessage):
    class EntryData(DataContainer):
        class EntityData(DataContainer):
            entity_type: str
            entity_name: str | None
            def __init__(
                self,
                *,
                entity_type: str = ...,
                entity_name: str | None = ...,
                version: int | None = ...,
            ) -> None: ...

        class ValueData(DataContainer):
            key: str
            value: float
            def __init__(
                self,
                *,
                key: str = ...,
                value: float = ...,
                version: int | None = ...,
            ) -> None: ...

        entity: list[EntityData]
        values: list[ValueData]
        def __init__(
            self,
            *,
            entity: list[EntityData] = ...,
            values: list[ValueData] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    error_message: str | None
    entries: list[EntryData] | None
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        error_message: str | None = ...,
        entries: list[EntryData] | None = ...,
        version: int | None = ...,
    ) -> None: ...
