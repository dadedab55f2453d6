"""An asyncio event loop on virtual time, whose every choice comes from a seed.

There is no selector, no socket, no thread and no signal. When nothing is ready the clock jumps to the next timer or
arrival. An *arrival* is something from outside the process, such as bytes on a connection or an answer of a disk; the
simulated network and storage schedule arrivals with latencies of their own.

What the seed may decide, and what it must not. Broker code may rely on everything asyncio documents, so callbacks of
`call_soon` stay first in, first out, done callbacks and task wake-ups come in the order in which they were added, and
a timer never runs before its time nor before a timer set for an earlier one. Free, because no event loop promises
anything about them, are:

- when an arrival comes, and the order of arrivals that are there in the same turn of the loop;
- whether an arrival that is there is noticed in this turn or in the next one, so that timers which are due may run
  before it or after it (uvloop and asyncio differ in this);
- the order of timers set for exactly the same time, which asyncio declares undefined;
- by how much the loop wakes up late (a busy machine, a garbage collection), which makes several timers due at once;
- how much time a turn takes.

Hashes of tasks and futures count up from the beginning of the run, so that sets of them (`asyncio.wait`, `TaskGroup`)
are iterated in an order that memory addresses do not decide. Sets of anything else are the broker's duty.

Every callback, and whatever the simulated world adds by `record`, goes into a digest: two runs of one seed that differ
in anything differ in it.
"""

import asyncio
import contextlib
import hashlib
import heapq
import random
import struct
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import AsyncGeneratorType
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

from tests.simulation.process import SimulatedProcess, current_process, process_of

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN_SECONDS_MAX: Final = 20e-6
"""Longest a turn takes by itself: time must pass for code that only yields."""

LATE_WAKE_CHANCE: Final = 0.1
LATE_WAKE_SECONDS_MAX: Final = 2e-3
"""How often, and by how much, the loop oversleeps on a machine that has other things to do."""

STALL_CHANCE: Final = 0.0005
STALL_SECONDS_MAX: Final = 0.3
"""A long pause of the whole machine now and then."""

DEFER_CHANCE: Final = 0.3
"""How often an arrival is noticed one turn later."""

BUSY_TURNS_MAX: Final = 100_000
"""Turns without ever being idle after which the program counts as running away."""

TIMER_TIE_SECONDS: Final = 1e-9
"""Timers set for the same time are spread over this much, so that a draw decides their order."""


class SimulationFailure(Exception):
    """The run failed; the message says why."""


class Deadlock(SimulationFailure):
    """Nothing is ready, no timer is set and nothing will arrive, but the scenario has not ended."""


class Runaway(SimulationFailure):
    """The loop is never idle, or virtual time passed its limit."""


class UncaughtError(SimulationFailure):
    """A task or a callback failed and nobody looked."""


class SimulatedTask(asyncio.Task[T]):
    """A task whose hash is its number."""

    def __init__(self, coro: Coroutine[Any, Any, T], *, loop: "SimulatedLoop", name: object, context: Any) -> None:
        self.number = loop.next_number()
        self.process = current_process() if context is None else process_of(context)
        self.label = f"{self.number} {getattr(coro, '__qualname__', '')}".encode()
        super().__init__(coro, loop=loop, name=str(name or f"task-{self.number}"), context=context)

    def __hash__(self) -> int:
        return self.number


class SimulatedFuture(asyncio.Future[T]):
    """A future whose hash is its number."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self.number = loop.next_number()
        self.process = current_process()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class Arrival:
    """Something that will come from outside. `cancel` keeps it away."""

    __slots__ = ("args", "callback", "cancelled", "context")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.cancelled = False

    def cancel(self) -> None:
        """Keep it away, if it is not there yet."""
        self.cancelled = True


class _World:
    """Stands where asyncio expects a selector: waiting for I/O is where virtual time passes."""

    def __init__(self, wait: Callable[[float | None], list[Arrival]]) -> None:
        self.select = wait


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop.

    Args:
        seed: decides everything that is free.
        time_limit_s: virtual time after which the run has failed.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self, seed: int, time_limit_s: float = 100_000.0) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.time_limit_s = time_limit_s
        self.failures: list[str] = []
        self.turns = 0
        self._now = 0.0
        self._numbers = 0
        self._busy_turns = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._arrivals: list[tuple[float, int, Arrival]] = []
        self._processes: list[SimulatedProcess] = []
        self._buried: list[asyncio.Task[Any]] = []
        self._selector = _World(self._wait)
        self._clock_resolution = 0.0
        self.set_exception_handler(_keep_failure)

    # What the simulated world uses.

    def arrive(
        self,
        delay_s: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Arrival:
        """Call `callback(*args)` when something from outside arrives, `delay_s` from now or a little later."""
        arrival = Arrival(callback, args, context)
        heapq.heappush(self._arrivals, (self._now + delay_s, self.next_number(), arrival))
        return arrival

    def record(self, text: str) -> None:
        """Add `text` to the digest of the run."""
        self._digest.update(text.encode())

    def digest(self) -> str:
        """Return the digest of everything that has happened so far."""
        return self._digest.hexdigest()

    def next_number(self) -> int:
        """Return the next number of this run."""
        self._numbers += 1
        return self._numbers

    def process(self, name: str) -> SimulatedProcess:
        """Return a new process."""
        process = SimulatedProcess(name)
        self._processes.append(process)
        return process

    def kill(self, process: SimulatedProcess) -> None:
        """Kill a process: none of its callbacks runs any more, from the end of the current one on."""
        process.alive = False
        self.record(f"kill {process.name}")
        for handle in [*self._ready, *self._scheduled]:
            if process_of(handle._context) is process:  # type: ignore[attr-defined]
                handle.cancel()
        # Kept alive to the end: a task that is collected closes its coroutine, and that runs its finally blocks.
        self._buried += [task for task in self.running_tasks() if task.process is process]

    def kill_all(self) -> None:
        """Kill every process that still lives."""
        for process in self._processes:
            if process.alive:
                self.kill(process)

    def running_tasks(self) -> list[SimulatedTask[Any]]:
        """Return the tasks that have not ended, oldest first."""
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, SimulatedTask)]
        # A set of all loops' tasks is behind this: tasks of earlier runs have the same hashes.
        return sorted(tasks, key=lambda task: task.number)

    def is_buried(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether a task belongs to a killed process."""
        return task in self._buried

    def bury_generators(self) -> None:
        """Leave alone the asynchronous generators that wait for ever inside killed processes."""
        generators: weakref.WeakSet[AsyncGeneratorType[Any, Any]] = self._asyncgens  # type: ignore[attr-defined]
        for generator in list(generators):
            if generator.ag_running:
                generators.discard(generator)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._admit(handle)
        self._digest.update(_label(callback))
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        spread = self.random.random() * TIMER_TIE_SECONDS
        handle = super().call_at(when + spread, callback, *args, context=context)
        self._admit(handle)
        return handle

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        self._check_closed()  # type: ignore[attr-defined]
        return SimulatedTask(coro, loop=self, name=name, context=context)  # type: ignore[arg-type]

    def create_future(self) -> asyncio.Future[Any]:
        return SimulatedFuture(self)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.current_thread() is not threading.main_thread():
            raise SimulationFailure("call_soon_threadsafe from another thread: simulated code has none")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        raise SimulationFailure(f"run_in_executor({func}): simulated code has no threads")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        raise SimulationFailure("create_server: use the simulated network")

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        raise SimulationFailure("create_connection: use the simulated network")

    def close(self) -> None:
        """Close the loop, and without a sound the coroutines of killed processes and what a failed run has left."""
        with _unraisable_ignored():
            for task in [*self._buried, *self.running_tasks()]:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
            self._buried.clear()
        super().close()

    # Waiting.

    def _process_events(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            self.call_soon(arrival.callback, *arrival.args, context=arrival.context)

    def _wait(self, timeout_s: float | None) -> list[Arrival]:
        self._check_running()
        self._now += self.random.random() * TURN_SECONDS_MAX
        if timeout_s == 0:
            self._busy_turns += 1
        else:
            self._sleep(timeout_s)
        self._digest.update(struct.pack(">d", self._now))
        return self._due_arrivals()

    def _check_running(self) -> None:
        self.turns += 1
        if self.failures:
            raise UncaughtError("\n".join(self.failures))
        if self._busy_turns > BUSY_TURNS_MAX:
            raise Runaway(f"not idle for {self._busy_turns} turns\n{self.describe_tasks()}")
        if self._now > self.time_limit_s:
            raise Runaway(f"virtual time passed {self.time_limit_s} s\n{self.describe_tasks()}")

    def _sleep(self, timeout_s: float | None) -> None:
        wakes = [] if timeout_s is None else [self._now + timeout_s]
        wakes += [self._arrivals[0][0]] if self._arrivals else []
        if not wakes:
            raise Deadlock(f"nothing will ever happen again\n{self.describe_tasks()}")
        if min(wakes) > self._now:
            self._busy_turns = 0
            self._now = min(wakes) + self._oversleep()

    def _oversleep(self) -> float:
        draw = self.random.random()
        if draw < STALL_CHANCE:
            return self.random.random() * STALL_SECONDS_MAX
        return self.random.random() * LATE_WAKE_SECONDS_MAX if draw < LATE_WAKE_CHANCE else 0.0

    def _due_arrivals(self) -> list[Arrival]:
        due: list[Arrival] = []
        deferred: list[tuple[float, int, Arrival]] = []
        while self._arrivals and self._arrivals[0][0] <= self._now:
            when, number, arrival = heapq.heappop(self._arrivals)
            if arrival.cancelled:
                continue
            if self.random.random() < DEFER_CHANCE:
                deferred.append((when, number, arrival))
            else:
                due.append(arrival)
        for entry in deferred:
            heapq.heappush(self._arrivals, entry)
        self.random.shuffle(due)
        return due

    def _write_to_self(self) -> None:
        """Wake the loop from another thread: there is none."""

    def _admit(self, handle: asyncio.Handle) -> None:
        process = process_of(handle._context)  # type: ignore[attr-defined]
        if process is not None and not process.alive:
            handle.cancel()

    def describe_tasks(self) -> str:
        """Return every living task and where it waits, one per line."""
        living = [task for task in self.running_tasks() if task.process is None or task.process.alive]
        return "\n".join(_describe(task) for task in living)


def _label(callback: Callable[..., object]) -> bytes:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, SimulatedTask):
        return owner.label
    return getattr(callback, "__qualname__", type(callback).__name__).encode()


def _process(task: asyncio.Future[Any] | None) -> SimulatedProcess | None:
    return task.process if isinstance(task, SimulatedTask | SimulatedFuture) else None


def _describe(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "?"
    owner = _process(task)
    return f"  {owner.name if owner else 'harness'}: {task.get_name()} {task.get_coro()} at {where}"


def _keep_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Take an error that nobody caught; those of killed processes do not count."""
    process = _process(context.get("task") or context.get("future"))
    if isinstance(loop, SimulatedLoop) and (process is None or process.alive):
        error = context.get("exception")
        loop.failures.append(f"{context['message']}: {error!r}{_traceback(error)}")


def _traceback(error: BaseException | None) -> str:
    return "" if error is None else "\n" + "".join(traceback.format_exception(error))


@contextlib.contextmanager
def _unraisable_ignored() -> Generator[None, None, None]:
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
