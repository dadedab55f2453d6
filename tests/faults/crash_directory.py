"""One data directory through several kills: real clients, `kill -9` at a seeded moment, restart, judgement.

Everything a run decides is drawn from one seed; what really happens also depends on the machine, so a seed repeats the
plan and not the run. After every kill the broker is started again, the clients go on for a moment, the producers stop,
the group catches up, everything is read, and the checker judges the whole history of the directory so far.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from kafscale.protocol.error_codes import ErrorCode
from tests.faults.crash_clients import (
    Cluster,
    CrashClient,
    CrashMember,
    CrashProducer,
    CrashReader,
    CrashWatcher,
    find_committed,
    now_us,
    write_name,
)
from tests.support.broker import BrokerProcess
from tests.support.checker import check
from tests.support.history import AllRead, BrokerStarted, History, ReadAll, TopicPartition
from tests.support.history_file import HistoryFile, load_history
from tests.support.raw_client import (
    EARLIEST,
    ConnectionClosed,
    RawClient,
    bound,
    create_topic,
    end_offset,
    fetch_request,
    records_of,
)
from tests.support.server_process import ServerError, free_port

PARTITIONS: Final = (*(TopicPartition("busy", partition) for partition in range(3)), TopicPartition("quiet", 0))

CATCH_UP_S: Final = 20.0
"""How long the group may take, after everything was answered, to commit the end of every partition."""

LOOK_S: Final = 0.05
"""Pause between two looks at something that is waited for."""

CHECKPOINT_WAIT_S: Final = 2.5
"""The broker looks once a second whether a checkpoint is due; longer than that, and the kill comes anyway."""

START_KILLS_MAX: Final = 3

ORPHAN_S: Final = 5.0
"""How long a checkpoint process may outlive its broker: it ends with its work, a second at most here."""

LOUD: Final = ("Traceback", " ERROR ", " CRITICAL ")
"""What must not be in a broker's log when all that happened to it was being killed."""


class Moment(StrEnum):
    """When the broker is killed."""

    LOAD = "under load"
    CHECKPOINT = "during a checkpoint"
    START = "during a start"
    SHUTDOWN = "during a shutdown"
    REBALANCE = "during a rebalance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One planned kill. `delay_s` runs from the moment's own beginning; `start_delays_s` are kills of starts."""

    moment: Moment
    load_s: float
    delay_s: float
    start_delays_s: tuple[float, ...]
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything about a directory that a seed decides."""

    seed: str
    settings: dict[str, str]
    members: dict[str, Any]
    static: bool
    kills: tuple[Kill, ...]

    @classmethod
    def draw(cls, seed: str, kills: int) -> "Plan":
        """Return the plan of a seed."""
        dice = random.Random(seed)
        settings = {
            "checkpoint.interval.ms": dice.choice(["1", "1", "30000"]),
            "checkpoint.log.entries": dice.choice(["1", "50"]),
            "cache.tail.bytes": dice.choice(["0", "67108864"]),
            "cache.read.bytes": dice.choice(["0", "67108864"]),
            "flush.bytes": dice.choice(["2000", "8388608"]),
            "flush.puts.max": dice.choice(["1", "4"]),
            "group.initial.rebalance.delay.ms": "0",
            "shutdown.grace.ms": "400",
        }
        members = {"partition.assignment.strategy": dice.choice(["range", "roundrobin", "cooperative-sticky"])}
        drawn = tuple(_draw_kill(dice) for _ in range(kills))
        return cls(seed=seed, settings=settings, members=members, static=dice.random() < 0.5, kills=drawn)


def _draw_kill(dice: random.Random) -> Kill:
    moment = dice.choices(list(Moment), weights=[4, 4, 3, 2, 2])[0]
    starts = dice.randint(1, START_KILLS_MAX) if moment is Moment.START else int(dice.random() < 0.15)
    return Kill(
        moment=moment,
        load_s=dice.uniform(0.1, 1.2),
        delay_s=dice.uniform(0, {Moment.CHECKPOINT: 0.6, Moment.SHUTDOWN: 1.2}.get(moment, 0.4)),
        start_delays_s=tuple(dice.uniform(0, 1.2) for _ in range(starts)),
        after_s=dice.uniform(0.1, 0.6),
    )


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What one run showed. `acknowledged` counts the records of this run alone."""

    number: int
    kill: Kill
    kills: int = 0
    recovery_s: float = 0.0
    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)


class CrashDirectory:
    """One data directory and the clients of its broker. Use as a context manager.

    Args:
        plan: what will happen.
        path: an empty directory for data, log and histories.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self._plan = plan
        self._dice = random.Random(f"{plan.seed} clients")
        histories = path / "histories"
        histories.mkdir(parents=True)
        self._broker = BrokerProcess(path / "data", free_port(), plan.settings)
        self._cluster = Cluster(port=self._broker.port, partitions=PARTITIONS, group="group", histories=histories)
        self._path = histories / "harness.jsonl"
        self._producers = [
            CrashProducer(name, self._cluster, self._dice.getrandbits(32), idempotent=idempotent)
            for name, idempotent in (("exact-1", True), ("exact-2", True), ("repeating", False))
        ]
        static = {name: {"group.instance.id": name} if plan.static else {} for name in ("member-1", "member-2")}
        self._members = {name: self._member(name, settings) for name, settings in static.items()}
        self._readers: list[CrashClient] = [
            CrashReader("reader", self._cluster, self._dice.getrandbits(32)),
            CrashWatcher("watcher", self._cluster, self._dice.getrandbits(32)),
        ]
        self._past: list[CrashClient] = []
        self._members_made = len(self._members)
        self._log_seen = 0
        self._harness_problems: list[str] = []

    def _member(self, name: str, settings: dict[str, str]) -> CrashMember:
        return CrashMember(name, self._cluster, self._dice.getrandbits(32), {**self._plan.members, **settings})

    def _clients(self) -> list[CrashClient]:
        return [*self._producers, *self._readers, *self._members.values()]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            self._file = stack.enter_context(HistoryFile(self._path))
            self._history = History(now_us, self._file)
            self._start_broker()
            self._create_topics()
            for client in self._clients():
                client.start()
            if not _eventually(self._group_is_whole, CATCH_UP_S):
                raise ServerError(f"the group did not form: {self._ownership()}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        # Clients first where there is a broker to say good-bye to; a dead one would only make them wait.
        for client in self._clients():
            client.stop()
        self._broker.kill()

    # Runs

    def run(self, number: int) -> Verdict:
        """Kill, restart, and judge what all clients of this directory have seen so far."""
        verdict = Verdict(number=number, kill=self._plan.kills[number])
        try:
            self._run(verdict)
        except (ServerError, ConnectionClosed, OSError, AssertionError) as error:
            verdict.problems.append(f"{type(error).__name__}: {error}")
        return verdict

    def _run(self, verdict: Verdict) -> None:
        kill = verdict.kill
        before = self._acknowledged()
        rebalances = self._rebalances()
        time.sleep(kill.load_s)
        self._kill_broker(kill, verdict)
        self._restart(kill, verdict)
        time.sleep(kill.after_s)
        self._settle(verdict)
        if kill.moment is not Moment.REBALANCE and self._rebalances() != rebalances:
            verdict.problems.append(f"needless rebalance: {rebalances} before, {self._rebalances()} after")
        verdict.acknowledged = self._acknowledged() - before
        self._judge(verdict)

    def finish(self) -> list[str]:
        """Stop the clients, then the broker as a user would; return what was wrong with that."""
        problems: list[str] = []
        for client in self._clients():
            client.stop()
            problems += client.problems
        if self._broker.is_running:
            code = self._broker.terminate()
            problems += [f"exit code {code} after SIGTERM"] if code else []
        return problems + self._loud_lines()

    def _kill_broker(self, kill: Kill, verdict: Verdict) -> None:
        match kill.moment:
            case Moment.CHECKPOINT:
                self._await_checkpoint()
            case Moment.SHUTDOWN:
                os.kill(self._broker.pid, signal.SIGTERM)
            case Moment.REBALANCE:
                self._change_membership()
            case Moment.LOAD | Moment.START:
                pass
        time.sleep(kill.delay_s)
        if not self._broker.is_running and kill.moment is not Moment.SHUTDOWN:
            verdict.problems.append("the broker had ended by itself")
        orphans = self._checkpoint_processes() if self._broker.is_running else []
        self._broker.kill()
        verdict.kills += 1
        if not _eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), ORPHAN_S):
            verdict.problems.append(f"checkpoint process {orphans} outlives its broker")

    def _checkpoint_processes(self) -> list[str]:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._broker.pid}/task/{self._broker.pid}/children").read_text().split()
        return []

    def _await_checkpoint(self) -> None:
        _eventually(lambda: bool(self._checkpoint_processes()), CHECKPOINT_WAIT_S, pause_s=0.005)

    def _change_membership(self) -> None:
        """Let a third member come, or go if it is there. It is never a static one, which would go without a word."""
        if len(self._members) > 2:
            name, member = self._members.popitem()
            self._past.append(member)
            threading.Thread(target=member.stop, name=f"{name} leaves", daemon=True).start()
            return
        self._members_made += 1
        name = f"member-{self._members_made}"
        self._members[name] = self._member(name, {})
        self._members[name].start()

    def _restart(self, kill: Kill, verdict: Verdict) -> None:
        for delay_s in kill.start_delays_s:
            self._killed_start(delay_s)
            verdict.kills += 1
        began = time.monotonic()
        self._start_broker()
        verdict.recovery_s = time.monotonic() - began

    def _start_broker(self) -> None:
        self._history.note("harness", BrokerStarted("broker"))
        self._broker.start()

    def _killed_start(self, delay_s: float) -> None:
        timer = threading.Timer(delay_s, self._broker.kill)
        self._history.note("harness", BrokerStarted("broker"))
        timer.start()
        try:
            self._broker.start()
        except ServerError as error:
            if "ended with exit code -9" not in str(error):
                raise
        timer.join()
        self._broker.kill()

    def _settle(self, verdict: Verdict) -> None:
        """Let everything come to rest: producers first, so that the group has an end to reach."""
        for producer in self._producers:
            producer.pause()
        if not all(producer.wait_settled() for producer in self._producers):
            verdict.problems.append("a producer did not settle")
        if not _eventually(self._group_is_whole, CATCH_UP_S):
            verdict.problems.append(f"the group is not whole: {self._ownership()}")
        if not _eventually(self._group_is_at_the_end, CATCH_UP_S):
            verdict.problems.append("the group did not commit the end of every partition")
        others = [client for client in self._clients() if client not in self._producers]
        for client in others:
            client.pause()
        verdict.problems += [f"{client.name} did not settle" for client in others if not client.wait_settled()]

    # Judging

    def _judge(self, verdict: Verdict) -> None:
        with RawClient(self._broker.port) as client:
            for at in PARTITIONS:
                self._read_all(client, at)
            find_committed(client, self._cluster, self._history, "harness", verdict.problems)
        self._file.flush()
        for member in self._past:
            member.stop()
        everyone = [*self._clients(), *self._past]
        paths = [self._path, *(each.history_path for each in everyone)]
        verdict.problems += [str(complaint) for complaint in check(load_history(paths))]
        for each in everyone:
            verdict.problems += each.problems
        verdict.problems += self._harness_problems + self._loud_lines()
        for each in self._clients():
            each.resume()

    def _read_all(self, client: RawClient, at: TopicPartition) -> None:
        operation = self._history.invoke("harness", ReadAll(at))
        start, end = bound(client, *at, EARLIEST), end_offset(client, *at)
        read = AllRead([], [], start, end)
        position = start
        while position < end:
            fetched = client.call(fetch_request(at.topic, {at.partition: position}), 11).responses[0].partitions[0]
            records = list(records_of(fetched.records, position))
            if fetched.error_code or not records:
                raise ServerError(f"{at}@{position} cannot be read: {ErrorCode(fetched.error_code).name}")
            read.offsets.extend(offset for offset, _ in records)
            read.values.extend(write_name(value) for _, value in records)
            position = read.offsets[-1] + 1
        self._history.ok(operation, read)

    def _group_is_whole(self) -> bool:
        owned = self._ownership()
        return all(owned.values()) and sorted(at for each in owned.values() for at in each) == sorted(PARTITIONS)

    def _ownership(self) -> dict[str, frozenset[TopicPartition]]:
        return {name: member.owned for name, member in self._members.items()}

    def _group_is_at_the_end(self) -> bool:
        with RawClient(self._broker.port) as client:
            ends = {at: end_offset(client, *at) for at in PARTITIONS}
            found = find_committed(client, self._cluster, self._history, "harness", self._harness_problems)
        return all(found.get(at, -1) == end or end == 0 for at, end in ends.items())

    def _acknowledged(self) -> int:
        return sum(producer.acknowledged for producer in self._producers)

    def _rebalances(self) -> dict[str, int]:
        return {name: member.rebalances for name, member in self._members.items()}

    def _loud_lines(self) -> list[str]:
        with self._broker.log_path.open("rb") as log:
            log.seek(self._log_seen)
            text = log.read()
        self._log_seen += len(text)
        lines = text.decode(errors="replace").splitlines()
        return [f"broker log: {line}" for line in lines if any(word in line for word in LOUD)]

    def _create_topics(self) -> None:
        with RawClient(self._broker.port) as client:
            for name, partitions in self._cluster.topics().items():
                create_topic(client, name, len(partitions))


def _eventually(condition: Callable[[], bool], limit_s: float, *, pause_s: float = LOOK_S) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def runs_of(plan: Plan, path: Path) -> Iterator[Verdict]:
    """Yield the verdict of each run of a plan; the last one also answers for the stop at the end.

    Stops after the first run that found something: what follows it would only repeat it.
    """
    with CrashDirectory(plan, path) as directory:
        for number in range(len(plan.kills)):
            verdict = directory.run(number)
            if number == len(plan.kills) - 1 and not verdict.problems:
                verdict.problems += directory.finish()
            yield verdict
            if verdict.problems:
                return
