"""The simulated network carries bytes in order, tells asyncio protocols what asyncio would, and breaks when told to."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Address, ClientEnd, ConnectionLost, Network
from tests.simulation.runner import run_twice

SEEDS = range(10)
SERVER: Address = ("broker", 9092)


class Echo(asyncio.BufferedProtocol):
    """Sends back what it gets, and keeps a diary."""

    def __init__(self, *, buffer_bytes: int = 100) -> None:
        self.diary: list[str] = []
        self.received = bytearray()
        self.buffer = bytearray(buffer_bytes)
        self.transport: asyncio.Transport | None = None
        self.answers = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.diary.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        if self.answers and self.transport is not None:
            self.transport.write(bytes(self.buffer[:nbytes]))

    def eof_received(self) -> bool:
        self.diary.append("eof")
        return False

    def pause_writing(self) -> None:
        self.diary.append("pause")

    def resume_writing(self) -> None:
        self.diary.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.diary.append(f"lost {type(exc).__name__}")


Scenario = Callable[[SimulatedLoop, Network, Echo], Coroutine[Any, Any, None]]


def _everywhere(scenario: Scenario, chances: dict[str, float] | None = None) -> None:
    async def world(loop: SimulatedLoop) -> None:
        network, echo = Network(loop, Dice(loop.random, chances)), Echo()
        loop.process("broker-1").run(network.listen, SERVER, lambda: echo)
        await scenario(loop, network, echo)

    for seed in SEEDS:
        run_twice(world, seed)


def test_frames_come_back_whole_and_in_order() -> None:
    async def scenario(loop: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        assert client.server_run == "broker-1"
        frames = [loop.random.randbytes(loop.random.choice([0, 1, 100, 50_000])) for _ in range(20)]

        async def send() -> None:
            for frame in frames:
                await client.send_frame(frame)

        sending = loop.create_task(send())
        assert [await client.read_frame() for _ in frames] == frames
        await sending
        client.close()
        await asyncio.sleep(1)
        assert [entry for entry in echo.diary if entry not in ("pause", "resume")] == ["made", "eof", "lost NoneType"]

    _everywhere(scenario, {"net.tiny_segments": 0.3, "net.stall": 0.001})


def test_a_slow_reader_pauses_the_writer() -> None:
    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        await asyncio.sleep(1)
        assert echo.transport is not None
        echo.transport.set_write_buffer_limits(high=1000, low=100)
        echo.answers = False
        echo.transport.write(b"x" * 1_000_000)
        assert echo.diary == ["made", "pause"]
        assert echo.transport.get_write_buffer_size() > 900_000
        await asyncio.sleep(60)
        assert echo.diary == ["made", "pause", "resume"]
        assert echo.transport.get_write_buffer_size() == 0
        client.abort()

    _everywhere(scenario)


def test_a_server_that_stops_reading_gets_nothing_and_loses_nothing() -> None:
    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        await asyncio.sleep(1)
        assert echo.transport is not None
        echo.transport.pause_reading()
        client.send_bytes(b"a" * 300_000)
        await asyncio.sleep(10)
        assert len(echo.received) == 0
        echo.transport.resume_reading()
        await asyncio.sleep(60)
        assert len(echo.received) == 300_000

    _everywhere(scenario)


def test_close_sends_what_was_written_and_abort_does_not() -> None:
    async def scenario(loop: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        await asyncio.sleep(1)
        assert echo.transport is not None
        payload = loop.random.randbytes(200_000)
        echo.transport.writelines([len(payload).to_bytes(4, "big"), memoryview(payload)])
        echo.transport.close()
        assert echo.transport.is_closing()
        assert await client.read_frame() == payload
        with pytest.raises(ConnectionLost, match="closed by the server"):
            await client.read_frame()
        assert echo.diary[-1] == "lost NoneType"

        other = await network.connect(SERVER)
        await asyncio.sleep(1)
        echo.transport.write(b"y" * 200_000)
        echo.transport.abort()
        with pytest.raises(ConnectionLost, match="reset"):
            await other.read_frame()

    _everywhere(scenario)


async def _exchange(client: ClientEnd, frame_bytes: int) -> None:
    while True:
        await client.send_frame(b"z" * frame_bytes)
        await client.read_frame()


def test_connections_break_in_the_middle_of_frames() -> None:
    lost: list[int] = []

    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        with pytest.raises(ConnectionLost):
            await _exchange(client, 50_000)
        await asyncio.sleep(1)
        assert echo.diary[-1] == "lost ConnectionResetError"
        lost.append(len(echo.received) % 50_004)

    _everywhere(scenario, {"net.reset": 0.02, "net.tiny_segments": 0.02})
    assert any(lost)


def test_a_black_hole_says_nothing() -> None:
    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_exchange(client, 10), 100)
        assert echo.diary == ["made"]
        client.abort()

    _everywhere(scenario, {"net.black_hole": 0.05})


def test_a_killed_server_is_cut_off() -> None:
    async def scenario(loop: SimulatedLoop, network: Network, echo: Echo) -> None:
        del echo
        victim, process = Echo(), loop.process("broker-2")
        process.run(network.listen, ("other", 1), lambda: victim)
        client = await network.connect(("other", 1))
        await asyncio.sleep(1)
        loop.kill(process)
        network.server_killed(("other", 1))
        with pytest.raises(ConnectionLost):
            await client.read_frame()
        with pytest.raises(ConnectionRefusedError):
            await network.connect(("other", 1))
        assert victim.diary == ["made"]

    _everywhere(scenario)


def test_nobody_listens() -> None:
    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        del echo
        with pytest.raises(ConnectionRefusedError):
            await network.connect(("nobody", 1))
        with pytest.raises(OSError, match="in use"):
            network.listen(SERVER, Echo)
        network.stop_listening(SERVER)
        with pytest.raises(ConnectionRefusedError):
            await network.connect(SERVER)

    _everywhere(scenario)


def test_a_written_buffer_must_not_change_before_it_is_sent() -> None:
    async def scenario(_: SimulatedLoop, network: Network, echo: Echo) -> None:
        client = await network.connect(SERVER)
        await asyncio.sleep(1)
        assert echo.transport is not None
        head, tail = bytearray(b"a" * 200_000), (200_000).to_bytes(4, "big")
        echo.transport.writelines([tail, head])
        head[-1:] = b"b"
        assert (await client.read_frame())[-1:] == b"b"

    _everywhere(scenario)
