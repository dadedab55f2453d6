"""Kafka's JSON form of a message, turned into the values and the objects that the codec works with."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from kafscale.protocol.schema import FieldSchema, StructSchema

_NO_BITS: Final = -(1 << 31)
# What kafka-python calls two fields of Metadata's response, and nobody else's.
_RENAMED: Final = {
    "cluster_authorized_operations": "authorized_operations",
    "topic_authorized_operations": "authorized_operations",
}


def values_of_json(schema: StructSchema, json: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by their Python names, structures as dicts; a tagged field that is not there is left out."""
    fields = {field.name: field for field in schema.fields + schema.tagged}
    by_name = {_python_name(name, fields): value for name, value in json.items()}
    return {name: _value(fields[name], value) for name, value in by_name.items()}


def values_of_message(schema: StructSchema, message: Any) -> dict[str, Any]:
    """Return the same dict for a message (or a structure in one) that was decoded."""
    tags = message.tags or set()
    present = schema.fields + tuple(field for field in schema.tagged if field.name in tags)
    return {field.name: _plain(field, getattr(message, field.name)) for field in present}


def build(schema: StructSchema, values: Mapping[str, Any], version: int) -> Any:
    """Return a message of these values, made as a handler makes one."""
    fields = {field.name: field for field in schema.fields + schema.tagged}
    return schema.container(
        version=version, **{name: _built(fields[name], value, version) for name, value in values.items()}
    )


def _python_name(json_name: str, fields: Mapping[str, FieldSchema]) -> str:
    name = re.sub("(?=[A-Z])", "_", json_name).lower()
    return name if name in fields else _RENAMED[name]


def _value(field: FieldSchema, json: Any) -> Any:
    if json is None:
        return None
    return [_single(field, element) for element in json] if field.is_array else _single(field, json)


def _single(field: FieldSchema, json: Any) -> Any:
    if field.struct is not None:
        return values_of_json(field.struct, json)
    match field.type:
        case "uuid":
            uuid = UUID(bytes=base64.urlsafe_b64decode(json + "=="))
            return uuid if uuid.int else None
        case "bytes" | "records":
            return base64.b64decode(json)
        case "bitfield":
            return None if json == _NO_BITS else {bit for bit in range(32) if json >> bit & 1}
        case _:
            return json


def _plain(field: FieldSchema, value: Any) -> Any:
    if value is None or field.struct is None:
        return value
    if field.is_array:
        return [values_of_message(field.struct, element) for element in value]
    return values_of_message(field.struct, value)


def _built(field: FieldSchema, value: Any, version: int) -> Any:
    if value is None or field.struct is None:
        return value
    if field.is_array:
        return [build(field.struct, element, version) for element in value]
    return build(field.struct, value, version)
