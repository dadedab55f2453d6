"""Entries: their bytes stay what they are, and what a broker does not know is refused."""

import struct
from typing import get_args

import msgspec
import pytest

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
    decode_entry,
    encode_entry,
    encoded_size,
)

TOPIC = bytes(range(16))
MEMBER = GroupMember("m-1", "i", "c", "/h", 60_000, 10_000, [MemberProtocol("range", b"\x00\x01")], b"\x02")

GOLDEN: list[tuple[Command, str]] = [
    (
        AppendBatches(5, [PartitionBatches(TOPIC, 3, 16, BATCH_FACTS.pack(100, 2, 9, 7, 0, 2**31 - 1))]),
        (
            "9301059194c410000102030405060708090a0b0c0d0e0f0310c41e0000006400000002000000000000000900"
            "0000000000000700007fffffff"
        ),
    ),
    (
        CreateTopic(TOPIC, "orders", 6, {"retention.ms": "1"}),
        "9502c410000102030405060708090a0b0c0d0e0fa66f72646572730681ac726574656e74696f6e2e6d73a131",
    ),
    (
        DeleteTopic(TOPIC),
        "9203c410000102030405060708090a0b0c0d0e0f",
    ),
    (
        CreatePartitions(TOPIC, 12),
        "9304c410000102030405060708090a0b0c0d0e0f0c",
    ),
    (
        AllocateProducerIds(1000),
        "9205cd03e8",
    ),
    (
        ExpireProducers(1_700_000_000_000),
        "9206cf0000018bcfe56800",
    ),
    (
        CommitOffsets("g", 3, "m-1", [OffsetToCommit(TOPIC, 1, 2**40, -1, "text", 99)]),
        "9507a16703a36d2d319196c410000102030405060708090a0b0c0d0e0f01cf0000010000000000ffa47465787463",
    ),
    (
        GroupRebalanced("g", 2, 3, "consumer", "range", "m-1", [MEMBER]),
        (
            "9808a1670203a8636f6e73756d6572a572616e6765a36d2d319198a36d2d31a169a163a22f68cdea60cd2710"
            "9192a572616e6765c4020001c40102"
        ),
    ),
    (
        DeleteOffsets("g", [CommittedOffsetKey(TOPIC, 1, 99)], True),
        "9409a1679193c410000102030405060708090a0b0c0d0e0f0163c3",
    ),
    (
        DeleteGroup("g"),
        "920aa167",
    ),
    (
        AlterConfigs(TOPIC, [ConfigChange("a", None)], [ConfigChange("a", "1")], False),
        "950bc410000102030405060708090a0b0c0d0e0f9192a161c09192a161a131c2",
    ),
    (
        AdvanceLogStart([LogStart(TOPIC, 1, 2**33)]),
        "920c9193c410000102030405060708090a0b0c0d0e0f01cf0000000200000000",
    ),
]
"""Every command with its bytes. These may only ever be added to: a log written today is read by every later release."""


def whole() -> Entry:
    commands = [command for command, _ in GOLDEN]
    return Entry(SCHEMA_LEVEL, 1_700_000_000_000, 2**64 - 1, 300, 70_000, commands)


WHOLE_HEAD = "9601cf0000018bcfe56800cfffffffffffffffffcd012cce000111709c"


@pytest.mark.parametrize(("command", "golden"), GOLDEN, ids=[type(command).__name__ for command, _ in GOLDEN])
def test_the_bytes_of_a_command_stay(command: Command, golden: str) -> None:
    encoded = encode_entry(Entry(1, 0, 1, 1, 0, [command]))
    assert encoded.hex() == "960100010100" + "91" + golden
    assert decode_entry(encoded).commands == [command]
    assert encoded_size(command) == len(golden) // 2


def test_the_bytes_of_an_entry_stay() -> None:
    expected = WHOLE_HEAD + "".join(golden for _, golden in GOLDEN)
    assert encode_entry(whole()).hex() == expected
    assert decode_entry(bytes.fromhex(expected)) == whole()


def test_every_command_has_golden_bytes() -> None:
    assert {type(command) for command, _ in GOLDEN} == set(get_args(Command))


def test_the_facts_of_a_batch_stay() -> None:
    row = (100, 3, 1_700_000_000_000, 7, 2, 2**31 - 1)
    assert BATCH_FACTS.size == 30
    assert BATCH_FACTS.pack(*row) == struct.pack(">IIqqhi", *row)


def test_fields_added_later_have_defaults() -> None:
    offset = OffsetToCommit(TOPIC, 1, 5, -1, "text")
    short = msgspec.msgpack.encode([7, "g", 1, "m", [[TOPIC, 1, 5, -1, "text"]]])
    entry = msgspec.msgpack.encode([1, 0, 1, 1, 0, [msgspec.Raw(short)]])
    assert decode_entry(entry).commands == [CommitOffsets("g", 1, "m", [offset])]


@pytest.mark.parametrize(
    "commands",
    [
        [[0]],
        [[len(get_args(Command)) + 1, 5]],
        [["AppendBatches", 1, []]],
        [[3]],
        [[3, "text"]],
        [[1, 1, [[TOPIC, 0, 16, "text"]]]],
        [5],
        5,
    ],
    ids=str,
)
def test_unknown_and_malformed_commands_are_refused(commands: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_entry(msgspec.msgpack.encode([1, 0, 1, 1, 0, commands]))


def test_every_truncation_is_refused() -> None:
    payload = encode_entry(whole())
    for end in range(len(payload)):
        with pytest.raises(msgspec.DecodeError):
            decode_entry(payload[:end])
