"""The canonical encoding of the cluster state, and its hash.

The same state always gives the same bytes: everything that is not a list by nature is sorted by key. The encoding is a
sequence of pages, so that the hash needs to look only at what changed since the last one:

    page    = length u32 | MessagePack array
    state   = head page, then one page per topic (by id), one per partition (by topic id, number), one per group (by id)
    head    = [schema level, topics, partitions, groups, next producer id, next object index,
               [object index, incarnation, number, references]..., [incarnation, number, released ms]...,
               [incarnation, last append number, resolved below]...]
    topic   = [topic id, name, partition count, [config name, value]...]
    partition = [log start, high watermark, size, run offsets, run objects, run positions, run lengths,
               run timestamps, [producer id, memory]...]          (the arrays as big-endian bytes)
    group   = [group id, revision, generation, protocol type, protocol, leader, changed ms, [member...],
               [topic id, partition, offset, leader epoch, metadata, commit ms, expire ms]...]

All integers in lengths are big-endian. The hash is BLAKE2b (32 bytes) over the pages' BLAKE2b digests in that order.
"""

import hashlib
import struct
import sys
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec

from kafscale.errors import DataCorrupt
from kafscale.metadata.entries import SCHEMA_LEVEL, GroupMember
from kafscale.metadata.state.cluster import ClusterState, Topic, folded_name
from kafscale.metadata.state.groups import CommittedOffset, GroupState
from kafscale.metadata.state.objects import ObjectName
from kafscale.metadata.state.partition import Partition

HASH_BYTES = 32

_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_members = msgspec.msgpack.Decoder(list[GroupMember])

_SIGNS_OF_DAMAGE = (
    msgspec.DecodeError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    StopIteration,
)
"""What taking a page apart raises where a value is missing or of another type."""


def encode_state(state: ClusterState) -> bytes:
    """Return the canonical encoding of `state`."""
    out = bytearray()
    for page in _pages(state):
        out += _LENGTH.pack(len(page))
        out += page
    return bytes(out)


def state_hash(state: ClusterState) -> bytes:
    """Return the hash of the canonical encoding; pages of unchanged partitions are not encoded again."""
    total = hashlib.blake2b(digest_size=HASH_BYTES)
    total.update(_digest(_head_page(state)))
    for topic in _topics(state):
        total.update(_digest(_topic_page(topic)))
    for topic in _topics(state):
        for partition in topic.partitions:
            if partition.digest is None:
                partition.digest = _digest(_partition_page(partition))
            total.update(partition.digest)
    for group_id in sorted(state.groups.by_id):
        total.update(_digest(_group_page(state.groups.by_id[group_id])))
    return total.digest()


def decode_state(data: bytes) -> ClusterState:
    """Return the state encoded in `data`. Raises `DataCorrupt` where it is not a whole, valid encoding."""
    try:
        return _decode_pages(_split(data))
    except _SIGNS_OF_DAMAGE as error:
        raise DataCorrupt(f"the encoded cluster state is damaged: {error!r}") from error


def _digest(page: bytes) -> bytes:
    return hashlib.blake2b(page, digest_size=HASH_BYTES).digest()


def _topics(state: ClusterState) -> list[Topic]:
    return [state.topics[topic_id] for topic_id in sorted(state.topics)]


def _pages(state: ClusterState) -> Iterator[bytes]:
    topics = _topics(state)
    yield _head_page(state)
    for topic in topics:
        yield _topic_page(topic)
    for topic in topics:
        for partition in topic.partitions:
            yield _partition_page(partition)
    for group_id in sorted(state.groups.by_id):
        yield _group_page(state.groups.by_id[group_id])


def _head_page(state: ClusterState) -> bytes:
    objects = state.objects
    return _encode(
        [
            SCHEMA_LEVEL,
            len(state.topics),
            sum(topic.partition_count for topic in state.topics.values()),
            len(state.groups.by_id),
            state.next_producer_id,
            objects.next_index,
            [[index, *objects.names[index], objects.references[index]] for index in sorted(objects.names)],
            [[*name, objects.released[name]] for name in sorted(objects.released)],
            [
                [incarnation, state.appended[incarnation], state.resolved.get(incarnation, 0)]
                for incarnation in sorted(state.appended)
            ],
        ]
    )


def _topic_page(topic: Topic) -> bytes:
    return _encode([topic.topic_id, topic.name, topic.partition_count, sorted(topic.configs.items())])


def _partition_page(partition: Partition) -> bytes:
    return _encode(
        [
            partition.log_start_offset,
            partition.high_watermark,
            partition.size_bytes,
            _array_bytes(partition.run_offsets),
            _array_bytes(partition.run_objects),
            _array_bytes(partition.run_positions),
            _array_bytes(partition.run_lengths),
            _array_bytes(partition.run_timestamps),
            [[producer_id, partition.producers[producer_id]] for producer_id in sorted(partition.producers)],
        ]
    )


def _group_page(group: GroupState) -> bytes:
    return _encode(
        [
            group.group_id,
            group.revision,
            group.generation,
            group.protocol_type,
            group.protocol,
            group.leader,
            group.changed_ms,
            _encode(group.members),
            [[*key, *group.offsets[key]] for key in sorted(group.offsets)],
        ]
    )


def _array_bytes(values: "array[int]") -> bytes:
    if sys.byteorder == "big":
        return values.tobytes()
    swapped = values[:]
    swapped.byteswap()
    return swapped.tobytes()


def _array_of(typecode: str, data: bytes) -> "array[int]":
    values = array(typecode)
    values.frombytes(data)
    if sys.byteorder == "little":
        values.byteswap()
    return values


def _split(data: bytes) -> Iterator[Any]:
    position = 0
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if position + length > len(data):
            raise ValueError("a page is cut short")
        yield _decode(memoryview(data)[position : position + length])
        position += length


def _decode_pages(pages: Iterator[Any]) -> ClusterState:
    state = ClusterState()
    level, topics, _, groups, state.next_producer_id, next_index, objects, released, appended = next(pages)
    if level > SCHEMA_LEVEL:
        raise ValueError(f"schema level {level} is newer than this release's {SCHEMA_LEVEL}")
    state.objects.next_index = next_index
    for index, incarnation, number, references in objects:
        name = ObjectName(incarnation, number)
        state.objects.names[index] = name
        state.objects.indexes[name] = index
        state.objects.references[index] = references
    for incarnation, number, released_ms in released:
        state.objects.released[ObjectName(incarnation, number)] = released_ms
    for incarnation, number, resolved in appended:
        state.appended[incarnation] = number
        state.resolved[incarnation] = resolved
    decoded = [_decode_topic(next(pages)) for _ in range(topics)]
    for topic in decoded:
        state.topics[topic.topic_id] = topic
        state.names[topic.name] = topic.topic_id
        state.folded_names[folded_name(topic.name)] = topic.name
        topic.partitions = [_decode_partition(next(pages)) for _ in topic.partitions]
    for _ in range(groups):
        group = _decode_group(next(pages))
        state.groups.by_id[group.group_id] = group
    if next(pages, None) is not None:
        raise ValueError("pages are left over")
    return state


def _decode_topic(page: list[Any]) -> Topic:
    topic_id, name, partition_count, configs = page
    return Topic(topic_id, name, partition_count, dict(configs))


def _decode_partition(page: list[Any]) -> Partition:
    partition = Partition()
    partition.log_start_offset, partition.high_watermark, partition.size_bytes = page[:3]
    partition.run_offsets = _array_of("q", page[3])
    partition.run_objects = _array_of("q", page[4])
    partition.run_positions = _array_of("I", page[5])
    partition.run_lengths = _array_of("I", page[6])
    partition.run_timestamps = _array_of("q", page[7])
    partition.producers = dict(page[8])
    return partition


def _decode_group(page: list[Any]) -> GroupState:
    group = GroupState(page[0])
    group.revision, group.generation, group.protocol_type, group.protocol, group.leader = page[1:6]
    group.changed_ms = page[6]
    group.members = _members.decode(page[7])
    for topic_id, partition, *committed in page[8]:
        group.offsets[(topic_id, partition)] = CommittedOffset(*committed)
    return group
