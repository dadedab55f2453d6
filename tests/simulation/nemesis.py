"""What goes wrong on purpose during a run, besides the faults of single calls that the dice decide."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tests.simulation.audit import Auditor
from tests.simulation.log import LogDisk
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.store import Bucket

MEAN_PAUSE_SECONDS: Final = (1.5, 15.0)
"""Between two strokes, on average: from a machine that dies all the time to one that lives through the run."""

DOWN_SECONDS: Final = (0.0, 8.0)
PATIENCE_SECONDS: Final = (0.0, 30.0)
"""How long a machine stays down, and how long a supervisor waits between SIGTERM and SIGKILL."""

OUTAGE_SECONDS: Final = (0.2, 20.0)
HOUR_MS: Final = 3_600_000


class Nemesis:
    """Strikes machines, store and log."""

    def __init__(
        self, machines: list[Machine], network: Network, bucket: Bucket, disk: LogDisk, auditor: Auditor
    ) -> None:
        self.strokes: list[str] = []
        self._machines = machines
        self._network = network
        self._bucket = bucket
        self._disk = disk
        self._auditor = auditor
        self._random = bucket.dice.random
        self._mean_pause_s = self._random.uniform(*MEAN_PAUSE_SECONDS)
        kinds: list[Callable[[Machine], None]] = [
            self._kill,
            self._kill_again,
            self._stop,
            self._store_outage,
            self._full_disk,
            self._clock_jump,
            self._cut,
        ]
        self._kinds = self._random.sample(kinds, self._random.randint(0, len(kinds)))
        self._tasks: list[asyncio.Task[None]] = []

    async def strike_for(self, seconds: float) -> None:
        """Strike now and then for some time; on return every machine has been told to come up again."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while (left_s := end_s - loop.time()) > 0:
            await asyncio.sleep(min(self._random.expovariate(1 / self._mean_pause_s), left_s))
            self.note_bounds()
            if self._kinds and loop.time() < end_s:
                machine = self._random.choice(self._machines)
                kind = self._random.choice(self._kinds)
                self.strokes.append(f"{loop.time():.3f} {kind.__name__[1:]} {machine.name}")
                kind(machine)
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.result()

    def note_bounds(self) -> None:
        """Let the auditor see what the machines know: the next run of each must know it too."""
        for machine in self._machines:
            if machine.run is not None and machine.run.broker is not None:
                self._auditor.note_bounds(machine.run.broker)

    def _kill(self, machine: Machine) -> None:
        machine.kill()
        self._later(self._boot(machine, self._random.uniform(*DOWN_SECONDS)))

    def _kill_again(self, machine: Machine) -> None:
        """Kill it, and again while it starts."""
        self._later(self._kill_while_starting(machine))

    def _stop(self, machine: Machine) -> None:
        self._later(self._restart(machine))

    def _store_outage(self, _: Machine) -> None:
        self._bucket.fail_for(self._random.uniform(*OUTAGE_SECONDS))

    def _full_disk(self, _: Machine) -> None:
        self._disk.fill_for(self._random.uniform(*OUTAGE_SECONDS))

    def _clock_jump(self, machine: Machine) -> None:
        machine.jump_clock(self._random.choice((-HOUR_MS, 0, HOUR_MS)))

    def _cut(self, machine: Machine) -> None:
        """Break every connection to the machine; what it was asked goes on."""
        self._network.cut(machine.address)

    async def _kill_while_starting(self, machine: Machine) -> None:
        for _ in range(self._random.randint(1, 3)):
            machine.kill()
            await self._boot(machine, 0.0)
            await asyncio.sleep(self._random.expovariate(10.0))
            self.note_bounds()
        machine.kill()
        await self._boot(machine, self._random.uniform(*DOWN_SECONDS))

    async def _restart(self, machine: Machine) -> None:
        await machine.stop(self._random.uniform(*PATIENCE_SECONDS))
        await self._boot(machine, self._random.uniform(*DOWN_SECONDS))

    async def _boot(self, machine: Machine, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if machine.run is None:
            machine.boot()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))
