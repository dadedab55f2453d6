"""Our codec against bytes and values that Apache Kafka 4.1.0 itself wrote: every API, version and direction.

`make golden` writes the data again (tests/golden/generator).
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from kafscale.errors import MalformedRequest
from kafscale.protocol.api import ADVERTISED, FIRST_READABLE, ApiKey
from kafscale.protocol.codec import (
    MESSAGES,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from kafscale.protocol.schema import StructSchema, message_schema
from tests.golden.kafka_json import build, values_of_json, values_of_message

DATA: Final = Path(__file__).parent / "data"
APIS: Final = sorted(path.stem for path in DATA.glob("*.jsonl"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One message as Kafka wrote it."""

    key: ApiKey
    version: int
    direction: str
    body: bytes
    json: dict[str, Any]

    @property
    def schema(self) -> StructSchema:
        return message_schema(getattr(MESSAGES[self.key], self.direction), self.version)

    @property
    def title(self) -> str:
        return f"{self.key.name} v{self.version} {self.direction} {self.json}"


@cache
def golden(api: str) -> tuple[Golden, ...]:
    lines = (json.loads(line) for line in (DATA / f"{api}.jsonl").read_text().splitlines())
    return tuple(
        Golden(
            key=ApiKey(line["key"]),
            version=line["version"],
            direction=line["direction"],
            body=base64.b64decode(line["body"]),
            json=line["json"],
        )
        for line in lines
    )


def of_direction(api: str, direction: str) -> Iterator[Golden]:
    return (message for message in golden(api) if message.direction == direction)


def test_every_readable_version_has_golden_bytes() -> None:
    found = {(message.key, message.version, message.direction) for api in APIS for message in golden(api)}
    assert found == {
        (key, version, direction)
        for key in MESSAGES
        for version in range(FIRST_READABLE.get(key, ADVERTISED[key].min), ADVERTISED[key].max + 1)
        for direction in ("request", "response")
    }


@pytest.mark.parametrize("api", APIS)
def test_requests_read_as_kafka_means_them_and_write_back(api: str) -> None:
    for message in of_direction(api, "request"):
        request = decode_request(message.key, message.version, memoryview(message.body))
        assert values_of_message(message.schema, request) == values_of_json(message.schema, message.json), message.title
        assert encode_request(request, message.version) == message.body, message.title


@pytest.mark.parametrize("api", APIS)
def test_responses_are_written_as_kafka_writes_them(api: str) -> None:
    for message in of_direction(api, "response"):
        values = values_of_json(message.schema, message.json)
        response = build(message.schema, values, message.version)
        assert encode_response(response, message.version) == message.body, message.title


@pytest.mark.parametrize("api", APIS)
def test_responses_read_back(api: str) -> None:
    for message in of_direction(api, "response"):
        response = decode_response(message.key, message.version, message.body)
        assert values_of_message(message.schema, response) == values_of_json(message.schema, message.json)
        assert encode_response(response, message.version) == message.body, message.title


@pytest.mark.parametrize("api", APIS)
def test_good_requests_read_as_the_lenient_decoder_reads_them(api: str) -> None:
    for message in of_direction(api, "request"):
        ours = decode_request(message.key, message.version, message.body)
        assert ours == MESSAGES[message.key].request.decode(message.body, version=message.version), message.title


@pytest.mark.parametrize("api", APIS)
def test_damaged_requests_are_refused_or_mean_what_their_bytes_say(api: str) -> None:
    for message in of_direction(api, "request"):
        for damaged in damage(message.body):
            check_refused_or_faithful(message, damaged)


def damage(body: bytes) -> Iterator[bytes]:
    """Yield the body cut off at every byte, one byte too long, and with each byte (so each count too) changed."""
    yield from (body[:end] for end in range(len(body)))
    yield body + b"\x00"
    for index, byte in enumerate(body):
        for other in {(byte + 1) % 256, 0x7F, 0xFF} - {byte}:
            yield body[:index] + bytes((other,)) + body[index + 1 :]


def check_refused_or_faithful(message: Golden, damaged: bytes) -> None:
    try:
        request = decode_request(message.key, message.version, damaged)
    except MalformedRequest:
        return
    written = bytes(encode_request(request, message.version))
    if written != damaged:
        # Padded varints, unknown tags and tags with their default value are read; they are not written again.
        assert len(written) < len(damaged), (message.title, damaged)
        again = decode_request(message.key, message.version, written)
        assert encode_request(again, message.version) == written, (message.title, damaged)
