"""Fetch requests in few words, and their answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from kafscale.metadata.entries import TopicId
from kafscale.protocol.api import ApiKey
from kafscale.protocol.batches import iterate_batches
from kafscale.protocol.fetch import TOPIC_ID_FROM
from kafscale.protocol.messages import FetchRequest
from tests.unit.broker.world import TOPIC, TOPIC_ID, BrokerWorld

LARGE = 2**30
BY_NAME, BY_ID = 12, 13


class Ask(NamedTuple):
    """What is asked of one partition."""

    offset: int = 0
    bytes_max: int = LARGE
    leader_epoch: int = -1


Asks = Mapping[int, Ask]


class Answer(NamedTuple):
    """What was answered for one partition: base offsets of the batches."""

    error: int
    offsets: list[int]
    high_watermark: int = 0
    log_start: int = 0


class Fetched(NamedTuple):
    """A whole answer: partitions in the order of the reply, and its time since the request in seconds."""

    error: int
    session_id: int
    partitions: dict[int, Answer]
    seconds: float
    raw: Any


async def fetch(
    world: BrokerWorld,
    asks: Asks | None = None,
    *,
    version: int = BY_NAME,
    topic: str = TOPIC,
    topic_id: TopicId = TOPIC_ID,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = LARGE,
    isolation_level: int = 0,
    session: tuple[int, int] = (0, -1),
    forgotten: Sequence[int] = (),
) -> Fetched:
    """Fetch from one topic; `session` is id and epoch."""
    names: dict[str, Any] = {"topic_id": UUID(bytes=topic_id)} if version >= TOPIC_ID_FROM else {"topic": topic}
    asked = {0: Ask()} if asks is None else asks
    topic_class = FetchRequest.FetchTopic
    partitions = [
        topic_class.FetchPartition(
            version=version,
            partition=index,
            fetch_offset=ask.offset,
            partition_max_bytes=ask.bytes_max,
            current_leader_epoch=ask.leader_epoch,
        )
        for index, ask in asked.items()
    ]
    request = FetchRequest(
        version=version,
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=isolation_level,
        session_id=session[0],
        session_epoch=session[1],
        topics=[topic_class(version=version, partitions=partitions, **names)] if partitions else [],
        forgotten_topics_data=[FetchRequest.ForgottenTopic(version=version, partitions=list(forgotten), **names)]
        if forgotten
        else [],
        rack_id="",
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    response = await world.call(request, version)
    assert request.API_KEY == ApiKey.FETCH
    return Fetched(
        getattr(response, "error_code", 0),
        getattr(response, "session_id", 0),
        {each.partition_index: _answer(each) for one in response.responses for each in one.partitions},
        loop.time() - began,
        response,
    )


def _answer(partition: Any) -> Answer:
    offsets = [header.base_offset for header, _ in iterate_batches(memoryview(partition.records or b""))]
    return Answer(partition.error_code, offsets, partition.high_watermark, partition.log_start_offset)
