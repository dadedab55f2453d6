"""Writes the stubs of kafka-python's messages, from the schemas it carries: `python typings/generate.py`.

Its own stubs are not used: the package does not declare that it has types (PEP 561), and they take the zero topic id,
which is None, for a UUID. tests/unit/protocol/test_stubs.py tells when a new version needs this run again.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kafka.protocol.api_message import ApiMessage

PACKAGES: Final = ("admin", "consumer", "metadata", "producer", "sasl")
STUBS: Final = Path(__file__).parent / "kafka" / "protocol"

_HEAD: Final = "# Written by typings/generate.py\n"
_IMPORTS: Final = {
    "UUID": "from uuid import UUID\n\n",
    "ApiMessage": "from kafka.protocol.api_message import ApiMessage\n",
    "DataContainer": "from kafka.protocol.data_container import DataContainer\n",
}
_TYPES: Final = {
    "bool": "bool",
    "float64": "float",
    "string": "str",
    "bytes": "bytes",
    "records": "bytes",
    "uuid": "UUID",
    "bitfield": "set[int]",
}
# None stands for a value of their own in these types.
_ALWAYS_OPTIONAL: Final = ("uuid", "bitfield")
_INDENT: Final = "    "


def stubs() -> dict[str, str]:
    """Return the text of every stub by its path below STUBS."""
    texts = {}
    for package in PACKAGES:
        by_module = _messages(package)
        for module, messages in by_module.items():
            texts[_path(module)] = _stub(messages)
        if package not in by_module:
            lines = [_re_export(module, messages) for module, messages in by_module.items()]
            texts[f"{package}/__init__.pyi"] = f"{_HEAD}{''.join(lines)}"
    return texts


def _messages(package: str) -> dict[str, list[type[ApiMessage]]]:
    """Return the message classes of a package by the module below kafka.protocol that defines them."""
    found = vars(importlib.import_module(f"kafka.protocol.{package}")).values()
    messages: dict[str, list[type[ApiMessage]]] = {}
    for value in found:
        if isinstance(value, type) and issubclass(value, ApiMessage) and value is not ApiMessage:
            messages.setdefault(value.__module__.removeprefix("kafka.protocol."), []).append(value)
    return dict(sorted(messages.items()))


def _path(module: str) -> str:
    return module.replace(".", "/") + ".pyi"


def _re_export(module: str, messages: list[type[ApiMessage]]) -> str:
    names = sorted(message.__name__ for message in messages)
    return "".join(f"from .{module.split('.')[-1]} import {name} as {name}\n" for name in names)


def _stub(messages: list[type[ApiMessage]]) -> str:
    lines = [
        line
        for message in messages
        for line in _class_lines(message.__name__, "ApiMessage", message._struct, "")  # noqa: SLF001
    ]
    body = "\n".join(lines)
    imports = "".join(line for name, line in _IMPORTS.items() if name in body)
    return f"{_HEAD}{imports}\n{body}"


def _class_lines(name: str, base: str, struct: Any, indent: str) -> Iterator[str]:
    inner = indent + _INDENT
    yield f"{indent}class {name}({base}):"
    structs = [field for field in struct.fields.values() if field.is_struct() or field.is_struct_array()]
    # Two fields may share one structure.
    for type_name, field in {field.type_str: field for field in structs}.items():
        yield from _class_lines(type_name, "DataContainer", field, inner)
    annotations = {field.name: _annotation(field) for field in struct.fields.values()}
    for field_name, annotation in annotations.items():
        yield f"{inner}{field_name}: {annotation}"
    yield f"{inner}def __init__("
    yield f"{inner}{_INDENT}self,"
    yield f"{inner}{_INDENT}*,"
    for field_name, annotation in annotations.items():
        yield f"{inner}{_INDENT}{field_name}: {annotation} = ...,"
    yield f"{inner}{_INDENT}version: int | None = ...,"
    yield f"{inner}) -> None: ..."
    yield ""


def _annotation(field: Any) -> str:
    if field.is_struct() or field.is_struct_array():
        value_type, value = "", field.type_str
    else:
        value_type = (field.array_of if field.is_array() else field).type_str
        value = _TYPES.get(value_type, "int")
    is_nullable = field._nullable_versions is not None  # noqa: SLF001
    may_be_none = is_nullable or (field.is_struct() and field.tag is not None)
    if field.is_array():
        value = f"list[{value}{' | None' if value_type in _ALWAYS_OPTIONAL else ''}]"
    elif value_type in _ALWAYS_OPTIONAL:
        may_be_none = True
    return f"{value} | None" if may_be_none else value


if __name__ == "__main__":
    for path, text in stubs().items():
        (STUBS / path).parent.mkdir(exist_ok=True)
        (STUBS / path).write_text(text)
