"""Frames: however a stream is cut into segments, the same frames come out, and nothing large is copied or guessed."""

import struct
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafscale.errors import Bug
from kafscale.protocol.frames import FIRST_BYTES_MAX, FRAME_BYTES_MIN, GROWTH, SCRATCH_BYTES, FrameHead, FrameReader

BYTES_MAX = 1000

PAYLOADS = st.lists(st.binary(min_size=FRAME_BYTES_MIN, max_size=60), max_size=8)
CUTS = st.lists(st.integers(1, 70), max_size=40)


def framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def feed(reader: FrameReader, data: bytes | memoryview) -> list[bytes]:
    """Give the reader one segment, in as many pieces as its buffers want, until it sees a fault."""
    frames: list[bytes] = []
    while data and reader.fault is None:
        room = reader.buffer()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        frames += [bytes(frame) for frame in reader.received(count)]
        if reader.wanted is not None:
            reader.begin()
        data = data[count:]
    return frames


def segments(stream: bytes, cuts: Iterable[int]) -> Iterable[bytes]:
    at = 0
    for cut in cuts:
        yield stream[at : at + cut]
        at += cut
    yield stream[at:]


def read_in_segments(stream: bytes, cuts: Iterable[int], bytes_max: int = BYTES_MAX) -> tuple[list[bytes], FrameReader]:
    reader = FrameReader(bytes_max)
    frames: list[bytes] = []
    for segment in segments(stream, cuts):
        frames += feed(reader, segment)
    return frames, reader


@given(PAYLOADS, CUTS)
def test_any_segmentation_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    frames, reader = read_in_segments(b"".join(map(framed, payloads)), cuts)
    assert frames == payloads
    assert not reader.is_mid_frame
    assert reader.fault is None


@given(PAYLOADS, CUTS, st.sampled_from([-(2**31), -1, 0, FRAME_BYTES_MIN - 1, BYTES_MAX + 1, 2**31 - 1]))
@example([b"12345678", b"abcdefgh"], [], -1)
def test_frames_in_front_of_an_impossible_size_are_whole(payloads: list[bytes], cuts: list[int], size: int) -> None:
    """They were lost when they came in one segment with it."""
    stream = b"".join(map(framed, payloads)) + struct.pack(">i", size) + bytes(20)
    frames, reader = read_in_segments(stream, cuts)
    assert frames == payloads
    assert str(reader.fault) == f"frame of {size} bytes; allowed are {FRAME_BYTES_MIN} to {BYTES_MAX}"
    assert reader.wanted is None


@pytest.mark.parametrize("size", [FRAME_BYTES_MIN, BYTES_MAX])
def test_the_smallest_and_the_largest_frame(size: int) -> None:
    frames, reader = read_in_segments(framed(bytes(size)), [5, 7])
    assert frames == [bytes(size)]
    assert reader.fault is None


@given(PAYLOADS, st.binary(min_size=FRAME_BYTES_MIN, max_size=60), st.integers(0, 63))
def test_mid_frame_is_exactly_where_a_frame_has_begun(payloads: list[bytes], last: bytes, end: int) -> None:
    end = min(end, len(last) + 3)
    stream = b"".join(map(framed, payloads)) + framed(last)[:end]
    frames, reader = read_in_segments(stream, [])
    assert frames == payloads
    assert reader.is_mid_frame == (end > 0)


def test_a_frame_waits_for_memory_until_begin() -> None:
    reader = FrameReader(BYTES_MAX)
    payload = struct.pack(">hh", 0, 9) + bytes(range(96))
    assert feed_without_begin(reader, framed(payload)[:30]) == []
    assert reader.wanted == FrameHead(100, 0, 9)
    assert reader.is_mid_frame
    reader.begin()
    assert len(reader.buffer()) == 100 - 26
    assert feed_without_begin(reader, framed(payload)[30:]) == [payload]
    assert not reader.is_mid_frame


def feed_without_begin(reader: FrameReader, data: bytes) -> list[bytes | bytearray]:
    reader.buffer()[: len(data)] = data
    return reader.received(len(data))


def test_nothing_is_wanted_before_the_head_is_there() -> None:
    reader = FrameReader(BYTES_MAX)
    feed_without_begin(reader, framed(bytes(100))[:7])
    assert reader.wanted is None
    with pytest.raises(Bug):
        reader.begin()
    feed_without_begin(reader, b"\0")
    assert reader.wanted == FrameHead(100, 0, 0)


def test_the_wanted_frame_is_the_one_behind_whole_ones() -> None:
    reader = FrameReader(BYTES_MAX)
    frames = feed_without_begin(reader, framed(b"a" * 8) + framed(b"b" * 8) + framed(struct.pack(">hh", 3, 12) * 5)[:9])
    assert frames == [b"a" * 8, b"b" * 8]
    assert reader.wanted == FrameHead(20, 3, 12)


def test_a_large_frame_is_received_where_it_stays() -> None:
    """The rest of a frame that has begun goes into the frame itself, and that object is handed out."""
    size = SCRATCH_BYTES * 2
    reader = FrameReader(size)
    feed_without_begin(reader, framed(bytes(size))[:SCRATCH_BYTES])
    reader.begin()
    room = reader.buffer()
    room[:] = b"x" * len(room)
    (frame,) = reader.received(len(room))
    assert frame is room.obj
    assert len(frame) == size
    assert frame[-1:] == b"x"


def test_a_very_large_frame_gets_its_memory_as_it_arrives() -> None:
    payload = bytes(range(256)) * (FIRST_BYTES_MAX * 10 // 256) + b"end"
    reader = FrameReader(len(payload))
    held = []
    frames = []
    stream = memoryview(framed(payload))
    while stream:
        part, stream = stream[:100_000], stream[100_000:]
        frames += feed(reader, part)
        held.append(0 if reader._frame is None else len(reader._frame))
    assert frames == [payload]
    assert held[0] == FIRST_BYTES_MAX
    assert all(size <= max(FIRST_BYTES_MAX, GROWTH * 100_000 * number) for number, size in enumerate(held, 1))


def test_small_frames_do_not_share_memory_with_what_comes_next() -> None:
    reader = FrameReader(BYTES_MAX)
    (first,) = feed_without_begin(reader, framed(b"a" * 8))
    feed_without_begin(reader, framed(b"b" * 8))
    assert first == b"a" * 8


def test_two_readers_share_the_scratch_buffer_and_nothing_else() -> None:
    one, other = FrameReader(BYTES_MAX), FrameReader(BYTES_MAX)
    assert feed_without_begin(one, framed(b"a" * 10)[:6]) == []
    assert feed_without_begin(other, framed(b"b" * 10)[:7]) == []
    assert feed_without_begin(one, framed(b"a" * 10)[6:]) == [b"a" * 10]
    assert feed_without_begin(other, framed(b"b" * 10)[7:]) == [b"b" * 10]
