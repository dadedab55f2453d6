"""Variable-length integers as Kafka writes them: seven bits a byte, the lowest first (KIP-482, KIP-98).

Readers take what Kafka's `ByteUtils` takes, except that bits beyond the type's width are refused and not dropped. A
longer form than needed is accepted, as Kafka does: encoders that reserve room for a length before they know it pad it.
All raise IndexError where the bytes end early: callers on hot paths catch it once for a whole message.
"""

from typing import Final

from kafscale.errors import MalformedRequest

_INT32_MAX: Final = 0x7FFF_FFFF
_UINT32_MAX: Final = 0xFFFF_FFFF
_UINT64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
# 5 bytes carry 35 bits, 10 bytes carry 70: the last one must not add any beyond the type's width.
_BYTES_MAX_32: Final = 5
_BYTES_MAX_64: Final = 10


def read_unsigned(data: memoryview | bytearray | bytes, position: int) -> tuple[int, int]:
    """Return (a length, count or tag, the position behind it); it fits a signed 32-bit integer, as in Java."""
    value, position = _read(data, position, _BYTES_MAX_32)
    if value > _INT32_MAX:
        raise MalformedRequest(f"varint {value} does not fit 31 bits")
    return value, position


def read_signed_32(data: memoryview | bytearray | bytes, position: int) -> tuple[int, int]:
    """Return (a zigzag-coded 32-bit integer, the position behind it)."""
    value, position = _read(data, position, _BYTES_MAX_32)
    if value > _UINT32_MAX:
        raise MalformedRequest("varint does not fit 32 bits")
    return (value >> 1) ^ -(value & 1), position


def read_signed_64(data: memoryview | bytearray | bytes, position: int) -> tuple[int, int]:
    """Return (a zigzag-coded 64-bit integer, the position behind it)."""
    value, position = _read(data, position, _BYTES_MAX_64)
    if value > _UINT64_MAX:
        raise MalformedRequest("varint does not fit 64 bits")
    return (value >> 1) ^ -(value & 1), position


def _read(data: memoryview | bytearray | bytes, position: int, bytes_max: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * bytes_max, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedRequest(f"varint longer than {bytes_max} bytes")


def append_unsigned(out: bytearray, value: int) -> None:
    """Append a value from 0 up in the shortest form."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def append_signed(out: bytearray, value: int) -> None:
    """Append a signed value, zigzag-coded, in the shortest form; the same for 32 and for 64 bits."""
    append_unsigned(out, value << 1 if value >= 0 else (-value << 1) - 1)
