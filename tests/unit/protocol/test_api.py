"""The table of API versions."""

import pytest
from kafka.protocol.api_key import ApiKey as LibraryApiKey

from kafscale.protocol.api import ADVERTISED, NEVER, ApiKey, is_readable, response_header_is_flexible
from kafscale.protocol.codec import MESSAGES


def test_keys_are_kafkas() -> None:
    assert {key.value: key.name.replace("_", "").lower() for key in ApiKey} == {
        key.value: key.name.lower() for key in LibraryApiKey
    }


@pytest.mark.parametrize("key", sorted(MESSAGES))
def test_flexible_versions_agree_with_the_schemas(key: ApiKey) -> None:
    versions = ADVERTISED[key]
    for message in MESSAGES[key]:
        flexible = [version for version in range(versions.max + 1) if message.flexible_version_q(version)]
        assert flexible == list(range(min(versions.flexible_from, versions.max + 1), versions.max + 1))


def test_old_versions_of_produce_are_advertised_but_not_readable() -> None:
    assert ADVERTISED[ApiKey.PRODUCE] == (0, 13, 9)
    assert [version for version in range(-1, 16) if is_readable(ApiKey.PRODUCE, version)] == list(range(3, 14))


@pytest.mark.parametrize(("key", "version"), [(-1, 0), (4, 0), (52, 0), (1_000, 0), (ApiKey.METADATA, 14)])
def test_what_kafka_does_not_advertise_is_not_readable(key: int, version: int) -> None:
    assert not is_readable(key, version)


def test_response_headers() -> None:
    assert response_header_is_flexible(ApiKey.FETCH, 12)
    assert not response_header_is_flexible(ApiKey.FETCH, 11)
    assert not any(response_header_is_flexible(ApiKey.API_VERSIONS, version) for version in range(6))
    assert ADVERTISED[ApiKey.SASL_HANDSHAKE].flexible_from == NEVER
    assert not response_header_is_flexible(ApiKey.SASL_HANDSHAKE, 1)
