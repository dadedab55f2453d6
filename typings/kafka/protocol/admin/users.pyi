# Written by typings/generate.py
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.data_container import DataContainer

class AlterUserScramCredentialsRequest(ApiMessage):
    class ScramCredentialDeletion(DataContainer):
        name: str
        mechanism: int
        def __init__(
            self,
            *,
            name: str = ...,
            mechanism: int = ...,
            version: int | None = ...,
        ) -> None: ...

    class ScramCredentialUpsertion(DataContainer):
        name: str
        mechanism: int
        iterations: int
        salt: bytes
        salted_password: bytes
        def __init__(
            self,
            *,
            name: str = ...,
            mechanism: int = ...,
            iterations: int = ...,
            salt: bytes = ...,
            salted_password: bytes = ...,
            version: int | None = ...,
        ) -> None: ...

    deletions: list[ScramCredentialDeletion]
    upsertions: list[ScramCredentialUpsertion]
    def __init__(
        self,
        *,
        deletions: list[ScramCredentialDeletion] = ...,
        upsertions: list[ScramCredentialUpsertion] = ...,
        version: int | None = ...,
    ) -> None: ...

class AlterUserScramCredentialsResponse(ApiMessage):
    class AlterUserScramCredentialsResult(DataContainer):
        user: str
        error_code: int
        error_message: str | None
        def __init__(
            self,
            *,
            user: str = ...,
            error_code: int = ...,
            error_message: str | None = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    results: list[AlterUserScramCredentialsResult]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        results: list[AlterUserScramCredentialsResult] = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeUserScramCredentialsRequest(ApiMessage):
    class UserName(DataContainer):
        name: str
        def __init__(
            self,
            *,
            name: str = ...,
            version: int | None = ...,
        ) -> None: ...

    users: list[UserName] | None
    def __init__(
        self,
        *,
        users: list[UserName] | None = ...,
        version: int | None = ...,
    ) -> None: ...

class DescribeUserScramCredentialsResponse(ApiMessage):
    class DescribeUserScramCredentialsResult(DataContainer):
        class CredentialInfo(DataContainer):
            mechanism: int
            iterations: int
            def __init__(
                self,
                *,
                mechanism: int = ...,
                iterations: int = ...,
                version: int | None = ...,
            ) -> None: ...

        user: str
        error_code: int
        error_message: str | None
        credential_infos: list[CredentialInfo]
        def __init__(
            self,
            *,
            user: str = ...,
            error_code: int = ...,
            error_message: str | None = ...,
            credential_infos: list[CredentialInfo] = ...,
            version: int | None = ...,
        ) -> None: ...

    throttle_time_ms: int
    error_code: int
    error_message: str | None
    results: list[DescribeUserScramCredentialsResult]
    def __init__(
        self,
        *,
        throttle_time_ms: int = ...,
        error_code: int = ...,
        error_message: str | None = ...,
        results: list[DescribeUserScramCredentialsResult] = ...,
        version: int | None = ...,
    ) -> None: ...
