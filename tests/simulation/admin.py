"""A simulated administrator: creates, grows and deletes topics, and looks at committed offsets.

Each call is repeated until its outcome is known, as a person would do it.
"""

from collections.abc import Callable
from typing import Any, Final

from kafscale.protocol.error_codes import ErrorCode
from kafscale.protocol.messages import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
)
from tests.simulation.client import SimClient, Unavailable
from tests.simulation.loop import SimulationFailure
from tests.simulation.member import NOT_COMMITTED
from tests.simulation.network import ConnectionLost
from tests.support.history import (
    CommitOffset,
    Committed,
    CommittedFound,
    FetchCommitted,
    History,
    TopicPartition,
)

TIMEOUT_MS: Final = 10_000

REPEATABLE: Final = frozenset(
    {ErrorCode.REQUEST_TIMED_OUT, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.KAFKA_STORAGE_ERROR}
)
"""Errors after which nothing was changed and the same may be asked again."""


class SimAdmin:
    """One administrator."""

    def __init__(self, client: SimClient, history: History) -> None:
        self._client = client
        self._history = history

    async def create(self, topic: str, partitions: int) -> None:
        """Create a topic, or find that an earlier attempt has."""
        creatable = CreateTopicsRequest.CreatableTopic(
            name=topic, num_partitions=partitions, replication_factor=1, assignments=[], configs=[]
        )

        def request() -> Any:
            return CreateTopicsRequest(topics=[creatable], timeout_ms=TIMEOUT_MS, validate_only=False)

        await self._until(request, lambda reply: reply.topics[0].error_code, ErrorCode.TOPIC_ALREADY_EXISTS)

    async def delete(self, topic: str) -> None:
        """Delete a topic, or find that an earlier attempt has."""

        def request() -> Any:
            return DeleteTopicsRequest(topic_names=[topic], timeout_ms=TIMEOUT_MS)

        await self._until(request, lambda reply: reply.responses[0].error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    async def grow(self, topic: str, partitions: int) -> None:
        """Raise a topic's partition count, or find that an earlier attempt has."""
        grown = CreatePartitionsRequest.CreatePartitionsTopic(name=topic, count=partitions, assignments=None)

        def request() -> Any:
            return CreatePartitionsRequest(topics=[grown], timeout_ms=TIMEOUT_MS, validate_only=False)

        await self._until(request, lambda reply: reply.results[0].error_code, ErrorCode.INVALID_PARTITIONS)

    async def delete_records(self, at: TopicPartition, offset: int) -> None:
        """Delete the records below an offset, or find that there are not so many."""
        topic = DeleteRecordsRequest.DeleteRecordsTopic
        partition = topic.DeleteRecordsPartition(partition_index=at.partition, offset=offset)

        def request() -> Any:
            topics = [topic(name=at.topic, partitions=[partition])]
            return DeleteRecordsRequest(topics=topics, timeout_ms=TIMEOUT_MS)

        def error(reply: Any) -> int:
            return int(reply.topics[0].partitions[0].error_code)

        await self._until(request, error, ErrorCode.OFFSET_OUT_OF_RANGE)

    async def committed(self, group: str, at: TopicPartition) -> int:
        """Return a group's committed offset and record it in the history."""
        operation = self._history.invoke(self._client.name, FetchCommitted(group, at))

        def request() -> Any:
            topic = OffsetFetchRequest.OffsetFetchRequestTopic(name=at.topic, partition_indexes=[at.partition])
            return OffsetFetchRequest(group_id=group, topics=[topic], require_stable=False)

        def error(reply: Any) -> int:
            return int(reply.topics[0].partitions[0].error_code) if reply.topics else int(reply.error_code)

        reply = await self._until(request, error, None)
        offset = int(reply.topics[0].partitions[0].committed_offset)
        self._history.ok(operation, CommittedFound(offset))
        return offset

    async def commit(self, group: str, at: TopicPartition, offset: int) -> None:
        """Commit an offset without being a member, once, and record what became of it."""
        try:
            rpc = await self._client.any_connection()
        except Unavailable:
            return
        topic = OffsetCommitRequest.OffsetCommitRequestTopic
        partition = topic.OffsetCommitRequestPartition(
            partition_index=at.partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=""
        )
        request = OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=-1,
            member_id="",
            group_instance_id=None,
            retention_time_ms=-1,
            topics=[topic(name=at.topic, partitions=[partition])],
        )
        operation = self._history.invoke(self._client.name, CommitOffset(group, at, offset))
        try:
            reply = await self._client.call(rpc, request)
        except ConnectionLost as lost:
            self._history.unknown(operation, str(lost))
            return
        error = ErrorCode(reply.topics[0].partitions[0].error_code)
        if error is ErrorCode.NONE:
            self._history.ok(operation, Committed())
        else:
            (self._history.fail if error in NOT_COMMITTED else self._history.unknown)(operation, error.name)

    async def _until(self, request: Callable[[], Any], error: Callable[[Any], int], done: ErrorCode | None) -> Any:
        while True:
            try:
                rpc = await self._client.any_connection()
                reply = await self._client.call(rpc, request())
            except (Unavailable, ConnectionLost):
                await self._client.pause()
                continue
            code = ErrorCode(error(reply))
            if code in (ErrorCode.NONE, done):
                return reply
            if code not in REPEATABLE:
                raise SimulationFailure(f"{self._client.name} got {code.name} for {reply}")
            await self._client.pause()
