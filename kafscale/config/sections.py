"""Every setting of the broker, declared once, in the sections of docs/configuration.md.

A field's name is Kafka's name with underscores for dots. The classes only declare; `kafscale.config.settings` puts them
together and adds what follows from several settings. "Reported only" in a help text: accepted, because people and tools
set it, and shown by DescribeConfigs, without any effect here.
"""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel

from kafscale.config.values import (
    INT_MAX,
    LONG_MAX,
    Allowed,
    ConfigType,
    Setting,
    Value,
    at_least,
    between,
    gzip_level,
    members_of,
    one_of,
)

BOOLEAN, STRING, INT, LONG = ConfigType.BOOLEAN, ConfigType.STRING, ConfigType.INT, ConfigType.LONG
DOUBLE, LIST = ConfigType.DOUBLE, ConfigType.LIST

_HOUR_MS: Final = 3_600_000


def _url_of(*schemes: str) -> Allowed:
    """URLs of these schemes; `memory` takes no path, the others an absolute one."""
    listed = ", ".join(f"{scheme}://" for scheme in schemes)

    def complaint(value: Value) -> str | None:
        parts = urlsplit(str(value))
        if parts.scheme not in schemes:
            return f"URL must begin with one of: {listed}"
        if parts.scheme != "memory" and (parts.netloc or not parts.path.startswith("/")):
            return f"URL needs an absolute path: {parts.scheme}:///path"
        return None

    return Allowed(text=listed, complaint=complaint)


class ServerSettings(BaseModel, frozen=True):
    """Identity, network and requests"""

    node_id: Annotated[
        int,
        Setting(kind=INT, allowed=at_least(0), help="Number of this broker; no other broker of the cluster has it."),
    ] = 1
    listeners: Annotated[
        str,
        Setting(
            kind=STRING,
            help="Addresses to listen on, as `NAME://host:port` separated by commas. No host: every address.",
        ),
    ] = "PLAINTEXT://127.0.0.1:9092"
    advertised_listeners: Annotated[
        str,
        Setting(
            kind=STRING,
            shown_default="the value of `listeners`",
            help="Addresses given to clients, where they differ from the ones listened on.",
        ),
    ] = ""
    listener_security_protocol_map: Annotated[
        str,
        Setting(kind=STRING, help="Security protocol of each listener name. Only PLAINTEXT is served so far."),
    ] = "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"
    socket_request_max_bytes: Annotated[
        int,
        Setting(
            kind=INT,
            allowed=at_least(1),
            help="Largest request; the connection of a larger one is closed before anything is allocated for it.",
        ),
    ] = 104_857_600
    max_connections: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Connections held at a time; further ones are closed.")
    ] = INT_MAX
    max_connections_per_ip: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Connections held at a time from one address.")
    ] = INT_MAX
    connections_max_idle_ms: Annotated[
        int, Setting(kind=LONG, help="A connection without a request for this long is closed.")
    ] = 600_000
    fetch_max_bytes: Annotated[
        int,
        Setting(kind=INT, allowed=at_least(1024), help="Largest Fetch response, whatever the request asks for."),
    ] = 57_671_680
    max_incremental_fetch_session_cache_slots: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Incremental fetch sessions remembered at a time.")
    ] = 1000
    shutdown_grace_ms: Annotated[
        int,
        Setting(
            kind=INT,
            allowed=at_least(0),
            help="How long a stopping broker goes on answering what it was asked before; it ends sooner when all is.",
        ),
    ] = 10_000
    log_level: Annotated[
        str,
        Setting(
            kind=STRING,
            allowed=one_of("DEBUG", "INFO", "WARNING", "ERROR"),
            help="Least severe message the broker writes to its own log.",
        ),
    ] = "INFO"


class TopicSettings(BaseModel, frozen=True):
    """Topics"""

    num_partitions: Annotated[
        int, Setting(kind=INT, allowed=at_least(1), help="Partitions of a topic whose creator names no number.")
    ] = 1
    default_replication_factor: Annotated[
        int,
        Setting(
            kind=INT,
            allowed=at_least(1),
            help="Replication factor of a topic whose creator names none. Reported only: durability is the store's.",
        ),
    ] = 1
    auto_create_topics_enable: Annotated[
        bool, Setting(kind=BOOLEAN, help="Create an unknown topic when a client that allows it asks for it.")
    ] = True
    delete_topic_enable: Annotated[bool, Setting(kind=BOOLEAN, help="Allow topics to be deleted.")] = True


class TopicDefaults(BaseModel, frozen=True):
    """Defaults of topic configs: a topic that sets its own value is not affected"""

    message_max_bytes: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Largest record batch a topic takes.")
    ] = 1_048_588
    compression_type: Annotated[
        str,
        Setting(
            kind=STRING,
            allowed=one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
            help="Codec record batches are stored with; `producer` keeps what the producer chose.",
        ),
    ] = "producer"
    compression_gzip_level: Annotated[
        int, Setting(kind=INT, allowed=gzip_level(), help="Level where the broker compresses with gzip.")
    ] = -1
    compression_lz4_level: Annotated[
        int, Setting(kind=INT, allowed=between(1, 17), help="Level where the broker compresses with lz4.")
    ] = 9
    compression_zstd_level: Annotated[
        int, Setting(kind=INT, allowed=between(-131_072, 22), help="Level where the broker compresses with zstd.")
    ] = 3
    min_insync_replicas: Annotated[
        int,
        Setting(
            kind=INT,
            allowed=at_least(1),
            help="Replicas an acks=all write waits for. Reported only: durability is the store's.",
        ),
    ] = 1
    unclean_leader_election_enable: Annotated[
        bool, Setting(kind=BOOLEAN, help="Reported only: no election can lose records here.")
    ] = False
    log_cleanup_policy: Annotated[
        tuple[str, ...],
        Setting(
            kind=LIST,
            allowed=members_of("compact", "delete"),
            help="What becomes of old records: `delete` drops them, `compact` keeps the newest of each key.",
        ),
    ] = ("delete",)
    log_retention_ms: Annotated[
        int | None,
        Setting(
            kind=LONG,
            allowed=at_least(-1),
            nullable=True,
            shown_default="`log.retention.minutes`, else `log.retention.hours`",
            help="How long records are kept before `delete` drops them; -1 keeps them for ever.",
        ),
    ] = None
    log_retention_minutes: Annotated[
        int | None,
        Setting(kind=INT, nullable=True, shown_default="not set", help="As `log.retention.ms`, which goes before it."),
    ] = None
    log_retention_hours: Annotated[int, Setting(kind=INT, help="As `log.retention.minutes`, which goes before it.")] = (
        168
    )
    log_retention_bytes: Annotated[
        int, Setting(kind=LONG, help="Size a partition may reach before its oldest records go; -1 sets no limit.")
    ] = -1
    log_message_timestamp_type: Annotated[
        str,
        Setting(
            kind=STRING,
            allowed=one_of("CreateTime", "LogAppendTime"),
            help="Whose clock stamps records: the producer's, or the broker's when they arrive.",
        ),
    ] = "CreateTime"
    log_message_timestamp_before_max_ms: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(0), help="How far a record's timestamp may lie in the past."),
    ] = LONG_MAX
    log_message_timestamp_after_max_ms: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(0), help="How far a record's timestamp may lie in the future."),
    ] = _HOUR_MS
    log_segment_bytes: Annotated[
        int,
        Setting(
            kind=INT,
            allowed=at_least(1_048_576),
            help="Reported only: segments are objects shared by partitions, and `flush.bytes` sizes them.",
        ),
    ] = 1_073_741_824
    log_roll_ms: Annotated[
        int | None,
        Setting(
            kind=LONG,
            nullable=True,
            shown_default="`log.roll.hours`",
            help="Reported only: age at which Kafka starts another segment file.",
        ),
    ] = None
    log_roll_hours: Annotated[
        int, Setting(kind=INT, allowed=at_least(1), help="As `log.roll.ms`, which goes before it.")
    ] = 168
    log_roll_jitter_ms: Annotated[
        int | None,
        Setting(
            kind=LONG,
            nullable=True,
            shown_default="`log.roll.jitter.hours`",
            help="Reported only: spread of the ages at which Kafka starts another segment file.",
        ),
    ] = None
    log_roll_jitter_hours: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="As `log.roll.jitter.ms`, which goes before it.")
    ] = 0
    log_segment_delete_delay_ms: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(0), help="Reported only: time Kafka leaves a dropped file on disk."),
    ] = 60_000
    log_index_interval_bytes: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Reported only: distance of Kafka's index entries.")
    ] = 4096
    log_index_size_max_bytes: Annotated[
        int, Setting(kind=INT, allowed=at_least(4), help="Reported only: largest index file of Kafka.")
    ] = 10_485_760
    log_preallocate: Annotated[
        bool, Setting(kind=BOOLEAN, help="Reported only: whether Kafka allocates a segment file beforehand.")
    ] = False
    log_flush_interval_messages: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(1), help="Reported only: every acknowledged record is durable already."),
    ] = LONG_MAX
    log_flush_interval_ms: Annotated[
        int | None,
        Setting(
            kind=LONG,
            nullable=True,
            shown_default="not set",
            help="Reported only: every acknowledged record is durable already.",
        ),
    ] = None
    log_cleaner_delete_retention_ms: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(0), help="How long `compact` keeps the mark of a deleted key."),
    ] = 86_400_000
    log_cleaner_min_compaction_lag_ms: Annotated[
        int, Setting(kind=LONG, allowed=at_least(0), help="Age below which `compact` leaves a record alone.")
    ] = 0
    log_cleaner_max_compaction_lag_ms: Annotated[
        int, Setting(kind=LONG, allowed=at_least(1), help="Age at which `compact` must look at a record.")
    ] = LONG_MAX
    log_cleaner_min_cleanable_ratio: Annotated[
        float,
        Setting(
            kind=DOUBLE, allowed=between(0, 1), help="Share of not yet compacted bytes from which `compact` works."
        ),
    ] = 0.5
    log_local_retention_ms: Annotated[
        int,
        Setting(
            kind=LONG, allowed=at_least(-2), help="Reported only: there is no local copy; -2 is `log.retention.ms`."
        ),
    ] = -2
    log_local_retention_bytes: Annotated[
        int,
        Setting(
            kind=LONG,
            allowed=at_least(-2),
            help="Reported only: there is no local copy; -2 is `log.retention.bytes`.",
        ),
    ] = -2


class GroupSettings(BaseModel, frozen=True):
    """Consumer groups, committed offsets and producers"""

    group_initial_rebalance_delay_ms: Annotated[
        int,
        Setting(kind=INT, allowed=at_least(0), help="How long an empty group waits for more members at first."),
    ] = 3000
    group_min_session_timeout_ms: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Shortest session a group member may ask for.")
    ] = 6000
    group_max_session_timeout_ms: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Longest session a group member may ask for.")
    ] = 1_800_000
    group_max_size: Annotated[int, Setting(kind=INT, allowed=at_least(1), help="Members one group may have.")] = INT_MAX
    offset_metadata_max_bytes: Annotated[
        int, Setting(kind=INT, allowed=at_least(0), help="Longest text stored with a committed offset.")
    ] = 4096
    offsets_retention_minutes: Annotated[
        int,
        Setting(
            kind=INT, allowed=at_least(1), help="How long committed offsets outlive the last member of their group."
        ),
    ] = 10_080
    offsets_retention_check_interval_ms: Annotated[
        int, Setting(kind=LONG, allowed=at_least(1), help="How often expired offsets are looked for.")
    ] = 600_000
    producer_id_expiration_ms: Annotated[
        int,
        Setting(
            kind=INT, allowed=at_least(1), help="How long a silent idempotent producer is remembered per partition."
        ),
    ] = 86_400_000
    producer_id_expiration_check_interval_ms: Annotated[
        int, Setting(kind=INT, allowed=at_least(1), help="How often expired producers are looked for.")
    ] = 600_000


class StorageSettings(BaseModel, frozen=True):
    """Storage"""

    data_dir: Annotated[str, Setting(kind=STRING, help="Directory of everything an embedded broker keeps.")] = "./data"
    storage_url: Annotated[
        str,
        Setting(
            kind=STRING,
            allowed=_url_of("file", "memory"),
            shown_default="`file://` and `objects` below `data.dir`",
            help="Where segments and checkpoints go. `memory://` forgets everything at exit.",
        ),
    ] = ""
    metadata_url: Annotated[
        str,
        Setting(
            kind=STRING,
            allowed=_url_of("sqlite", "memory"),
            shown_default="`sqlite://` and `metadata.db` below `data.dir`",
            help="Where the metadata log is. `memory://` forgets everything at exit.",
        ),
    ] = ""
    buffer_memory: Annotated[
        int,
        Setting(
            kind=LONG,
            allowed=at_least(1_048_576),
            unit="bytes",
            help="Record bytes accepted but not yet durable; over it, producers wait and nobody else does.",
        ),
    ] = 268_435_456
    flush_bytes: Annotated[
        int, Setting(kind=INT, allowed=at_least(1), help="Size at which an open flush is closed and stored.")
    ] = 8_388_608
    flush_puts_max: Annotated[
        int, Setting(kind=INT, allowed=at_least(1), unit="PUTs", help="Flushes being stored at a time.")
    ] = 4
    cache_tail_bytes: Annotated[
        int, Setting(kind=LONG, allowed=at_least(0), help="Memory for the newest records of all partitions.")
    ] = 67_108_864
    cache_read_bytes: Annotated[
        int, Setting(kind=LONG, allowed=at_least(0), help="Memory for older records that are being read.")
    ] = 67_108_864
    checkpoint_interval_ms: Annotated[
        int, Setting(kind=LONG, allowed=at_least(1), help="Longest time between two metadata checkpoints.")
    ] = 30_000
    checkpoint_log_bytes: Annotated[
        int,
        Setting(kind=LONG, allowed=at_least(1), help="Metadata log bytes after which a checkpoint is written."),
    ] = 16_777_216
    checkpoint_log_entries: Annotated[
        int,
        Setting(
            kind=LONG,
            allowed=at_least(1),
            unit="entries",
            help="Metadata log entries after which a checkpoint is written.",
        ),
    ] = 50_000


SECTIONS: Final[tuple[type[BaseModel], ...]] = (
    ServerSettings,
    StorageSettings,
    TopicSettings,
    TopicDefaults,
    GroupSettings,
)
"""In the order of the documentation; the first line of each docstring is the section's heading."""
