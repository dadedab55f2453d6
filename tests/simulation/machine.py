"""The machine a simulated broker runs on: starts the real broker, stops it, kills it, starts it again.

Every run of the broker is a process of its own with a new incarnation. What survives a run is the bucket and the log's
disk, which machines may share. `check_started` of the auditor sees each run when it has loaded its state.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from kafscale.broker.broker import Broker, Foundations
from kafscale.broker.connection import Connection
from kafscale.clock import SeededClock
from kafscale.config import Loaded
from kafscale.errors import Bug, StartRefused, StorageUnavailable
from kafscale.metadata.checkpointer import InlineBuilder
from tests.simulation.log import LogDisk, SimulatedLog
from tests.simulation.loop import SimulatedLoop, SimulationFailure
from tests.simulation.network import Address, Network
from tests.simulation.process import SimulatedProcess
from tests.simulation.store import Bucket, SimulatedStore
from tests.support.history import BrokerStarted, History

_log = logging.getLogger(__name__)

LISTENER: Final = "PLAINTEXT"
CLUSTER_ID: Final = "simulated-cluster-0000"

RESTART_SECONDS: Final = 0.5
"""Pause of a supervisor before it starts a broker again that could not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What machines stand on: the parts of the world that survive every broker."""

    loop: SimulatedLoop
    network: Network
    bucket: Bucket
    disk: LogDisk
    history: History


class BrokerRun:
    """One run of the broker. `broker` is there once it serves; `ended` is done when nothing of it runs any more."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.process: SimulatedProcess = ground.loop.process(name)
        self.store = SimulatedStore(ground.bucket)
        self.log = SimulatedLog(ground.disk)
        self.broker: Broker | None = None
        self.stop_asked: asyncio.Future[None] = ground.loop.create_future()
        self.ended: asyncio.Future[None] = ground.loop.create_future()
        self.error: BaseException | None = None

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if not self.stop_asked.done():
            self.stop_asked.set_result(None)

    def end(self, error: BaseException | None = None) -> None:
        """Note that it has ended, and why if it should not have."""
        self.error = self.error or error
        if not self.ended.done():
            self.ended.set_result(None)


class Machine:
    """One machine with one broker address.

    Args:
        loaded: the broker's settings.
        started: called with each broker that has loaded its state, before it serves.
    """

    def __init__(
        self, ground: Ground, name: str, address: Address, loaded: Loaded, started: Callable[[Broker], None]
    ) -> None:
        self.name = name
        self.address = address
        self.clock_offset_ms = 0
        self.run: BrokerRun | None = None
        self._ground = ground
        self._loaded = loaded
        self._started = started
        self._runs = 0
        self._clock: SeededClock | None = None

    def boot(self) -> BrokerRun:
        """Start the broker; it serves some time later, if it can."""
        if self.run is not None:
            raise SimulationFailure(f"{self.name} runs already")
        self._runs += 1
        name = f"{self.name}.{self._runs}"
        run = self.run = BrokerRun(self._ground, name)
        self._ground.history.note(self.name, BrokerStarted(name))
        task = run.process.run(self._ground.loop.create_task, self._serve(run))
        task.add_done_callback(partial(self._over, run))
        return run

    def kill(self) -> None:
        """Kill the broker, as kill -9 or a loss of power does."""
        run = self.run
        if run is None:
            return
        self.run = None
        self._ground.loop.kill(run.process)
        self._ground.network.server_killed(self.address)
        run.store.crash()
        run.log.crash()
        run.end()

    async def stop(self, patience_s: float) -> None:
        """Stop the broker; kill it when it has not stopped after `patience_s`."""
        run = self.run
        if run is None:
            return
        run.ask_to_stop()
        await asyncio.wait((run.ended,), timeout=patience_s)
        if self.run is run:
            self.kill()

    async def until_serving(self) -> Broker:
        """Return the broker as soon as there is one that serves, starting it again where it could not start."""
        while True:
            if self.run is None:
                await asyncio.sleep(RESTART_SECONDS)
                if self.run is None:
                    self.boot()
            elif self.run.broker is not None:
                return self.run.broker
            else:
                await asyncio.wait((self.run.ended,), timeout=RESTART_SECONDS)

    def jump_clock(self, offset_ms: int) -> None:
        """Set the machine's wall clock to be wrong by `offset_ms`."""
        self.clock_offset_ms = offset_ms
        if self._clock is not None:
            self._clock.offset_ms = offset_ms

    async def _serve(self, run: BrokerRun) -> None:
        loop = self._ground.loop
        floor = self._ground.disk.storage.floor
        self._clock = SeededClock(loop.random.getrandbits(64), loop.time)
        self._clock.offset_ms = self.clock_offset_ms
        try:
            broker = await Broker.start(
                Foundations(
                    loaded=self._loaded,
                    log=run.log,
                    store=run.store,
                    clock=self._clock,
                    checkpoint_builder=InlineBuilder(),
                    cluster_id=CLUSTER_ID,
                )
            )
        except StorageUnavailable as error:
            _log.info("%s cannot start now: %s", run.process.name, error)
            return
        except (StartRefused, Bug):
            # A broker does not yet start again when another one's checkpoints overtake it while it loads the state.
            if self._ground.disk.storage.floor == floor:
                raise
            return
        self._started(broker)
        broker.services.node.advertise({LISTENER: self.address})
        self._ground.network.listen(self.address, lambda: Connection(broker.server, LISTENER))
        run.broker = broker
        await asyncio.wait((run.stop_asked, broker.failed), return_when=asyncio.FIRST_COMPLETED)
        run.broker = None
        self._ground.network.stop_listening(self.address)
        if broker.failed.done():
            raise SimulationFailure(f"{run.process.name} gave up: {broker.failed.result()!r}")
        await broker.stop()

    def _over(self, run: BrokerRun, task: "asyncio.Task[None]") -> None:
        if self.run is not run:
            return
        # The process exits: what it left running ends with it.
        self.kill()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            failure = {"message": f"{run.process.name} died", "exception": error}
            self._ground.loop.call_exception_handler(failure)
