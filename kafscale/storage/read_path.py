"""The read path: from a partition and an offset to whole record batches, out of memory where possible.

Plan (runs in the cluster state), caches (tail, then read), then ranged GETs: one per run, each range fetched once for
all who wait, with read-ahead for whoever reads on. What comes from the object store is checked (length, structure,
CRC) before anybody sees it: damaged bytes are an error, never an empty success.
"""

import asyncio
import logging
from collections.abc import Iterator

from kafscale.errors import DataCorrupt, KafScaleError, ObjectMissing, StorageUnavailable
from kafscale.metadata.entries import TopicId
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.partition import Partition, Run
from kafscale.protocol.batches import BatchHeader, check_crcs, iterate_batches
from kafscale.storage.cache import CachedRun, RunCache, RunKey, place_run
from kafscale.storage.format.paths import flush_key
from kafscale.storage.objects.base import ObjectStore

_log = logging.getLogger(__name__)

READ_AHEAD_BYTES = 2 * 1024 * 1024
"""How far beyond a miss runs are fetched in advance: two fetches of the default max.partition.fetch.bytes."""

READ_AHEAD_RUNS = 64
"""And at most this many, so that tiny runs do not become a storm of GETs."""


REPORTED_MAX = 1000
"""Damaged runs remembered as reported: clients ask again and again, and one line in the log is enough for each."""


class PartitionReader:
    """Reads one partition as it is now. Short-lived: made for a request, dropped after it."""

    __slots__ = ("_paths", "_topic_id", "index", "partition")

    def __init__(self, paths: "ReadPath", topic_id: TopicId, index: int, partition: Partition) -> None:
        self._paths = paths
        self._topic_id = topic_id
        self.index = index
        self.partition = partition

    def read_cached(self, offset: int, bytes_max: int) -> list[memoryview] | None:
        """Return batches from `offset` (log start <= offset < high watermark) if they are in memory, else None.

        At least one batch; then as many as fit `bytes_max` and are in memory without a gap.
        """
        out: list[memoryview] = []
        left = bytes_max
        while offset < self.partition.high_watermark and (left > 0 or not out):
            run = self._cached(self.partition.run(self.partition.run_index_at(offset)))
            if run is None:
                break
            data, offset = run.from_offset(offset, left)
            if out and len(data) > left:
                break
            out.append(data)
            left -= len(data)
            if offset < run.end_offset:
                break
        return out or None

    def warm(self, offset: int) -> bool:
        """Begin to fetch the run that holds `offset` unless it is in memory; tells whether it had to."""
        run = self.partition.run(self.partition.run_index_at(offset))
        if self._cached(run) is not None:
            return False
        self._paths.load(self._key(run), run)
        return True

    async def read(self, offset: int, bytes_max: int) -> list[memoryview]:
        """Return batches as `read_cached` does, fetching what is not in memory.

        Raises `StorageUnavailable`, `ObjectMissing` or `DataCorrupt` when the first run cannot be had. Runs are looked
        up before the first await, because their indices move when the log start does. A run released after that may be
        missing: plan again then, after a barrier.
        """
        cached = self.read_cached(offset, bytes_max)
        if cached is not None:
            return cached
        first = self.partition.run_index_at(offset)
        loads = [(run, self._paths.load(self._key(run), run)) for run in self._ahead(first)]
        out: list[memoryview] = []
        left = bytes_max
        for run, load in loads:
            if left <= 0 and out:
                break
            try:
                loaded = await asyncio.shield(load)
            except KafScaleError:
                if not out:
                    raise
                break
            data, offset = loaded.from_offset(max(offset, run.base_offset), left)
            if out and len(data) > left:
                break
            out.append(data)
            left -= len(data)
            if offset < run.end_offset:
                break
        return out

    async def batches_of_run(self, run: Run) -> Iterator[tuple[BatchHeader, memoryview]]:
        """Return the batches of one run, with their offsets in place. Raises as `read` does."""
        cached = self._cached(run)
        if cached is None:
            cached = await asyncio.shield(self._paths.load(self._key(run), run))
        return iterate_batches(cached.data)

    def _ahead(self, first: int) -> list[Run]:
        runs: list[Run] = []
        size = 0
        for index in range(first, min(first + READ_AHEAD_RUNS, self.partition.run_count)):
            run = self.partition.run(index)
            if runs and size + run.length > READ_AHEAD_BYTES:
                break
            runs.append(run)
            size += run.length
        return runs

    def _key(self, run: Run) -> RunKey:
        return RunKey(self._topic_id, self.index, run.base_offset)

    def _cached(self, run: Run) -> CachedRun | None:
        key = self._key(run)
        return self._paths.tail.get(key) or self._paths.recent.get(key)


class ReadPath:
    """Loads runs into the read cache; the shared part of all partition readers."""

    def __init__(self, store: ObjectStore, state: ClusterState, tail: RunCache, recent: RunCache) -> None:
        self.tail = tail
        self.recent = recent
        self._store = store
        self._state = state
        self._loading: dict[RunKey, asyncio.Task[CachedRun]] = {}
        self._reported: set[RunKey] = set()

    def reader(self, topic_id: TopicId, index: int, partition: Partition) -> PartitionReader:
        return PartitionReader(self, topic_id, index, partition)

    def load(self, key: RunKey, run: Run) -> "asyncio.Task[CachedRun]":
        """Return the task that fetches a run, joining one that is under way. Shield it when awaiting."""
        task = self._loading.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(key, run))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._loaded(key, done))
        return task

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _loaded(self, key: RunKey, task: "asyncio.Task[CachedRun]") -> None:
        del self._loading[key]
        # A read-ahead that nobody waits for must not be reported as a lost exception; whoever needs it asks again.
        if not task.cancelled():
            task.exception()

    async def _load(self, key: RunKey, run: Run) -> CachedRun:
        cached = self.tail.get(key) or self.recent.get(key)
        if cached is not None:
            return cached
        name = self._state.objects.names.get(run.object_index)
        if name is None:
            raise ObjectMissing(f"partition {key.partition}: the run at offset {run.base_offset} was deleted meanwhile")
        object_key = flush_key(*name)
        try:
            data = memoryview(await self._store.get_range(object_key, run.position, run.length))
            check_crcs(data)
            loaded = place_run(data, run.base_offset)
        except (DataCorrupt, ObjectMissing) as error:
            self._report(object_key, key, error)
            raise
        except StorageUnavailable as error:
            _log.warning("object %s cannot be read now: %s", object_key, error)
            raise
        if loaded.end_offset != run.end_offset:
            fault = DataCorrupt(f"{object_key} holds other records than the metadata log says")
            self._report(object_key, key, fault)
            raise fault
        self._reported.discard(key)
        self.recent.put(key, loaded)
        return loaded

    def _report(self, object_key: str, key: RunKey, fault: KafScaleError) -> None:
        """Log a damaged run, once."""
        if key in self._reported:
            return
        if len(self._reported) >= REPORTED_MAX:
            self._reported.clear()
        self._reported.add(key)
        _log.error("object %s, partition %d, offset %d: %s", object_key, key.partition, key.base_offset, fault)
