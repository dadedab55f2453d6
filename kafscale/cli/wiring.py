"""Puts the concrete parts of an embedded broker together and runs it until it is told to stop."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

from kafscale.broker.broker import Broker, Foundations
from kafscale.cli.banner import banner
from kafscale.clock import SystemClock
from kafscale.config import Loaded, local_path
from kafscale.errors import KafScaleError, StartRefused, StorageUnavailable
from kafscale.metadata.checkpointer import ProcessBuilder
from kafscale.metadata.log import MetadataLog
from kafscale.metadata.memory import MemoryLog
from kafscale.metadata.sqlite import SqliteLog
from kafscale.storage.data_directory import DataDirectory, Places
from kafscale.storage.objects.base import ObjectStore
from kafscale.storage.objects.local import LocalObjectStore
from kafscale.storage.objects.memory import MemoryObjectStore

_log = logging.getLogger(__name__)

EXIT_FAILED = 3
"""Exit status after a failure at run time; a refused start is 1, a wrong command line 2."""


def run_broker(loaded: Loaded) -> None:
    """Run a broker in the foreground. Raises `ConfigurationError` and `StartRefused` for the command line to show."""
    logging.basicConfig(
        level=str(loaded.settings.log_level).upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    import uvloop

    settings = loaded.settings
    clock = SystemClock()
    places = Places(log=_file_of(settings.metadata_url), objects=_file_of(settings.storage_url))
    directory = DataDirectory.open(
        Path(str(settings.data_dir)).expanduser(), node_id=settings.node_id, places=places, clock=clock
    )
    try:
        status = uvloop.run(_run(loaded, clock, directory))
    finally:
        directory.close()
    if status:
        raise SystemExit(status)


async def _run(loaded: Loaded, clock: SystemClock, directory: DataDirectory) -> int:
    try:
        broker = await _start(loaded, clock, directory)
    except StorageUnavailable as error:
        raise StartRefused(f"{error}; check the disk and the path, and start again") from error
    try:
        return await _serve(broker, directory)
    finally:
        await broker.stop()


async def _start(loaded: Loaded, clock: SystemClock, directory: DataDirectory) -> Broker:
    store = await _open_store(loaded.settings.storage_url, clock)
    try:
        log = await _open_log(loaded.settings.metadata_url)
    except KafScaleError:
        await store.close()
        raise
    try:
        return await Broker.start(
            Foundations(
                loaded=loaded,
                log=log,
                store=store,
                clock=clock,
                checkpoint_builder=ProcessBuilder(),
                cluster_id=directory.identity.cluster_id,
            )
        )
    except KafScaleError:
        await log.close()
        await store.close()
        raise


def _file_of(url: str) -> Path | None:
    """Return the path that a `file://` or `sqlite://` URL names, None for `memory://`."""
    return None if url.startswith("memory:") else local_path(url)


async def _open_store(url: str, clock: SystemClock) -> ObjectStore:
    path = _file_of(url)
    return MemoryObjectStore(clock) if path is None else await LocalObjectStore.open(path)


async def _open_log(url: str) -> MetadataLog:
    path = _file_of(url)
    return MemoryLog() if path is None else await SqliteLog.open(path)


async def _serve(broker: Broker, directory: DataDirectory) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await broker.listen()
    host, port = next(iter(broker.services.node.addresses.values()))
    banner(f"{host}:{port}", str(directory.path))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((stopped, broker.failed), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if broker.failed.done():
        return EXIT_FAILED
    _log.info("stopping")
    return 0
