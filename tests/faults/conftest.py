"""Brokers for the tests of wrong input and damage.

KAFSCALE_TEST_BOOTSTRAP=host:port points the tests that only need a port at a server that runs already, an Apache Kafka
for example: what differs there is listed beside the test.
"""

import os
from collections.abc import Iterator

import pytest

from tests.support.broker import BrokerProcess
from tests.support.raw_client import RawClient

BOOTSTRAP_VARIABLE = "KAFSCALE_TEST_BOOTSTRAP"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker of this repository for the tests of a module."""
    settings = {"group.initial.rebalance.delay.ms": "0"}
    with BrokerProcess(tmp_path_factory.mktemp("broker") / "data", settings=settings) as running:
        yield running


@pytest.fixture
def is_elsewhere() -> bool:
    """Whether the server under test is not this repository's broker."""
    return BOOTSTRAP_VARIABLE in os.environ


@pytest.fixture(scope="module")
def port(request: pytest.FixtureRequest) -> int:
    """The port of the server under test: this repository's broker unless the environment names another."""
    elsewhere = os.environ.get(BOOTSTRAP_VARIABLE)
    if elsewhere:
        return int(elsewhere.rpartition(":")[2])
    running = request.getfixturevalue("broker")
    assert isinstance(running, BrokerProcess)
    return running.port


@pytest.fixture
def client(port: int) -> Iterator[RawClient]:
    """A connection to the server under test."""
    with RawClient(port) as opened:
        yield opened
