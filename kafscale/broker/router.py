"""One table: which API in which versions is answered by which handler. ApiVersions answers from it too."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.protocol.api import ADVERTISED, ApiKey
from kafscale.protocol.codec import decode_request, encode_response
from kafscale.protocol.fetch import Buffer

BodyHandler = Callable[[Services, RequestContext, memoryview], Awaitable[Sequence[Buffer]]]
MessageHandler = Callable[[Services, RequestContext, Any], Awaitable[Any]]


class Route(NamedTuple):
    """One API. Handlers get the request's body and return the reply's body in pieces."""

    key: ApiKey
    version_min: int
    version_max: int
    handle: BodyHandler


def body_route(key: ApiKey, handler: BodyHandler) -> Route:
    """Route to a handler that reads and writes bytes itself."""
    versions = ADVERTISED[key]
    return Route(key, versions.min, versions.max, handler)


def message_route(key: ApiKey, handler: MessageHandler) -> Route:
    """Route to a handler of decoded messages."""

    async def handle(services: Services, context: RequestContext, body: memoryview) -> Sequence[Buffer]:
        request = decode_request(key, context.api_version, body)
        response = await handler(services, context, request)
        return (encode_response(response, context.api_version),)

    return body_route(key, handle)


class Router:
    """Routes by API key."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = {int(route.key): route for route in routes}

    def route(self, api_key: int) -> Route | None:
        return self._routes.get(api_key)

    @property
    def routes(self) -> list[Route]:
        """All routes by ascending key."""
        return [self._routes[key] for key in sorted(self._routes)]
