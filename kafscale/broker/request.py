"""What a handler knows of the request it answers, besides the decoded message."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request on one connection.

    `connection_id` is unique within the broker process; `client_host` the peer's address as Kafka shows it in group
    descriptions, without the leading slash; `listener_name` the listener the client connected to.
    """

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    client_host: str
    connection_id: int
    listener_name: str
