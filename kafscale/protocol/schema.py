"""What one version of one message looks like, taken from kafka-python's schemas.

kafka-python keeps Kafka's message definitions as untyped objects with many versions in each. This module is the
only one that looks into them: it flattens one version into plain values, and `kafscale.protocol.strict` makes readers
of those.
"""

from dataclasses import dataclass
from typing import Any, Final

# Bytes of the types whose size never changes; `bitfield` is kafka-python's name for an int32 of flags.
FIXED_SIZES: Final = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "bitfield": 4,
    "int64": 8,
    "float64": 8,
    "uuid": 16,
}
_STRUCT: Final = "struct"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSchema:
    """One field: a value, a structure or an array of either.

    `type` is Kafka's name of the value's (of an element's) type; `struct` stands beside the type "struct" only. An
    array's elements are never null, whatever `nullable` says of the array.
    """

    name: str
    type: str
    is_array: bool
    is_nullable: bool
    tag: int | None
    struct: "StructSchema | None"

    @property
    def is_fixed(self) -> bool:
        """Whether its bytes can be read together with those of its neighbours."""
        return not self.is_array and self.type in FIXED_SIZES


@dataclass(frozen=True, slots=True, kw_only=True)
class StructSchema:
    """A message or a structure in one: its fields in order, its tagged fields, and the class that holds it."""

    name: str
    container: type[Any]
    fields: tuple[FieldSchema, ...]
    tagged: tuple[FieldSchema, ...]
    is_flexible: bool


def message_schema(message: Any, version: int) -> StructSchema:
    """Return one version of a message, given its class (a subclass of kafka-python's ApiMessage)."""
    return _struct(message._struct, message, version, is_flexible=message.flexible_version_q(version))  # noqa: SLF001


def _struct(source: Any, container: type[Any], version: int, *, is_flexible: bool) -> StructSchema:
    present = [field for field in source.fields.values() if field.for_version_q(version)]
    schemas = [_field(field, version, is_flexible=is_flexible) for field in present]
    return StructSchema(
        name=container.__name__,
        container=container,
        fields=tuple(schema for schema in schemas if schema.tag is None),
        tagged=tuple(schema for schema in schemas if schema.tag is not None),
        is_flexible=is_flexible,
    )


def _field(source: Any, version: int, *, is_flexible: bool) -> FieldSchema:
    holds_structs = source.is_struct() or source.is_struct_array()
    struct = _struct(source, source.data_class, version, is_flexible=is_flexible) if holds_structs else None
    value = source.array_of if source.is_array() else source
    return FieldSchema(
        name=source.name,
        type=_STRUCT if struct else value.type_str,
        is_array=source.is_array(),
        is_nullable=source.nullable_for_version_q(version),
        tag=source.tag if source.tagged_field_q(version) else None,
        struct=struct,
    )


def size_min(field: FieldSchema, *, is_flexible: bool) -> int:
    """Return the fewest bytes this field can take."""
    if field.is_array:
        return 1 if is_flexible else 4
    return 1 if field.is_nullable and field.struct else element_size_min(field, is_flexible=is_flexible)


def element_size_min(field: FieldSchema, *, is_flexible: bool) -> int:
    """Return the fewest bytes one value (an array's element) can take: at least 1, so that counts are bounded."""
    if field.struct is not None:
        fields = sum(size_min(inner, is_flexible=is_flexible) for inner in field.struct.fields)
        return max(1, fields + is_flexible)
    if field.type == "string":
        return 1 if is_flexible else 2
    return FIXED_SIZES.get(field.type, 1 if is_flexible else 4)
