"""What is forgotten: offsets whose retention is over, and groups that have nothing left.

As in Kafka (ClassicGroup.offsetExpirationCondition): an Empty group's offsets expire together, counted from when it
became Empty; those of a group that never had members, each from its commit; a Stable group of consumers loses only
offsets of topics that nobody in it subscribes to. An explicit expiry (OffsetCommit v2-4) replaces the retention. While
a group rebalances nothing expires.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from struct import Struct
from typing import Final

from kafscale.broker.groups.phases import Phase
from kafscale.broker.groups.services import GroupServices
from kafscale.metadata.entries import CommittedOffsetKey, DeleteOffsets, TopicId
from kafscale.metadata.state.groups import CommittedOffset, GroupState

OFFSETS_PER_COMMAND: Final = 1000
"""Offsets deleted by one command: some 30 KiB of an entry."""

GROUPS_PER_STEP: Final = 100
"""Groups looked at before the event loop gets its turn."""

CONSUMER_PROTOCOL_TYPE: Final = "consumer"
"""The only protocol type whose subscriptions a broker can read."""

_HEAD: Final = Struct(">hi")
_LENGTH: Final = Struct(">h")


class OffsetExpiry:
    """One pass over all groups. `phase_of` tells the state of a group that is in memory, None of one that is not."""

    def __init__(self, services: GroupServices, phase_of: Callable[[str], Phase | None]) -> None:
        self._services = services
        self._phase_of = phase_of

    async def run_once(self) -> None:
        """Delete what is over. Raises StorageUnavailable; what is left is found again by the next pass."""
        group_ids = list(self._services.replica.state.groups.by_id)
        for index, group_id in enumerate(group_ids):
            if index % GROUPS_PER_STEP == 0:
                await asyncio.sleep(0)
            group = self._services.replica.state.groups.get(group_id)
            if group is not None and self._is_settled(group):
                await self._expire(group)

    def _is_settled(self, group: GroupState) -> bool:
        phase = self._phase_of(group.group_id)
        return phase is None or phase is (Phase.EMPTY if group.is_empty else Phase.STABLE)

    async def _expire(self, group: GroupState) -> None:
        keys = iter(self._expired(group))
        while part := list(islice(keys, OFFSETS_PER_COMMAND)):
            await self._services.appender.submit(DeleteOffsets(group_id=group.group_id, offsets=part))
        if group.is_empty and not group.offsets and self._services.replica.state.groups.get(group.group_id) is group:
            # It lost its offsets some other way, or never had any: the command deletes a group that is left with none.
            await self._services.appender.submit(DeleteOffsets(group_id=group.group_id, offsets=[]))

    def _expired(self, group: GroupState) -> list[CommittedOffsetKey]:
        subscribed = self._subscribed_topics(group)
        if subscribed is None:
            return []
        now_ms = self._services.clock.wall_ms()
        retention_ms = self._services.settings.offsets_retention_minutes * 60_000

        def is_over(committed: CommittedOffset) -> bool:
            if committed.expire_ms >= 0:
                return now_ms >= committed.expire_ms
            counts_from_ms = group.changed_ms if group.revision and group.is_empty else committed.commit_ms
            return now_ms - counts_from_ms >= retention_ms

        return [
            CommittedOffsetKey(topic_id, partition, committed.commit_ms)
            for (topic_id, partition), committed in group.offsets.items()
            if topic_id not in subscribed and is_over(committed)
        ]

    def _subscribed_topics(self, group: GroupState) -> set[TopicId] | None:
        """Return the topics whose offsets must stay, None when that is all of them."""
        if group.is_empty:
            return set()
        if group.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return None
        subscribed: set[TopicId] = set()
        for member in group.members:
            metadata = next((one.metadata for one in member.protocols if one.name == group.protocol), b"")
            names = subscription_topics(metadata)
            if names is None:
                return None
            topics = (self._services.replica.state.topic_named(name) for name in names)
            subscribed.update(topic.topic_id for topic in topics if topic is not None)
        return subscribed


def subscription_topics(metadata: bytes) -> list[str] | None:
    """Return the topic names in a consumer's subscription, None when the bytes are not one.

    Every version of ConsumerProtocolSubscription begins like version 0: its number (i16), how many topics (i32), and
    the names (i16 length, UTF-8).
    """
    if len(metadata) < _HEAD.size:
        return None
    _, count = _HEAD.unpack_from(metadata)
    if count < 0:
        return None
    names: list[str] = []
    position = _HEAD.size
    for _ in range(count):
        if position + _LENGTH.size > len(metadata):
            return None
        (length,) = _LENGTH.unpack_from(metadata, position)
        position += _LENGTH.size
        name = metadata[position : position + length] if length >= 0 else b""
        if len(name) != length:
            return None
        position += length
        names.append(name.decode("utf-8", "replace"))
    return names
