"""The canonical encoding of the cluster state, and its hash.

The same state always gives the same bytes: everything that is not a list by nature is sorted by key. The encoding is a
sequence of pages, so that the hash needs to look only at what changed since the last one:

    page    = length u32 | MessagePack array
    state   = head page, then the pages of objects (by index), of released objects (by incarnation, number), one page
              per topic (by id), one per partition (by topic id, number), one per group (by id)
    head    = [schema level, topics, partitions, groups, next producer id, next object index,
               pages of objects, pages of released objects, [[incarnation, last append number, resolved below]...]]
    objects = [[object index, incarnation, number, references]...]        those of one index // 1024
    released = [[incarnation, number, released ms]...]                    those of one incarnation and number // 1024
    topic   = [topic id, name, partition count, [config name, value]...]
    partition = [log start, high watermark, size, run offsets, run objects, run positions, run lengths,
               run timestamps, [producer id, memory]...]          (the arrays as big-endian bytes)
    group   = [group id, revision, generation, protocol type, protocol, leader, changed ms, [member...],
               [topic id, partition, offset, leader epoch, metadata, commit ms, expire ms]...]

There is no empty page of objects or released objects, so that what was there before leaves no trace. All integers in
lengths are big-endian. The hash is BLAKE2b (32 bytes) over the pages' BLAKE2b digests in that order; those of objects,
released objects and partitions are kept with the state until something in the page changes.
"""

import hashlib
import struct
import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from kafscale.errors import Bug, DataCorrupt
from kafscale.metadata.entries import SCHEMA_LEVEL, GroupMember
from kafscale.metadata.state.cluster import ClusterState, Topic, folded_name
from kafscale.metadata.state.groups import CommittedOffset, GroupState
from kafscale.metadata.state.objects import PAGE_ROWS_MAX, ObjectName, Objects, ReleasedPage
from kafscale.metadata.state.partition import Partition

HASH_BYTES = 32

HASH_SLICE_BYTES = 32 * 1024
"""Pages encoded between two steps of a hash: about a millisecond of event loop, unless one partition is larger."""

K = TypeVar("K", int, ReleasedPage)

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
    """Return the hash of the canonical encoding; pages whose digest still holds are not encoded again."""
    for _ in _renewals(state):
        pass
    return _hash_of_digests(state)


def hash_steps(state: ClusterState) -> Generator[None, None, bytes]:
    """Return the hash as `state_hash` does, in slices: nothing may be applied to the state between them."""
    encoded_bytes = 0
    for page_bytes in _renewals(state):
        encoded_bytes += page_bytes
        if encoded_bytes >= HASH_SLICE_BYTES:
            encoded_bytes = 0
            yield
    return _hash_of_digests(state)


def decode_state(data: bytes) -> ClusterState:
    """Return the state encoded in `data`. Raises `DataCorrupt` where it is not a whole, valid encoding."""
    try:
        return _decode_pages(_split(data))
    except _SIGNS_OF_DAMAGE as error:
        raise DataCorrupt(f"the encoded cluster state is damaged: {error!r}") from error


def _digest(page: bytes) -> bytes:
    return hashlib.blake2b(page, digest_size=HASH_BYTES).digest()


def _renewals(state: ClusterState) -> Iterator[int]:
    """Renew the digests kept with the state that do not hold; yield the size of each page encoded for it."""
    objects = state.objects
    yield from _renewals_of(objects.pages, lambda page: _object_rows(objects, page))
    yield from _renewals_of(objects.released_pages, lambda page: _released_rows(objects, page))
    for topic in state.topics.values():
        for partition in topic.partitions:
            if partition.digest is None:
                encoded = _partition_page(partition)
                partition.digest = _digest(encoded)
                yield len(encoded)


def _renewals_of(cached: dict[K, bytes | None], rows_of: Callable[[K], list[list[int]]]) -> Iterator[int]:
    for page in [page for page, digest in cached.items() if digest is None]:
        rows = rows_of(page)
        if rows:
            encoded = _encode(rows)
            cached[page] = _digest(encoded)
            yield len(encoded)
        else:
            del cached[page]


def _hash_of_digests(state: ClusterState) -> bytes:
    objects, topics = state.objects, _topics(state)
    object_digests = [objects.pages[page] for page in sorted(objects.pages)]
    released_digests = [objects.released_pages[page] for page in sorted(objects.released_pages)]
    total = hashlib.blake2b(digest_size=HASH_BYTES)
    total.update(_digest(_head_page(state, len(object_digests), len(released_digests))))
    for digest in (*object_digests, *released_digests):
        total.update(_renewed(digest))
    for topic in topics:
        total.update(_digest(_topic_page(topic)))
    for topic in topics:
        for partition in topic.partitions:
            total.update(_renewed(partition.digest))
    for group_id in sorted(state.groups.by_id):
        total.update(_digest(_group_page(state.groups.by_id[group_id])))
    return total.digest()


def _renewed(digest: bytes | None) -> bytes:
    if digest is None:
        raise Bug("the state was changed while it was being hashed")
    return digest


def _topics(state: ClusterState) -> list[Topic]:
    return [state.topics[topic_id] for topic_id in sorted(state.topics)]


def _pages(state: ClusterState) -> Iterator[bytes]:
    topics = _topics(state)
    objects = _pages_of(_object_rows(state.objects, page) for page in sorted(state.objects.pages))
    released = _pages_of(_released_rows(state.objects, page) for page in sorted(state.objects.released_pages))
    yield _head_page(state, len(objects), len(released))
    yield from objects
    yield from released
    for topic in topics:
        yield _topic_page(topic)
    for topic in topics:
        for partition in topic.partitions:
            yield _partition_page(partition)
    for group_id in sorted(state.groups.by_id):
        yield _group_page(state.groups.by_id[group_id])


def _pages_of(tables: Iterable[list[list[int]]]) -> list[bytes]:
    return [_encode(rows) for rows in tables if rows]


def _object_rows(objects: Objects, page: int) -> list[list[int]]:
    first = page * PAGE_ROWS_MAX
    names, references = objects.names, objects.references
    return [
        [index, *names[index], references[index]] for index in range(first, first + PAGE_ROWS_MAX) if index in names
    ]


def _released_rows(objects: Objects, page: ReleasedPage) -> list[list[int]]:
    incarnation, first = page[0], page[1] * PAGE_ROWS_MAX
    released = objects.released
    names = [ObjectName(incarnation, number) for number in range(first, first + PAGE_ROWS_MAX)]
    return [[*name, released[name]] for name in names if name in released]


def _head_page(state: ClusterState, object_pages: int, released_pages: int) -> bytes:
    return _encode(
        [
            SCHEMA_LEVEL,
            len(state.topics),
            sum(topic.partition_count for topic in state.topics.values()),
            len(state.groups.by_id),
            state.next_producer_id,
            state.objects.next_index,
            object_pages,
            released_pages,
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


class _Head(NamedTuple):
    """The head page as it is encoded."""

    level: int
    topics: int
    partitions: int
    groups: int
    next_producer_id: int
    next_index: int
    object_pages: int
    released_pages: int
    appended: list[tuple[int, int, int]]


def _decode_pages(pages: Iterator[Any]) -> ClusterState:
    state = ClusterState()
    head = _Head(*next(pages))
    if head.level > SCHEMA_LEVEL:
        raise ValueError(f"schema level {head.level} is newer than this release's {SCHEMA_LEVEL}")
    state.next_producer_id = head.next_producer_id
    state.objects = _decode_objects(head, pages)
    for incarnation, number, resolved in head.appended:
        state.appended[incarnation] = number
        state.resolved[incarnation] = resolved
    decoded = [_decode_topic(next(pages)) for _ in range(head.topics)]
    for topic in decoded:
        state.topics[topic.topic_id] = topic
        state.names[topic.name] = topic.topic_id
        state.folded_names[folded_name(topic.name)] = topic.name
        topic.partitions = [_decode_partition(next(pages)) for _ in topic.partitions]
    for _ in range(head.groups):
        group = _decode_group(next(pages))
        state.groups.by_id[group.group_id] = group
    if next(pages, None) is not None:
        raise ValueError("pages are left over")
    return state


def _decode_objects(head: _Head, pages: Iterator[Any]) -> Objects:
    objects = Objects()
    objects.next_index = head.next_index
    for _ in range(head.object_pages):
        for index, incarnation, number, references in next(pages):
            objects.put(index, ObjectName(incarnation, number), references)
    for _ in range(head.released_pages):
        for incarnation, number, released_ms in next(pages):
            objects.put_released(ObjectName(incarnation, number), released_ms)
    return objects


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
