"""`kafscale group`: list, describe, seek and delete consumer groups."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafscale.cli.client import (
    DEFAULT_BROKERS,
    BrokersOption,
    ClientSettingsOption,
    admin_client,
    connection,
    library_error,
    retried,
)
from kafscale.cli.errors import CommandError
from kafscale.cli.offsets import parse_place, resolve
from kafscale.cli.output import FormatOption, OutputFormat, show, show_table, show_value
from kafscale.cli.topic import existing, partitions_of

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, TopicPartition

app = typer.Typer(help="List, describe, seek and delete consumer groups.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="GROUP...", help="Names of groups.")]
Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]


@app.command("list")
def list_groups(
    form: FormatOption = OutputFormat.TABLE,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """List groups."""
    with admin_client(connection(brokers, settings)) as client:
        found = retried(client.list_groups)
    rows = [
        {
            "group": group["group_id"],
            "state": group.get("group_state"),
            "type": group.get("group_type"),
            "protocol_type": group["protocol_type"],
        }
        for group in found
    ]
    show(sorted(rows, key=lambda row: str(row["group"])), ("group", "state", "type", "protocol_type"), form)


@app.command()
def describe(
    names: Names,
    form: FormatOption = OutputFormat.TABLE,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Show state, members, committed offsets and lag of groups."""
    with admin_client(connection(brokers, settings)) as client:
        described = [_description(client, name) for name in names]
    if form is not OutputFormat.TABLE:
        show_value(described, form)
        return
    for group in described:
        show_table([group], ("group", "state", "protocol_type", "assignor", "lag"))
        show_table(group["members"], ("member", "client_id", "host", "assignment"), title="\nMembers")
        show_table(group["offsets"], ("topic", "partition", "committed", "end", "lag", "client_id"), title="\nOffsets")


@app.command()
def seek(
    name: Name,
    to: Annotated[
        str, typer.Option("--to", help="start, end, N, -N, @milliseconds, or a file of lines `topic partition offset`.")
    ],
    topics: Annotated[
        list[str] | None, typer.Option("-t", "--topic", help="Only this topic; also one not committed yet.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    form: FormatOption = OutputFormat.TABLE,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Move the committed offsets of a group that has no members."""
    with admin_client(connection(brokers, settings)) as client:
        before = _committed(client, name)
        after = _targets(client, to, before, topics or [])
        if not after:
            raise CommandError(f"group {name} has no committed offsets: name a topic with -t")
        if not dry_run:
            _commit(client, name, after)
    rows = [
        {"topic": each.topic, "partition": each.partition, "before": before.get(each), "after": after[each]}
        for each in sorted(after)
    ]
    show(rows, ("topic", "partition", "before", "after"), form)


@app.command()
def delete(names: Names, brokers: BrokersOption = DEFAULT_BROKERS, settings: ClientSettingsOption = None) -> None:
    """Delete groups with their committed offsets."""
    with admin_client(connection(brokers, settings)) as client:
        outcomes = retried(lambda: client.delete_groups(names))
    failed = [f"group {name}: {library_error(outcome)}" for name, outcome in outcomes.items() if outcome != "OK"]
    for name, outcome in outcomes.items():
        if outcome == "OK":
            print(f"deleted {name}")
    if failed:
        raise CommandError("; ".join(failed))


class AdminOffsets:
    """Offsets of partitions, asked for with an admin client."""

    def __init__(self, client: "KafkaAdminClient") -> None:
        self._client = client

    def starts(self, partitions: Iterable["TopicPartition"]) -> dict["TopicPartition", int]:
        """Return each partition's first offset."""
        from kafka.admin import OffsetSpec

        return self._look_up(partitions, OffsetSpec.EARLIEST)

    def ends(self, partitions: Iterable["TopicPartition"]) -> dict["TopicPartition", int]:
        """Return the offset after each partition's last record."""
        from kafka.admin import OffsetSpec

        return self._look_up(partitions, OffsetSpec.LATEST)

    def at(self, partitions: Iterable["TopicPartition"], timestamp_ms: int) -> dict["TopicPartition", int | None]:
        """Return the first offset at or after a time; None where there is none."""
        found = self._look_up(partitions, timestamp_ms)
        return {each: offset if offset >= 0 else None for each, offset in found.items()}

    def _look_up(self, partitions: Iterable["TopicPartition"], timestamp: int) -> dict["TopicPartition", int]:
        wanted = dict.fromkeys(partitions, timestamp)
        if not wanted:
            return {}
        return {
            each: found.offset for each, found in retried(lambda: self._client.list_partition_offsets(wanted)).items()
        }


def _committed(client: "KafkaAdminClient", name: str) -> dict["TopicPartition", int]:
    offsets = retried(lambda: client.list_group_offsets({name: None}))[name]
    return {each: found.offset for each, found in offsets.items() if found.offset >= 0}


def _description(client: "KafkaAdminClient", name: str) -> dict[str, Any]:
    group = retried(lambda: client.describe_groups([name]))[name]
    if group["error"]:
        raise CommandError(f"group {name}: {library_error(group['error'])}")
    offsets = _offset_rows(client, name, group["members"])
    if group["group_state"] == "Dead" and not offsets:
        raise CommandError(f"group {name} does not exist")
    return {
        "group": name,
        "state": group["group_state"],
        "protocol_type": group["protocol_type"],
        "assignor": group["protocol_data"] or None,
        "lag": sum(row["lag"] or 0 for row in offsets),
        "members": [_member_row(member) for member in group["members"]],
        "offsets": offsets,
    }


def _member_row(member: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "member": member["member_id"],
        "instance": member.get("group_instance_id"),
        "client_id": member["client_id"],
        "host": member["client_host"],
        "assignment": [f"{topic}/{partition}" for topic, partition in _assigned(member)],
    }


def _assigned(member: Mapping[str, Any]) -> list[tuple[str, int]]:
    assignment = member["member_assignment"]
    if not isinstance(assignment, Mapping):
        return []
    topics = assignment.get("assigned_partitions", ())
    return sorted((topic["topic"], partition) for topic in topics for partition in topic["partitions"])


def _offset_rows(client: "KafkaAdminClient", name: str, members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from kafka import TopicPartition

    committed = _committed(client, name)
    owners = {TopicPartition(*each): member["client_id"] for member in members for each in _assigned(member)}
    partitions = sorted(committed.keys() | owners.keys())
    ends = AdminOffsets(client).ends(partitions)
    return [
        {
            "topic": each.topic,
            "partition": each.partition,
            "committed": committed.get(each),
            "end": ends[each],
            "lag": ends[each] - committed[each] if each in committed else None,
            "client_id": owners.get(each),
        }
        for each in partitions
    ]


def _targets(
    client: "KafkaAdminClient", to: str, committed: Mapping["TopicPartition", int], topics: Sequence[str]
) -> dict["TopicPartition", int]:
    """Return the offsets to commit: those of a file, or `to` in the chosen topics' or all committed partitions."""
    if (file := Path(to)).is_file():
        return {each: offset for each, offset in _read_offsets(file).items() if not topics or each.topic in topics}
    place = parse_place(to)
    partitions = [each for each in committed if not topics]
    for topic in existing(client, topics) if topics else ():
        partitions += partitions_of(topic)
    return resolve(place, partitions, AdminOffsets(client))


def _read_offsets(file: Path) -> dict["TopicPartition", int]:
    from kafka import TopicPartition

    offsets = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        match line.split():
            case [] | ["#", *_]:
                continue
            case [topic, partition, offset] if partition.isdecimal() and offset.isdecimal():
                offsets[TopicPartition(topic, int(partition))] = int(offset)
            case _:
                raise CommandError(f"{file} line {number}: write `topic partition offset`")
    return offsets


def _commit(client: "KafkaAdminClient", name: str, offsets: Mapping["TopicPartition", int]) -> None:
    from kafka import OffsetAndMetadata
    from kafka.errors import NoError

    wanted = {each: OffsetAndMetadata(offset, "", None) for each, offset in offsets.items()}
    outcomes = retried(lambda: client.alter_group_offsets(name, wanted))
    for each, outcome in sorted(outcomes.items(), key=lambda item: item[0]):
        if outcome is not NoError:
            raise CommandError(f"group {name}, {each.topic}/{each.partition}: {_complaint(outcome)}")


def _complaint(outcome: type[Exception]) -> str:
    name: str = getattr(outcome, "message", outcome.__name__)
    return f"{name}: the group still has members" if name == "UNKNOWN_MEMBER_ID" else name
