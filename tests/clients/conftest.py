"""The server that every client suite talks to.

Without further ado the suites start the broker of this repository. Two variables point them elsewhere:
    KAFSCALE_TEST_BOOTSTRAP=host:port   use a server that runs already
    KAFSCALE_TEST_SERVER=apache         it is Apache Kafka: leave out what only holds for KafScale
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from tests.support.broker import BrokerProcess

BOOTSTRAP_VARIABLE = "KAFSCALE_TEST_BOOTSTRAP"
SERVER_VARIABLE = "KAFSCALE_TEST_SERVER"
KAFSCALE_ONLY = "kafscale_only"
APACHE_ONLY = "apache_only"

ServerKind: TypeAlias = Literal["kafscale", "apache"]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this folder."""
    config.addinivalue_line("markers", f"{KAFSCALE_ONLY}: behaviour on which KafScale differs from Apache Kafka")
    config.addinivalue_line("markers", f"{APACHE_ONLY}(reason): needs a part of Kafka that KafScale does not have yet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only holds for the server that is not being tested."""
    other = KAFSCALE_ONLY if selected_server() == "apache" else APACHE_ONLY
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def selected_server() -> ServerKind:
    """Return which server the environment names; a name that is neither of the two is a usage error."""
    match os.environ.get(SERVER_VARIABLE, "kafscale"):
        case "kafscale":
            return "kafscale"
        case "apache":
            return "apache"
        case other:
            raise pytest.UsageError(f"{SERVER_VARIABLE} must be kafscale or apache, not {other!r}")


@pytest.fixture(scope="session")
def server_kind() -> ServerKind:
    """Which server is being tested."""
    return selected_server()


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address, `host:port`: a server that runs already, or one broker for the whole session."""
    running_already = os.environ.get(BOOTSTRAP_VARIABLE)
    if running_already:
        yield running_already
        return
    if selected_server() == "apache":
        raise pytest.UsageError(f"{SERVER_VARIABLE}=apache needs {BOOTSTRAP_VARIABLE}=host:port")
    data_dir: Path = tmp_path_factory.mktemp("broker") / "data"
    with BrokerProcess(data_dir) as broker:
        yield broker.bootstrap


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Return a function that makes topic and group names no other test uses: `unique_name("orders")`."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:12]}"
