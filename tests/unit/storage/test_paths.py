"""Object keys: what is built is parsed back, fits every store, and nothing else is taken for one."""

from hypothesis import given
from hypothesis import strategies as st

from kafscale.storage.format.paths import (
    CHECKPOINT_PREFIX,
    FLUSH_PREFIX,
    checkpoint_key,
    flush_key,
    parse_checkpoint_key,
    parse_flush_key,
)
from kafscale.storage.objects.base import check_key

INCARNATIONS = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(1, 2**63 - 1)
POSITIONS = st.integers(0, 2**63 - 1)


@given(INCARNATIONS, NUMBERS)
def test_flush_keys_parse_back(incarnation: int, number: int) -> None:
    key = flush_key(incarnation, number)
    check_key(key)
    assert key.startswith(FLUSH_PREFIX)
    assert parse_flush_key(key) == (incarnation, number)
    assert parse_checkpoint_key(key) is None


@given(POSITIONS, INCARNATIONS, NUMBERS)
def test_checkpoint_keys_parse_back(position: int, incarnation: int, number: int) -> None:
    key = checkpoint_key(position, incarnation, number)
    check_key(key)
    assert key.startswith(CHECKPOINT_PREFIX)
    assert parse_checkpoint_key(key) == position
    assert parse_flush_key(key) is None


@given(INCARNATIONS, NUMBERS, st.data())
def test_a_changed_flush_key_is_none_or_names_what_it_says(incarnation: int, number: int, data: st.DataObject) -> None:
    key = flush_key(incarnation, number)
    at = data.draw(st.integers(0, len(key) - 1))
    other = key[:at] + data.draw(st.sampled_from("0123456789abcdefg/-.AZ\n٣")) + key[at + 1 :]
    name = parse_flush_key(other)
    assert name is None or flush_key(*name) == other


@given(st.text(max_size=60))
def test_other_text_is_no_key(text: str) -> None:
    assert parse_flush_key(FLUSH_PREFIX + text) is None
    assert parse_flush_key(text) is None
    assert parse_checkpoint_key(text) is None


@given(st.lists(st.tuples(POSITIONS, INCARNATIONS, NUMBERS), min_size=2, max_size=5))
def test_checkpoint_keys_sort_by_position(names: list[tuple[int, int, int]]) -> None:
    keys = sorted(checkpoint_key(*name) for name in names)
    assert [parse_checkpoint_key(key) for key in keys] == sorted(name[0] for name in names)


def test_golden_keys() -> None:
    """Keys in a bucket outlive the release that wrote them."""
    assert flush_key(0xABC, 12) == "flush/14/0000000000000abc-12.seg"
    assert checkpoint_key(34, 0xABC, 1) == "checkpoint/00000000000000000034-0000000000000abc-1.ckpt"
    assert parse_flush_key("flush/00/0000000000000abc-12.seg") is None
    assert parse_flush_key("flush/14/0000000000000abc-012.seg") is None
