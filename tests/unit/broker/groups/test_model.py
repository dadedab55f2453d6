"""Random histories of two coordinators, one log and a few clients.

Checked in every step by `cluster`: generations never go back, one owner per partition and generation, an assignment is
in the log before it is handed out, and the log takes commits of the current generation's members only (I9). Checked at
the end: nobody is parked for ever, and members that fell silent own nothing. That the checks can fail is shown by
mutants.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.broker.groups.group import ClassicGroup
from kafscale.broker.groups.syncs import Syncs
from kafscale.clock import SeededClock
from kafscale.metadata.entries import CommitOffsets
from kafscale.metadata.state import groups as groups_module
from kafscale.metadata.state.groups import GroupState
from kafscale.metadata.state.outcomes import Verdict
from tests.support.virtual_loop import NothingLeft, VirtualLoop
from tests.unit.broker.groups.cluster import Broker, Client, Log
from tests.unit.broker.groups.world import Settings, steps

SETTINGS = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

FOREVER_SECONDS = 2_000
"""Longer than every timeout of the coordinator one after the other."""

clients = st.integers(0, 3)
# Most requests go to one broker, as they do where everybody agrees who the coordinator is.
brokers = st.sampled_from([0, 0, 0, 0, 0, 1])


class Groups(RuleBasedStateMachine):
    """Clients 0 and 1 are dynamic, 2 and 3 static."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.errors: list[Any] = []
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self.run(self._begin())

    async def _begin(self) -> None:
        self.log = Log()
        clock = SeededClock(1, self.loop.time)
        self.brokers = [Broker(self.log, clock, Settings(group_initial_rebalance_delay_ms=1_000)) for _ in range(2)]
        instances = [None, None, "static-2", "static-3"]
        self.clients = [Client(f"client-{index}", instance) for index, instance in enumerate(instances)]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    def send(self, client: int, request: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        async def sending() -> None:
            one = self.clients[client]
            one.run(lambda: request(one))
            await steps(12)

        self.run(sending())

    @rule(client=clients, broker=brokers, subscription=st.sampled_from([b"a", b"a", b"b"]))
    def join(self, client: int, broker: int, subscription: bytes) -> None:
        self.send(client, lambda one: one.join(self.brokers[broker], subscription))

    @rule(broker=brokers, those=st.sets(clients, min_size=1))
    def rebalance(self, broker: int, those: set[int]) -> None:
        """What a history rarely does by chance: some clients all go through a whole rebalance."""
        for client in sorted(those):
            self.join(client, broker, b"a")
        self.wait(1.1)
        for client in sorted(those):
            self.sync(client, broker)

    @rule(client=clients, broker=brokers)
    def sync(self, client: int, broker: int) -> None:
        self.send(client, lambda one: one.sync(self.brokers[broker]))

    @rule(client=clients, broker=brokers)
    def heartbeat(self, client: int, broker: int) -> None:
        self.send(client, lambda one: one.heartbeat(self.brokers[broker]))

    @rule(client=clients, broker=brokers, which=st.sampled_from([0, 0, 0, 1, 2, 3]))
    def commit(self, client: int, broker: int, which: int) -> None:
        self.send(client, lambda one: one.commit(self.brokers[broker], which))

    @rule(client=clients, broker=brokers)
    def leave(self, client: int, broker: int) -> None:
        self.send(client, lambda one: one.leave(self.brokers[broker]))

    @rule(client=clients)
    def crash(self, client: int) -> None:
        """A client dies with its connection, and starts again as a new process."""

        async def crashing() -> None:
            one = self.clients[client]
            if one.busy is not None and not one.busy.done():
                one.busy.cancel()
                await asyncio.wait((one.busy,))
            one.forget()

        self.run(crashing())

    @rule(seconds=st.sampled_from([0.1, 1.1, 1.1, 4.0, 11.0, 21.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(broker=brokers)
    def restart(self, broker: int) -> None:
        self.run(self.brokers[broker].restart())

    @rule(broker=brokers)
    def catch_up(self, broker: int) -> None:
        self.brokers[broker].catch_up()

    @rule(is_down=st.sampled_from([False, False, True]))
    def storage(self, is_down: bool) -> None:
        self.log.is_down = is_down

    @rule(is_open=st.sampled_from([True, True, False]))
    def gate(self, is_open: bool) -> None:
        async def turning() -> None:
            if is_open:
                self.log.gate.set()
            else:
                self.log.gate.clear()
            await steps(12)

        self.run(turning())

    @invariant()
    def nothing_broke(self) -> None:
        """A coordinator's tasks report to the loop; a client's fail with the check they made."""
        assert not self.errors, self.errors
        for one in self.clients:
            if one.busy is not None and one.busy.done() and not one.busy.cancelled():
                one.busy.result()

    def teardown(self) -> None:
        try:
            self.run(self._end())
            self.nothing_broke()
        finally:
            self.run(self._stop())
            self.loop.close()

    async def _end(self) -> None:
        self.log.is_down = False
        self.log.gate.set()
        waiting = [one.busy for one in self.clients if one.busy is not None]
        if waiting:
            _, parked = await asyncio.wait(waiting, timeout=FOREVER_SECONDS)
            assert not parked, "somebody is parked for ever"
        for broker in self.brokers:
            await broker.restart()
        await asyncio.sleep(FOREVER_SECONDS)
        assert not self.log.expected.members, "dead members own partitions for ever"

    async def _stop(self) -> None:
        for broker in self.brokers:
            await broker.group_coordinator.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)


TestGroups = Groups.TestCase
TestGroups.settings = SETTINGS


# Mutants: the same machine, over code with one rule switched off, must fail.


class Mutant(Groups):
    """Fails at the first found example, without shrinking it."""

    search: ClassVar[settings] = settings(SETTINGS, max_examples=400, phases=list(settings().phases)[:3])


def _ignore_generation(group: GroupState | None, command: CommitOffsets) -> Verdict:
    if command.generation < 0 or group is None:
        return Verdict.ACCEPTED
    return Verdict.ACCEPTED if group.has_member(command.member_id) else Verdict.UNKNOWN_MEMBER


def test_a_log_that_ignores_the_generation_of_commits_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "judge_commit", _ignore_generation)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Mutant, settings=Mutant.search)


def test_an_assignment_that_leaves_before_its_entry_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Syncs._record

    async def hand_out_first(self: Any, group: ClassicGroup, generation: int, assignments: dict[str, bytes]) -> None:
        for member in group.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            group.answer_sync(member.member_id, group.synced(member.member_id))
        await record(self, group, generation, assignments)

    monkeypatch.setattr(Syncs, "_record", hand_out_first)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Mutant, settings=Mutant.search)


def test_a_restart_without_sessions_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupCoordinator, "start", lambda _self: None)
    with pytest.raises(AssertionError, match="own partitions for ever"):
        run_state_machine_as_test(Mutant, settings=Mutant.search)


def test_a_drop_that_answers_nobody_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassicGroup, "answer_all", lambda _self, _error: None)
    with pytest.raises((AssertionError, NothingLeft)):
        run_state_machine_as_test(Mutant, settings=Mutant.search)
