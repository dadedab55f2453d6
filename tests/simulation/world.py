"""One simulated run, from an empty bucket to the verdict: `run_world` is the scenario that campaigns run.

A seed decides the settings, the faults and their chances, how many brokers and clients there are, and what they do.
First clients work while things break. Then everything is healed, and within a bounded time every client must be served.
In the end brokers are started afresh, everything is read back, and the history and the auditor say what was broken.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from tests.simulation.admin import SimAdmin
from tests.simulation.audit import ArchivingDisk, Auditor
from tests.simulation.client import SimClient
from tests.simulation.consumer import SimConsumer
from tests.simulation.dice import Dice
from tests.simulation.loop import SimulatedLoop, SimulationFailure
from tests.simulation.machine import Ground, Machine
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.settings import random_settings
from tests.simulation.store import Bucket
from tests.simulation.workload import Workload
from tests.support.checker import check, render
from tests.support.history import History, TopicPartition

WORK_SECONDS: Final = (3.0, 25.0)
"""How long clients work while things break."""

HEALING_SECONDS: Final = 300.0
"""After healing every client is served within this time. A request on a dead connection takes 30 s to be noticed, a
rebalance with a dead member 20 s more, and a stream that stalled before the healing is silent for up to 40 s."""

EPOCH_MS: Final = 1_700_000_000_000

PAIR_CHANCE: Final = 0.4
"""How often two brokers serve one log: every partition is written and every group coordinated by both."""

LATE_APPEND_SECONDS: Final = (0.0, 5.0)
"""How late an append of a dead broker can land: not at all on a file, seconds behind a network."""

WORDS: Final = TopicPartition("words", 0)
GROWING: Final = "growing"
GROWN_MAX: Final = 4
GROUPS: Final = ("group-a", "group-b")
ALONE: Final = "group-without-members"


class World:
    """Everything there is in a run."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.random = loop.random
        self.dice = Dice.swarm(loop.random)
        self.history = History(lambda: int(loop.time() * 1e6))
        self.network = Network(loop, self.dice)
        self.bucket = Bucket(loop, self.dice, lambda: EPOCH_MS + int(loop.time() * 1000))
        self.disk = ArchivingDisk(loop, self.dice, self.random.choice(LATE_APPEND_SECONDS))
        self.auditor = Auditor(self.disk, self.bucket)
        self.machines = self._build_machines()
        self.nemesis = Nemesis(self.machines, self.network, self.bucket, self.disk, self.auditor)
        self.partitions = [TopicPartition("words", number) for number in range(self.random.randint(1, 3))]
        self.workload = Workload(self.make_client, self.history, self.partitions)

    def make_client(self, name: str) -> SimClient:
        """Return a new client program."""
        return SimClient(self.network, name, [machine.address for machine in self.machines])

    async def run(self) -> None:
        """Let it all happen. Raises what is wrong."""
        await self._set_up()
        seconds = self.random.uniform(*WORK_SECONDS)
        try:
            async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as clients:
                for work in self._works():
                    clients.create_task(work)
                await self.nemesis.strike_for(seconds)
                deadline.reschedule(self.loop.time() + HEALING_SECONDS)
                await self._heal()
        except TimeoutError:
            raise SimulationFailure(f"not healthy {HEALING_SECONDS} s after healing\n{self._working()}") from None
        try:
            async with asyncio.timeout(HEALING_SECONDS):
                await self._read_everything()
        except TimeoutError:
            raise SimulationFailure(f"not everything can be read\n{self._working()}") from None
        await self._judge()

    def _build_machines(self) -> list[Machine]:
        ground = Ground(loop=self.loop, network=self.network, bucket=self.bucket, disk=self.disk, history=self.history)
        count = 2 if self.random.random() < PAIR_CHANCE else 1
        return [
            Machine(
                ground,
                f"broker{number}",
                (f"10.0.0.{100 + number}", 9092),
                random_settings(self.random, number, checkpoints=number == 1),
                self.auditor.check_started,
            )
            for number in range(1, count + 1)
        ]

    async def _set_up(self) -> None:
        for machine in self.machines:
            machine.boot()
            await machine.until_serving()
        client = self.make_client("setup")
        admin = SimAdmin(client, self.history)
        await admin.create(WORDS.topic, len(self.partitions))
        await admin.create(GROWING, 1)
        self.partitions.append(TopicPartition(GROWING, 0))
        client.close()

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        workload, rng = self.workload, self.random
        grouped = [at for at in self.partitions if at.topic == WORDS.topic]
        works = [workload.produce(f"producer{number}") for number in range(rng.randint(1, 4))]
        works += [workload.consume(f"consumer{number}") for number in range(rng.randint(0, 2))]
        for group in GROUPS[: rng.randint(0, len(GROUPS))]:
            works += [workload.take_part(f"{group}.{number}", group, grouped) for number in range(rng.randint(1, 3))]
            works += [workload.watch_commits(f"{group}.watcher", group, grouped)] if rng.random() < 0.7 else []
        works += [workload.commit_alone("committer", ALONE)] if rng.random() < 0.5 else []
        works += [workload.look_up_times("lookup")] if rng.random() < 0.5 else []
        works += [workload.administrate("admin", GROWING, GROWN_MAX)] if rng.random() < 0.7 else []
        return works

    async def _heal(self) -> None:
        self.dice.calm()
        self.bucket.heal()
        self.disk.heal()
        for machine in self.machines:
            await machine.until_serving()
        self.workload.stop()

    async def _read_everything(self) -> None:
        self.nemesis.note_bounds()
        if self.random.random() < 0.7:
            # Most runs read everything back from the bucket, the others what brokers have in memory.
            for machine in self.machines:
                await machine.stop(self.random.choice((0.0, 60.0)))
        for machine in self.machines:
            await machine.until_serving()
        client = self.make_client("reader")
        consumer, admin = SimConsumer(client, self.history), SimAdmin(client, self.history)
        for at in self.partitions:
            await consumer.read_all(at)
            for group in (*GROUPS, ALONE):
                await admin.committed(group, at)
            await consumer.look_up(at, self.random.randint(0, int(self.loop.time() * 1000)))
        client.close()

    async def _judge(self) -> None:
        brokers = [await machine.until_serving() for machine in self.machines]
        for broker in brokers:
            await broker.services.replica.barrier()
        self.auditor.check_end(brokers)
        complaints = check(self.history)
        if complaints:
            raise SimulationFailure(render(complaints))

    def story(self) -> str:
        """Return what this run is like, for the report of a failure."""
        counts = f"{len(self.history.operations)} operations, {len(self.disk.archive)} entries"
        lines = [f"{len(self.machines)} brokers, {counts}, faults: {self.dice.describe()}", *self.nemesis.strokes]
        return "\n".join(lines)

    def _working(self) -> str:
        return self.loop.describe_tasks()


async def run_world(loop: SimulatedLoop) -> None:
    """Run one world to its end."""
    world = World(loop)
    try:
        await world.run()
    except BaseException as error:
        error.add_note(world.story())
        raise
