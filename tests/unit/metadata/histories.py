"""Histories of the metadata log for tests: entries made by hand, and random ones of senders that retry.

A random history is a list of actions that `realise` turns into entries. What a sender sends next depends only on what
it has sent before, as with a real producer, so most batches are accepted and the rest is rejected for a reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kafscale.metadata.entries import (
    BATCH_FACTS,
    SCHEMA_LEVEL,
    AdvanceLogStart,
    AllocateProducerIds,
    AlterConfigs,
    AppendBatches,
    Command,
    CommitOffsets,
    CommittedOffsetKey,
    ConfigChange,
    CreatePartitions,
    CreateTopic,
    DeleteGroup,
    DeleteOffsets,
    DeleteTopic,
    Entry,
    ExpireProducers,
    GroupMember,
    GroupRebalanced,
    LogStart,
    MemberProtocol,
    OffsetToCommit,
    PartitionBatches,
)

A: Final = b"A" * 16
B: Final = b"B" * 16
UNKNOWN: Final = b"?" * 16

T = TypeVar("T")

HEAD_BYTES: Final = 16
"""Where the first batch of an object begins in these histories."""

SEQUENCES: Final = 2**31

STEP_BYTES: Final = 48
"""Choices for one entry of a random history. Always as many, because short ones would make dull entries."""


class Batch(NamedTuple):
    """A row of `BATCH_FACTS`."""

    length: int = 100
    records: int = 1
    timestamp: int = -1
    producer_id: int = -1
    epoch: int = -1
    base_sequence: int = -1


def facts(batches: Iterable[Batch]) -> bytes:
    return b"".join(BATCH_FACTS.pack(*batch) for batch in batches)


def append(object_number: int, *lanes: tuple[bytes, int, Sequence[Batch]]) -> AppendBatches:
    """Return the command for an object in which the lanes (topic id, partition, batches) lie one behind the other."""
    partitions: list[PartitionBatches] = []
    position = HEAD_BYTES
    for topic_id, partition, batches in lanes:
        partitions.append(PartitionBatches(topic_id, partition, position, facts(batches)))
        position += sum(batch.length for batch in batches)
    return AppendBatches(object_number, partitions)


def entry(number: int, *commands: Command, incarnation: int = 1, time_ms: int = 0) -> Entry:
    return Entry(SCHEMA_LEVEL, time_ms, incarnation, number, 0, list(commands))


def create(topic_id: bytes = A, name: str = "a", partition_count: int = 1) -> CreateTopic:
    return CreateTopic(topic_id, name, partition_count, {})


class Kind(Enum):
    """What a sender does."""

    NEXT = "the batch that comes next"
    AGAIN = "one of the last batches again"
    GAP = "a batch behind one that is missing"
    BUMP = "the first batch of a new epoch"
    BUMP_NOT_FROM_ZERO = "a batch of a new epoch that does not begin at 0"
    STALE = "a batch of the epoch before"


class Send(NamedTuple):
    """One batch of one sender; `producer_id` -1 is a sender without one. `back` counts back from the newest (AGAIN)."""

    producer_id: int
    kind: Kind
    back: int
    records: int
    length: int


class Append(NamedTuple):
    """An `AppendBatches` to be."""

    object_number: int
    lanes: list[tuple[bytes, int, list[Send]]]


class Step(NamedTuple):
    """One entry to be."""

    incarnation: int
    actions: list["Append | Command"]


Action: TypeAlias = Callable[["Reader"], "Append | Command"]


@dataclass(slots=True)
class _Sender:
    epoch: int
    next_sequence: int
    sent: list[Batch] = field(default_factory=list)


class Senders:
    """All producers of a history. Every batch that is not a retry has a timestamp of its own, as a label."""

    def __init__(self) -> None:
        self._senders: dict[tuple[bytes, int, int], _Sender] = {}
        self._label = 0

    def batch(self, topic_id: bytes, partition: int, send: Send) -> Batch:
        """Return what is sent."""
        if send.producer_id < 0:
            return self._new(send, -1, -1)
        # An even producer begins just before the end of the sequences, so that it soon wraps.
        start = SEQUENCES - 3 if send.producer_id % 2 == 0 else 0
        sender = self._senders.setdefault((topic_id, partition, send.producer_id), _Sender(1, start))
        match send.kind:
            case Kind.AGAIN if sender.sent:
                return sender.sent[-1 - send.back % len(sender.sent)]
            case Kind.GAP:
                return self._new(send, sender.epoch, (sender.next_sequence + 1) % SEQUENCES)
            case Kind.BUMP_NOT_FROM_ZERO:
                return self._new(send, sender.epoch + 1, 1 + send.back)
            case Kind.STALE:
                return self._new(send, sender.epoch - 1, sender.next_sequence)
            case Kind.BUMP:
                sender.epoch += 1
                sender.next_sequence = 0
        batch = self._new(send, sender.epoch, sender.next_sequence)
        sender.next_sequence = (sender.next_sequence + send.records) % SEQUENCES
        sender.sent.append(batch)
        return batch

    def _new(self, send: Send, epoch: int, base_sequence: int) -> Batch:
        self._label += 1
        return Batch(send.length, send.records, self._label, send.producer_id, epoch, base_sequence)


def first_entry() -> Entry:
    """Return the entry that creates topics A (two partitions) and B; of an incarnation that writes nothing else."""
    return entry(1, create(A, "a.b", 2), create(B, "c"), incarnation=9)


def realise(steps: Sequence[Step]) -> list[Entry]:
    """Return the entries: the first one, then one per step."""
    senders = Senders()
    entries = [first_entry()]
    numbers: dict[int, int] = {}
    for index, step in enumerate(steps, start=1):
        numbers[step.incarnation] = numbers.get(step.incarnation, 0) + 1
        commands = [realised(action, senders) for action in step.actions]
        entries.append(entry(numbers[step.incarnation], *commands, incarnation=step.incarnation, time_ms=100 * index))
    return entries


def realised(action: "Append | Command", senders: Senders) -> Command:
    """Return the command of an action."""
    if not isinstance(action, Append):
        return action
    lanes = [
        (topic_id, partition, [senders.batch(topic_id, partition, send) for send in sends])
        for topic_id, partition, sends in action.lanes
    ]
    return append(action.object_number, *lanes)


def rich_entries() -> list[Entry]:
    """Return entries after which every part of the state holds something."""
    sent = Batch(100, 2, 1_700_000_000_000, 7, 1, SEQUENCES - 1)
    committed = CommitOffsets("g", 1, "m", [OffsetToCommit(A, 1, 5, -1, "text", 99)])
    return [
        entry(1, CreateTopic(A, "a.b", 2, {"retention.ms": "1", "cleanup.policy": "delete"}), create(B, "c")),
        entry(2, append(1, (A, 0, [sent, Batch(61, 1)]), (A, 1, [sent])), time_ms=1_700_000_000_001),
        entry(3, append(2, (A, 0, [sent, sent._replace(base_sequence=1)])), time_ms=1_700_000_000_002),
        entry(4, append(3, (UNKNOWN, 0, [sent])), AllocateProducerIds(1000), time_ms=1_700_000_000_003),
        Entry(SCHEMA_LEVEL, 1_700_000_000_004, 2**64 - 1, 3, 2, [rebalanced("m", "n"), committed]),
        entry(5, AdvanceLogStart([LogStart(A, 0, 1)])),
    ]


def member(member_id: str) -> GroupMember:
    return GroupMember(member_id, None, "client", "/10.0.0.1", 60_000, 10_000, [MemberProtocol("range", b"m")], b"a")


def rebalanced(*member_ids: str, follows: int = 0, generation: int = 1, group_id: str = "g") -> GroupRebalanced:
    members = [member(one) for one in member_ids]
    return GroupRebalanced(
        group_id, follows, generation, "consumer", "range", member_ids[0] if members else "", members
    )


class Reader:
    """Turns bytes into choices, the first ones when the bytes are used up: Hypothesis draws bytes far faster than
    values of many fields, and still shrinks them."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def below(self, count: int) -> int:
        """Return a number below `count` (at most 65,536)."""
        number = next(self._bytes, 0)
        if count > 256:
            number += 256 * next(self._bytes, 0)
        return number % count

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


_KINDS: Final = (
    *[Kind.NEXT] * 7,
    *[Kind.AGAIN] * 4,
    Kind.GAP,
    Kind.BUMP,
    Kind.BUMP,
    Kind.BUMP_NOT_FROM_ZERO,
    Kind.STALE,
)
_TOPIC_IDS: Final = (A, B, UNKNOWN)
_PLACES: Final = (*[(A, 0)] * 10, *[(A, 1)] * 3, (A, 2), (B, 0), (B, -1), (UNKNOWN, 0))


def _append(reader: Reader) -> Append:
    lanes: list[tuple[bytes, int, list[Send]]] = []
    object_number = 1 + reader.below(3)
    for _ in range(reader.below(4)):
        topic_id, partition = reader.one_of(_PLACES)
        lanes.append((topic_id, partition, [_send(reader) for _ in range(reader.below(9))]))
    return Append(object_number, lanes)


def _send(reader: Reader) -> Send:
    fields = reader.below(256)
    producer_id = (-1, 6, 7)[fields % 3]
    kind_and_back = reader.below(256) if producer_id >= 0 else 0
    return Send(producer_id, _KINDS[kind_and_back % 16], kind_and_back // 32 % 7, 1 + fields // 3 % 3, 61 + fields // 9)


def producer_sends(data: bytes, producer_id: int) -> list[Send]:
    """Return what one producer does by these bytes, two for each batch."""
    return [
        Send(producer_id, _KINDS[kind % 16], kind // 16 % 7, 1 + count % 3, 100)
        for kind, count in zip(data[::2], data[1::2], strict=True)
    ]


def _pool(commands: Iterable[Command]) -> Action:
    choices = tuple(commands)
    return lambda reader: reader.one_of(choices)


_POLICY: Final = "cleanup.policy"
_CONFIGS: Final[tuple[list[ConfigChange], ...]] = (
    [],
    [ConfigChange(_POLICY, None)],
    [ConfigChange(_POLICY, "1")],
    [ConfigChange("retention.ms", "1"), ConfigChange(_POLICY, "2")],
)
_OFFSETS: Final[tuple[list[OffsetToCommit], ...]] = (
    [],
    [OffsetToCommit(A, 0, 5, -1, "")],
    [OffsetToCommit(UNKNOWN, 0, 5, 0, "text", 900)],
    [OffsetToCommit(A, 1, 7, 3, "text"), OffsetToCommit(B, 0, -1, 0, ""), OffsetToCommit(B, 9, 1, 0, "")],
)
_KEYS: Final[tuple[list[CommittedOffsetKey], ...]] = (
    [],
    [CommittedOffsetKey(A, 0)],
    [CommittedOffsetKey(B, 0), CommittedOffsetKey(A, 1, 200)],
)
_NAMES: Final = ("a.b", "a_b", "c")
_MEMBERS: Final = ((), ("m",), ("n",), ("m", "n"))

membership: Action = _pool(
    rebalanced(*ids, group_id=group_id, follows=follows, generation=generation)
    for group_id, ids, follows, generation in product("gh", _MEMBERS, range(4), range(4))
)
commits: Action = _pool(
    CommitOffsets(group_id, generation, member_id, offsets)
    for group_id, generation, member_id, offsets in product("gh", range(-1, 4), ("", "m", "n"), _OFFSETS)
)
control_commands: Final[tuple[Action, ...]] = (
    _pool(CreateTopic(*one, {_POLICY: "0"}) for one in product(_TOPIC_IDS, _NAMES, range(-1, 4))),
    _pool(DeleteTopic(one) for one in _TOPIC_IDS),
    _pool(CreatePartitions(*one) for one in product(_TOPIC_IDS, range(-1, 5))),
    _pool((AllocateProducerIds(0), AllocateProducerIds(1000))),
    _pool(ExpireProducers(before_ms) for before_ms in range(0, 1500, 100)),
    _pool(AlterConfigs(*one) for one in product((A, UNKNOWN), _CONFIGS, _CONFIGS, (False, True))),
    _pool(AdvanceLogStart([LogStart(*place, offset)]) for place, offset in product(_PLACES, range(-1, 15))),
    _pool(AdvanceLogStart([LogStart(A, 0, offset), LogStart(A, 1, 1)]) for offset in range(15)),
    membership,
    commits,
    _pool(DeleteOffsets(*one) for one in product("gh", _KEYS, (False, True))),
    _pool(DeleteGroup(group_id) for group_id in "gh"),
)


_ALL: Final = (*[_append] * 12, *control_commands)


def action_of(reader: Reader) -> "Append | Command":
    """Return one action of any kind."""
    return reader.one_of(_ALL)(reader)


def histories_of(*actions: Action) -> st.SearchStrategy[list[Entry]]:
    """Return histories of these actions."""

    def step(data: bytes) -> Step:
        reader = Reader(data)
        return Step(1 + reader.below(2), [reader.one_of(actions)(reader) for _ in range(reader.below(4))])

    data = st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES)
    return st.lists(data, min_size=1, max_size=16).map(lambda steps: realise([step(one) for one in steps]))


produced = histories_of(_append)
"""Histories in which only records come."""

histories = histories_of(*_ALL)
"""Histories of everything."""

Check: TypeAlias = Callable[[Any], None]


def holds(check: Check, strategy: st.SearchStrategy[Any], *, examples: int = 100, shrinks: bool = True) -> None:
    """Run a check on random values, the same ones every time. Raises what the check raises."""
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=phases)
    @given(strategy)
    def property_of(value: Any) -> None:
        check(value)

    property_of()
