"""Incremental fetch sessions (KIP-227): the cache by itself, and sessions as a client has them."""

import asyncio

import pytest

from kafscale.broker import fetch_sessions
from kafscale.broker.fetch_sessions import (
    EPOCH_MAX,
    EVICTION_SECONDS,
    FetchKey,
    FetchPartition,
    FetchSession,
    FetchSessionCache,
)
from kafscale.clock import SeededClock
from kafscale.metadata.entries import AdvanceLogStart, LogStart
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.asking import BY_ID, BY_NAME, Ask, Fetched, fetch
from tests.unit.broker.world import TOPIC_ID, BrokerWorld, running_broker
from tests.unit.storage.world import batch

ONE = FetchKey("one", b"", 0)


def cache(slots: int) -> FetchSessionCache:
    return FetchSessionCache(slots, SeededClock(1, lambda: 0.0))


def partitions() -> dict[FetchKey, FetchPartition]:
    return {ONE: FetchPartition(0, 100, -1)}


# The cache


def test_slots_are_limited_and_given_away_after_a_while() -> None:
    sessions = cache(2)
    first, second = (sessions.create(False, partitions(), now) for now in (0.0, 1.0))
    assert first is not None
    assert second is not None
    assert sessions.create(False, partitions(), EVICTION_SECONDS - 0.1) is None
    sessions.touch(first, 50.0)
    third = sessions.create(False, partitions(), 1.0 + EVICTION_SECONDS)
    assert third is not None
    assert sessions.get(second.session_id) is None, "the one unused for longest"
    assert sessions.get(first.session_id) is first
    sessions.remove(first.session_id)
    assert sessions.create(False, partitions(), 200.0) is not None


def test_no_session_without_slots_or_partitions() -> None:
    assert cache(0).create(False, partitions(), 1e9) is None
    assert cache(5).create(False, {}, 0.0) is None


def many(count: int) -> dict[FetchKey, FetchPartition]:
    return {FetchKey("many", b"", index): FetchPartition(0, 100, -1) for index in range(count)}


def test_partitions_of_all_sessions_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sessions of ten thousand partitions each took gigabytes."""
    monkeypatch.setattr(fetch_sessions, "PARTITIONS_MAX", 10)
    sessions = cache(5)
    assert sessions.create(False, many(11), 0.0) is None
    first, second = (sessions.create(False, many(4), now) for now in (0.0, 1.0))
    assert first is not None
    assert second is not None
    assert sessions.create(False, many(3), 2.0) is None
    assert sessions.update(first, many(7), [FetchKey("many", b"", 0)])
    assert sessions.partition_count == 10
    assert not sessions.update(second, many(5), [])
    assert sessions.get(second.session_id) is None
    assert sessions.partition_count == 6
    third = sessions.create(False, many(9), EVICTION_SECONDS)
    assert third is not None, "old sessions make room"
    assert sessions.get(first.session_id) is None
    sessions.remove(third.session_id)
    assert sessions.partition_count == 0


def test_ids_are_positive_and_never_shared() -> None:
    class Repeating(SeededClock):
        drawn = iter([0, 7, 7, 0, 9])

        def random_bits(self, count: int) -> int:
            assert count == 31
            return next(self.drawn)

    sessions = FetchSessionCache(5, Repeating(1, lambda: 0.0))
    created = [sessions.create(False, partitions(), 0.0) for _ in range(2)]
    assert [session and session.session_id for session in created] == [7, 9]


def test_epochs_wrap_to_1() -> None:
    session = FetchSession(1, False, partitions())
    assert session.epoch == 1
    session.epoch = EPOCH_MAX
    session.advance()
    assert session.epoch == 1


def test_update_keeps_what_was_told() -> None:
    known = partitions()
    known[ONE].told_high_watermark = 5
    session = FetchSession(1, False, known)
    other = FetchKey("one", b"", 1)
    session.update({ONE: FetchPartition(7, 8, 0), other: FetchPartition(0, 1, -1)}, [])
    assert session.partitions[ONE] == FetchPartition(7, 8, 0, told_high_watermark=5)
    session.update({ONE: FetchPartition(9, 8, 0)}, [ONE, FetchKey("one", b"", 9)])
    assert list(session.partitions) == [other], "forgetting comes last"


def test_who_got_data_goes_to_the_end() -> None:
    keys = [FetchKey("t", b"", index) for index in range(4)]
    session = FetchSession(1, False, {key: FetchPartition(0, 1, -1) for key in keys})
    session.move_to_end([keys[0], keys[2], FetchKey("gone", b"", 0)])
    assert list(session.partitions) == [keys[1], keys[3], keys[0], keys[2]]


# As a client has them


class Client:
    """A consumer with a session."""

    def __init__(self, world: BrokerWorld, version: int) -> None:
        self.world = world
        self.version = version
        self.session = (0, 0)

    async def open(self, *indexes: int) -> Fetched:
        fetched = await fetch(self.world, {index: Ask() for index in indexes}, version=self.version, session=(0, 0))
        assert fetched.error == 0
        self.session = (fetched.session_id, 1)
        return fetched

    async def next(
        self, changes: dict[int, Ask] | None = None, *, forgotten: tuple[int, ...] = (), max_bytes: int = 2**30
    ) -> Fetched:
        fetched = await fetch(
            self.world,
            changes or {},
            version=self.version,
            session=self.session,
            forgotten=forgotten,
            max_bytes=max_bytes,
        )
        assert fetched.error == 0
        assert fetched.session_id == self.session[0]
        self.session = (self.session[0], self.session[1] + 1)
        return fetched


VERSIONS = pytest.mark.parametrize("version", [7, BY_NAME, BY_ID, 18])


@VERSIONS
@on_virtual_time
async def test_incremental_replies_hold_only_news(version: int) -> None:
    async with running_broker() as world:
        client = Client(world, version)
        opened = await client.open(0, 1, 2)
        assert opened.session_id > 0
        assert list(opened.partitions) == [0, 1, 2]
        assert (await client.next()).partitions == {}
        await world.append(batch(1))
        fetched = await client.next()
        assert {index: answer.offsets for index, answer in fetched.partitions.items()} == {1: [0]}
        assert list((await client.next()).partitions) == [1], "not consumed yet: it is still data"
        assert (await client.next({1: Ask(1)})).partitions == {}
        await world.services.appender.submit(AdvanceLogStart([LogStart(TOPIC_ID, 1, 1)]))
        assert (await client.next()).partitions[1].log_start == 1
        assert (await client.next()).partitions == {}


@VERSIONS
@on_virtual_time
async def test_a_high_watermark_that_moved_is_news_without_records(version: int) -> None:
    async with running_broker() as world:
        client = Client(world, version)
        await client.open(0, 1)
        await world.append(batch(0, values=[bytes(300)]), batch(1, values=[bytes(300)]))
        fetched = await client.next(max_bytes=1)
        assert [(index, answer.offsets, answer.high_watermark) for index, answer in fetched.partitions.items()] == [
            (0, [0], 1),
            (1, [], 1),
        ]


@VERSIONS
@on_virtual_time
async def test_partitions_are_added_changed_and_forgotten(version: int) -> None:
    async with running_broker() as world:
        await world.append(*(batch(index) for index in range(3)))
        client = Client(world, version)
        assert list((await client.open(0)).partitions) == [0]
        assert list((await client.next({0: Ask(1), 1: Ask()})).partitions) == [1]
        assert list((await client.next({1: Ask(1), 2: Ask()})).partitions) == [2]
        fetched = await client.next({0: Ask()}, forgotten=(2,))
        assert list(fetched.partitions) == [0]


@VERSIONS
@on_virtual_time
async def test_errors_are_told_every_time_until_they_are_gone(version: int) -> None:
    async with running_broker() as world:
        client = Client(world, version)
        await client.open(0)
        for _ in range(2):
            fetched = await client.next({0: Ask(5)})
            assert fetched.partitions[0].error == ErrorCode.OFFSET_OUT_OF_RANGE
        fetched = await client.next({0: Ask(0)})
        assert (fetched.partitions[0].error, fetched.partitions[0].high_watermark) == (0, 0)
        assert (await client.next()).partitions == {}


@on_virtual_time
async def test_nobody_starves_behind_a_partition_that_always_has_data() -> None:
    async with running_broker() as world:
        await world.append(*(batch(index) for index in range(3) for _ in range(9)))
        client = Client(world, BY_ID)
        await client.open(0, 1, 2)
        # With room for one batch, the ones served go to the end each time.
        served = []
        for _ in range(6):
            fetched = await client.next(max_bytes=1)
            served += [index for index, answer in fetched.partitions.items() if answer.offsets]
        assert served == [0, 1, 2, 0, 1, 2]


@VERSIONS
@on_virtual_time
async def test_epochs_and_ids_that_are_wrong(version: int) -> None:
    async with running_broker() as world:
        client = Client(world, version)
        await client.open(0)
        number, _ = client.session
        for session, error in (
            ((number, 2), ErrorCode.INVALID_FETCH_SESSION_EPOCH),
            ((number + 1, 1), ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
            ((0, 1), ErrorCode.FETCH_SESSION_ID_NOT_FOUND),
        ):
            fetched = await fetch(world, {}, version=version, session=session, max_wait_ms=9_000)
            assert (fetched.error, fetched.session_id, fetched.partitions) == (error, 0, {})
            assert fetched.seconds == 0.0
        await client.next()
        again = await fetch(world, {}, version=version, session=(number, 1))
        assert again.error == ErrorCode.INVALID_FETCH_SESSION_EPOCH, "a repeated request"


@on_virtual_time
async def test_a_session_stays_with_names_or_ids() -> None:
    async with running_broker() as world:
        client = Client(world, BY_NAME)
        await client.open(0)
        fetched = await fetch(world, {}, version=BY_ID, session=client.session)
        assert fetched.error == ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR


@on_virtual_time
async def test_a_full_fetch_replaces_the_session_and_the_final_one_closes_it() -> None:
    async with running_broker() as world:
        client = Client(world, BY_ID)
        await client.open(0)
        old = client.session[0]
        replaced = await fetch(world, version=BY_ID, session=(old, 0))
        assert replaced.session_id not in (0, old)
        assert (await fetch(world, {}, version=BY_ID, session=(old, 1))).error == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
        closed = await fetch(world, version=BY_ID, session=(replaced.session_id, -1))
        assert (closed.session_id, closed.error, list(closed.partitions)) == (0, 0, [0])
        gone = await fetch(world, {}, version=BY_ID, session=(replaced.session_id, 1))
        assert gone.error == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


@on_virtual_time
async def test_without_a_slot_a_client_goes_on_with_full_fetches() -> None:
    async with running_broker({"max.incremental.fetch.session.cache.slots": "1"}) as world:
        client = Client(world, BY_ID)
        await client.open(0)
        other = await fetch(world, version=BY_ID, session=(0, 0))
        assert (other.session_id, list(other.partitions)) == (0, [0])
        await asyncio.sleep(EVICTION_SECONDS)
        assert (await fetch(world, version=BY_ID, session=(0, 0))).session_id > 0
        lost = await fetch(world, {}, version=BY_ID, session=client.session)
        assert lost.error == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


@on_virtual_time
async def test_a_session_that_grows_too_large_is_gone_and_the_client_goes_on_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_sessions, "PARTITIONS_MAX", 2)
    async with running_broker() as world:
        client = Client(world, BY_ID)
        await client.open(0, 1)
        grown = await fetch(world, {2: Ask()}, version=BY_ID, session=client.session)
        assert (grown.error, grown.session_id) == (ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0)
        whole = await fetch(world, {index: Ask() for index in range(3)}, version=BY_ID, session=(0, 0))
        assert (whole.error, whole.session_id, list(whole.partitions)) == (0, 0, [0, 1, 2])


@on_virtual_time
async def test_a_session_without_news_waits() -> None:
    async with running_broker() as world:
        client = Client(world, BY_ID)
        await client.open(0)
        waiting = asyncio.create_task(fetch(world, {}, version=BY_ID, session=client.session, max_wait_ms=9_000))
        await asyncio.sleep(2.0)
        await world.append(batch())
        fetched = await waiting
        assert fetched.seconds == 2.0
        assert fetched.partitions[0].offsets == [0]
