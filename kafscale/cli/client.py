"""The Kafka client behind the commands: the one place of the command line that knows kafka-python.

Every failure of the library leaves here as a `CommandError` of one line. The library is imported on first use: it
takes a quarter of a second, which `kafscale broker` must not spend.
"""

import difflib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from kafscale.cli.errors import CommandError

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

T = TypeVar("T")

BROKERS_VARIABLE: Final = "KAFSCALE_BROKERS"

CLIENT_ID: Final = "kafscale-cli"

CONNECT_TIMEOUT_MS: Final = 3500
"""Somebody waits at a terminal: a broker that has not answered by then is not there."""

RETRY_TIMEOUT_S: Final = 5.0
"""How long a broker may answer "not yet": a coordinator that is still loading, for instance."""

RETRY_PAUSE_S: Final = 0.1

_NUMBERED_ERROR: Final = re.compile(r"\[Error (-?[0-9]+)\] (?:\w+: )?(.*)", re.DOTALL)

BrokersOption = Annotated[
    str,
    typer.Option(
        "-b", "--brokers", envvar=BROKERS_VARIABLE, help="Bootstrap addresses, host:port separated by commas."
    ),
]
ClientSettingsOption = Annotated[
    list[str] | None,
    typer.Option("-X", metavar="KEY=VALUE", help="A client setting, as in request.timeout.ms=5000; may be repeated."),
]

DEFAULT_BROKERS: Final = "127.0.0.1:9092"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which brokers to talk to, and the client settings (kafka-python's, or Kafka's names with dots) to do it with."""

    brokers: str
    settings: Mapping[str, str]

    def configs(self, defaults: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
        """Return keyword arguments for a client whose own defaults are `defaults`; `-X` goes before `ours`."""
        basis = {
            "bootstrap_servers": self.brokers.split(","),
            "bootstrap_timeout_ms": CONNECT_TIMEOUT_MS,
            "client_id": CLIENT_ID,
            **ours,
        }
        return basis | {name.replace(".", "_"): _typed(name, text, defaults) for name, text in self.settings.items()}


def connection(brokers: str, settings: list[str] | None) -> Connection:
    """Return the connection that `-b` and `-X` ask for."""
    return Connection(brokers=brokers, settings=dict(key_value("-X", text) for text in settings or []))


def key_value(option: str, text: str) -> tuple[str, str]:
    """Return the two halves of an option's `key=value`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CommandError(f"{option} {text!r}: write it as key=value")
    return key, value


def _typed(name: str, text: str, defaults: Mapping[str, Any]) -> object:
    """Return the text of a client setting as the type its default has."""
    attribute = name.replace(".", "_")
    if attribute not in defaults:
        nearest = difflib.get_close_matches(attribute, defaults, n=1)
        raise CommandError(
            f"unknown client setting {name}" + (f": did you mean {nearest[0].replace('_', '.')}?" if nearest else "")
        )
    default = defaults[attribute]
    if isinstance(default, bool):
        return text.strip().lower() == "true"
    if isinstance(default, int | float):
        return _number(name, text)
    return text


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"client setting {name}: {text!r} is not a number") from None


@contextmanager
def admin_client(to: Connection) -> Iterator["KafkaAdminClient"]:
    """Yield an admin client that is connected."""
    from kafka import KafkaAdminClient

    with _failures(to):
        client = KafkaAdminClient(**to.configs(KafkaAdminClient.DEFAULT_CONFIG))
        try:
            yield client
        finally:
            client.close()


@contextmanager
def producer_client(to: Connection, **configs: Any) -> Iterator["KafkaProducer"]:
    """Yield a producer; `configs` go before kafka-python's defaults and behind `-X`."""
    from kafka import KafkaProducer

    with _failures(to):
        client = KafkaProducer(**to.configs(KafkaProducer.DEFAULT_CONFIG, **configs))
        try:
            yield client
        finally:
            client.close(timeout=RETRY_TIMEOUT_S)


@contextmanager
def consumer_client(to: Connection, **configs: Any) -> Iterator["KafkaConsumer"]:
    """Yield a consumer; `configs` go before kafka-python's defaults and behind `-X`."""
    from kafka import KafkaConsumer

    with _failures(to):
        client = KafkaConsumer(**to.configs(KafkaConsumer.DEFAULT_CONFIG, **configs))
        try:
            yield client
        finally:
            client.close()


@contextmanager
def _failures(to: Connection) -> Iterator[None]:
    """Turn every failure of the library into a CommandError, and keep it from talking on stderr itself."""
    import logging

    from kafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError

    logging.getLogger("kafka").setLevel(logging.CRITICAL + 1)
    try:
        yield
    except (CommandError, typer.Exit, OSError):
        raise
    except KafkaTimeoutError as error:
        raise CommandError(f"no answer from {to.brokers}: {_last_words(error)}") from None
    except BrokerResponseError as error:
        raise CommandError(broker_error(error.errno, None)) from None
    except KafkaError as error:
        raise CommandError(_last_words(error)) from None
    except (RuntimeError, ValueError, AssertionError) as error:
        # The library reports wrong settings and some refusals of a broker this way.
        raise CommandError(str(error) or type(error).__name__) from error


def _last_words(error: Exception) -> str:
    return str(error).removeprefix(f"{type(error).__name__}: ")


def retried(action: Callable[[], T]) -> T:
    """Return what `action` returns, repeating it while a broker answers that it is not ready yet."""
    from kafka.errors import KafkaError

    deadline_s = time.monotonic() + RETRY_TIMEOUT_S
    while True:
        try:
            return action()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline_s:
                raise
            time.sleep(RETRY_PAUSE_S)


def broker_error(code: int, message: str | None) -> str:
    """Return one line for an error code of Kafka's protocol: its name, and the broker's own words or the usual ones."""
    from kafka.errors import for_code

    kind = for_code(code)
    return f"{kind.message}: {message or kind.description}"


def library_error(outcome: str) -> str:
    """Return one line for an outcome that kafka-python gives as text: `[Error 40] InvalidConfigurationError: why`, or
    only the class's name."""
    import kafka.errors

    if (numbered := _NUMBERED_ERROR.match(outcome)) is not None:
        return broker_error(int(numbered[1]), numbered[2])
    kind = getattr(kafka.errors, outcome, None)
    return outcome if kind is None else broker_error(kind.errno, None)


def check(what: str, code: int, message: str | None) -> None:
    """Raise CommandError when `code` is an error of Kafka's protocol; `what` names the thing it is about."""
    if code:
        raise CommandError(f"{what}: {broker_error(code, message)}")
