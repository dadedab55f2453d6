"""A simulated network: connections between simulated clients and the asyncio protocols of simulated servers.

A connection is two byte streams. A stream keeps its order and loses nothing as long as the connection lives, like TCP;
everything else is up to the dice: how long bytes are under way, how they are cut into segments, whether the stream
stalls, breaks in the middle of a frame, or goes silent without a word. A sender that is faster than its receiver fills
a window, then its own buffer, and is told to pause.

The server's end is an `asyncio.Transport`. It does what asyncio's own does, in the cases where that is documented, and
keeps written buffers by reference until they are sent, as uvloop does: whoever changes a buffer that was written
sends garbage here too.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias

from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop, SimulationFailure
from tests.simulation.process import process_of

Address: TypeAlias = tuple[str, int]
ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]
Buffer: TypeAlias = bytes | bytearray | memoryview

LATENCY_SECONDS: Final = 0.0005
"""One way through the network, usually."""

STALL_SECONDS: Final = (0.5, 40.0)
"""How long a stream that stalls is silent."""

WINDOW_BYTES: Final = 64 * 1024
"""Bytes under way or waiting at the receiver, per stream."""

SEGMENT_BYTES_MAX: Final = 16 * 1024
TINY_SEGMENT_BYTES_MAX: Final = 7
"""Longest segments: usual ones, and those that cut every field in two."""

HIGH_WATER_BYTES: Final = 64 * 1024
"""asyncio's default: above it a protocol is told to pause writing, below a quarter of it to go on."""

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer frame from a server is a broken one."""

EPHEMERAL_PORTS_FROM: Final = 40_000


class ConnectionLost(ConnectionError):
    """The connection is gone; what was sent last may have arrived."""


class Stream:
    """One direction of a connection.

    Args:
        deliver: takes the next bytes and returns how many it accepted; the rest waits for `resume`.
        end: takes note of the end of the stream, after its last byte.
        sent: is called when buffered bytes have gone on their way.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        dice: Dice,
        deliver: Callable[[bytes], int],
        end: Callable[[], None],
        sent: Callable[[], None],
    ) -> None:
        self.on_fault: Callable[[str], None] = lambda _: None
        self._loop = loop
        self._dice = dice
        self._deliver = deliver
        self._end = end
        self._sent = sent
        self._buffer: deque[memoryview] = deque()
        self._buffered = 0
        self._wire: deque[bytes] = deque()
        self._inbox: deque[bytes] = deque()
        self._outstanding = 0
        self._paused = False
        self._finished = False
        self._end_unsent = False
        self._dead = False

    def write(self, data: Buffer) -> None:
        """Send bytes. The buffer must not change until they are under way."""
        if not self._dead and len(data):
            self._buffer.append(memoryview(data).cast("B"))
            self._buffered += len(data)
            self._pump()

    def buffered(self) -> int:
        """Return how many bytes wait at the sender."""
        return self._buffered

    def finish(self) -> None:
        """End the stream behind everything that was written."""
        if not self._finished and not self._dead:
            self._finished = True
            self._end_unsent = True
            self._pump()

    def drop_unsent(self) -> None:
        """Forget what waits at the sender, as when the sender is killed."""
        self._buffer.clear()
        self._buffered = 0

    def die(self) -> None:
        """Deliver nothing more."""
        self._dead = True
        self.drop_unsent()
        self._wire.clear()
        self._inbox.clear()

    def pause(self) -> None:
        """Keep what arrives until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again, soon."""
        if self._paused:
            self._paused = False
            self._loop.arrive(0.0, self._hand_over)

    def _pump(self) -> None:
        while self._buffer and self._outstanding < WINDOW_BYTES and not self._dead:
            self._send(self._take_segment())
        if self._end_unsent and not self._buffer and not self._dead:
            self._end_unsent = False
            self._send(b"")

    def _take_segment(self) -> bytes:
        tiny = self._dice.roll("net.tiny_segments")
        size = self._dice.random.randint(1, TINY_SEGMENT_BYTES_MAX if tiny else SEGMENT_BYTES_MAX)
        head = self._buffer.popleft()
        if len(head) > size:
            self._buffer.appendleft(head[size:])
        segment = bytes(head[:size])
        self._buffered -= len(segment)
        return segment

    def _send(self, segment: bytes) -> None:
        for fault in ("net.reset", "net.black_hole"):
            if self._dice.roll(fault):
                self._loop.arrive(self._dice.delay_s(LATENCY_SECONDS), self.on_fault, fault)
        stalled = self._dice.roll("net.stall")
        delay_s = self._dice.between_s(*STALL_SECONDS) if stalled else self._dice.delay_s(LATENCY_SECONDS)
        self._outstanding += len(segment)
        self._wire.append(segment)
        self._loop.arrive(delay_s, self._arrive)

    def _arrive(self) -> None:
        # Whichever arrival comes first brings what is next in order.
        if self._wire:
            self._inbox.append(self._wire.popleft())
            self._hand_over()

    def _hand_over(self) -> None:
        while self._inbox and not self._paused and not self._dead:
            segment = self._inbox.popleft()
            if not segment:
                self._end()
                return
            accepted = self._deliver(segment)
            self._outstanding -= accepted
            if accepted < len(segment) and not self._dead:
                self._inbox.appendleft(segment[accepted:])
                break
        self._pump()
        self._sent()


class SimTransport(asyncio.Transport):
    """The server's end of a connection, as its protocol sees it."""

    def __init__(self, connection: "Connection", extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._connection = connection
        self._protocol: asyncio.BaseProtocol = asyncio.BaseProtocol()
        self._low = HIGH_WATER_BYTES // 4
        self._high = HIGH_WATER_BYTES
        self._writing_paused = False
        self._closing = False
        self._reading = True

    def write(self, data: Buffer) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if not self._closing:
            self._connection.to_client.write(data)
            self._watch_buffer()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self._connection.to_client.finish()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.pause_reading()
            self._connection.close_from_server()

    def abort(self) -> None:
        self._closing = True
        self._connection.reset(None)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False
        self._connection.to_server.pause()

    def resume_reading(self) -> None:
        if not self._closing:
            self._reading = True
            self._connection.to_server.resume()

    def get_write_buffer_size(self) -> int:
        return self._connection.to_client.buffered()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high
        self._watch_buffer()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    # What the connection uses.

    def deliver(self, data: bytes) -> int:
        """Hand received bytes to the protocol until it has all or stops reading; return how many it has."""
        done = 0
        while done < len(data) and self.is_reading():
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                room = memoryview(self._protocol.get_buffer(-1))
                count = min(len(room), len(data) - done)
                if not count:
                    raise SimulationFailure("get_buffer() returned an empty buffer")
                room[:count] = data[done : done + count]
                room.release()
                self._protocol.buffer_updated(count)
            else:
                assert isinstance(self._protocol, asyncio.Protocol)
                count = len(data) - done
                self._protocol.data_received(data[done:])
            done += count
        return done

    def received_eof(self) -> None:
        """Tell the protocol that the client sends no more, and close unless it wants to go on writing."""
        assert isinstance(self._protocol, asyncio.BufferedProtocol | asyncio.Protocol)
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def buffer_shrank(self) -> None:
        """Let the protocol write again once enough is sent."""
        if self._writing_paused and self.get_write_buffer_size() <= self._low and not self._closing:
            self._writing_paused = False
            self._protocol.resume_writing()

    def lost(self, error: Exception | None) -> None:
        """Tell the protocol that the connection is gone."""
        self._closing = True
        self._protocol.connection_lost(error)

    def _watch_buffer(self) -> None:
        if not self._writing_paused and self.get_write_buffer_size() > self._high:
            self._writing_paused = True
            self._protocol.pause_writing()


class ClientEnd:
    """The client's end of a connection. `server_run` names the process at the other end."""

    def __init__(self, connection: "Connection", loop: SimulatedLoop, server_run: str) -> None:
        self.server_run = server_run
        self._connection = connection
        self._loop = loop
        self._received = bytearray()
        self._error: str | None = None
        self._changed = loop.create_future()

    async def send_frame(self, payload: Buffer) -> None:
        """Send one frame: four bytes of length, then the payload. Raises `ConnectionLost`."""
        self.send_bytes(len(payload).to_bytes(4, "big") + bytes(payload))
        while self._connection.to_server.buffered() > HIGH_WATER_BYTES:
            await self._wait()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that need not be a frame. Raises `ConnectionLost`."""
        self._check()
        self._connection.to_server.write(data)

    async def read_frame(self) -> bytes:
        """Return the payload of the next frame. Raises `ConnectionLost`."""
        while True:
            if len(self._received) >= 4:
                size = int.from_bytes(self._received[:4], "big", signed=True)
                if not 0 <= size <= FRAME_BYTES_MAX:
                    raise SimulationFailure(f"the server sent a frame of {size} bytes")
                if len(self._received) >= 4 + size:
                    frame = bytes(self._received[4 : 4 + size])
                    del self._received[: 4 + size]
                    return frame
            self._check()
            await self._wait()

    def is_lost(self) -> bool:
        """Tell whether the connection is gone."""
        return self._error is not None

    def close(self) -> None:
        """Send no more; the server sees the end of the stream."""
        self._error = self._error or "closed here"
        self._connection.to_server.finish()
        self._wake()

    def abort(self) -> None:
        """Break the connection off at once."""
        self._connection.reset(ConnectionResetError("reset by client"))

    # What the connection uses.

    def deliver(self, data: bytes) -> int:
        """Take received bytes."""
        self._received += data
        self._wake()
        return len(data)

    def lost(self, error: str) -> None:
        """Take note that the connection is gone."""
        self._error = self._error or error
        self._wake()

    def wake(self) -> None:
        """Look again: something changed."""
        self._wake()

    def _check(self) -> None:
        if self._error is not None:
            raise ConnectionLost(self._error)

    async def _wait(self) -> None:
        await asyncio.shield(self._changed)

    def _wake(self) -> None:
        if not self._changed.done():
            self._changed.set_result(None)
        self._changed = self._loop.create_future()


class Connection:
    """Both ends and both streams. The server's calls run as a part of the server's process, if it still lives."""

    def __init__(self, network: "Network", context: Context, server: Address, client: Address) -> None:
        loop, dice = network.loop, network.dice
        self._loop = loop
        self._context = context
        self._over = False
        self.server_address = server
        self.transport = SimTransport(self, {"peername": client, "sockname": server})
        process = process_of(context)
        self.client = ClientEnd(self, loop, str(server) if process is None else process.name)
        self.to_server = Stream(loop, dice, self._deliver_to_server, self._eof_at_server, self.client.wake)
        self.to_client = Stream(loop, dice, self.client.deliver, self._eof_at_client, self._sent_to_client)
        self.to_server.on_fault = self.to_client.on_fault = self._fail
        self.to_server.pause()
        self._closing = False

    def accept(self, factory: ProtocolFactory) -> None:
        """Let the server make its protocol, and start to deliver."""
        if self._over:
            return
        protocol = factory()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self.transport.is_reading():
            self.to_server.resume()

    def close_from_server(self) -> None:
        """End the stream to the client behind what was written, then tell the protocol."""
        self._closing = True
        if not self.to_client.buffered():
            self._loop.call_soon(self._closed_by_server)

    def reset(self, error: Exception | None) -> None:
        """Break the connection: what is under way is lost, both ends learn of it."""
        if not self._over:
            self._over = True
            self.to_client.die()
            self.to_server.die()
            self._loop.call_soon(self.transport.lost, error, context=self._context.copy())
            self._loop.arrive(LATENCY_SECONDS, self.client.lost, "reset")

    def server_killed(self) -> None:
        """The server's process is gone: what it had handed to the network may still come through."""
        self._over = True
        self.to_server.die()
        self.to_client.drop_unsent()
        self.to_client.finish()

    def _closed_by_server(self) -> None:
        if not self._over:
            self._over = True
            self.to_server.die()
            self.to_client.finish()
            self._at_server(self.transport.lost, None)

    def _fail(self, fault: str) -> None:
        if fault == "net.reset":
            self.reset(ConnectionResetError("simulated"))
        else:
            self.to_client.die()
            self.to_server.die()

    def _deliver_to_server(self, data: bytes) -> int:
        accepted = self._at_server(self.transport.deliver, data)
        return len(data) if accepted is None else accepted

    def _eof_at_server(self) -> None:
        self._at_server(self.transport.received_eof)

    def _eof_at_client(self) -> None:
        self.client.lost("closed by the server")

    def _sent_to_client(self) -> None:
        if self._closing and not self.to_client.buffered():
            self._closed_by_server()
        elif not self._over:
            self._at_server(self.transport.buffer_shrank)

    def _at_server(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._context.copy().run(function, *args) if _is_alive(self._context) else None


class Network:
    """All listeners and connections."""

    def __init__(self, loop: SimulatedLoop, dice: Dice) -> None:
        self.loop = loop
        self.dice = dice
        self._listeners: dict[Address, tuple[ProtocolFactory, Context]] = {}
        self._connections: list[Connection] = []
        self._next_port = EPHEMERAL_PORTS_FROM

    def listen(self, address: Address, factory: ProtocolFactory) -> None:
        """Accept connections to `address` as a part of the calling process."""
        if address in self._listeners:
            raise OSError(f"address in use: {address}")
        self._listeners[address] = (factory, copy_context())

    def stop_listening(self, address: Address) -> None:
        """Accept no more; connections stay."""
        self._listeners.pop(address, None)

    def server_killed(self, address: Address) -> None:
        """Cut everything that leads to a killed server."""
        self.stop_listening(address)
        for connection in self._connections:
            if connection.server_address == address:
                connection.server_killed()
        self._connections = [kept for kept in self._connections if kept.server_address != address]

    def cut(self, address: Address) -> None:
        """Break every connection to a server that lives on."""
        for connection in self._connections:
            if connection.server_address == address:
                connection.reset(ConnectionResetError("cut"))

    async def connect(self, address: Address, client_host: str = "10.0.0.1") -> ClientEnd:
        """Return the client's end of a new connection. Raises `ConnectionRefusedError`."""
        await self._travel()
        factory, context = self._listeners.get(address, (asyncio.BaseProtocol, None))
        if context is None or not _is_alive(context) or self.dice.roll("net.refuse"):
            await self._travel()
            raise ConnectionRefusedError(f"{address} does not answer")
        self._next_port += 1
        connection = Connection(self, context, address, (client_host, self._next_port))
        self._connections.append(connection)
        self.loop.arrive(self.dice.delay_s(LATENCY_SECONDS), connection.accept, factory, context=context.copy())
        await self._travel()
        return connection.client

    async def _travel(self) -> None:
        arrived = self.loop.create_future()
        self.loop.arrive(self.dice.delay_s(LATENCY_SECONDS), _resolve, arrived)
        await arrived


def _is_alive(context: Context) -> bool:
    process = process_of(context)
    return process is None or process.alive


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
