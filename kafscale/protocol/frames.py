"""Length-prefixed frames out of a byte stream, without I/O and with at most one copy.

A connection reads into buffers that this module names (`buffer`) and says how much came (`received`). Small frames are
copied out of one scratch buffer that every connection of the process shares; a frame that has not arrived whole gets a
buffer of its own, and the rest of it is received straight into that. A large one gets its memory as it arrives, so that
claiming a hundred megabytes costs nothing.
"""

from struct import Struct
from typing import NamedTuple

from kafscale.errors import Bug, MalformedRequest

SCRATCH_BYTES = 256 * 1024
"""One receive reads at most this much; about what a loopback or 10 GbE socket buffer holds."""

FRAME_HEAD_BYTES = 8
"""Size i32, api key i16, api version i16: enough to know what a frame is before memory is given to it."""

FIRST_BYTES_MAX = 1024 * 1024
"""Memory a frame gets on its size's word alone. Batches of usual producers fit, so that only larger requests move."""

GROWTH = 8
"""How many times larger a frame's buffer becomes when it is full: at most this much is held for a byte that came, and
moving costs a seventh of one more copy."""

SIZE_BYTES = 4

FRAME_BYTES_MIN = 8
"""Api key, api version and correlation id: no request is shorter."""

_HEAD = Struct(">ihh")

_scratch = memoryview(bytearray(SCRATCH_BYTES))


class FrameHead(NamedTuple):
    """What the first eight bytes of a frame say."""

    size: int
    api_key: int
    api_version: int


class FrameReader:
    """Splits one connection's bytes into frames.

    `bytes_max` bounds a frame's size (`socket.request.max.bytes`); a larger or impossible size becomes `fault` before
    any memory is given to it, and nothing may be received any more. A frame that has not arrived whole waits in
    `wanted` until `begin` gives it memory: the reader of the socket decides when, and must not receive before.
    """

    __slots__ = ("_bytes_max", "_filled", "_frame", "_held", "_size", "fault", "wanted")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = b""
        self._frame: bytearray | None = None
        self._filled = 0
        self._size = 0
        self.wanted: FrameHead | None = None
        self.fault: MalformedRequest | None = None

    def buffer(self) -> memoryview:
        """Return where the next bytes must be written; valid until `received` is called."""
        if self._frame is None:
            return _scratch
        if self._filled == len(self._frame):
            grown = bytearray(min(self._size, GROWTH * self._filled))
            grown[: self._filled] = self._frame
            self._frame = grown
        return memoryview(self._frame)[self._filled :]

    def received(self, count: int) -> list[bytes | bytearray]:
        """Take `count` bytes written to the last buffer and return the frames that are complete now.

        A frame is returned without its four-byte size. What stands behind them may be no frame: see `fault`.
        """
        if self._frame is not None:
            self._filled += count
            if self._filled < self._size:
                return []
            frame, self._frame = self._frame, None
            return [frame]
        return self._split(count)

    def begin(self) -> None:
        """Give the wanted frame its first memory; what arrives from now on goes straight into it."""
        if self.wanted is None:
            raise Bug("no frame is waiting for memory")
        self._size = self.wanted.size
        self._frame = bytearray(min(self._size, FIRST_BYTES_MAX))
        self._filled = len(self._held)
        self._frame[: self._filled] = self._held
        self._held = b""
        self.wanted = None

    @property
    def is_mid_frame(self) -> bool:
        """Whether part of a frame has arrived."""
        return self._frame is not None or bool(self._held)

    def _split(self, count: int) -> list[bytes | bytearray]:
        data = _scratch[:count]
        if self._held:
            data = memoryview(self._held + bytes(data))
            self._held = b""
        frames: list[bytes | bytearray] = []
        at = 0
        end = len(data)
        while end - at >= FRAME_HEAD_BYTES:
            head = FrameHead._make(_HEAD.unpack_from(data, at))
            if not FRAME_BYTES_MIN <= head.size <= self._bytes_max:
                self.fault = self._impossible(head.size)
                return frames
            start = at + SIZE_BYTES
            at = start + head.size
            if end < at:
                self.wanted = head
                self._held = bytes(data[start:])
                return frames
            frames.append(bytes(data[start:at]))
        self._held = bytes(data[at:])
        return frames

    def _impossible(self, size: int) -> MalformedRequest:
        return MalformedRequest(f"frame of {size} bytes; allowed are {FRAME_BYTES_MIN} to {self._bytes_max}")
