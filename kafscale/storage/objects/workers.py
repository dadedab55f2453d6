"""A small pool of threads for blocking calls: one hop there, one back, and nothing in between.

`loop.run_in_executor` chains a future of the thread's onto one of the loop's, with a lock and a condition for each;
where a call takes 100 microseconds that is a fifth of it.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[object, ...]]


class WorkerPool:
    """Up to `threads_max` threads, started when they are needed. Used from one event loop."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._pending = 0
        self._ended: asyncio.Future[None] | None = None

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what `function` returns in one of the threads. A cancelled call goes on there."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        if self._pending > self._threads < self._threads_max:
            self._threads += 1
            # A daemon: a call that hangs in the kernel must not keep a stopped broker from ending.
            threading.Thread(target=self._work, args=(loop,), name=self._name, daemon=True).start()
        self._jobs.put((future, function, arguments))
        return await future

    async def close(self) -> None:
        """Wait for the calls under way, and end the threads."""
        if not self._threads:
            return
        self._ended = asyncio.get_running_loop().create_future()
        for _ in range(self._threads):
            self._jobs.put(None)
        await self._ended

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, arguments = job
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the call
                self._tell(loop, self._failed, future, error)
            else:
                self._tell(loop, self._returned, future, result)
                del result
            # The loop owns them now; a thread that waits must not keep a segment's bytes alive.
            del job, future, function, arguments
        self._tell(loop, self._thread_ended)

    def _tell(self, loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(callback, *arguments)

    def _returned(self, future: "asyncio.Future[Any]", result: object) -> None:
        self._pending -= 1
        if not future.done():
            future.set_result(result)

    def _failed(self, future: "asyncio.Future[Any]", error: BaseException) -> None:
        self._pending -= 1
        if not future.done():
            future.set_exception(error)

    def _thread_ended(self) -> None:
        self._threads -= 1
        if self._threads == 0 and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
