"""The checkpointer: when a checkpoint is due, what it writes, and what it does when something fails."""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator

import pytest

from kafscale.errors import Bug, DataCorrupt, ObjectMissing, StorageUnavailable
from kafscale.metadata.checkpointer import Checkpointer, CheckpointLimits, InlineBuilder, ProcessBuilder
from kafscale.metadata.checkpoints import decode_checkpoint
from kafscale.metadata.entries import encode_entry
from kafscale.metadata.log import LogEntry
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import encode_state
from tests.support.virtual_loop import on_virtual_time
from tests.unit.metadata.histories import A, Batch, append, create, entry, rich_entries
from tests.unit.metadata.logs import Node, SteeredLog, write

LIMITS = CheckpointLimits(interval_seconds=100.0, log_bytes=2000, log_entries=10)


class FakeStore:
    """Checkpoints in a dict. `faults` are raised by the next calls of put, one each."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: deque[Exception] = deque()
        self.puts = 0

    async def put_checkpoint(self, position: int, data: bytes) -> str:
        self.puts += 1
        if self.faults:
            raise self.faults.popleft()
        key = f"checkpoint-{position}-{self.puts}"
        self.objects[key] = data
        return key

    async def get_checkpoint(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    async def delete_checkpoints(self, keep: tuple[str, ...]) -> None:
        self.objects = {key: data for key, data in self.objects.items() if key in keep}


class World:
    """A node with a checkpointer. The log's entries are those of another broker."""

    def __init__(self, limits: CheckpointLimits = LIMITS) -> None:
        self.log = SteeredLog()
        self.node = Node(self.log)
        self.store = FakeStore()
        self.entries = 0
        self.checkpointer = self.started(limits)

    def started(self, limits: CheckpointLimits = LIMITS) -> Checkpointer:
        kept = self.log.storage.checkpoints
        position = kept[0].position if kept else 0
        failures = self.node.failures
        return Checkpointer(self.log, self.node.replica, self.store, InlineBuilder(), limits, position, failures.append)

    def write(self, count: int = 1, size: int = 0) -> None:
        for _ in range(count):
            self.entries += 1
            write(self.log, entry(self.entries, create(A, f"t{self.entries}" + size * "x")))

    @property
    def positions(self) -> list[int]:
        """Where the kept checkpoints are, newest first."""
        return [pointer.position for pointer in self.log.storage.checkpoints]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.checkpointer.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@on_virtual_time
async def test_nothing_is_written_when_nothing_happened() -> None:
    world = World()
    async with world.running():
        await asyncio.sleep(1000)
        assert world.store.puts == 0
        world.write()
        await asyncio.sleep(1000)
        assert (world.store.puts, world.positions) == (1, [1])


@on_virtual_time
async def test_due_after_the_interval() -> None:
    world = World()
    async with world.running():
        await asyncio.sleep(50)
        world.write()
        await asyncio.sleep(45)
        assert world.positions == []
        await asyncio.sleep(10)
        assert world.positions == [1]
        world.write()
        await asyncio.sleep(90)
        assert world.positions == [1]
        await asyncio.sleep(15)
        assert world.positions == [2, 1]


@on_virtual_time
async def test_due_at_a_number_of_entries() -> None:
    world = World()
    async with world.running():
        world.write(9)
        await asyncio.sleep(5)
        assert world.positions == []
        world.write()
        await asyncio.sleep(5)
        assert world.positions == [10]
        world.write(9)
        await asyncio.sleep(5)
        assert world.positions == [10]
        world.write()
        await asyncio.sleep(5)
        assert world.positions == [20, 10]


@on_virtual_time
async def test_due_at_a_number_of_bytes() -> None:
    world = World()
    async with world.running():
        world.write(1, size=1500)
        await asyncio.sleep(5)
        assert world.positions == []
        world.write(1, size=500)
        await asyncio.sleep(5)
        assert world.positions == [2]


async def live_log_is_bounded() -> None:
    """I10: whatever is written, the log holds no more than two intervals of entries, and the store two checkpoints."""
    world = World()
    async with world.running():
        for _ in range(30):
            world.write(4)
            await asyncio.sleep(2)
            storage = world.log.storage
            assert storage.end - storage.floor <= 2 * (LIMITS.log_entries + 4), "the log grows"
            assert len(world.store.objects) <= 2
    assert [pointer.key for pointer in world.log.storage.checkpoints] == list(reversed(world.store.objects))


@on_virtual_time
async def test_the_live_log_is_bounded() -> None:
    await live_log_is_bounded()


@on_virtual_time
async def test_a_checkpoint_holds_the_state() -> None:
    world = World()
    for one in rich_entries():
        write(world.log, one)
        await world.checkpointer.run_once()
        pointer = world.log.storage.checkpoints[0]
        checkpoint = decode_checkpoint(world.store.objects[pointer.key])
        assert checkpoint.position == pointer.position == world.node.replica.position
        assert encode_state(checkpoint.state) == encode_state(world.node.replica.state)
    again = world.started()
    write(world.log, entry(9, append(9, (A, 0, [Batch()]))))
    await again.run_once()
    assert world.positions == [7, 6]
    assert world.node.failures == []


@on_virtual_time
async def test_a_state_that_differs_stops_the_broker() -> None:
    world = World()
    async with world.running():
        world.write(10)
        world.node.replica.state.next_producer_id = 5
        await asyncio.sleep(5)
    (failure,) = world.node.failures
    assert isinstance(failure, Bug)
    assert world.store.objects == {}
    assert world.positions == []


@on_virtual_time
async def test_a_failed_attempt_is_repeated_later() -> None:
    world = World()
    world.store.faults.extend([StorageUnavailable("slow down")] * 2)
    async with world.running():
        world.write(10)
        await asyncio.sleep(5)
        assert (world.store.puts, world.positions) == (1, [])
        await asyncio.sleep(90)
        assert world.store.puts == 1
        await asyncio.sleep(15)
        assert world.store.puts == 2
        await asyncio.sleep(100)
        assert (world.store.puts, world.positions) == (3, [10])
    assert world.node.failures == []


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_damaged_checkpoints_stop_the_broker(damage: str) -> None:
    @on_virtual_time
    async def test() -> None:
        world = World()
        async with world.running():
            for _ in range(2):
                world.write(10)
                await asyncio.sleep(5)
            for key, data in list(world.store.objects.items()):
                if damage == "missing":
                    del world.store.objects[key]
                else:
                    world.store.objects[key] = data[:-1]
            world.write(10)
            await asyncio.sleep(5)
        (failure,) = world.node.failures
        assert isinstance(failure, ObjectMissing if damage == "missing" else DataCorrupt)
        assert world.positions == [20, 10]

    test()


@on_virtual_time
async def test_entries_that_come_while_a_checkpoint_is_built() -> None:
    """They belong to the next one, and are counted for it."""
    world = World()

    class SlowBuilder(InlineBuilder):
        async def build(self, previous: bytes | None, entries: list[LogEntry], position: int) -> bytes:
            await asyncio.sleep(10)
            return await super().build(previous, entries, position)

    world.checkpointer._builder = SlowBuilder()
    async with world.running():
        world.write(10)
        await asyncio.sleep(5)
        world.write(10)
        await asyncio.sleep(9)
        assert world.positions == [10]
        await asyncio.sleep(15)
        assert world.positions == [20, 10]
    assert world.node.failures == []


async def test_a_process_builds_what_this_one_would() -> None:
    log = [LogEntry(position, encode_entry(one)) for position, one in enumerate(rich_entries(), start=1)]
    first = await InlineBuilder().build(None, log[:2], 2)
    assert await ProcessBuilder().build(first, log[2:], 6) == await InlineBuilder().build(first, log[2:], 6)


async def test_a_process_that_fails() -> None:
    with pytest.raises(StorageUnavailable, match="failed"):
        await ProcessBuilder().build(b"no checkpoint", [], 1)


async def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It once ended the loop, and with it the broker, when the machine had no process to spare for a moment."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(StorageUnavailable, match="could not be started"):
        await ProcessBuilder().build(None, [], 1)


async def test_a_cancelled_build_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that stopped while a checkpoint was built once left its process and its pipes behind."""
    started: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
    spawn = ProcessBuilder._spawn

    async def spawned(self: ProcessBuilder, position: int) -> asyncio.subprocess.Process:
        process = await spawn(self, position)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(ProcessBuilder, "_spawn", spawned)
    build = asyncio.ensure_future(ProcessBuilder().build(None, [], 1))
    process = await started.get()
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert process.returncode is not None


async def test_the_state_before_any_checkpoint_is_empty() -> None:
    checkpoint = decode_checkpoint(await InlineBuilder().build(None, [], 3))
    assert (checkpoint.position, encode_state(checkpoint.state)) == (3, encode_state(ClusterState()))
