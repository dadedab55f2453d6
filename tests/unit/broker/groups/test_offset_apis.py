"""OffsetCommit and OffsetFetch handlers, in every version, through the codec."""

from typing import Any

import pytest
from kafka.protocol.consumer import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)

from kafscale.broker.apis import offsets as apis
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.wire import call
from tests.unit.broker.groups.world import GROUP, TOPIC, TOPIC_ID, FakeTopic, World
from tests.unit.broker.ticking import turns_during

CommitTopic = OffsetCommitRequest.OffsetCommitRequestTopic
CommitPartition = CommitTopic.OffsetCommitRequestPartition
FetchTopic = OffsetFetchRequest.OffsetFetchRequestTopic
FetchGroup = OffsetFetchRequest.OffsetFetchRequestGroup
FetchGroupTopic = FetchGroup.OffsetFetchRequestTopics

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def commit_request(
    *places: tuple[str, int, str | None], generation: int = -1, member_id: str = "", **fields: Any
) -> OffsetCommitRequest:
    """Return a commit of offset 40 + partition, with metadata, for each place."""
    topics = [
        CommitTopic(
            name=name,
            partitions=[
                CommitPartition(partition_index=partition, committed_offset=40 + partition, committed_metadata=metadata)
            ],
        )
        for name, partition, metadata in places or [(TOPIC, 0, "text")]
    ]
    return OffsetCommitRequest(
        group_id=GROUP, generation_id_or_member_epoch=generation, member_id=member_id, topics=topics, **fields
    )


async def commit(world: World, request: OffsetCommitRequest, version: int = 9) -> list[int]:
    """Return the partitions' errors in the order of the request."""
    answer = await call(world, apis.offset_commit, request, version, OffsetCommitResponse)
    assert [one.name for one in answer.topics] == [one.name for one in request.topics]
    return [partition.error_code for topic in answer.topics for partition in topic.partitions]


async def fetch(world: World, version: int, topics: list[tuple[str, list[int]]] | None) -> list[tuple[object, ...]]:
    """Return (topic, partition, offset, metadata, error) of each partition answered."""
    if version >= 8:
        wanted = None if topics is None else [FetchGroupTopic(name=n, partition_indexes=p) for n, p in topics]
        request = OffsetFetchRequest(groups=[FetchGroup(group_id=GROUP, topics=wanted)])
        answer = (await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)).groups[0]
        assert answer.group_id == GROUP
    else:
        old = None if topics is None else [FetchTopic(name=n, partition_indexes=p) for n, p in topics]
        request = OffsetFetchRequest(group_id=GROUP, topics=old)
        answer = await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)
    assert version < 2 or answer.error_code == 0
    return [
        (topic.name, one.partition_index, one.committed_offset, one.metadata, one.error_code)
        for topic in answer.topics
        for one in topic.partitions
    ]


@pytest.mark.parametrize("version", range(2, 10))
@on_virtual_time
async def test_committing_in_every_version(version: int) -> None:
    world = World()
    (member,) = await world.stable()
    request = commit_request(generation=1, member_id=member.member_id)
    assert await commit(world, request, version) == [0]
    committed = world.stored.offsets[(TOPIC_ID, 0)]
    assert (committed.offset, committed.leader_epoch, committed.metadata) == (40, -1, "text")
    assert committed.expire_ms == -1


@pytest.mark.parametrize("version", range(6, 10))
@on_virtual_time
async def test_leader_epochs_are_kept(version: int) -> None:
    world = World()
    request = commit_request()
    request.topics[0].partitions[0].committed_leader_epoch = 5
    await commit(world, request, version)
    assert world.stored.offsets[(TOPIC_ID, 0)].leader_epoch == 5
    fetched = OffsetFetchRequest(group_id=GROUP, topics=None)
    answer = await call(world, apis.offset_fetch, fetched, 5, OffsetFetchResponse)
    assert answer.topics[0].partitions[0].committed_leader_epoch == 5


@pytest.mark.parametrize("version", range(2, 5))
@on_virtual_time
async def test_an_explicit_retention_becomes_an_expiry(version: int) -> None:
    world = World()
    await commit(world, commit_request(retention_time_ms=60_000), version)
    assert world.stored.offsets[(TOPIC_ID, 0)].expire_ms == world.clock.wall_ms() + 60_000
    await commit(world, commit_request(retention_time_ms=2**63 - 1), version)
    assert world.stored.offsets[(TOPIC_ID, 0)].expire_ms == 2**63 - 1


@on_virtual_time
async def test_what_does_not_exist_or_is_too_long_fails_alone() -> None:
    world = World(offset_metadata_max_bytes=4)
    places = [(TOPIC, 0, "text"), (TOPIC, 9, ""), ("other", 0, ""), (TOPIC, 1, "texts"), (TOPIC, 2, None)]
    # Two UTF-16 units each, as Java counts.
    places.append((TOPIC, 3, "\U0001f600\U0001f600!"))
    too_large = ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert await commit(world, commit_request(*places)) == [0, UNKNOWN, UNKNOWN, too_large, 0, too_large]
    assert sorted(world.stored.offsets) == [(TOPIC_ID, 0), (TOPIC_ID, 2)]


@on_virtual_time
async def test_an_error_of_the_group_is_that_of_every_partition_there_is() -> None:
    world = World(offset_metadata_max_bytes=4)
    await world.stable()
    request = commit_request((TOPIC, 0, ""), ("other", 0, ""), (TOPIC, 1, "texts"), generation=1, member_id="nobody")
    member = ErrorCode.UNKNOWN_MEMBER_ID
    assert await commit(world, request) == [member, UNKNOWN, member]


@on_virtual_time
async def test_when_nothing_exists_the_group_is_not_asked() -> None:
    world = World()
    assert await commit(world, commit_request(("other", 0, ""), generation=3, member_id="nobody")) == [UNKNOWN]
    assert world.replica.barriers == 1
    world.replica.fault = StorageUnavailable("down")
    assert await commit(world, commit_request(("other", 0, ""))) == [UNKNOWN]


@on_virtual_time
async def test_committing_too_long_metadata_only_is_still_judged() -> None:
    world = World(offset_metadata_max_bytes=4)
    assert await commit(world, commit_request((TOPIC, 0, "texts"))) == [ErrorCode.OFFSET_METADATA_TOO_LARGE]
    assert not world.appender.applied


@pytest.mark.parametrize("version", range(2, 10))
@on_virtual_time
async def test_a_generation_of_an_unknown_group(version: int) -> None:
    request = commit_request(generation=3, member_id="m")
    expected = ErrorCode.GROUP_ID_NOT_FOUND if version >= 9 else ErrorCode.ILLEGAL_GENERATION
    assert await commit(World(), request, version) == [expected]


@pytest.mark.parametrize("version", range(1, 10))
@on_virtual_time
async def test_fetching_named_partitions_in_every_version(version: int) -> None:
    world = World()
    await commit(world, commit_request((TOPIC, 1, "text")))
    assert await fetch(world, version, [(TOPIC, [0, 1]), ("other", [0])]) == [
        (TOPIC, 0, -1, "", 0),
        (TOPIC, 1, 41, "text", 0),
        ("other", 0, -1, "", 0),
    ]
    assert world.replica.barriers == 1


@pytest.mark.parametrize("version", range(2, 10))
@on_virtual_time
async def test_fetching_everything_in_every_version_that_can(version: int) -> None:
    world = World()
    world.replica.state.topics[b"O" * 16] = FakeTopic(topic_id=b"O" * 16, name="other")
    await commit(world, commit_request((TOPIC, 1, "text"), ("other", 0, "")))
    assert await fetch(world, version, None) == [(TOPIC, 1, 41, "text", 0), ("other", 0, 40, "", 0)]
    del world.replica.state.topics[b"O" * 16]
    assert await fetch(world, version, None) == [(TOPIC, 1, 41, "text", 0)]


@pytest.mark.parametrize("version", range(1, 10))
@on_virtual_time
async def test_fetching_of_an_unknown_group(version: int) -> None:
    assert await fetch(World(), version, [(TOPIC, [0])]) == [(TOPIC, 0, -1, "", 0)]
    if version >= 2:
        assert await fetch(World(), version, None) == []


@on_virtual_time
async def test_a_topic_created_again_under_the_name_has_no_offsets() -> None:
    world = World()
    await commit(world, commit_request())
    world.replica.state.topics.clear()
    world.replica.state.topics[b"N" * 16] = FakeTopic(topic_id=b"N" * 16)
    assert await fetch(world, 9, [(TOPIC, [0])]) == [(TOPIC, 0, -1, "", 0)]


@on_virtual_time
async def test_fetching_of_several_groups() -> None:
    world = World()
    await commit(world, commit_request())
    groups = [FetchGroup(group_id=one, topics=None, member_id="m", member_epoch=3) for one in (GROUP, "other", "")]
    request = OffsetFetchRequest(groups=groups, require_stable=True)
    answer = await call(world, apis.offset_fetch, request, 9, OffsetFetchResponse)
    assert [(one.group_id, one.error_code, len(one.topics)) for one in answer.groups] == [
        (GROUP, 0, 1),
        ("other", 0, 0),
        ("", 0, 0),
    ]
    assert world.replica.barriers == 1


@pytest.mark.parametrize("version", range(1, 10))
@on_virtual_time
async def test_without_a_barrier_nothing_is_said_about_offsets(version: int) -> None:
    world = World()
    world.replica.fault = StorageUnavailable("down")
    wanted = [FetchTopic(name=TOPIC, partition_indexes=[0])]
    fields: dict[str, Any] = (
        {"groups": [FetchGroup(group_id=GROUP, topics=None)]} if version >= 8 else {"topics": wanted}
    )
    request = OffsetFetchRequest(group_id=GROUP, **fields)
    answer = await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)
    if version == 1:
        assert [one.error_code for one in answer.topics[0].partitions] == [ErrorCode.NOT_COORDINATOR]
        assert answer.topics[0].partitions[0].committed_offset == -1
    else:
        one = answer.groups[0] if version >= 8 else answer
        assert (one.error_code, one.topics) == (ErrorCode.NOT_COORDINATOR, [])


def _answered(topics: Any) -> list[tuple[object, ...]]:
    return [(topic.name, one.partition_index, one.committed_offset) for topic in topics for one in topic.partitions]


@pytest.mark.parametrize("version", [7, 8, 9])
@on_virtual_time
async def test_what_is_asked_for_twice_is_answered_once(version: int) -> None:
    """A group repeated 5,000 times, each time for all its offsets, was a reply of gigabytes."""
    world = World()
    await commit(world, commit_request((TOPIC, 0, "text"), (TOPIC, 1, "text")))
    if version < 8:
        twice = [FetchTopic(name=TOPIC, partition_indexes=[1, 0, 1]), FetchTopic(name=TOPIC, partition_indexes=[0])]
        request = OffsetFetchRequest(group_id=GROUP, topics=twice)
        answer = await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)
        assert _answered(answer.topics) == [(TOPIC, 1, 41), (TOPIC, 0, 40)]
        return
    some = FetchGroup(group_id=GROUP, topics=[FetchGroupTopic(name=TOPIC, partition_indexes=[1, 1])] * 2)
    everything = FetchGroup(group_id="other", topics=None)
    request = OffsetFetchRequest(groups=[some, everything, some, everything])
    groups = (await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)).groups
    assert [(group.group_id, _answered(group.topics)) for group in groups] == [(GROUP, [(TOPIC, 1, 41)]), ("other", [])]
    request = OffsetFetchRequest(groups=[some, FetchGroup(group_id=GROUP, topics=None)])
    (group,) = (await call(world, apis.offset_fetch, request, version, OffsetFetchResponse)).groups
    assert _answered(group.topics) == [(TOPIC, 0, 40), (TOPIC, 1, 41)]


@on_virtual_time
async def test_many_offsets_are_looked_up_in_turns() -> None:
    world = World()
    await commit(world, commit_request(*((TOPIC, partition, "") for partition in range(4))))
    (offset,) = [one for key, one in world.stored.offsets.items() if key[1] == 0]
    world.stored.offsets.update(dict.fromkeys(((TOPIC_ID, partition) for partition in range(3000)), offset))
    (fetched, turns) = await turns_during(fetch(world, 8, None))
    assert (len(fetched), turns >= 5) == (3000, True)
