"""Random messages of every API and version: written by kafka-python, read by the strict readers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafscale.protocol.api import ADVERTISED, FIRST_READABLE, ApiKey
from kafscale.protocol.codec import MESSAGES, decode_request, encode_request
from kafscale.protocol.schema import FieldSchema, StructSchema, message_schema
from tests.golden.kafka_json import build, values_of_message

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": st.integers(-(2**7), 2**7 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "uuid": st.uuids().filter(lambda uuid: uuid.int != 0) | st.none(),
    "string": st.text(max_size=150),
    "bytes": st.binary(max_size=150),
    "records": st.binary(max_size=150),
}


def values(schema: StructSchema) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field.name: field_values(field) for field in schema.fields})


def field_values(field: FieldSchema) -> st.SearchStrategy[Any]:
    single = values(field.struct) if field.struct is not None else VALUES[field.type]
    drawn = st.lists(single, max_size=3) if field.is_array else single
    return drawn | st.none() if field.is_nullable else drawn


@pytest.mark.parametrize("key", sorted(MESSAGES))
@settings(max_examples=10)
@given(data=st.data())
def test_requests(key: ApiKey, data: st.DataObject) -> None:
    versions = ADVERTISED[key]
    version = data.draw(st.integers(FIRST_READABLE.get(key, versions.min), versions.max), label="version")
    schema = message_schema(MESSAGES[key].request, version)
    drawn = data.draw(values(schema), label="values")
    body = bytes(encode_request(build(schema, drawn, version), version))
    assert values_of_message(schema, decode_request(key, version, body)) == drawn
