"""One broker: puts the parts together, starts them in order, stops them in order.

Nothing here knows which log or store it runs on: `kafscale.cli.wiring` opens those, a simulation brings its own.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kafscale.broker.fetch_sessions import FetchSessionCache
from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.broker.growth import Growth
from kafscale.broker.node import Node
from kafscale.broker.producer_ids import ProducerIds
from kafscale.broker.routes import build_router
from kafscale.broker.server import Server
from kafscale.broker.services import Services
from kafscale.broker.topic_limits import TopicLimitsCache
from kafscale.broker.topics import TopicAdmin
from kafscale.clock import Clock
from kafscale.config import BrokerSettings, Loaded
from kafscale.errors import StorageUnavailable
from kafscale.metadata.appender import Appender
from kafscale.metadata.checkpointer import CheckpointBuilder, Checkpointer, CheckpointLimits
from kafscale.metadata.entries import ExpireProducers
from kafscale.metadata.loading import load_state
from kafscale.metadata.log import MetadataLog
from kafscale.metadata.replica import Replica
from kafscale.metadata.state.cluster import ClusterState
from kafscale.storage.budget import MemoryBudget
from kafscale.storage.cache import RunCache
from kafscale.storage.objects.base import ObjectStore
from kafscale.storage.read_path import ReadPath
from kafscale.storage.segments import ObjectCheckpointStore, check_segments
from kafscale.storage.write_path import WritePath

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundations:
    """What a broker stands on."""

    loaded: Loaded
    log: MetadataLog
    store: ObjectStore
    clock: Clock
    checkpoint_builder: CheckpointBuilder
    cluster_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupParts:
    """What the group coordinator is made of (its `GroupServices`)."""

    settings: BrokerSettings
    clock: Clock
    replica: Replica
    appender: Appender


class Broker:
    """A running broker. `failed` is done, with the reason, when it can no longer be trusted and must stop."""

    def __init__(self, foundations: Foundations, services: Services, checkpointer: Checkpointer) -> None:
        self._foundations = foundations
        self.services = services
        self.checkpointer = checkpointer
        self.server = Server(services, build_router())
        self.failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._background: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, foundations: Foundations) -> "Broker":
        """Load the state, check it against the store, and start everything but the listeners.

        Raises `StartRefused` with what is damaged and what to do, `StorageUnavailable` when something cannot be read.
        """
        failures: list[Callable[[Exception], None]] = []

        def fail(error: Exception) -> None:
            for report in failures:
                report(error)

        clock = foundations.clock
        incarnation = clock.random_bits(64)
        checkpoints = ObjectCheckpointStore(foundations.store, clock, incarnation)
        replica, position = await _load(foundations, checkpoints, incarnation, fail)
        await check_segments(foundations.store, replica.state)
        appender = Appender(foundations.log, replica, clock, incarnation, fail)
        services = _build_services(foundations, replica, appender, incarnation, fail)
        replica.observe(services.growth)
        checkpointer = Checkpointer(
            foundations.log,
            replica,
            checkpoints,
            foundations.checkpoint_builder,
            _checkpoint_limits(foundations.loaded.settings),
            position,
            fail,
        )
        broker = cls(foundations, services, checkpointer)
        failures.append(broker.fail)
        services.group_coordinator.start()
        broker._start_background()
        return broker

    async def listen(self) -> dict[str, int]:
        """Bind the listeners and serve; returns the port of each listener name. Raises `ConfigurationError`."""
        settings = self.services.settings
        ports = await self.server.listen(settings.bound_listeners)
        self.services.node.advertise(
            {
                listener.name: (listener.host, listener.port or ports[listener.name])
                for listener in settings.client_listeners
            }
        )
        await self.server.serve()
        return ports

    def fail(self, error: Exception) -> None:
        """Note that the process must stop."""
        if not self.failed.done():
            _log.critical("the broker must stop: %s", error)
            self.failed.set_result(error)

    async def stop(self) -> None:
        """Answer what was asked, make durable what was taken, and release everything."""
        services = self.services
        services.growth.stop()
        await services.group_coordinator.close()
        await self.server.drain(services.settings.shutdown_grace_ms / 1000)
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        if not self.failed.done():
            await services.write_path.close()
            await services.appender.close()
        await services.read_path.close()
        await self._foundations.log.close()
        await self._foundations.store.close()

    def _start_background(self) -> None:
        services = self.services
        self._supervise("write path sweep", services.write_path.run_sweep())
        self._supervise("checkpoints", self.checkpointer.run())
        self._supervise("group expiry", services.group_coordinator.run_expiry())
        self._supervise("producer expiry", _run_producer_expiry(services))
        self._supervise("idle connections", self.server.run_idle_check())

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)

        def ended(done: "asyncio.Task[None]") -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                _log.critical("background work %r died", name, exc_info=error)
                self.fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

        task.add_done_callback(ended)
        self._background.append(task)


async def _load(
    foundations: Foundations,
    checkpoints: ObjectCheckpointStore,
    incarnation: int,
    fail: Callable[[Exception], None],
) -> tuple[Replica, int]:
    """Return the replica, at the log's end, and the position of the checkpoint that it started from."""
    loaded = await load_state(foundations.log, checkpoints)
    replica = Replica(foundations.log, loaded.state, loaded.position, incarnation, fail)
    replica.start()
    await replica.wait_applied(loaded.end)
    return replica, loaded.position


def _build_services(
    foundations: Foundations,
    replica: Replica,
    appender: Appender,
    incarnation: int,
    fail: Callable[[Exception], None],
) -> Services:
    settings = foundations.loaded.settings
    clock = foundations.clock
    tail = RunCache(settings.cache_tail_bytes, keep_used=False)
    recent = RunCache(settings.cache_read_bytes, keep_used=True)
    return Services(
        loaded=foundations.loaded,
        clock=clock,
        node=Node(settings.node_id, foundations.cluster_id),
        replica=replica,
        appender=appender,
        write_path=WritePath(
            foundations.store,
            appender,
            tail,
            clock,
            incarnation,
            flush_bytes=settings.flush_bytes,
            puts_max=settings.flush_puts_max,
            on_failure=fail,
        ),
        read_path=ReadPath(foundations.store, replica.state, tail, recent),
        budget=MemoryBudget(settings.buffer_memory),
        growth=Growth(),
        fetch_sessions=FetchSessionCache(settings.max_incremental_fetch_session_cache_slots, clock),
        topic_limits=TopicLimitsCache(settings),
        topics=TopicAdmin(settings, clock, replica, appender),
        producer_ids=ProducerIds(appender),
        group_coordinator=GroupCoordinator(
            _GroupParts(settings=settings, clock=clock, replica=replica, appender=appender)
        ),
    )


def _checkpoint_limits(settings: BrokerSettings) -> CheckpointLimits:
    return CheckpointLimits(
        interval_seconds=settings.checkpoint_interval_ms / 1000,
        log_bytes=settings.checkpoint_log_bytes,
        log_entries=settings.checkpoint_log_entries,
    )


async def _run_producer_expiry(services: Services) -> None:
    """Forget producers, for ever, that have been silent for `producer.id.expiration.ms`."""
    settings = services.settings
    while True:
        await asyncio.sleep(settings.producer_id_expiration_check_interval_ms / 1000)
        before_ms = services.clock.wall_ms() - settings.producer_id_expiration_ms
        if not _has_expired_producers(services.replica.state, before_ms):
            continue
        try:
            await services.appender.submit(ExpireProducers(before_ms=before_ms))
        except StorageUnavailable as error:
            _log.warning("producers not expired now, trying again later: %s", error)


def _has_expired_producers(state: ClusterState, before_ms: int) -> bool:
    return any(
        partition.has_producers_before(before_ms) for topic in state.topics.values() for partition in topic.partitions
    )
