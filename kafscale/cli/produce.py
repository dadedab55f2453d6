"""`kafscale produce`: send the lines of stdin as records."""

import sys
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafscale.cli.client import (
    DEFAULT_BROKERS,
    BrokersOption,
    ClientSettingsOption,
    connection,
    key_value,
    producer_client,
)
from kafscale.cli.errors import CommandError

if TYPE_CHECKING:
    from kafka import FutureRecordMetadata, KafkaProducer

UNACKNOWLEDGED_MAX: Final = 10_000
"""Records sent and not yet known to be stored. Beyond it the oldest is waited for, so that a failure shows soon."""

DELIVERY_TIMEOUT_MS: Final = 30_000
"""How long one record may take before the command gives up."""


class Codec(StrEnum):
    """Codecs of record batches."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


class Acks(StrEnum):
    """Which acknowledgement a producer waits for."""

    NONE = "0"
    LEADER = "1"
    ALL = "all"


TopicArgument = Annotated[str | None, typer.Argument(metavar="[TOPIC]", help="Name of the topic.")]
TopicOption = Annotated[str | None, typer.Option("-t", "--topic", help="Name of the topic (instead of TOPIC).")]


def produce(
    name: TopicArgument = None,
    topic: TopicOption = None,
    key: Annotated[str | None, typer.Option("-k", "--key", help="Key of every record.")] = None,
    delimiter: Annotated[
        str | None, typer.Option("-K", "--key-delimiter", help="Text between key and value in each line.")
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="KEY=VALUE", help="A header; may be repeated.")
    ] = None,
    partition: Annotated[int | None, typer.Option("-p", "--partition", help="Partition of every record.")] = None,
    codec: Annotated[Codec, typer.Option("-z", "--compression", help="Codec.")] = Codec.NONE,
    acks: Annotated[Acks, typer.Option("--acks", help="Acknowledgement to wait for.")] = Acks.ALL,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Send every line of stdin as a record."""
    template = RecordTemplate(
        key=None if key is None else key.encode(),
        delimiter=None if delimiter is None else delimiter.encode(),
        headers=[(name, value.encode()) for name, value in (key_value("-H", text) for text in headers or [])],
        partition=partition,
    )
    configs = {
        "acks": acks.value if acks is Acks.ALL else int(acks.value),
        "enable_idempotence": acks is Acks.ALL,
        "compression_type": None if codec is Codec.NONE else codec.value,
        "max_block_ms": DELIVERY_TIMEOUT_MS,
        "delivery_timeout_ms": DELIVERY_TIMEOUT_MS,
        "request_timeout_ms": DELIVERY_TIMEOUT_MS,
    }
    with producer_client(connection(brokers, settings), **configs) as client:
        count = _send_lines(client, chosen_topic(name, topic), template)
    print(f"{count} {'record' if count == 1 else 'records'} produced", file=sys.stderr)


def chosen_topic(argument: str | None, option: str | None) -> str:
    """Return the topic given either as TOPIC or with -t."""
    if (argument is None) == (option is None):
        raise typer.BadParameter("give one topic, as TOPIC or with -t")
    return argument or option or ""


class RecordTemplate:
    """What all records of one run have in common; makes key and value of a line."""

    def __init__(
        self,
        *,
        key: bytes | None,
        delimiter: bytes | None,
        headers: list[tuple[str, bytes | None]],
        partition: int | None,
    ) -> None:
        if key is not None and delimiter is not None:
            raise typer.BadParameter("-k and -K contradict each other")
        self.headers = headers
        self.partition = partition
        self._key = key
        self._delimiter = delimiter

    def split(self, line: bytes) -> tuple[bytes | None, bytes]:
        """Return key and value of one line, which has no line end any more; raises CommandError."""
        if self._delimiter is None:
            return self._key, line
        key, delimiter, value = line.partition(self._delimiter)
        if not delimiter:
            raise CommandError(f"no key delimiter in the line {line[:80].decode(errors='replace')!r}")
        return key, value


def _send_lines(client: "KafkaProducer", topic: str, template: RecordTemplate) -> int:
    """Send stdin line by line, wait until all of it is acknowledged, and return how many records that were."""
    unacknowledged: deque[FutureRecordMetadata] = deque()
    count = 0
    for line in sys.stdin.buffer:
        key, value = template.split(line.removesuffix(b"\n").removesuffix(b"\r"))
        unacknowledged.append(client.send(topic, value, key, template.headers, template.partition))
        count += 1
        if len(unacknowledged) > UNACKNOWLEDGED_MAX:
            unacknowledged.popleft().get(DELIVERY_TIMEOUT_MS / 1000)
    while unacknowledged:
        unacknowledged.popleft().get(DELIVERY_TIMEOUT_MS / 1000)
    return count
