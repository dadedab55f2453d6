"""One client connection: frames in, replies out in the order of their requests.

Produce requests overlap each other; any other request waits until everything before it is answered. That keeps the
order a client relies on and lets an idempotent producer have its five requests in flight. Back-pressure: a slow reader
of replies stops new requests, too many waiting requests stop reading, and only Produce waits for `buffer.memory`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple, Protocol, cast

from kafscale.broker.apis.api_versions import unsupported_version_reply
from kafscale.broker.apis.produce import NoReply, begin_produce
from kafscale.broker.request import RequestContext
from kafscale.broker.router import Route, Router
from kafscale.broker.services import Services
from kafscale.errors import KafScaleError, MalformedRequest
from kafscale.protocol.api import ApiKey
from kafscale.protocol.fetch import Buffer
from kafscale.protocol.frames import FrameReader
from kafscale.protocol.headers import RequestHeader, encode_response_header, parse_request_header

_log = logging.getLogger(__name__)

UNANSWERED_REQUESTS_MAX = 100
"""Unanswered requests of a connection at which reading stops. Java has 5 in flight, an idempotent producer too."""

FRAME_SECONDS_MIN = 30.0
FRAME_BYTES_PER_SECOND_MIN = 1024 * 1024
"""A frame that has begun must be there within 30 s and a second for each MiB: far below any network's speed."""

LINGER_SECONDS = 1.0
"""How long a connection whose last reply is sent waits for its peer to close it."""

WRITE_BUFFER_BYTES_MAX = 1024 * 1024
"""Unsent reply bytes at which a connection stops taking requests."""

JOIN_BYTES_MAX = 64 * 1024
"""Replies up to this size are sent as one buffer: a copy of 64 KiB costs less than a longer list of buffers."""

_SIZE = Struct(">i")


class ConnectionOwner(Protocol):
    """The server a connection belongs to."""

    @property
    def services(self) -> Services: ...

    @property
    def router(self) -> Router: ...

    def opened(self, connection: "Connection") -> int | None:
        """Register a connection and return its id, or None when there are too many."""
        ...

    def closed(self, connection: "Connection") -> None: ...


class _Incoming(NamedTuple):
    header: RequestHeader
    frame: bytes | bytearray
    reserved: int


class _Reply:
    """The reply to a request in progress. `chunks` is None until there is an answer, empty when none is to be sent."""

    __slots__ = ("api_key", "chunks", "header", "reserved")

    def __init__(self, incoming: _Incoming) -> None:
        header = incoming.header
        self.header = encode_response_header(header.api_key, header.api_version, header.correlation_id)
        self.api_key = header.api_key
        self.reserved = incoming.reserved
        self.chunks: Sequence[Buffer] | None = None


class Connection(asyncio.BufferedProtocol):
    """The server's end of one connection."""

    def __init__(self, owner: ConnectionOwner, listener_name: str) -> None:
        self._owner = owner
        self._services = owner.services
        self._listener_name = listener_name
        self._reader = FrameReader(owner.services.settings.socket_request_max_bytes)
        self._incoming: deque[_Incoming] = deque()
        self._replies: deque[_Reply] = deque()
        self._task: asyncio.Task[None] | None = None
        self._frame_reserved = 0
        self._frame_deadline: float | None = None
        self._frame_size = 0
        self._lingering: asyncio.TimerHandle | None = None
        self._waits_for_budget = False
        self._is_writable = True
        self._is_reading = True
        self._is_closed = False
        self._is_draining = False
        self._is_starting = False
        self.connection_id = -1
        self.peer_host = ""
        self.last_active = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer_host = str(peer[0]) if peer else ""
        self.last_active = asyncio.get_running_loop().time()
        connection_id = self._owner.opened(self)
        if connection_id is None:
            self._is_closed = True
            self._transport.abort()
            return
        self.connection_id = connection_id
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        # What comes while draining is read and dropped: closing over unread bytes resets the connection, and the reset
        # takes the last replies with it.
        if self._is_closed or self._is_draining:
            return
        self.last_active = asyncio.get_running_loop().time()
        try:
            for frame in self._reader.received(nbytes):
                self._take(frame)
            if self._reader.fault is not None:
                raise self._reader.fault
            self._respect_budget()
        except MalformedRequest as error:
            self._log_malformed(error)
            self._is_draining = True
        self._start_requests()
        self._adjust_reading()
        self._close_if_drained()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        if self._lingering is not None:
            self._lingering.cancel()
        self._owner.closed(self)
        budget = self._services.budget
        budget.abandon(self._budget_granted)
        budget.release(self._frame_reserved + sum(incoming.reserved for incoming in self._incoming))
        self._frame_reserved = 0
        self._incoming.clear()
        # A fetch only waits; every other request is finished even if nobody reads the answer.
        if self._task is not None and self._replies and self._replies[0].api_key == ApiKey.FETCH:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._start_requests()
        self._adjust_reading()

    # the server's side

    @property
    def has_replies_due(self) -> bool:
        return bool(self._replies or self._incoming)

    @property
    def has_unread_replies(self) -> bool:
        return self._transport.get_write_buffer_size() > 0

    def drain(self) -> None:
        """Take no further requests; close once those taken are answered."""
        self._is_draining = True
        self._adjust_reading()
        self._close_if_drained()

    def is_overdue(self, now: float, idle_seconds: float) -> bool:
        """Tell whether the peer has been silent for too long, sends a frame too slowly, or does not read replies."""
        if self._frame_deadline is not None and self._is_reading and now > self._frame_deadline:
            return True
        is_quiet = now - self.last_active > idle_seconds
        return is_quiet and not (self.has_replies_due and self._is_writable)

    def close(self) -> None:
        """Close after what is written is sent."""
        self._is_closed = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whether or not the peer has read everything."""
        self._is_closed = True
        self._transport.abort()

    # requests

    def _take(self, frame: bytes | bytearray) -> None:
        header = parse_request_header(frame)
        reserved = self._frame_reserved
        self._frame_reserved = 0
        self._frame_deadline = None
        if header.api_key == ApiKey.PRODUCE and not reserved:
            reserved = len(frame)
            self._services.budget.reserve(reserved)
        self._incoming.append(_Incoming(header, frame, reserved))

    def _respect_budget(self) -> None:
        """Give a frame that is still arriving its memory, or stop reading until there is some.

        Small frames have arrived before anybody could ask; after them, reading stops once the budget is used up.
        """
        wanted = self._reader.wanted
        budget = self._services.budget
        if wanted is None:
            if budget.is_exhausted and not self._waits_for_budget and self._has_produce_due:
                self._waits_for_budget = True
                budget.reserve_later(0, self._budget_granted)
        elif wanted.api_key != ApiKey.PRODUCE:
            self._begin_frame(wanted.size, reserved=0)
        elif budget.try_reserve(wanted.size):
            self._begin_frame(wanted.size, reserved=wanted.size)
        else:
            self._waits_for_budget = True
            budget.reserve_later(wanted.size, self._budget_granted)

    @property
    def _has_produce_due(self) -> bool:
        return any(incoming.reserved for incoming in self._incoming) or any(reply.reserved for reply in self._replies)

    def _budget_granted(self) -> None:
        self._waits_for_budget = False
        wanted = self._reader.wanted
        if wanted is not None:
            self._begin_frame(wanted.size, reserved=wanted.size)
        self._adjust_reading()

    def _begin_frame(self, size: int, *, reserved: int) -> None:
        # Reserved memory is kept from others: whoever holds it has to send, and not one byte a minute.
        self._frame_size = size
        self._frame_deadline = self._deadline_of_frame()
        self._frame_reserved = reserved
        self._reader.begin()

    def _deadline_of_frame(self) -> float:
        seconds = FRAME_SECONDS_MIN + self._frame_size / FRAME_BYTES_PER_SECOND_MIN
        return asyncio.get_running_loop().time() + seconds

    def _adjust_reading(self) -> None:
        if self._is_closed:
            return
        should_read = self._is_draining or (
            not self._waits_for_budget
            and self._is_writable
            and len(self._incoming) + len(self._replies) < UNANSWERED_REQUESTS_MAX
        )
        if should_read and not self._is_reading:
            self._is_reading = True
            if self._frame_deadline is not None:
                # The peer could not send meanwhile: its time begins again.
                self._frame_deadline = self._deadline_of_frame()
            self._transport.resume_reading()
        elif not should_read and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _start_requests(self) -> None:
        # A request answered at once comes back here; the loop that started it goes on with the next one.
        if not self._is_starting:
            self._is_starting = True
            self._start_waiting()
            self._is_starting = False

    def _start_waiting(self) -> None:
        while self._incoming and self._may_start(self._incoming[0].header):
            incoming = self._incoming.popleft()
            reply = _Reply(incoming)
            self._replies.append(reply)
            try:
                self._start(incoming, reply)
            except MalformedRequest as error:
                self._log_malformed(error)
                self._end_at(reply)
            except Exception:  # noqa: BLE001 - a bug in one request must not end the process
                _log.exception(
                    "request %d of %s failed; closing its connection", incoming.header.api_key, self.peer_host
                )
                self._end_at(reply)

    def _may_start(self, header: RequestHeader) -> bool:
        if self._is_closed or not self._is_writable:
            return False
        return not self._replies or header.api_key == self._replies[-1].api_key == ApiKey.PRODUCE

    def _start(self, incoming: _Incoming, reply: _Reply) -> None:
        header = incoming.header
        route = self._owner.router.route(header.api_key)
        if route is None:
            raise MalformedRequest(f"API {header.api_key} is not served")
        if not route.version_min <= header.api_version <= route.version_max:
            self._refuse_version(header, reply)
            return
        context = RequestContext(
            api_key=header.api_key,
            api_version=header.api_version,
            correlation_id=header.correlation_id,
            client_id=header.client_id,
            client_host=self.peer_host,
            connection_id=self.connection_id,
            listener_name=self._listener_name,
        )
        body = memoryview(incoming.frame)[header.body_start :]
        if header.api_key == ApiKey.PRODUCE:
            begin_produce(self._services, context, body, partial(self._produced, reply))
        else:
            self._task = asyncio.get_running_loop().create_task(self._handle(route, context, body, reply))

    def _refuse_version(self, header: RequestHeader, reply: _Reply) -> None:
        if header.api_key != ApiKey.API_VERSIONS:
            raise MalformedRequest(f"version {header.api_version} of API {header.api_key} is not served")
        self._answer(reply, (unsupported_version_reply(self._owner.router),))

    async def _handle(self, route: Route, context: RequestContext, body: memoryview, reply: _Reply) -> None:
        try:
            chunks = await route.handle(self._services, context, body)
        except MalformedRequest as error:
            self._log_malformed(error)
            self._end_at(reply)
        except KafScaleError as error:
            _log.warning("%s of %s failed; closing its connection: %s", route.key.name, self.peer_host, error)
            self._end_at(reply)
        except Exception:  # noqa: BLE001 - a bug in one request must not end the process
            _log.exception("%s of %s failed; closing its connection", route.key.name, self.peer_host)
            self._end_at(reply)
        else:
            # The answer may begin the next request, and with it the next task.
            self._task = None
            self._answer(reply, chunks)

    # replies

    def _produced(self, reply: _Reply, body: bytearray | NoReply) -> None:
        if body is NoReply.CLOSE:
            self._end_at(reply)
        else:
            self._answer(reply, () if body is NoReply.KEEP else (body,))

    def _answer(self, reply: _Reply, chunks: Sequence[Buffer]) -> None:
        reply.chunks = chunks
        if reply.reserved:
            self._services.budget.release(reply.reserved)
            reply.reserved = 0
        self._send_ready()
        if self._incoming:
            self._start_requests()
        self._adjust_reading()
        self._close_if_drained()

    def _end_at(self, reply: _Reply) -> None:
        """Close without this reply: what was asked before it is answered, what was asked after it is dropped."""
        dropped = reply.reserved + sum(incoming.reserved for incoming in self._incoming)
        reply.reserved = 0
        reply.chunks = ()
        self._incoming.clear()
        self._services.budget.release(dropped)
        self._is_draining = True
        self._send_ready()
        self._adjust_reading()
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._is_draining and not self.has_replies_due and not self._is_closed:
            self._linger()

    def _linger(self) -> None:
        """Say that nothing more comes, and read on until the peer has seen it: see `buffer_updated`."""
        if not self._transport.can_write_eof():
            self.close()
            return
        self._is_closed = True
        self._transport.write_eof()
        self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def _send_ready(self) -> None:
        out: list[Buffer] = []
        size = 0
        while self._replies and self._replies[0].chunks is not None:
            reply = self._replies.popleft()
            if not reply.chunks:
                continue
            length = len(reply.header) + sum(map(len, reply.chunks))
            out += (_SIZE.pack(length), reply.header, *reply.chunks)
            size += length
        if not out or self._is_closed:
            return
        if size <= JOIN_BYTES_MAX:
            self._transport.write(b"".join(out))
        else:
            self._transport.writelines(out)

    def _log_malformed(self, error: MalformedRequest) -> None:
        _log.info("closing the connection of %s: %s", self.peer_host or "an unknown peer", error)
