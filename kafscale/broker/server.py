"""The listening sockets and the connections behind them: limits, idle connections, draining."""

import asyncio
import contextlib
import errno
import logging
import math
from collections import Counter
from collections.abc import Sequence

from kafscale.broker.connection import Connection
from kafscale.broker.router import Router
from kafscale.broker.services import Services
from kafscale.config import Listener
from kafscale.errors import ConfigurationError

_log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted: a restarted broker is greeted by every client at once."""

UNREAD_SECONDS_MAX = 1.0
"""How long a stopping broker waits for peers that leave replies unread; what they lose they can fetch again."""

IDLE_CHECK_SECONDS = 10.0
"""How often idle connections are looked for; the default limit is ten minutes."""


class Server:
    """Accepts connections on every listener. Implements `ConnectionOwner`."""

    def __init__(self, services: Services, router: Router) -> None:
        self.services = services
        self.router = router
        self._servers: list[asyncio.Server] = []
        self._connections: dict[int, Connection] = {}
        self._per_host: Counter[str] = Counter()
        self._last_id = 0
        self._is_empty = asyncio.Event()
        """Set when the last connection closes; waited for while draining."""

    async def listen(self, listeners: Sequence[Listener]) -> dict[str, int]:
        """Bind every listener and return the port each one got, by listener name.

        Raises `ConfigurationError` when an address cannot be bound.
        """
        ports: dict[str, int] = {}
        loop = asyncio.get_running_loop()
        for listener in listeners:
            try:
                server = await loop.create_server(
                    lambda name=listener.name: Connection(self, name),
                    listener.host or None,
                    listener.port,
                    backlog=BACKLOG,
                    start_serving=False,
                )
            except OSError as error:
                raise ConfigurationError(_cannot_bind(listener, error)) from error
            self._servers.append(server)
            ports[listener.name] = server.sockets[0].getsockname()[1]
        return ports

    async def serve(self) -> None:
        """Begin to accept connections."""
        for server in self._servers:
            await server.start_serving()

    def opened(self, connection: Connection) -> int | None:
        settings = self.services.settings
        host = connection.peer_host
        if len(self._connections) >= settings.max_connections:
            _log.warning("refusing a connection of %s: max.connections is %d", host, settings.max_connections)
            return None
        if self._per_host[host] >= settings.max_connections_per_ip:
            _log.warning(
                "refusing a connection of %s: max.connections.per.ip is %d", host, settings.max_connections_per_ip
            )
            return None
        self._per_host[host] += 1
        self._last_id += 1
        self._connections[self._last_id] = connection
        return self._last_id

    def closed(self, connection: Connection) -> None:
        if self._connections.pop(connection.connection_id, None) is None:
            return
        if not self._connections:
            self._is_empty.set()
        host = connection.peer_host
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    async def run_idle_check(self) -> None:
        """Close, for ever, silent or slow connections (`connections.max.idle.ms`; negative: only slow ones)."""
        idle_ms = self.services.settings.connections_max_idle_ms
        idle_seconds = idle_ms / 1000 if idle_ms >= 0 else math.inf
        while True:
            await asyncio.sleep(IDLE_CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections.values()):
                if connection.is_overdue(now, idle_seconds):
                    connection.abort()

    async def drain(self, grace_seconds: float) -> None:
        """Stop accepting, answer what was asked, and close every connection, by force after the grace.

        A peer that does not read what it was sent is given up after `UNREAD_SECONDS_MAX`.
        """
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.drain()
        await self._wait_until_empty(min(grace_seconds, UNREAD_SECONDS_MAX))
        for connection in list(self._connections.values()):
            if connection.has_unread_replies:
                connection.abort()
        await self._wait_until_empty(grace_seconds - UNREAD_SECONDS_MAX)
        for connection in list(self._connections.values()):
            connection.abort()

    async def _wait_until_empty(self, seconds: float) -> None:
        self._is_empty = asyncio.Event()
        if self._connections and seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_empty.wait(), seconds)


def _cannot_bind(listener: Listener, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{listener.address} is in use by another program. Choose another port with --port N "
            f"(or --set listeners={listener.name}://{listener.host}:N), or stop the other program."
        )
    return f"cannot listen on {listener.address}: {error.strerror or error}"
