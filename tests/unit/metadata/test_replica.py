"""The replica: order of application, barriers, seals, and what happens when applying fails."""

import asyncio
from typing import Any

import pytest

from kafscale.errors import Bug, FatalLogFailure, StorageUnavailable
from kafscale.metadata.entries import SCHEMA_LEVEL, AppendBatches, Entry, encode_entry
from kafscale.metadata.log import LogEntry
from kafscale.metadata.state import cluster
from kafscale.metadata.state.cluster import ClusterState
from kafscale.metadata.state.encoding import state_hash
from kafscale.metadata.state.outcomes import AppendOutcome, Outcome
from tests.support.virtual_loop import on_virtual_time
from tests.unit.metadata.histories import A, Batch, append, create, entry
from tests.unit.metadata.logs import INCARNATION, Node, SteeredLog, turns, write

LARGE = entry(2, append(1, *((A, number, [Batch()]) for number in range(4))))
"""Applied in five steps where a slice is one batch."""


class Recorder:
    """Observer, and a place to note what happened in which order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def appended(self, command: AppendBatches, outcome: AppendOutcome) -> None:
        self.events.append(f"observed {command.object_number}")

    def note(self, event: str) -> Any:
        return lambda *_: self.events.append(event)


@pytest.fixture
def sliced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SLICE_BATCHES", 1)


def four_partitions() -> Entry:
    return entry(1, create(partition_count=4))


def node_of_four() -> Node:
    node = Node(SteeredLog())
    write(node.log, four_partitions())
    return node


class TestBarriers:
    """Linearizable reads."""

    @on_virtual_time
    async def test_whatever_was_acknowledged_before_is_applied_after(self) -> None:
        await barrier_sees_what_was_acknowledged()

    @on_virtual_time
    async def test_those_who_come_while_one_runs_share_the_next(self) -> None:
        node = Node(SteeredLog())
        node.log.holds_barriers = True
        first = asyncio.ensure_future(node.replica.barrier())
        await turns()
        others = [asyncio.ensure_future(node.replica.barrier()) for _ in range(5)]
        await turns()
        assert node.log.barriers == 1
        node.log.release()
        await first
        await turns()
        assert node.log.barriers == 2
        assert not any(one.done() for one in others)
        late = asyncio.ensure_future(node.replica.barrier())
        await turns()
        node.log.release()
        await asyncio.gather(*others)
        assert not late.done()
        await turns()
        node.log.release()
        await late
        assert node.log.barriers == 3

    @on_virtual_time
    async def test_one_after_the_other(self) -> None:
        node = Node(SteeredLog())
        for number in range(1, 20):
            end = write(node.log, entry(number))
            await asyncio.gather(*(node.replica.barrier() for _ in range(3)))
            assert node.replica.position == end
            await node.replica.barrier()

    @on_virtual_time
    async def test_a_failing_one_wedges_nobody(self) -> None:
        node = Node(SteeredLog())
        node.log.holds_barriers = True
        first = asyncio.ensure_future(node.replica.barrier())
        await turns()
        second = asyncio.ensure_future(node.replica.barrier())
        third = asyncio.ensure_future(node.replica.barrier())
        await turns()
        node.log.barrier_faults.append(StorageUnavailable("gone"))
        node.log.release(StorageUnavailable("gone"))
        for failing in (first, second, third):
            with pytest.raises(StorageUnavailable):
                await failing
        node.log.holds_barriers = False
        await node.replica.barrier()

    @pytest.mark.parametrize("fails", [False, True])
    def test_cancelled_callers_wedge_nobody(self, fails: bool) -> None:
        @on_virtual_time
        async def test() -> None:
            node = Node(SteeredLog())
            node.log.holds_barriers = True
            calls = []
            for _ in range(3):
                calls.append(asyncio.ensure_future(node.replica.barrier()))
                await turns()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            node.log.release(StorageUnavailable("gone") if fails else None)
            await turns()
            node.log.release(StorageUnavailable("gone") if fails else None)
            await turns()
            node.log.holds_barriers = False
            await node.replica.barrier()
            assert node.failures == []

        test()

    @on_virtual_time
    async def test_those_who_wait_are_woken_between_slices(self) -> None:
        """One waiting for an entry must not wait for a large one behind it as well."""
        node = Node(SteeredLog())
        waiting = asyncio.ensure_future(node.replica.wait_applied(1))
        await turns()
        lanes = [(A, number, [Batch()] * cluster.SLICE_BATCHES) for number in range(4)]
        large = entry(2, append(1, *lanes))
        node.replica.entries([LogEntry(1, encode_entry(four_partitions())), LogEntry(2, encode_entry(large))])
        await asyncio.sleep(0)
        assert waiting.done()
        assert node.replica.position == 1
        await node.replica.wait_applied(2)


async def barrier_sees_what_was_acknowledged() -> None:
    """I4: after a barrier the state holds every append that was acknowledged when it was asked for, though the feed is
    late. Also a caller that comes while another's barrier, which has read an older end, is under way."""
    node = Node(SteeredLog())
    late: list[LogEntry] = []
    feed = node.log.storage.feeds.pop()
    position = write(node.log, entry(1))
    late += node.log.storage.read(0, position)
    node.log.holds_barriers = True
    first = asyncio.ensure_future(node.replica.barrier())
    await turns()
    end = write(node.log, entry(2))
    late += node.log.storage.read(position, end)
    second = asyncio.ensure_future(node.replica.barrier())
    await turns()

    def seen(call: "asyncio.Future[None]") -> int | None:
        return node.replica.position if call.done() else None

    assert seen(first) is None, "nothing is applied yet"
    node.log.release()
    feed.entries(late[:1])
    await turns()
    assert seen(first) == 1
    assert seen(second) is None, "joined a barrier that had read the end"
    node.log.release()
    await turns()
    assert seen(second) is None, "the second entry is not applied yet"
    feed.entries(late[1:])
    await turns()
    assert seen(second) == end


class TestOrder:
    """Callbacks, observers, waiters."""

    @on_virtual_time
    async def test_own_outcomes_come_before_observers(self) -> None:
        node = node_of_four()
        recorder = Recorder()
        node.replica.observe(recorder)
        node.replica.expect(2, recorder.note("own 2"))
        waiting = asyncio.ensure_future(node.replica.wait_applied(2))
        waiting.add_done_callback(recorder.note("woken"))
        await turns()
        own = entry(2, append(1, (A, 0, [Batch()])), append(2, (A, 0, [Batch()])), incarnation=INCARNATION)
        write(node.log, own)
        assert recorder.events == ["own 2", "observed 1", "observed 2"]
        await waiting
        assert recorder.events[3:] == ["woken"]

    @on_virtual_time
    async def test_entries_of_others_answer_nobody(self) -> None:
        node = node_of_four()
        recorder = Recorder()
        node.replica.expect(2, recorder.note("own"))
        write(node.log, entry(2, incarnation=INCARNATION + 1))
        assert recorder.events == []
        assert node.replica.forget(2)
        assert not node.replica.forget(2)
        write(node.log, entry(2, incarnation=INCARNATION))
        assert recorder.events == []

    @on_virtual_time
    async def test_an_entry_that_stands_in_the_log_twice(self) -> None:
        node = node_of_four()
        recorder = Recorder()
        node.replica.observe(recorder)
        one = entry(2, append(1, (A, 0, [Batch()])))
        node.replica.entries([LogEntry(2, encode_entry(one)), LogEntry(3, encode_entry(one))])
        assert (node.replica.position, node.replica.entries_applied) == (3, 3)
        assert recorder.events == ["observed 1"]
        assert node.failures == []

    @on_virtual_time
    async def test_waiting_for_a_position(self) -> None:
        node = Node(SteeredLog())
        await node.replica.wait_applied(0)
        calls = [asyncio.ensure_future(node.replica.wait_applied(position)) for position in (2, 1, 3)]
        await turns()
        calls[1].cancel()
        write(node.log, entry(1), entry(2))
        await turns()
        assert [call.done() for call in calls] == [True, True, False]
        write(node.log, entry(3))
        await calls[2]
        assert node.replica.bytes_applied == sum(len(encode_entry(entry(number))) for number in (1, 2, 3))

    @pytest.mark.usefixtures("sliced")
    def test_a_position_is_published_when_the_whole_entry_is_applied(self) -> None:
        @on_virtual_time
        async def test() -> None:
            node = node_of_four()
            recorder = Recorder()
            node.replica.observe(recorder)
            write(node.log, LARGE, entry(3, append(2, (A, 0, [Batch()]))))
            seen = [node.replica.position]
            while node.replica.position < 3:
                await asyncio.sleep(0)
                seen.append(node.replica.position)
            assert seen == sorted(seen)
            assert seen.count(1) == 4
            assert recorder.events == ["observed 1", "observed 2"]

        test()


class TestSeals:
    """The hash at a seal is that of the state there, whatever comes behind it."""

    @staticmethod
    def expected(*entries: Entry) -> bytes:
        state = ClusterState()
        for one in entries:
            state.apply(one)
        return state_hash(state)

    @pytest.mark.parametrize("asks_first", [False, True])
    def test_the_hash_between_entries(self, asks_first: bool) -> None:
        @on_virtual_time
        async def test() -> None:
            node = node_of_four()
            write(node.log, entry(2))
            if asks_first:
                asked = asyncio.ensure_future(node.replica.hash_at_seal(2))
                await turns()
            node.replica.sealed(2)
            write(node.log, entry(3))
            if not asks_first:
                asked = asyncio.ensure_future(node.replica.hash_at_seal(2))
            assert await asked == self.expected(four_partitions(), entry(2))

        test()

    @pytest.mark.usefixtures("sliced")
    @pytest.mark.parametrize("asks_first", [False, True])
    def test_the_hash_behind_an_entry_that_is_applied_in_slices(self, asks_first: bool) -> None:
        @on_virtual_time
        async def test() -> None:
            node = node_of_four()
            write(node.log, LARGE)
            assert node.replica.position == 1
            asked = asyncio.ensure_future(node.replica.hash_at_seal(2))
            if asks_first:
                await asyncio.sleep(0)
            assert await node.log.seal() == 2
            write(node.log, entry(3))
            assert await asked == self.expected(four_partitions(), LARGE)
            await node.replica.wait_applied(3)

        test()

    @on_virtual_time
    async def test_a_caller_that_was_cancelled(self) -> None:
        node = node_of_four()
        asked = asyncio.ensure_future(node.replica.hash_at_seal(1))
        await turns()
        asked.cancel()
        await turns()
        await node.log.seal()
        asked = asyncio.ensure_future(node.replica.hash_at_seal(1))
        await turns()
        await node.log.seal()
        assert await asked == self.expected(four_partitions())


class TestFailures:
    """Half an entry must never be followed by another."""

    @staticmethod
    def unknown_level(number: int) -> Entry:
        return Entry(SCHEMA_LEVEL + 1, 0, 1, number, 0, [])

    @on_virtual_time
    async def test_nothing_is_applied_after_an_entry_that_fails(self) -> None:
        node = node_of_four()
        write(node.log, self.unknown_level(2), entry(3), entry(4))
        await turns()
        assert node.replica.position == 1
        assert node.replica.state.appended == {1: 1}
        (failure,) = node.failures
        assert isinstance(failure, Bug)
        assert "upgrade" in str(failure)
        await node.log.seal()
        assert len(node.failures) == 1

    @on_virtual_time
    async def test_an_unknown_command_stops_the_broker(self) -> None:
        node = node_of_four()
        node.replica.entries([LogEntry(2, encode_entry(entry(2)).replace(b"\x90", b"\x91\x91\x7f"))])
        assert len(node.failures) == 1
        assert node.replica.position == 1

    @on_virtual_time
    async def test_a_callback_that_fails(self) -> None:
        node = node_of_four()

        def fail(_: list[Outcome]) -> None:
            raise ValueError("unforeseen")

        node.replica.expect(2, fail)
        write(node.log, entry(2, incarnation=INCARNATION), entry(3))
        await turns()
        assert "unforeseen" in str(node.failures)
        assert len(node.failures) == 1
        assert 1 not in node.replica.state.appended or node.replica.state.appended[1] == 1

    @pytest.mark.usefixtures("sliced")
    def test_between_two_slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @on_virtual_time
        async def test() -> None:
            node = node_of_four()
            write(node.log, LARGE)
            monkeypatch.setattr(node.replica.state.topics[A], "partitions", None)
            await turns()
            assert len(node.failures) == 1
            write(node.log, entry(3))
            await turns()
            assert (node.replica.position, len(node.failures)) == (1, 1)

        test()

    @on_virtual_time
    async def test_those_who_wait_when_applying_fails(self) -> None:
        """A broker that met an entry of a newer release at its start once waited for ever."""
        node = node_of_four()
        calls: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(node.replica.wait_applied(2)),
            asyncio.ensure_future(node.replica.hash_at_seal(2)),
        ]
        await turns()
        write(node.log, self.unknown_level(2))
        calls += [
            asyncio.ensure_future(node.replica.barrier()),
            asyncio.ensure_future(node.replica.hash_at_seal(3)),
        ]
        for call in calls:
            with pytest.raises(Bug, match="upgrade"):
                await call
        await node.replica.wait_applied(1)

    @on_virtual_time
    async def test_a_log_that_cannot_be_followed(self) -> None:
        node = node_of_four()
        waiting = asyncio.ensure_future(node.replica.wait_applied(2))
        await turns()
        node.replica.failed(FatalLogFailure("torn"))
        node.replica.failed(FatalLogFailure("torn again"))
        with pytest.raises(FatalLogFailure, match=r"torn$"):
            await waiting
        assert len(node.failures) == 1
        write(node.log, entry(2))
        assert node.replica.position == 1

    @on_virtual_time
    async def test_other_followers_go_on(self) -> None:
        """One broker's failure once came out of another's append."""
        log = SteeredLog()
        broken, living = Node(log), Node(SteeredLog(log.storage), incarnation=8)
        broken.replica.expect(1, lambda _: 1 // 0)  # type: ignore[arg-type]
        write(log, entry(1, incarnation=INCARNATION))
        assert len(broken.failures) == 1
        assert (living.replica.position, living.failures) == (1, [])
