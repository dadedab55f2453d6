"""Simulated clients get along with a right broker over a bad network, and the checker sees what a wrong one does."""

import asyncio

import pytest

from tests.simulation.client import SimClient
from tests.simulation.consumer import SimConsumer
from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop
from tests.simulation.member import SimMember
from tests.simulation.network import Address, Network
from tests.simulation.producer import SimProducer
from tests.simulation.runner import run_twice
from tests.support.checker import Complaint, check, render
from tests.support.history import BrokerStarted, History, Status
from tests.unit.simulation.fake_broker import PARTITIONS, FakeBroker, FakeConnection

ADDRESS: Address = ("broker", 9092)
SEEDS = range(6)


class World:
    """One broker, some clients, and their history."""

    def __init__(self, loop: SimulatedLoop, dice: Dice, faults: frozenset[str] = frozenset()) -> None:
        self.loop = loop
        self.dice = dice
        self.history = History(lambda: int(loop.time() * 1e6))
        self.network = Network(loop, dice)
        self.broker = FakeBroker(loop, ADDRESS, faults)
        self.history.note("harness", BrokerStarted("broker-1"))
        loop.process("broker-1").run(self.network.listen, ADDRESS, lambda: FakeConnection(self.broker))

    def client(self, name: str) -> SimClient:
        """Return a new client program."""
        return SimClient(self.network, name, [ADDRESS])

    async def run(self, records: int = 40) -> None:
        """Let everybody work until all records are sent, then heal the world and read everything."""
        members = [SimMember(self.client(f"member-{n}"), self.history, "g", PARTITIONS) for n in range(3)]
        background = [asyncio.create_task(member.run()) for member in members]
        background += [asyncio.create_task(self._read(f"consumer-{n}")) for n in range(2)]
        await asyncio.gather(*(producer.send(records) for producer in self._producers()))
        await asyncio.sleep(60)
        for member in members:
            member.stop()
        self.dice.calm()
        await asyncio.wait(background[: len(members)], timeout=300)
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        reader = SimConsumer(self.client("reader"), self.history)
        for at in PARTITIONS:
            await reader.read_all(at)

    def _producers(self) -> list[SimProducer]:
        kinds = [(True, -1, 0), (True, -1, 3000), (False, -1, 0), (False, 0, 0), (True, -1, 0)]
        return [
            SimProducer(
                self.client(f"producer-{n}"), self.history, PARTITIONS[n % 3], idempotent=kind, acks=acks, padding=size
            )
            for n, (kind, acks, size) in enumerate(kinds)
        ]

    async def _read(self, name: str) -> None:
        client = self.client(name)
        consumer = SimConsumer(client, self.history)
        consumer.assign(dict.fromkeys(PARTITIONS, 0))
        while True:
            await consumer.poll()
            await consumer.look_up(self.loop.random.choice(PARTITIONS), self.loop.random.randrange(20_000))
            await client.pause()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_right_broker_gives_no_complaint(seed: int) -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        world = World(loop, Dice.swarm(loop.random))
        await world.run()
        complaints = check(world.history)
        assert not complaints, render(complaints)

    run_twice(scenario, seed)


def test_in_a_healthy_world_everything_is_acknowledged() -> None:
    async def scenario(loop: SimulatedLoop) -> None:
        world = World(loop, Dice(loop.random))
        await world.run()
        statuses = {op.status for op in world.history.operations if getattr(op.call, "idempotent", False)}
        assert statuses == {Status.OK}
        kinds = {type(op.call).__name__ for op in world.history.operations if op.status is Status.OK}
        assert kinds == {"Produce", "Poll", "LookUpTime", "CommitOffset", "FetchCommitted", "ReadAll"}
        read = [op.reply for op in world.history.operations if type(op.call).__name__ == "ReadAll"]
        assert sum(len(all_read.values) for all_read in read if all_read is not None) == 200

    run_twice(scenario, 1)


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        ("lose acknowledged", "acknowledged writes kept"),
        ("write twice", "no duplicates"),
        ("forget commits", "committed offsets kept"),
        ("share partitions", "one owner"),
        ("read stale", "acknowledged is readable"),
        ("look up late", "time lookup is a scan"),
    ],
)
def test_a_wrong_broker_is_caught(fault: str, caught_by: str) -> None:
    complaints: list[Complaint] = []

    async def scenario(loop: SimulatedLoop) -> None:
        world = World(loop, Dice(loop.random, {"net.reset": 0.05}), frozenset({fault}))
        await world.run()
        complaints.extend(check(world.history))

    for seed in range(20):
        run_twice(scenario, seed)
        if caught_by in {complaint.check for complaint in complaints}:
            return
    pytest.fail(render(complaints) or "no complaint at all")
