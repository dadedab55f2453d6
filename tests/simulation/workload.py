"""What simulated clients do during a run: one coroutine per client, each until the world says that it is enough.

Partitions are in a list that all share and that grows when a topic does. Scratch topics live outside of the history
that is checked in the end: they come, are written, and go.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tests.simulation.admin import SimAdmin
from tests.simulation.client import SimClient
from tests.simulation.consumer import SimConsumer
from tests.simulation.loop import SimulationFailure
from tests.simulation.member import SimMember
from tests.simulation.producer import SimProducer
from tests.support.history import AllRead, History, TopicPartition

BURST_RECORDS_MAX: Final = 14
BURSTS_PER_PRODUCER_MAX: Final = 6
"""Producers are replaced soon: much that can go wrong goes wrong with a new producer id."""

PADDINGS: Final = (0, 0, 0, 20, 200, 3000)
"""Bytes added to each value of a producer: some fit no cache, and one batch fills a flush."""

PRODUCER_PAUSE_SECONDS: Final = 0.4
CONSUMER_PAUSE_SECONDS: Final = 0.2
ADMIN_PAUSE_SECONDS: Final = 4.0
"""Means of the pauses between two doings."""

MEMBER_SECONDS: Final = (3.0, 40.0)
"""How long a member stays in its group."""

DELIVERY_SECONDS: Final = (1.0, 5.0, 30.0, 120.0)
"""How long a producer tries to deliver a batch; short ones give up often, and go on in a new epoch."""

SCRATCH: Final = "scratch"
"""A topic that is deleted and created again under the same name."""


class Workload:
    """The clients' doings.

    Args:
        make_client: returns a new client program of this name.
        partitions: everything that is produced to and read in the end.
    """

    def __init__(
        self, make_client: Callable[[str], SimClient], history: History, partitions: list[TopicPartition]
    ) -> None:
        self.history = history
        self.partitions = partitions
        self._is_stopping = False
        self._make_client = make_client
        self._gone: set[str] = set()

    def stop(self) -> None:
        """Let every client finish what it has begun."""
        self._is_stopping = True

    def is_stopping(self) -> bool:
        """Tell whether it is enough."""
        return self._is_stopping

    async def produce(self, name: str) -> None:
        """Write bursts to one partition after another, as one producer after another."""
        number = 0
        while not self.is_stopping():
            number += 1
            client = self._make_client(f"{name}.{number}")
            producer = self._new_producer(client)
            for _ in range(client.random.randint(1, BURSTS_PER_PRODUCER_MAX)):
                await producer.send(client.random.randint(1, BURST_RECORDS_MAX))
                if self.is_stopping():
                    break
                await _pause(client, PRODUCER_PAUSE_SECONDS)
            client.close()

    async def consume(self, name: str) -> None:
        """Read partitions of its own choice; go back, or to others, now and then."""
        client = self._make_client(name)
        consumer = SimConsumer(client, self.history, with_sessions=client.random.random() < 0.6)
        while not self.is_stopping():
            chosen = client.random.sample(self.partitions, client.random.randint(1, len(self.partitions)))
            known = consumer.positions
            consumer.assign({at: client.random.randint(0, known.get(at, 0)) for at in chosen})
            client.forget_leaders()
            for _ in range(client.random.randint(1, 30)):
                await consumer.poll()
                if self.is_stopping():
                    break
                await _pause(client, CONSUMER_PAUSE_SECONDS)
        client.close()

    async def look_up_times(self, name: str) -> None:
        """Ask for offsets by time."""
        client = self._make_client(name)
        consumer = SimConsumer(client, self.history)
        while not self.is_stopping():
            latest_ms = int(client.loop.time() * 1000) + 2000
            await consumer.look_up(client.random.choice(self.partitions), client.random.randint(0, latest_ms))
            await _pause(client, CONSUMER_PAUSE_SECONDS * 5)
        client.close()

    async def take_part(self, name: str, group: str, partitions: list[TopicPartition]) -> None:
        """Be one member of a group after another; some leave, some go without a word, some are killed."""
        number = 0
        while not self.is_stopping():
            number += 1
            client = self._make_client(f"{name}.{number}")
            member = SimMember(client, self.history, group, partitions, keep=client.random.random() < 0.3)
            running = asyncio.ensure_future(member.run())
            seconds = client.random.uniform(*MEMBER_SECONDS)
            while seconds > 0 and not self.is_stopping() and not running.done():
                await asyncio.wait((running,), timeout=min(seconds, 1.0))
                seconds -= 1.0
            if client.random.random() < 0.5:
                member.stop()
            else:
                running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.result()
            client.close()

    async def watch_commits(self, name: str, group: str, partitions: list[TopicPartition]) -> None:
        """Look at what a group has committed, at any broker."""
        client = self._make_client(name)
        admin = SimAdmin(client, self.history)
        while not self.is_stopping():
            await admin.committed(group, client.random.choice(partitions))
            await _pause(client, CONSUMER_PAUSE_SECONDS)
        client.close()

    async def commit_alone(self, name: str, group: str) -> None:
        """Commit offsets of a group without members, each one greater, and look at them, perhaps at another broker."""
        client = self._make_client(name)
        admin = SimAdmin(client, self.history)
        offset = 0
        while not self.is_stopping():
            offset += 1
            at = client.random.choice(self.partitions)
            await admin.commit(group, at, offset)
            await admin.committed(group, at)
            await _pause(client, CONSUMER_PAUSE_SECONDS)
        client.close()

    async def administrate(self, name: str, growing: str, partitions_max: int) -> None:
        """Let one topic grow, another one live and die again and again, and old records go."""
        client = self._make_client(name)
        admin = SimAdmin(client, self.history)
        while not self.is_stopping():
            await _pause(client, ADMIN_PAUSE_SECONDS)
            count = sum(at.topic == growing for at in self.partitions)
            if client.random.random() < 0.3 and count < partitions_max:
                await admin.grow(growing, count + 1)
                self.partitions.append(TopicPartition(growing, count))
            elif client.random.random() < 0.4:
                await admin.delete_records(client.random.choice(self.partitions), client.random.randint(0, 30))
            else:
                await self._live_and_die(client, admin)
        client.close()

    async def _live_and_die(self, client: SimClient, admin: SimAdmin) -> None:
        history = History(lambda: 0)
        at = TopicPartition(SCRATCH, 0)
        await admin.create(SCRATCH, 1)
        writer = self._make_client(f"{client.name}.{history.ticks()}.{client.loop.next_number()}")
        await SimProducer(writer, history, at, delivery_s=30.0).send(client.random.randint(1, BURST_RECORDS_MAX))
        read = await SimConsumer(writer, history).read_all(at)
        _check_scratch(history, read, writer.name)
        if not self._gone.isdisjoint(read.values):
            raise SimulationFailure(f"records of a deleted topic are in its successor: {read.values}")
        writer.close()
        if client.random.random() < 0.7:
            await admin.delete(SCRATCH)
            self._gone.update(read.values)

    def _new_producer(self, client: SimClient) -> SimProducer:
        idempotent = client.random.random() < 0.75
        return SimProducer(
            client,
            self.history,
            client.random.choice(self.partitions),
            idempotent=idempotent,
            acks=-1 if idempotent else client.random.choice((-1, 1, 0)),
            padding=client.random.choice(PADDINGS),
            delivery_s=client.random.choice(DELIVERY_SECONDS),
        )


def _check_scratch(history: History, read: AllRead, writer: str) -> None:
    """Check that what was just acknowledged on a scratch topic is there, once and in order."""
    acknowledged = [one.call.value for one in history.operations if one.reply is not None and one.reply is not read]
    mine = [value for value in read.values if value.startswith(f"{writer}.")]
    if [value for value in mine if value in acknowledged] != acknowledged:
        raise SimulationFailure(f"{writer} wrote {acknowledged}, but {SCRATCH} has {read.values}")


async def _pause(client: SimClient, mean_s: float) -> None:
    await asyncio.sleep(client.random.expovariate(1 / mean_s))
