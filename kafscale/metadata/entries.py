"""The entries of the metadata log and the commands in them.

An entry is the MessagePack encoding (msgspec, arrays instead of maps) of `Entry`; a command is an array whose first
element is the command's number. Fields are only ever added at the end and with a default; the meaning of a number
never changes. Commands name topics by id, never by name. Topic ids are 16 raw bytes; times are milliseconds since the
epoch; -1 stands for "none" where Kafka's protocol does the same.

Every command has one outcome type (`kafscale.metadata.state.outcomes`).
"""

import struct

import msgspec

SCHEMA_LEVEL = 1
"""Level written into every entry. A broker refuses entries above the level it knows."""

TopicId = bytes
"""16 raw bytes of a topic's UUID."""


BATCH_FACTS = struct.Struct(">IIqqhi")
"""What the log keeps of one record batch, 30 bytes: length in bytes (u32), record count (u32), largest timestamp
(i64), producer id (i64, -1 without one), producer epoch (i16), base sequence (i32)."""


class PartitionBatches(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The batches of one partition in one flush segment: they lie together from byte `position` of the object.

    `facts` is a concatenation of `BATCH_FACTS`, one per batch, in order.
    """

    topic_id: TopicId
    partition: int
    position: int
    facts: bytes


class AppendBatches(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Put the batches of flush segment (entry's incarnation, `object_number`) in order. One verdict per batch."""

    object_number: int
    partitions: list[PartitionBatches]


class CreateTopic(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """Create a topic with `partition_count` empty partitions."""

    topic_id: TopicId
    name: str
    partition_count: int
    configs: dict[str, str]


class DeleteTopic(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Delete a topic, its records and every group's offsets for it."""

    topic_id: TopicId


class CreatePartitions(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """Raise a topic's partition count to `partition_count`."""

    topic_id: TopicId
    partition_count: int


class AllocateProducerIds(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Reserve a block of `count` producer ids for the broker that appended this."""

    count: int


class ExpireProducers(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Forget the producers of every partition whose last append was applied before `before_ms` (entry time)."""

    before_ms: int


class OffsetToCommit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One partition of an OffsetCommit. `expire_ms` is -1 unless the request (v2-4) carried a retention time."""

    topic_id: TopicId
    partition: int
    offset: int
    leader_epoch: int
    metadata: str
    expire_ms: int = -1


class CommitOffsets(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """Commit offsets for a group; judged against the group's generation and members.

    `generation` -1 with an empty `member_id`: a commit without membership, allowed while the group has no members.
    """

    group_id: str
    generation: int
    member_id: str
    offsets: list[OffsetToCommit]


class MemberProtocol(msgspec.Struct, array_like=True, frozen=True):
    """One assignor a member supports, with its subscription bytes for it (opaque to the broker)."""

    name: str
    metadata: bytes


class GroupMember(msgspec.Struct, array_like=True, frozen=True):
    """One member of a classic group as of a completed rebalance, in the order in which members joined."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: list[MemberProtocol]
    assignment: bytes


class GroupRebalanced(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """A classic group's membership as of now: a completed rebalance, a static member's swap, or becoming empty.

    Valid only if the group's `revision` is still `follows_revision` (0 for a group not in the state); the accepted
    entry raises it by one. That is what keeps two coordinators of one group from both being believed. An empty
    `members` makes the group Empty: protocol and leader are then the empty string.
    """

    group_id: str
    follows_revision: int
    generation: int
    protocol_type: str
    protocol: str
    leader: str
    members: list[GroupMember]


class CommittedOffsetKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A committed offset to delete, as of the commit seen at `commit_ms` (-1: whichever is there)."""

    topic_id: TopicId
    partition: int
    commit_ms: int = -1


class DeleteOffsets(msgspec.Struct, array_like=True, frozen=True, tag=9):
    """Delete committed offsets (expired, or asked for). A group left Empty and without offsets is deleted too.

    Not so with `keeps_group`: in Kafka a group whose last offset an administrator deletes stays until it expires.
    """

    group_id: str
    offsets: list[CommittedOffsetKey]
    keeps_group: bool = False


class DeleteGroup(msgspec.Struct, array_like=True, frozen=True, tag=10):
    """Delete an Empty group with all its offsets."""

    group_id: str


class ConfigChange(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A config of a topic: its value, or None where it has none of its own."""

    name: str
    value: str | None


class AlterConfigs(msgspec.Struct, array_like=True, frozen=True, tag=11):
    """Change some of a topic's configs, or (`replaces_all`) all of them: those not named lose their value.

    Valid only while every config in `seen` still has the value there: what the new values were worked out from.
    """

    topic_id: TopicId
    changes: list[ConfigChange]
    seen: list[ConfigChange]
    replaces_all: bool


class LogStart(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A partition whose records below `offset` go."""

    topic_id: TopicId
    partition: int
    offset: int


class AdvanceLogStart(msgspec.Struct, array_like=True, frozen=True, tag=12):
    """Delete records from the beginning of partitions. One verdict per partition; a log start never goes back."""

    partitions: list[LogStart]


Command = (
    AppendBatches
    | CreateTopic
    | DeleteTopic
    | CreatePartitions
    | AllocateProducerIds
    | ExpireProducers
    | CommitOffsets
    | GroupRebalanced
    | DeleteOffsets
    | DeleteGroup
    | AlterConfigs
    | AdvanceLogStart
)


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the log.

    `level` is the schema level of its commands, `time_ms` the appending broker's wall clock, `number` its append
    number, and every object number below `resolved_below` of this incarnation is decided: committed or abandoned.
    """

    level: int
    time_ms: int
    incarnation: int
    number: int
    resolved_below: int
    commands: list[Command]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the payload of `entry`."""
    return _encoder.encode(entry)


def encoded_size(command: Command) -> int:
    """Return how many bytes `command` takes in an entry."""
    return len(_encoder.encode(command))


def decode_entry(payload: bytes) -> Entry:
    """Return the entry in `payload`. Raises `msgspec.DecodeError` (also for an unknown command)."""
    return _decoder.decode(payload)
