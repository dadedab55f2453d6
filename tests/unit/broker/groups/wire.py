"""Requests as a client of any version would send them: through the codec to the handler and back."""

from collections.abc import Awaitable, Callable
from typing import Any

from kafka.protocol.api_message import ApiMessage

from kafscale.broker.request import RequestContext

Handler = Callable[[Any, RequestContext, Any], Awaitable[ApiMessage]]


def context(version: int, *, api_key: int = 0, client_id: str | None = "client") -> RequestContext:
    return RequestContext(
        api_key=api_key,
        api_version=version,
        correlation_id=1,
        client_id=client_id,
        client_host="10.0.0.1",
        connection_id=1,
        listener_name="PLAINTEXT",
    )


async def call(
    services: object, handler: Handler, request: ApiMessage, version: int, response: type[ApiMessage], **of: Any
) -> Any:
    """Return what the client decodes of the answer."""
    decoded = type(request).decode(bytes(request.encode(version=version)), version=version)
    answer = await handler(services, context(version, **of), decoded)
    return response.decode(bytes(answer.encode(version=version)), version=version)
