"""`kafscale consume`: print records."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafscale.cli.client import DEFAULT_BROKERS, BrokersOption, ClientSettingsOption, connection, consumer_client
from kafscale.cli.errors import CommandError
from kafscale.cli.offsets import Anchor, Place, parse_place, resolve
from kafscale.cli.produce import TopicArgument, TopicOption, chosen_topic

if TYPE_CHECKING:
    from kafka import ConsumerRecord, KafkaConsumer, TopicPartition

POLL_MS: Final = 200
"""How long one poll waits: the delay with which Ctrl-C and the end of a partition are noticed."""

POLL_RECORDS_MAX: Final = 500

Formatter = Callable[["ConsumerRecord"], bytes]


def consume(
    name: TopicArgument = None,
    topic: TopicOption = None,
    offset: Annotated[
        str | None,
        typer.Option("-o", "--offset", help="start, end, N, -N (N before the end) or @milliseconds [default: start]."),
    ] = None,
    count: Annotated[int | None, typer.Option("-n", "--num", min=1, help="Stop after so many records.")] = None,
    form: Annotated[
        str,
        typer.Option(
            "-f",
            "--format",
            help="%t topic, %p partition, %o offset, %k key, %v value, %h headers, %T timestamp, %% percent sign.",
        ),
    ] = "%v\\n",
    partition: Annotated[list[int] | None, typer.Option("-p", "--partition", help="Only this partition.")] = None,
    group: Annotated[
        str | None, typer.Option("-g", "--group", help="Read as a member of this group and commit what was printed.")
    ] = None,
    exit_at_end: Annotated[bool, typer.Option("-e", "--exit", help="Stop at what is the end now.")] = False,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Print the records of a topic."""
    place = parse_place(offset or "start")
    configs = {
        "group_id": group,
        "auto_offset_reset": "latest" if place == Place(anchor=Anchor.END) else "earliest",
        "allow_auto_create_topics": False,
    }
    if group is not None and (partition or place.anchor in (Anchor.OFFSET, Anchor.TIME) or place.number):
        raise typer.BadParameter("-g goes with -o start and -o end only: kafscale group seek moves a group")
    formatter = compile_format(form)
    wanted = chosen_topic(name, topic)
    with consumer_client(connection(brokers, settings), **configs) as client:
        partitions = _partitions(client, wanted, partition)
        if group is None:
            _assign(client, partitions, place)
        else:
            client.subscribe([wanted])
        _print(islice(_records(client, exit_at_end, count or sys.maxsize), count), formatter)


def _partitions(client: "KafkaConsumer", topic: str, chosen: list[int] | None) -> list["TopicPartition"]:
    from kafka import TopicPartition

    known = client.partitions_for_topic(topic)
    if not known:
        raise CommandError(f"topic {topic}: UNKNOWN_TOPIC_OR_PARTITION: there is no such topic")
    for number in chosen or ():
        if number not in known:
            raise CommandError(f"topic {topic} has no partition {number}")
    return [TopicPartition(topic, number) for number in sorted(chosen or known)]


class ConsumerOffsets:
    """Offsets of partitions, asked for with a consumer."""

    def __init__(self, client: "KafkaConsumer") -> None:
        self._client = client

    def starts(self, partitions: Iterable["TopicPartition"]) -> dict["TopicPartition", int]:
        """Return each partition's first offset."""
        return self._client.beginning_offsets(partitions)

    def ends(self, partitions: Iterable["TopicPartition"]) -> dict["TopicPartition", int]:
        """Return the offset after each partition's last record."""
        return self._client.end_offsets(partitions)

    def at(self, partitions: Iterable["TopicPartition"], timestamp_ms: int) -> dict["TopicPartition", int | None]:
        """Return the first offset at or after a time; None where there is none."""
        found = self._client.offsets_for_times(dict.fromkeys(partitions, timestamp_ms))
        return {each: None if at is None else at.offset for each, at in found.items()}


def _assign(client: "KafkaConsumer", partitions: list["TopicPartition"], place: Place) -> None:
    offsets = resolve(place, partitions, ConsumerOffsets(client))
    client.assign(partitions)
    for each, offset in offsets.items():
        client.seek(each, offset)


def _records(client: "KafkaConsumer", exit_at_end: bool, count: int) -> Iterator["ConsumerRecord"]:
    """Yield records until there have been `count`, or until every partition is where it ended at first sight."""
    ends: dict[TopicPartition, int] = {}
    while count > 0:
        for records in client.poll(POLL_MS, min(count, POLL_RECORDS_MAX)).values():
            count -= len(records)
            yield from records
        if exit_at_end and _is_at_end(client, ends):
            return


def _is_at_end(client: "KafkaConsumer", ends: dict["TopicPartition", int]) -> bool:
    """Tell whether every assigned partition has been read up to the end it had when it was first looked at."""
    assigned = client.assignment()
    if new := assigned - ends.keys():
        ends.update(client.end_offsets(new))
    return bool(assigned) and all((client.position(each) or 0) >= ends[each] for each in assigned)


def _print(records: Iterable["ConsumerRecord"], formatter: Formatter) -> None:
    out = sys.stdout.buffer
    try:
        for record in records:
            out.write(formatter(record))
            out.flush()
    except KeyboardInterrupt:
        out.flush()


_FIELDS: Final[dict[str, Formatter]] = {
    "t": lambda record: record.topic.encode(),
    "p": lambda record: b"%d" % record.partition,
    "o": lambda record: b"%d" % record.offset,
    "k": lambda record: record.key or b"",
    "v": lambda record: record.value or b"",
    "s": lambda record: record.value or b"",
    "T": lambda record: b"%d" % record.timestamp,
    "h": lambda record: b",".join(name.encode() + b"=" + (value or b"") for name, value in record.headers),
    "%": lambda _record: b"%",
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
_TOKEN: Final = re.compile(r"%(.)|\\(.)|[^%\\]+|[%\\]", re.DOTALL)


def compile_format(text: str) -> Formatter:
    """Return what prints a record by a format; raises CommandError for a letter that stands for nothing."""
    parts = [_compile_token(token) for token in _TOKEN.finditer(text)]
    return lambda record: b"".join(part(record) for part in parts)


def _compile_token(token: re.Match[str]) -> Formatter:
    if token[1] is not None:
        if token[1] not in _FIELDS:
            raise CommandError(f"format %{token[1]}: use one of {' '.join('%' + letter for letter in _FIELDS)}")
        return _FIELDS[token[1]]
    literal = (_ESCAPES.get(token[2], token[0]) if token[2] is not None else token[0]).encode()
    return lambda _record: literal
