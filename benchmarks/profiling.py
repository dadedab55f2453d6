"""Where this broker's time goes under load: a sampling profiler beside a running broker, and its top functions.

    python -m benchmarks.profiling [LOAD ...] [--records N] [--top N]

The profiler is py-spy: it reads the broker's stacks from outside, so that nothing has to be built into the broker.
Only threads that hold the interpreter lock are counted, because whether another one works or waits cannot be told for
sure from outside; what runs without the lock (fsync, reading sockets) shows in the processor times above the functions.
Reading another process needs permission (root, or `kernel.yama.ptrace_scope=0`).
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.arena import DEFAULT_CLIENT, LARGE_BATCHES, TAIL_MEGABYTES, Load
from benchmarks.clients import PARTITION_COUNT, RECORD_BYTES, SingleRecords, consume, create_topic, produce
from benchmarks.measure import MEGABYTE, ThreadSeconds, thread_seconds
from benchmarks.servers import Subject, running_broker
from tests.support.server_process import ServerError
from tests.support.toolchain import ToolchainError

SAMPLES_PER_SECOND: Final = 250
DURATION_MAX_S: Final = 300
WRITE_WAIT_S: Final = 30.0

TAIL_READS: Final = 5
SINGLE_TOPIC: Final = "single-records"


class Function(NamedTuple):
    """One function of the profile; shares are of all samples (0 to 1)."""

    name: str
    own: float
    total: float


def _fill(subject: Subject, load: Load, record_count: int) -> None:
    produce(subject.bootstrap, load.topic, record_count, load.properties)


def _prepare_fill(load: Load) -> Callable[[Subject], None]:
    return lambda subject: create_topic(subject.port, load.topic, PARTITION_COUNT)


def _send_single(subject: Subject, record_count: int) -> None:
    with SingleRecords(subject.port, SINGLE_TOPIC) as records:
        for _ in range(record_count):
            records.send()


def _prepare_tail(subject: Subject) -> None:
    create_topic(subject.port, LARGE_BATCHES.topic, PARTITION_COUNT)
    _fill(subject, LARGE_BATCHES, TAIL_MEGABYTES * MEGABYTE // RECORD_BYTES)


def _read_tail(subject: Subject, _record_count: int) -> None:
    for _ in range(TAIL_READS):
        consume(subject.bootstrap, LARGE_BATCHES.topic, TAIL_MEGABYTES * MEGABYTE // RECORD_BYTES)


def _prepare_cold(subject: Subject) -> None:
    create_topic(subject.port, DEFAULT_CLIENT.topic, PARTITION_COUNT)


def _read_cold(subject: Subject, record_count: int) -> None:
    consume(subject.bootstrap, DEFAULT_CLIENT.topic, record_count)


class _Profiled(NamedTuple):
    """A load: what comes before the profiler, what runs under it, and how many records of how it is by default."""

    prepare: Callable[[Subject], None]
    run: Callable[[Subject, int], None]
    record_count: int
    is_cold: bool = False
    """Whether the load's records are produced before, and the broker restarted in between."""


LOADS: Final[dict[str, _Profiled]] = {
    "default-client": _Profiled(
        _prepare_fill(DEFAULT_CLIENT), lambda subject, count: _fill(subject, DEFAULT_CLIENT, count), 150_000
    ),
    "large-batches": _Profiled(
        _prepare_fill(LARGE_BATCHES), lambda subject, count: _fill(subject, LARGE_BATCHES, count), 400_000
    ),
    "single-records": _Profiled(
        lambda subject: create_topic(subject.port, SINGLE_TOPIC, partition_count=1), _send_single, 4_000
    ),
    "consume-tail": _Profiled(_prepare_tail, _read_tail, TAIL_READS),
    "consume-cold": _Profiled(_prepare_cold, _read_cold, 150_000, is_cold=True),
}


def main() -> None:
    """Profile each load on a broker of its own and print its top functions."""
    arguments = _parse_arguments()
    profiler = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if profiler is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    # Leaves through the context managers, so that the broker is stopped.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit("terminated"))
    try:
        for name in arguments.load or LOADS:
            _profile(name, profiler, arguments)
    except (ServerError, ToolchainError) as error:
        sys.exit(str(error))


def _profile(name: str, profiler: str, arguments: argparse.Namespace) -> None:
    load = LOADS[name]
    record_count = arguments.records or load.record_count
    with tempfile.TemporaryDirectory(prefix="kafscale-profile-") as scratch, running_broker(Path(scratch)) as subject:
        load.prepare(subject)
        if load.is_cold:
            _fill(subject, DEFAULT_CLIENT, record_count)
            subject.restart()
        loop_thread = subject.pid
        before = thread_seconds(subject.pid)
        stacks = _sample(profiler, subject, lambda: load.run(subject, record_count), Path(scratch) / "stacks")
        after = thread_seconds(subject.pid)
    functions, samples = functions_of(stacks.splitlines())
    print(f"\n{name}: {samples} samples; {_times(before, after, loop_thread)}\n   own  total")
    for function in functions[: arguments.top]:
        print(f"{function.own:6.1%} {function.total:6.1%}  {function.name}")


def _times(before: dict[int, ThreadSeconds], after: dict[int, ThreadSeconds], loop_thread: int) -> str:
    """Say what the event loop and all other threads have used, in user and in kernel mode."""
    none = ThreadSeconds(0, 0)
    used = {
        thread: ThreadSeconds(now.user - before.get(thread, none).user, now.system - before.get(thread, none).system)
        for thread, now in after.items()
    }
    loop = used.pop(loop_thread)
    user, system = sum(one.user for one in used.values()), sum(one.system for one in used.values())
    return (
        f"event loop {loop.user:.2f} s user, {loop.system:.2f} s system; "
        f"other threads {user:.2f} s user, {system:.2f} s system"
    )


def _sample(profiler: str, subject: Subject, run: Callable[[], None], output: Path) -> str:
    """Return the collapsed stacks (`frame;frame;frame count` per line) of the broker while `run` runs."""
    command = [profiler, "record", "--pid", str(subject.pid), "--gil", "--format", "raw", "--output", str(output)]
    limits = ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(DURATION_MAX_S)]
    process = subprocess.Popen([*command, *limits], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        run()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=WRITE_WAIT_S)
    finally:
        process.kill()
        process.wait()
    if not output.exists():
        raise ToolchainError(f"py-spy wrote no profile:\n{said}")
    return output.read_text()


def functions_of(stacks: Iterable[str]) -> tuple[list[Function], int]:
    """Return the functions in collapsed stacks, the one with most time of its own first, and the number of samples."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in stacks:
        stack, _, text = line.rpartition(" ")
        count = int(text)
        names = [_without_line(frame) for frame in stack.split(";")]
        samples += count
        own[names[-1]] += count
        total.update(dict.fromkeys(names, count))
    functions = [Function(name, own[name] / samples, total[name] / samples) for name in total]
    return sorted(functions, key=lambda function: (-function.own, -function.total)), samples


def _without_line(frame: str) -> str:
    """Return `function (file:12)` without the line, so that a function's lines are one."""
    head, separator, line = frame.rpartition(":")
    return f"{head})" if separator and line.rstrip(")").isdigit() else frame


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("load", nargs="*", choices=LOADS, help=f"what to profile (default: {', '.join(LOADS)})")
    parser.add_argument("--records", type=int, metavar="N", help="records to produce or read")
    parser.add_argument("--top", type=int, default=30, metavar="N", help="functions to print (default: 30)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
