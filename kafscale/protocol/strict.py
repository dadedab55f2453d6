"""Strict readers of message bodies, generated from the schemas: one function per API, direction and version.

A broker reads bytes of strangers. kafka-python's own decoder is a client's: it takes truncated and trailing bytes and
odd lengths, loops over a varint without end, copies the rest of the message for each tagged field. So its schemas and
containers are used here, and its encoder in `kafscale.protocol.codec`, but the bytes are read by functions generated in
this module. One pass both checks and reads, which costs about what the lenient decoder alone does.

A reader returns a message only if all of this holds, and raises MalformedRequest otherwise:
- every length and count is at least 0 (-1, or 0 where lengths are compact, for a null the version allows) and fits into
  the bytes left, a count times the smallest size of an element, and all counts together stay below ELEMENTS_MAX;
- strings are UTF-8 of at most 32,767 bytes, booleans 0 or 1, varints within 31 bits;
- tags ascend (KIP-482), each fills its size exactly, and nothing follows the message (but see TRAILING_BYTES_MAX).

Where Kafka's generated readers are looser: they take any negative length for null, any byte but 0 for true, malformed
UTF-8, tags out of order, and ignore what follows. Where they are looser and a client is known to be too, or might be,
so are these: padded varints, unknown tags, a tag that carries its default, and librdkafka's Metadata request.

Generated code looks like this, for a structure of an int32 and a compact string:

    element4 = new(class5)
    (element4.partition_index,) = unpack6(data, pos)
    pos += 4
    n = data[pos] - 1
    pos += 1
    if n > 126:
        n, pos = read_unsigned(data, pos - 1)
        n -= 1
    if n >= 0:
        end = pos + n
        if end > size or n > 32767:
            raise Refused(f"{n} bytes long")
        element4.metadata = data[pos:end].decode()
        pos = end
    else:
        raise Refused("null is not allowed")

Reading beyond the end raises struct.error or IndexError by itself. What was being read is found by the number of the
generated line that failed, so that a good message pays nothing for a good error text.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Any, Final
from uuid import UUID

from kafscale.errors import MalformedRequest
from kafscale.protocol.schema import FIXED_SIZES, FieldSchema, StructSchema, element_size_min
from kafscale.protocol.varint import read_unsigned

# All elements of all arrays of a message together. An element of two bytes becomes a hundred bytes of objects and half
# a microsecond of the event loop; a request about more partitions than this is about more than a cluster should have.
ELEMENTS_MAX: Final = 300_000
# Kafka's limit, also where a compact length could say more.
STRING_BYTES_MAX: Final = 32_767

_FORMATS: Final = {
    "bool": "B",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "bitfield": "I",
    "int64": "q",
    "float64": "d",
    "uuid": "16s",
}
# Types whose value is not what unpacking yields: the function that makes it.
_CONVERSIONS: Final = {"bool": "to_bool", "bitfield": "to_bits", "uuid": "to_uuid"}
_NO_UUID: Final = bytes(16)
_NO_BITS: Final = 1 << 31

BodyReader = Callable[[bytes], Any]


class _RefusedError(Exception):
    """Raised by generated code; the reader adds where it happened."""


TRAILING_BYTES_MAX: Final[Mapping[tuple[str, int], int]] = {("MetadataRequest", version): 3 for version in (11, 12, 13)}
"""Bytes allowed behind a message: librdkafka 2.15 ends a Metadata request for all topics with three zeros too many."""


class StrictReader:
    """Reads one version of one message: call it with the body's bytes."""

    __slots__ = ("_name", "_paths", "_read", "source")

    def __init__(self, schema: StructSchema, version: int) -> None:
        emitter = _Emitter()
        _emit_message(emitter, schema, version)
        self._name: Final = f"{schema.name} v{version}"
        self._paths: Final = tuple(emitter.paths)
        self._read: Final = emitter.compile(self._name)
        self.source: Final = "\n".join(emitter.lines)

    def __call__(self, body: bytes) -> Any:
        """Return the message (an instance of the schema's container); raises MalformedRequest."""
        try:
            return self._read(body)
        except (_RefusedError, MalformedRequest, UnicodeDecodeError, struct.error, IndexError) as reason:
            raise MalformedRequest(self._explain(reason, body)) from reason

    def _explain(self, reason: Exception, body: bytes) -> str:
        frame = _frame_below(reason.__traceback__)
        position = frame.tb_frame.f_locals.get("pos", 0)
        path = self._paths[frame.tb_lineno - 1]
        is_short = isinstance(reason, (struct.error, IndexError))
        text = "the bytes end here" if is_short else str(reason)
        return f"{self._name}: {path}: {text} (near byte {position} of {len(body)})"


def _frame_below(traceback: TracebackType | None) -> TracebackType:
    """Return the second frame of a traceback: below the reader that caught the error is the generated function."""
    if traceback is None or traceback.tb_next is None:
        raise TypeError("no generated function in the traceback")
    return traceback.tb_next


class _Emitter:
    """Collects lines of one function, and for each line the path of the field it reads."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.paths: list[str] = []
        self.names: dict[str, Any] = {
            "Refused": _RefusedError,
            "new": object.__new__,
            "read_unsigned": read_unsigned,
            "note_tag": _note_tag,
            "unpack_array": struct.unpack_from,
            "unpack_i16": struct.Struct(">h").unpack_from,
            "unpack_i32": struct.Struct(">i").unpack_from,
            "to_bool": _to_bool,
            "to_bits": _to_bits,
            "to_uuid": _to_uuid,
        }
        self._path: list[str] = []
        self._depth = 0
        self._drawn = 0

    def emit(self, *lines: str) -> None:
        for line in lines:
            self.lines.append("    " * self._depth + line)
            self.paths.append(".".join(self._path) or "the message")

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        """Emit a line that opens a block; what follows inside `with` is indented."""
        self.emit(line)
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Name the field that the following lines read."""
        self._path.append(name)
        yield
        self._path.pop()

    def draw(self, prefix: str) -> str:
        """Return a name that is used nowhere else in the function."""
        self._drawn += 1
        return f"{prefix}{self._drawn}"

    def constant(self, prefix: str, value: object) -> str:
        """Return the name under which the generated code finds this value."""
        name = self.draw(prefix)
        self.names[name] = value
        return name

    def compile(self, name: str) -> BodyReader:
        # The text comes from schemas in installed packages only, never from a peer.
        exec(compile("\n".join(self.lines), f"<strict {name}>", "exec"), self.names)  # noqa: S102
        reader: BodyReader = self.names["read"]
        return reader


def _emit_message(out: _Emitter, schema: StructSchema, version: int) -> None:
    with out.block("def read(data):"):
        out.emit("size = len(data)", "pos = 0", f"room = {ELEMENTS_MAX}")
        _emit_struct(out, "message", schema, version)
        # Left unset by kafka-python's own decoder: its encoder then refuses what it decoded.
        out.emit("message._header = None")
        trailing = TRAILING_BYTES_MAX.get((schema.name, version), 0)
        with out.at("behind the message"), out.block(f"if size - pos > {trailing}:"):
            out.emit('raise Refused(f"{size - pos} bytes too many")')
        out.emit("return message")


def _emit_struct(out: _Emitter, target: str, schema: StructSchema, version: int) -> None:
    """Emit code that reads a structure into a new local variable `target`."""
    out.emit(
        f"{target} = new({out.constant('class', schema.container)})",
        f"{target}._version = {version}",
        f"{target}.tags = {target}.unknown_tags = None",
    )
    for is_fixed, fields in groupby(schema.fields, key=lambda field: field.is_fixed):
        if is_fixed:
            _emit_fixed_run(out, target, tuple(fields))
        else:
            for field in fields:
                with out.at(field.name):
                    _emit_field(out, f"{target}.{field.name}", field, schema, version)
    if schema.is_flexible:
        _emit_tags(out, target, schema, version)


def _emit_fixed_run(out: _Emitter, target: str, fields: tuple[FieldSchema, ...]) -> None:
    """Emit one unpacking of neighbouring fields of fixed size."""
    layout = struct.Struct(">" + "".join(_FORMATS[field.type] for field in fields))
    unpack = out.constant("unpack", layout.unpack_from)
    with out.at("|".join(field.name for field in fields)):
        out.emit(f"({', '.join(f'{target}.{field.name}' for field in fields)},) = {unpack}(data, pos)")
        out.emit(f"pos += {layout.size}")
    for field in fields:
        if field.type in _CONVERSIONS:
            with out.at(field.name):
                name = f"{target}.{field.name}"
                out.emit(f"{name} = {_CONVERSIONS[field.type]}({name})")


def _emit_field(out: _Emitter, target: str, field: FieldSchema, parent: StructSchema, version: int) -> None:
    """Emit code that reads any field but a fixed one outside of a run; `target` may be an attribute."""
    if field.is_array:
        _emit_array(out, target, field, parent, version)
    elif field.struct is not None:
        _emit_inner_struct(out, target, field, field.struct, version)
    elif field.type in FIXED_SIZES:
        _emit_fixed_value(out, target, field)
    else:
        _emit_variable(out, target, field, parent)


def _emit_fixed_value(out: _Emitter, target: str, field: FieldSchema) -> None:
    layout = struct.Struct(">" + _FORMATS[field.type])
    value = f"{out.constant('unpack', layout.unpack_from)}(data, pos)[0]"
    conversion = _CONVERSIONS.get(field.type)
    out.emit(f"{target} = {conversion}({value})" if conversion else f"{target} = {value}", f"pos += {layout.size}")


def _emit_inner_struct(out: _Emitter, target: str, field: FieldSchema, schema: StructSchema, version: int) -> None:
    """Emit a structure that is a field of its own; where it may be null, a byte of -1 or 1 comes first (KIP-893)."""
    inner = out.draw("inner")
    if not field.is_nullable:
        _emit_struct(out, inner, schema, version)
        out.emit(f"{target} = {inner}")
        return
    out.emit("n = data[pos]", "pos += 1")
    with out.block("if n == 255:"):
        out.emit(f"{target} = None")
    with out.block("elif n == 1:"):
        _emit_struct(out, inner, schema, version)
        out.emit(f"{target} = {inner}")
    with out.block("else:"):
        out.emit('raise Refused(f"{n} where 1 or -1 says whether it is null")')


def _emit_length(out: _Emitter, *, is_compact: bool, wide: bool) -> None:
    """Emit code that leaves a length or a count in `n`: -1 for null."""
    if is_compact:
        out.emit("n = data[pos] - 1", "pos += 1")
        with out.block("if n > 126:"):
            out.emit("n, pos = read_unsigned(data, pos - 1)", "n -= 1")
    elif wide:
        out.emit("n = unpack_i32(data, pos)[0]", "pos += 4")
    else:
        out.emit("n = unpack_i16(data, pos)[0]", "pos += 2")


def _emit_null(out: _Emitter, target: str, field: FieldSchema) -> None:
    """Emit the branch behind `if n >= 0`."""
    if field.is_nullable:
        with out.block("elif n == -1:"):
            out.emit(f"{target} = None")
    with out.block("else:"):
        refusal = '"null is not allowed" if n == -1 else f"length {n}"'
        out.emit(f"raise Refused({refusal})")


def _emit_variable(out: _Emitter, target: str, field: FieldSchema, parent: StructSchema) -> None:
    """Emit a string, bytes or records."""
    is_text = field.type == "string"
    _emit_length(out, is_compact=parent.is_flexible, wide=not is_text)
    with out.block("if n >= 0:"):
        out.emit("end = pos + n")
        limit = f" or n > {STRING_BYTES_MAX}" if is_text and parent.is_flexible else ""
        with out.block(f"if end > size{limit}:"):
            out.emit('raise Refused(f"{n} bytes long")')
        out.emit(f"{target} = data[pos:end]{'.decode()' if is_text else ''}", "pos = end")
    _emit_null(out, target, field)


def _emit_array(out: _Emitter, target: str, field: FieldSchema, parent: StructSchema, version: int) -> None:
    _emit_length(out, is_compact=parent.is_flexible, wide=True)
    smallest = element_size_min(field, is_flexible=parent.is_flexible)
    with out.block("if n >= 0:"):
        with out.block(f"if n * {smallest} > size - pos or n > room:"):
            out.emit('raise Refused(f"{n} elements")')
        out.emit("room -= n")
        if field.type in FIXED_SIZES:
            _emit_fixed_elements(out, target, field)
        else:
            _emit_elements(out, target, field, parent, version)
    _emit_null(out, target, field)


def _emit_fixed_elements(out: _Emitter, target: str, field: FieldSchema) -> None:
    """Emit one unpacking of all elements."""
    size = FIXED_SIZES[field.type]
    conversion = _CONVERSIONS.get(field.type)
    if field.type == "uuid":
        values = "[data[at : at + 16] for at in range(pos, pos + 16 * n, 16)]"
    else:
        values = f'unpack_array(f">{{n}}{_FORMATS[field.type]}", data, pos)'
    out.emit(f"{target} = list({f'map({conversion}, {values})' if conversion else values})", f"pos += {size} * n")


def _emit_elements(out: _Emitter, target: str, field: FieldSchema, parent: StructSchema, version: int) -> None:
    elements, element = out.draw("elements"), out.draw("element")
    out.emit(f"{target} = {elements} = []")
    with out.block("for _ in range(n):"), out.at("[]"):
        if field.struct is not None:
            _emit_struct(out, element, field.struct, version)
        else:
            _emit_variable(out, element, _element(field), parent)
        out.emit(f"{elements}.append({element})")


def _element(field: FieldSchema) -> FieldSchema:
    return FieldSchema(
        name=field.name, type=field.type, is_array=False, is_nullable=False, tag=None, struct=field.struct
    )


def _emit_tags(out: _Emitter, target: str, schema: StructSchema, version: int) -> None:
    """Emit the tagged fields at a structure's end; hardly any message has one, and then a single 0 stands here."""
    left, previous, end, tag = (out.draw(name) for name in ("left", "previous", "end", "tag"))
    with out.at("tags"), out.block("if data[pos] == 0:"):
        out.emit("pos += 1")
    with out.at("tags"), out.block("else:"):
        out.emit(f"{left}, pos = read_unsigned(data, pos)", f"{previous} = -1")
        # A tag takes at least two bytes: itself and its size.
        with out.block(f"if {left} * 2 > size - pos:"):
            out.emit(f'raise Refused(f"{{{left}}} tags")')
        with out.block(f"for _ in range({left}):"):
            out.emit(f"{tag}, pos = read_unsigned(data, pos)", f"n, {end} = read_unsigned(data, pos)")
            out.emit(f"pos = {end}", f"{end} += n")
            with out.block(f"if {tag} <= {previous} or {end} > size:"):
                out.emit(f'raise Refused(f"tag {{{tag}}} of {{n}} bytes after tag {{{previous}}}")')
            out.emit(f"{previous} = {tag}")
            _emit_tag_cases(out, target, schema, version, tag=tag, end=end)
            with out.block(f"if pos != {end}:"):
                out.emit(f'raise Refused(f"tag {{{tag}}} is not of the size it says")')


def _emit_tag_cases(out: _Emitter, target: str, schema: StructSchema, version: int, *, tag: str, end: str) -> None:
    for field in schema.tagged:
        with out.block(f"if {tag} == {field.tag}:"), out.at(field.name):
            _emit_field(out, f"{target}.{field.name}", field, schema, version)
            out.emit(f"note_tag({target}, {field.name!r})")
    known = "(" + "".join(f"{field.tag}, " for field in schema.tagged) + ")"
    with out.block(f"if {tag} not in {known}:" if schema.tagged else "if True:"):
        # Skipped and not kept: a stranger's megabyte of tags would become fifty of Python objects.
        out.emit(f"pos = {end}")


def _note_tag(container: Any, name: str) -> None:
    """Keep, as kafka-python does, which tagged fields were there."""
    container.tags = {*(container.tags or ()), name}


def _to_bool(value: int) -> bool:
    if value > 1:
        raise _RefusedError(f"{value} is not a boolean")
    return value == 1


def _to_uuid(value: bytes) -> UUID | None:
    """Return None for the zero id: this is how kafka-python names the absence of one, in both directions."""
    return None if value == _NO_UUID else UUID(bytes=value)


def _to_bits(value: int) -> set[int] | None:
    """Return the set bits, None for Kafka's "not asked for" (the lowest int32)."""
    return None if value == _NO_BITS else set(_bits(value))


def _bits(value: int) -> Iterable[int]:
    return (bit for bit in range(32) if value >> bit & 1)
