"""Consumer groups: finding the coordinator, the classic membership protocol, and looking at groups.

- FindCoordinator (10), versions 0-6: transactions (v1, KIP-98), several keys (v4, KIP-699), share keys (v6, KIP-932).
- JoinGroup (11), versions 0-9: member id required (v4, KIP-394), static members (v5, KIP-345), protocol names (v7,
  KIP-559), reasons (v8, KIP-800), skipping the assignment (v9, KIP-814).
- SyncGroup (14), versions 0-5: static members (v3, KIP-345), protocol names (v5, KIP-559).
- Heartbeat (12), versions 0-4: static members (v3, KIP-345).
- LeaveGroup (13), versions 0-5: several members (v3, KIP-345), reasons (v5, KIP-800).
- DescribeGroups (15), versions 0-6: authorized operations (v3, KIP-430), static members (v4, KIP-345),
  GROUP_ID_NOT_FOUND (v6, KIP-1043).
- ListGroups (16), versions 0-5: states (v4, KIP-518), types (v5, KIP-848).

Behaviour is that of Apache Kafka 4.1 without an authorizer; `kafscale.broker.groups` has it. JoinGroup, SyncGroup and
LeaveGroup may wait. Not done: authorization, several brokers (this one is every group's coordinator), KIP-848 groups
(so the type of every group is "classic"), share coordinators (their keys are INVALID_REQUEST).
"""

from typing import Final

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

from kafscale.broker.groups.calls import JoinCall, JoinResult, LeavingMember, MemberCall, SyncCall, SyncResult
from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.services import GroupApiServices
from kafscale.broker.groups.views import GroupDescription, GroupListing
from kafscale.broker.request import RequestContext
from kafscale.broker.turns import Turns
from kafscale.errors import StorageUnavailable
from kafscale.metadata.entries import MemberProtocol
from kafscale.protocol.error_codes import ErrorCode

GROUP_KEY: Final = 0
TRANSACTION_KEY: Final = 1

GROUP_TYPE: Final = "classic"

# READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS (AclOperation): all there are for a group. Kafka without
# an authorizer allows them all.
GROUP_OPERATIONS: Final = frozenset({3, 6, 8, 10, 11})

WEIGHT_PER_TURN: Final = 200
"""Groups and members described in one step of the event loop, some 2 ms."""

TEXT_LENGTH_KEPT: Final = 255
"""How much of a client id, which becomes part of member ids, and of a reason, which is logged, is kept. Kafka's own
client cuts reasons there."""

Coordinator = FindCoordinatorResponse.Coordinator
DescribedGroup = DescribeGroupsResponse.DescribedGroup
DescribedGroupMember = DescribedGroup.DescribedGroupMember
ListedGroup = ListGroupsResponse.ListedGroup
JoinGroupResponseMember = JoinGroupResponse.JoinGroupResponseMember
MemberResponse = LeaveGroupResponse.MemberResponse


# FindCoordinator


async def find_coordinator(
    services: GroupApiServices, context: RequestContext, request: FindCoordinatorRequest
) -> FindCoordinatorResponse:
    """Name this broker for every group and transactional id; other kinds of key are INVALID_REQUEST."""
    version = context.api_version
    key_type = request.key_type if version >= 1 else GROUP_KEY
    error, node_id, (host, port) = ErrorCode.INVALID_REQUEST, -1, ("", -1)
    if key_type in (GROUP_KEY, TRANSACTION_KEY):
        error, node_id = ErrorCode.NONE, services.node.node_id
        host, port = services.node.advertised_address(context)
    if version < 4:
        return FindCoordinatorResponse(
            error_code=error, error_message=error.name, node_id=node_id, host=host, port=port, version=version
        )
    coordinators = [
        Coordinator(key=key, node_id=node_id, host=host, port=port, error_code=error)
        for key in request.coordinator_keys
    ]
    return FindCoordinatorResponse(coordinators=coordinators, version=version)


# Membership


async def join_group(
    services: GroupApiServices, context: RequestContext, request: JoinGroupRequest
) -> JoinGroupResponse:
    result = await services.group_coordinator.join(_join_call(context, request))
    return _join_response(result, context.api_version)


def _join_call(context: RequestContext, request: JoinGroupRequest) -> JoinCall:
    version = context.api_version
    return JoinCall(
        group_id=request.group_id,
        member_id=request.member_id,
        instance_id=request.group_instance_id if version >= 5 else None,
        client_id=(context.client_id or "")[:TEXT_LENGTH_KEPT],
        # Kafka shows Java's form of an address without a name.
        client_host=f"/{context.client_host}",
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=request.rebalance_timeout_ms if version >= 1 else request.session_timeout_ms,
        protocol_type=request.protocol_type,
        protocols=tuple(MemberProtocol(one.name, bytes(one.metadata)) for one in request.protocols),
        member_id_required=version >= 4,
        skip_assignment=version >= 9,
        reason=_kept(request.reason if version >= 8 else None),
    )


def _join_response(result: JoinResult, version: int) -> JoinGroupResponse:
    # Until v7 an absent protocol name was the empty string.
    protocol = (result.protocol or None) if version >= 7 else (result.protocol or "")
    return JoinGroupResponse(
        error_code=result.error,
        generation_id=result.generation,
        protocol_type=result.protocol_type,
        protocol_name=protocol,
        leader=result.leader,
        skip_assignment=result.skip_assignment,
        member_id=result.member_id,
        members=[
            JoinGroupResponseMember(
                member_id=member.member_id, group_instance_id=member.instance_id, metadata=member.metadata
            )
            for member in result.members
        ],
        version=version,
    )


async def sync_group(
    services: GroupApiServices, context: RequestContext, request: SyncGroupRequest
) -> SyncGroupResponse:
    version = context.api_version
    if version >= 5 and (request.protocol_type is None or request.protocol_name is None):
        return _sync_response(SyncResult(error=ErrorCode.INCONSISTENT_GROUP_PROTOCOL), version)
    call = SyncCall(
        group_id=request.group_id,
        generation=request.generation_id,
        member_id=request.member_id,
        instance_id=request.group_instance_id if version >= 3 else None,
        protocol_type=request.protocol_type if version >= 5 else None,
        protocol=request.protocol_name if version >= 5 else None,
        assignments={one.member_id: bytes(one.assignment) for one in request.assignments},
    )
    return _sync_response(await services.group_coordinator.sync(call), version)


def _sync_response(result: SyncResult, version: int) -> SyncGroupResponse:
    return SyncGroupResponse(
        error_code=result.error,
        protocol_type=result.protocol_type,
        protocol_name=result.protocol,
        assignment=result.assignment,
        version=version,
    )


async def heartbeat(
    services: GroupApiServices, context: RequestContext, request: HeartbeatRequest
) -> HeartbeatResponse:
    call = MemberCall(
        group_id=request.group_id,
        generation=request.generation_id,
        member_id=request.member_id,
        instance_id=request.group_instance_id if context.api_version >= 3 else None,
    )
    error = await services.group_coordinator.heartbeat(call)
    return HeartbeatResponse(error_code=error, version=context.api_version)


async def leave_group(
    services: GroupApiServices, context: RequestContext, request: LeaveGroupRequest
) -> LeaveGroupResponse:
    """Remove members; until v3 there is one, and its error is the response's."""
    version = context.api_version
    leaving = _leaving_members(request, version)
    result = await services.group_coordinator.leave(request.group_id, leaving)
    if version < 3:
        error = result.error or next(iter(result.members), ErrorCode.NONE)
        return LeaveGroupResponse(error_code=error, version=version)
    members = [
        MemberResponse(member_id=member.member_id, group_instance_id=member.instance_id, error_code=error)
        for member, error in zip(leaving, result.members, strict=False)
    ]
    return LeaveGroupResponse(error_code=result.error, members=members, version=version)


def _leaving_members(request: LeaveGroupRequest, version: int) -> list[LeavingMember]:
    if version < 3:
        return [LeavingMember(request.member_id, None, None)]
    return [
        LeavingMember(one.member_id, one.group_instance_id, _kept(one.reason if version >= 5 else None))
        for one in request.members
    ]


def _kept(reason: str | None) -> str:
    return (reason or "not provided")[:TEXT_LENGTH_KEPT]


# Looking at groups


async def describe_groups(
    services: GroupApiServices, context: RequestContext, request: DescribeGroupsRequest
) -> DescribeGroupsResponse:
    """Describe groups, a repeated one once. One that is not there is Dead; from v6 on that is an error as well."""
    version = context.api_version
    with_operations = version >= 3 and request.include_authorized_operations
    group_ids = dict.fromkeys(request.groups)
    groups = []
    if not await _passed_barrier(services):
        unavailable = ErrorCode.COORDINATOR_NOT_AVAILABLE
        groups = [DescribedGroup(group_id=group_id, error_code=unavailable) for group_id in group_ids]
    else:
        turns = Turns(WEIGHT_PER_TURN)
        for group_id in group_ids:
            group = _described(services, group_id, version, with_operations)
            groups.append(group)
            await turns.done(1 + len(group.members))
    return DescribeGroupsResponse(groups=groups, version=version)


def _described(services: GroupApiServices, group_id: str, version: int, with_operations: bool) -> DescribedGroup:
    described = services.group_coordinator.describe(group_id)
    if described is not None:
        group = _described_group(described)
    elif version >= 6:
        return DescribedGroup(
            group_id=group_id,
            group_state=Phase.DEAD.value,
            error_code=ErrorCode.GROUP_ID_NOT_FOUND,
            error_message=f"Group {group_id} not found.",
        )
    else:
        group = DescribedGroup(group_id=group_id, group_state=Phase.DEAD.value)
    if with_operations:
        group.authorized_operations = set(GROUP_OPERATIONS)
    return group


def _described_group(group: GroupDescription) -> DescribedGroup:
    return DescribedGroup(
        group_id=group.group_id,
        group_state=group.phase.value,
        protocol_type=group.protocol_type,
        protocol_data=group.protocol,
        members=[
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata,
                member_assignment=member.assignment,
            )
            for member in group.members
        ],
    )


async def list_groups(
    services: GroupApiServices, context: RequestContext, request: ListGroupsRequest
) -> ListGroupsResponse:
    """List groups in any of the states asked for and of any of the types; no filter means all."""
    version = context.api_version
    if not await _passed_barrier(services):
        return ListGroupsResponse(error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE, version=version)
    states = {state.strip().lower() for state in request.states_filter} if version >= 4 else set()
    types = {group_type.strip().lower() for group_type in request.types_filter} if version >= 5 else set()
    listed = services.group_coordinator.list_groups() if not types or GROUP_TYPE in types else []
    groups = [_listed_group(group) for group in listed if not states or group.phase.value.lower() in states]
    return ListGroupsResponse(groups=groups, version=version)


def _listed_group(group: GroupListing) -> ListedGroup:
    return ListedGroup(
        group_id=group.group_id,
        protocol_type=group.protocol_type,
        group_state=group.phase.value,
        group_type=GROUP_TYPE,
    )


async def _passed_barrier(services: GroupApiServices) -> bool:
    try:
        await services.replica.barrier()
    except StorageUnavailable:
        return False
    return True
