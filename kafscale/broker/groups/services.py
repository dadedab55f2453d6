"""What the group coordinator and its API handlers need of the broker around them. Protocols only."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from kafscale.broker.request import RequestContext
from kafscale.clock import Clock
from kafscale.metadata.entries import Command, TopicId
from kafscale.metadata.state.groups import Groups
from kafscale.metadata.state.outcomes import Outcome

if TYPE_CHECKING:
    from kafscale.broker.groups.coordinator import GroupCoordinator


class GroupSettings(Protocol):
    """Kafka's settings of these names, dots as underscores."""

    @property
    def group_min_session_timeout_ms(self) -> int: ...

    @property
    def group_max_session_timeout_ms(self) -> int: ...

    @property
    def group_initial_rebalance_delay_ms(self) -> int: ...

    @property
    def group_max_size(self) -> int: ...

    @property
    def offset_metadata_max_bytes(self) -> int: ...

    @property
    def offsets_retention_minutes(self) -> int: ...

    @property
    def offsets_retention_check_interval_ms(self) -> int: ...


class KnownTopic(Protocol):
    """A topic of the cluster state."""

    @property
    def topic_id(self) -> TopicId: ...

    @property
    def name(self) -> str: ...

    @property
    def partition_count(self) -> int: ...


class GroupClusterState(Protocol):
    """The part of the cluster state that groups read."""

    @property
    def groups(self) -> Groups: ...

    @property
    def topics(self) -> Mapping[TopicId, KnownTopic]: ...

    def topic_named(self, name: str) -> KnownTopic | None: ...


class GroupReplica(Protocol):
    """This broker's copy of the cluster state."""

    @property
    def state(self) -> GroupClusterState: ...

    async def barrier(self) -> None:
        """Return when everything acknowledged before the call is in `state`. Raises StorageUnavailable."""
        ...


class GroupAppender(Protocol):
    """Puts commands into the metadata log, in the order of the calls."""

    async def submit(self, command: Command) -> Outcome:
        """Return the outcome once applied.

        Raises StorageUnavailable when the command certainly was not written, OutcomeUnknown when it may have been.
        """
        ...


class GroupNode(Protocol):
    """This broker as clients reach it."""

    @property
    def node_id(self) -> int: ...

    def advertised_address(self, context: RequestContext) -> tuple[str, int]:
        """Return host and port that a client of this connection is told."""
        ...


class GroupServices(Protocol):
    """What the coordinator is made of."""

    @property
    def settings(self) -> GroupSettings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def replica(self) -> GroupReplica: ...

    @property
    def appender(self) -> GroupAppender: ...


class GroupApiServices(GroupServices, Protocol):
    """What the API handlers need besides."""

    @property
    def node(self) -> GroupNode: ...

    @property
    def group_coordinator(self) -> "GroupCoordinator": ...
