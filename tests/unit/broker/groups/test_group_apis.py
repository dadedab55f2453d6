"""The group API handlers, in every version, through the codec."""

import asyncio
from typing import Any

import pytest
from kafka.protocol.admin import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from kafka.protocol.consumer import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse

from kafscale.broker.apis import groups as apis
from kafscale.errors import StorageUnavailable
from kafscale.protocol.error_codes import ErrorCode
from tests.support.virtual_loop import on_virtual_time
from tests.unit.broker.groups.wire import call
from tests.unit.broker.groups.world import GROUP, World
from tests.unit.broker.ticking import turns_during

Protocol = JoinGroupRequest.JoinGroupRequestProtocol
Assignment = SyncGroupRequest.SyncGroupRequestAssignment
Identity = LeaveGroupRequest.MemberIdentity


def join_request(member_id: str = "", **changes: Any) -> JoinGroupRequest:
    fields: dict[str, Any] = {
        "group_id": GROUP,
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 20_000,
        "member_id": member_id,
        "protocol_type": "consumer",
        "protocols": [Protocol(name="range", metadata=b"topics")],
    }
    return JoinGroupRequest(**fields | changes)


async def join(world: World, version: int, **changes: Any) -> JoinGroupResponse:
    """Join, twice where the version asks for it."""
    answer = await call(world, apis.join_group, join_request(**changes), version, JoinGroupResponse)
    if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
        request = join_request(answer.member_id, **changes)
        answer = await call(world, apis.join_group, request, version, JoinGroupResponse)
    assert isinstance(answer, JoinGroupResponse)
    return answer


# FindCoordinator


@pytest.mark.parametrize("version", range(4))
@pytest.mark.parametrize("key", [GROUP, ""])
@on_virtual_time
async def test_finding_one_coordinator(version: int, key: str) -> None:
    request = FindCoordinatorRequest(key=key, key_type=0)
    found = await call(World(), apis.find_coordinator, request, version, FindCoordinatorResponse)
    assert (found.error_code, found.node_id, found.host, found.port) == (0, 7, "broker.plaintext", 9092)
    assert version == 0 or found.error_message == "NONE"


@pytest.mark.parametrize("version", range(4, 7))
@pytest.mark.parametrize("key_type", [0, 1])
@on_virtual_time
async def test_finding_several_coordinators(version: int, key_type: int) -> None:
    request = FindCoordinatorRequest(key_type=key_type, coordinator_keys=["a", "b"])
    found = await call(World(), apis.find_coordinator, request, version, FindCoordinatorResponse)
    assert [(one.key, one.error_code, one.node_id, one.port) for one in found.coordinators] == [
        ("a", 0, 7, 9092),
        ("b", 0, 7, 9092),
    ]


@pytest.mark.parametrize("version", range(1, 7))
@pytest.mark.parametrize("key_type", [2, 3, -1])
@on_virtual_time
async def test_finding_a_coordinator_of_a_kind_there_is_not(version: int, key_type: int) -> None:
    keys: dict[str, Any] = {"key": "k"} if version < 4 else {"coordinator_keys": ["k"]}
    request = FindCoordinatorRequest(key_type=key_type, **keys)
    found = await call(World(), apis.find_coordinator, request, version, FindCoordinatorResponse)
    one = found if version < 4 else found.coordinators[0]
    assert (one.error_code, one.node_id, one.host, one.port) == (ErrorCode.INVALID_REQUEST, -1, "", -1)


# Membership


@pytest.mark.parametrize("version", range(10))
@on_virtual_time
async def test_joining_in_every_version(version: int) -> None:
    world = World()
    joined = await join(world, version)
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
    assert joined.leader == joined.member_id
    assert [(one.member_id, one.metadata) for one in joined.members] == [(joined.member_id, b"topics")]
    assert version < 7 or joined.protocol_type == "consumer"
    assert version < 9 or joined.skip_assignment is False
    (member,) = world.group_coordinator.describe(GROUP).members  # type: ignore[union-attr]
    assert member.client_host == "/10.0.0.1"


@pytest.mark.parametrize("version", range(10))
@on_virtual_time
async def test_only_from_v4_on_a_new_member_is_sent_back(version: int) -> None:
    answer = await call(World(), apis.join_group, join_request(), version, JoinGroupResponse)
    assert answer.error_code == (ErrorCode.MEMBER_ID_REQUIRED if version >= 4 else ErrorCode.NONE)
    assert answer.member_id.startswith("client-")


@pytest.mark.parametrize("version", range(10))
@on_virtual_time
async def test_a_refused_join_in_every_version(version: int) -> None:
    request = join_request(session_timeout_ms=1)
    answer = await call(World(), apis.join_group, request, version, JoinGroupResponse)
    assert (answer.error_code, answer.generation_id) == (ErrorCode.INVALID_SESSION_TIMEOUT, -1)
    assert answer.protocol_name == (None if version >= 7 else "")


@on_virtual_time
async def test_the_first_version_waits_for_members_as_long_as_a_session() -> None:
    world = World()
    joined = await join(world, 0, rebalance_timeout_ms=-1)
    await asyncio.sleep(9.9)
    assert world.phase() == "CompletingRebalance"
    await asyncio.sleep(0.2)
    assert world.phase() == "Dead"
    assert joined.error_code == 0


@pytest.mark.parametrize("version", range(5, 10))
@on_virtual_time
async def test_a_static_member_in_every_version_that_has_them(version: int) -> None:
    world = World()
    joined = await join(world, version, group_instance_id="i")
    assert joined.members[0].group_instance_id == "i"
    request = SyncGroupRequest(
        group_id=GROUP,
        generation_id=1,
        member_id=joined.member_id,
        group_instance_id="i",
        protocol_type="consumer",
        protocol_name="range",
        assignments=[Assignment(member_id=joined.member_id, assignment=b"mine")],
    )
    synced = await call(world, apis.sync_group, request, 5, SyncGroupResponse)
    assert (synced.error_code, synced.assignment) == (0, b"mine")
    back = await join(world, version, group_instance_id="i")
    assert (back.error_code, back.generation_id) == (0, 1)
    assert back.leader == (back.member_id if version >= 9 else joined.member_id)
    assert (len(back.members), getattr(back, "skip_assignment", False)) == ((1, True) if version >= 9 else (0, False))


@on_virtual_time
async def test_a_client_without_an_id_can_join() -> None:
    answer = await call(World(), apis.join_group, join_request(), 3, JoinGroupResponse, client_id=None)
    assert answer.member_id.startswith("-")
    long = await call(World(), apis.join_group, join_request(), 3, JoinGroupResponse, client_id="c" * 5000)
    assert len(long.member_id) < 300


@pytest.mark.parametrize("version", range(6))
@on_virtual_time
async def test_syncing_in_every_version(version: int) -> None:
    world = World()
    joined = await join(world, 3)
    request = SyncGroupRequest(
        group_id=GROUP,
        generation_id=1,
        member_id=joined.member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[Assignment(member_id=joined.member_id, assignment=b"mine")],
    )
    synced = await call(world, apis.sync_group, request, version, SyncGroupResponse)
    assert (synced.error_code, synced.assignment) == (0, b"mine")
    assert version < 5 or (synced.protocol_type, synced.protocol_name) == ("consumer", "range")


@pytest.mark.parametrize("missing", ["protocol_type", "protocol_name"])
@on_virtual_time
async def test_v5_of_sync_names_the_protocol(missing: str) -> None:
    fields: dict[str, Any] = {"protocol_type": "consumer", "protocol_name": "range"} | {missing: None}
    request = SyncGroupRequest(group_id=GROUP, generation_id=1, member_id="m", **fields)
    synced = await call(World(), apis.sync_group, request, 5, SyncGroupResponse)
    assert synced.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize("version", range(5))
@on_virtual_time
async def test_heartbeats_in_every_version(version: int) -> None:
    world = World()
    joined = await join(world, 3)
    for generation, error in [(1, ErrorCode.NONE), (7, ErrorCode.ILLEGAL_GENERATION)]:
        request = HeartbeatRequest(group_id=GROUP, generation_id=generation, member_id=joined.member_id)
        answer = await call(world, apis.heartbeat, request, version, HeartbeatResponse)
        assert answer.error_code == error


@pytest.mark.parametrize("version", range(3))
@on_virtual_time
async def test_leaving_alone(version: int) -> None:
    world = World()
    joined = await join(world, 3)
    for error in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID):
        request = LeaveGroupRequest(group_id=GROUP, member_id=joined.member_id)
        answer = await call(world, apis.leave_group, request, version, LeaveGroupResponse)
        assert answer.error_code == error


@pytest.mark.parametrize("version", range(3, 6))
@on_virtual_time
async def test_leaving_in_a_batch(version: int) -> None:
    world = World()
    joined = await join(world, 3)
    reason: dict[str, Any] = {"reason": "r" * 500} if version >= 5 else {}
    members = [Identity(member_id="nobody"), Identity(member_id=joined.member_id, **reason)]
    request = LeaveGroupRequest(group_id=GROUP, members=members)
    answer = await call(world, apis.leave_group, request, version, LeaveGroupResponse)
    assert answer.error_code == 0
    assert [(one.member_id, one.error_code) for one in answer.members] == [
        ("nobody", ErrorCode.UNKNOWN_MEMBER_ID),
        (joined.member_id, ErrorCode.NONE),
    ]
    refused = await call(
        world, apis.leave_group, LeaveGroupRequest(group_id="", members=members), version, LeaveGroupResponse
    )
    assert (refused.error_code, refused.members) == (ErrorCode.INVALID_GROUP_ID, [])


# Looking at groups


@pytest.mark.parametrize("version", range(7))
@on_virtual_time
async def test_describing_in_every_version(version: int) -> None:
    world = World()
    (member,) = await world.stable(instance_ids=["i"])
    request = DescribeGroupsRequest(groups=[GROUP, "other"], include_authorized_operations=version >= 3)
    known, unknown = (await call(world, apis.describe_groups, request, version, DescribeGroupsResponse)).groups
    assert (known.error_code, known.group_state, known.protocol_type) == (0, "Stable", "consumer")
    assert known.protocol_data == "range"
    (described,) = known.members
    assert (described.member_id, described.client_id, described.client_host) == (
        member.member_id,
        "client",
        "/10.0.0.1",
    )
    assert (described.member_metadata, described.member_assignment) == (b"subscription", b"part-0")
    assert version < 4 or described.group_instance_id == "i"
    assert version < 3 or known.authorized_operations == {3, 6, 8, 10, 11}
    assert (unknown.group_id, unknown.group_state, unknown.members) == ("other", "Dead", [])
    assert unknown.error_code == (ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else ErrorCode.NONE)
    assert version < 6 or unknown.error_message == "Group other not found."


@on_virtual_time
async def test_operations_are_told_only_when_asked_for_and_found() -> None:
    world = World()
    await world.stable()
    request = DescribeGroupsRequest(groups=[GROUP])
    (known,) = (await call(world, apis.describe_groups, request, 6, DescribeGroupsResponse)).groups
    assert known.authorized_operations is None
    request = DescribeGroupsRequest(groups=["other"], include_authorized_operations=True)
    (unknown,) = (await call(world, apis.describe_groups, request, 6, DescribeGroupsResponse)).groups
    assert unknown.authorized_operations is None


@on_virtual_time
async def test_a_group_that_rebalances_shows_no_protocol_and_no_subscriptions() -> None:
    world = World()
    await world.join()
    request = DescribeGroupsRequest(groups=[GROUP])
    (group,) = (await call(world, apis.describe_groups, request, 5, DescribeGroupsResponse)).groups
    assert (group.group_state, group.protocol_data) == ("CompletingRebalance", "")
    assert [(one.member_metadata, one.member_assignment) for one in group.members] == [(b"", b"")]


@on_virtual_time
async def test_a_group_that_is_repeated_is_described_once() -> None:
    world = World()
    await world.stable()
    request = DescribeGroupsRequest(groups=[GROUP, "other", GROUP, "other"])
    groups = (await call(world, apis.describe_groups, request, 6, DescribeGroupsResponse)).groups
    assert [(group.group_id, len(group.members)) for group in groups] == [(GROUP, 1), ("other", 0)]


@on_virtual_time
async def test_many_groups_are_described_in_turns() -> None:
    request = DescribeGroupsRequest(groups=[str(number) for number in range(2000)])
    describing = call(World(), apis.describe_groups, request, 6, DescribeGroupsResponse)
    answer, turns = await turns_during(describing)
    assert (len(answer.groups), turns >= 10) == (2000, True)


@pytest.mark.parametrize("version", range(6))
@on_virtual_time
async def test_listing_in_every_version(version: int) -> None:
    world = World()
    await world.stable()
    await world.commit(group_id="offsets only")
    await world.join(group_id="joining")
    groups = (await call(world, apis.list_groups, ListGroupsRequest(), version, ListGroupsResponse)).groups
    assert [(one.group_id, one.protocol_type) for one in groups] == [
        (GROUP, "consumer"),
        ("offsets only", ""),
        ("joining", "consumer"),
    ]
    if version >= 4:
        assert [one.group_state for one in groups] == ["Stable", "Empty", "CompletingRebalance"]
    if version >= 5:
        assert {one.group_type for one in groups} == {"classic"}


@pytest.mark.parametrize(
    ("filters", "listed"),
    [
        ({"states_filter": ["stable"]}, [GROUP]),
        ({"states_filter": [" EMPTY ", "Dead"]}, ["offsets only"]),
        ({"states_filter": ["nonsense"]}, []),
        ({"types_filter": ["Classic"]}, [GROUP, "offsets only"]),
        ({"types_filter": ["consumer", "share"]}, []),
        ({"types_filter": ["classic"], "states_filter": ["Stable"]}, [GROUP]),
    ],
)
@on_virtual_time
async def test_listing_with_filters(filters: dict[str, Any], listed: list[str]) -> None:
    world = World()
    await world.stable()
    await world.commit(group_id="offsets only")
    await world.restart()
    request = ListGroupsRequest(**filters)
    groups = (await call(world, apis.list_groups, request, 5, ListGroupsResponse)).groups
    assert [one.group_id for one in groups] == listed


@on_virtual_time
async def test_without_a_barrier_nothing_is_said_about_groups() -> None:
    world = World()
    world.replica.fault = StorageUnavailable("down")
    described = await call(world, apis.describe_groups, DescribeGroupsRequest(groups=["a"]), 6, DescribeGroupsResponse)
    assert [one.error_code for one in described.groups] == [ErrorCode.COORDINATOR_NOT_AVAILABLE]
    listed = await call(world, apis.list_groups, ListGroupsRequest(), 5, ListGroupsResponse)
    assert listed.error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
