# What kafscale's commands use of kafka-python's errors. What only tests use is not typed here.

from typing import Any

def __getattr__(name: str) -> Any: ...

class KafkaError(Exception):
    retriable: bool

class BrokerResponseError(KafkaError):
    errno: int
    message: str
    description: str

class NoError(BrokerResponseError): ...
class KafkaTimeoutError(KafkaError): ...

def for_code(error_code: int) -> type[BrokerResponseError]: ...
