"""`kafscale topic`: create, list, describe, alter and delete topics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafscale.cli.client import (
    DEFAULT_BROKERS,
    BrokersOption,
    ClientSettingsOption,
    admin_client,
    check,
    connection,
    key_value,
    library_error,
    retried,
)
from kafscale.cli.errors import CommandError
from kafscale.cli.output import FormatOption, OutputFormat, Row, show, show_table, show_value

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, TopicPartition

app = typer.Typer(help="Create, list, describe, alter and delete topics.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="TOPIC...", help="Names of topics.")]
Name = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]
ConfigsOption = Annotated[
    list[str] | None, typer.Option("-c", "--config", metavar="KEY=VALUE", help="A topic config; may be repeated.")
]


@app.command()
def create(
    names: Names,
    partitions: Annotated[int, typer.Option("-p", "--partitions", help="How many; -1: as the broker is set.")] = -1,
    replicas: Annotated[int, typer.Option("-r", "--replicas", help="How many; -1: as the broker is set.")] = -1,
    configs: ConfigsOption = None,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Create topics."""
    wanted = {
        "num_partitions": partitions,
        "replication_factor": replicas,
        "configs": dict(key_value("-c", text) for text in configs or []),
    }
    with admin_client(connection(brokers, settings)) as client:
        results = client.create_topics(dict.fromkeys(names, wanted), raise_errors=False)["topics"]
    _report("created", results)


@app.command("list")
def list_topics(
    internal: Annotated[bool, typer.Option("-i", "--internal", help="Show internal topics too.")] = False,
    form: FormatOption = OutputFormat.TABLE,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """List topics."""
    with admin_client(connection(brokers, settings)) as client:
        found = retried(client.describe_topics)
    rows = [_summary(topic) for topic in found if internal or not topic["is_internal"]]
    show(sorted(rows, key=lambda row: str(row["name"])), ("name", "partitions", "replicas"), form)


@app.command()
def describe(
    names: Names,
    form: FormatOption = OutputFormat.TABLE,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Show partitions, offsets and configs of topics."""
    with admin_client(connection(brokers, settings)) as client:
        described = [_description(client, topic) for topic in existing(client, names)]
    if form is not OutputFormat.TABLE:
        show_value(described, form)
        return
    for topic in described:
        show_table([topic], ("name", "id", "partition_count", "replicas"))
        show_table(topic["partitions"], ("partition", "leader", "replicas", "start", "end"), title="\nPartitions")
        show_table(topic["configs"], ("name", "value", "source"), title="\nConfigs")


@app.command()
def alter(
    name: Name,
    partitions: Annotated[int | None, typer.Option("-p", "--partitions", help="Raise their number to this.")] = None,
    configs: ConfigsOption = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="KEY", help="Return this config to its default.")
    ] = None,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Add partitions to a topic or change its configs."""
    changes: dict[str, tuple[str, str | None]] = {
        key: ("set", value) for key, value in (key_value("-c", text) for text in configs or [])
    }
    changes |= dict.fromkeys(unset or [], ("delete", None))
    if partitions is None and not changes:
        raise CommandError("nothing to alter: give -p, -c or --unset")
    with admin_client(connection(brokers, settings)) as client:
        if changes:
            _alter_configs(client, name, changes)
        if partitions is not None:
            _raise_partitions(client, name, partitions)
    print(f"altered {name}")


@app.command()
def delete(
    names: Names,
    brokers: BrokersOption = DEFAULT_BROKERS,
    settings: ClientSettingsOption = None,
) -> None:
    """Delete topics with all their records."""
    with admin_client(connection(brokers, settings)) as client:
        results = client.delete_topics(names, raise_errors=False)["topics"]
    _report("deleted", results)


def existing(client: "KafkaAdminClient", names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the metadata of topics; raises CommandError for one that does not exist."""
    topics = retried(lambda: client.describe_topics(names))
    for topic in topics:
        check(f"topic {topic['name']}", topic["error_code"], None)
    return topics


def partitions_of(topic: Row) -> list["TopicPartition"]:
    """Return the partitions in a topic's metadata, in order."""
    from kafka import TopicPartition

    return sorted(TopicPartition(topic["name"], each["partition_index"]) for each in topic["partitions"])


def _report(done: str, results: Sequence[Row]) -> None:
    """Say what was done for each topic; raise CommandError for what was not."""
    for result in results:
        if not result["error_code"]:
            print(f"{done} {result['name']}")
    for result in results:
        check(f"topic {result['name']}", result["error_code"], result.get("error_message"))


def _summary(topic: Row) -> dict[str, Any]:
    partitions = topic["partitions"]
    replicas = len(partitions[0]["replica_nodes"]) if partitions else 0
    return {"name": topic["name"], "partitions": len(partitions), "replicas": replicas}


def _description(client: "KafkaAdminClient", topic: Row) -> dict[str, Any]:
    summary = _summary(topic)
    return {
        "name": topic["name"],
        "id": topic["topic_id"],
        "partition_count": summary["partitions"],
        "replicas": summary["replicas"],
        "partitions": _partition_rows(client, topic),
        "configs": _config_rows(client, topic["name"]),
    }


def _partition_rows(client: "KafkaAdminClient", topic: Row) -> list[dict[str, Any]]:
    from kafka.admin import OffsetSpec

    partitions = partitions_of(topic)
    starts = retried(lambda: client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST)))
    ends = retried(lambda: client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST)))
    metadata = {each["partition_index"]: each for each in topic["partitions"]}
    return [
        {
            "partition": each.partition,
            "leader": metadata[each.partition]["leader_id"],
            "replicas": metadata[each.partition]["replica_nodes"],
            "start": starts[each].offset,
            "end": ends[each].offset,
        }
        for each in partitions
    ]


def _config_rows(client: "KafkaAdminClient", name: str) -> list[dict[str, Any]]:
    from kafka.admin import ConfigResource, ConfigResourceType

    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    configs = client.describe_configs([resource], config_filter="all").get("topic", {}).get(name, {})
    return [
        {"name": key, "value": config["value"], "source": config["config_source"]}
        for key, config in sorted(configs.items())
    ]


def _alter_configs(client: "KafkaAdminClient", name: str, changes: dict[str, tuple[str, str | None]]) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    resource = ConfigResource(ConfigResourceType.TOPIC, name, changes)
    outcome = client.alter_configs([resource], raise_on_unknown=False, incremental=True)["topic"][name]
    if outcome != "OK":
        raise CommandError(f"topic {name}: {library_error(outcome)}")


def _raise_partitions(client: "KafkaAdminClient", name: str, count: int) -> None:
    for result in client.create_partitions({name: count}, raise_errors=False).results:
        check(f"topic {name}", result.error_code, result.error_message)
