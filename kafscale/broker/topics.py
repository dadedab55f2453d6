"""Creating, growing, altering and deleting topics: Kafka's ReplicationControlManager in front of the log."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kafscale.clock import Clock
from kafscale.config import BrokerSettings
from kafscale.errors import Bug, StorageUnavailable
from kafscale.metadata.appender import Appender, CommandTooLarge
from kafscale.metadata.entries import AlterConfigs, Command, CreatePartitions, CreateTopic, DeleteTopic, TopicId
from kafscale.metadata.replica import Replica
from kafscale.metadata.state.cluster import folded_name
from kafscale.metadata.state.outcomes import SimpleOutcome, Verdict
from kafscale.protocol.error_codes import ErrorCode
from kafscale.topic_configs import InvalidTopicConfigError, validate_topic_configs

NAME_LENGTH_MAX = 249
PARTITIONS_PER_REQUEST_MAX = 10_000
"""As in Kafka (ReplicationControlManager): more in one request is a mistake, and one entry has to hold it."""

_NAME = re.compile(r"[a-zA-Z0-9._-]+")


class TopicError(NamedTuple):
    """Why a topic operation is refused: an error code, and words for the person who asked."""

    code: ErrorCode
    message: str | None


class NewTopic(NamedTuple):
    """A topic as asked for; -1 in the numbers means the broker's default."""

    name: str
    partition_count: int
    replication_factor: int
    configs: Mapping[str, str | None]


NO_ERROR = TopicError(ErrorCode.NONE, None)

_VERDICTS = {
    Verdict.ACCEPTED: NO_ERROR,
    Verdict.UNKNOWN_TOPIC: TopicError(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition."
    ),
}


def replicas_fault(replicas: Sequence[int], node_id: int) -> str | None:
    """Return what is wrong with a partition's replicas where `node_id` is the only broker, or None."""
    if not replicas:
        return "The manual partition assignment includes an empty replica list."
    previous = None
    for broker in sorted(replicas):
        if broker == previous:
            return f"The manual partition assignment includes the broker {broker} more than once."
        if broker != node_id:
            return f"The manual partition assignment includes broker {broker}, but no such broker is registered."
        previous = broker
    return None


def name_fault(name: str) -> str | None:
    """Return what is wrong with a topic name, or None (Kafka's `Topic.validate`)."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > NAME_LENGTH_MAX:
        return f"the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}"
    if _NAME.fullmatch(name) is None:
        return f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    return None


class TopicAdmin:
    """Topic operations of one broker."""

    def __init__(self, settings: BrokerSettings, clock: Clock, replica: Replica, appender: Appender) -> None:
        self._settings = settings
        self._clock = clock
        self._replica = replica
        self._appender = appender

    def partition_count(self, asked: int) -> int:
        return self._settings.num_partitions if asked == -1 else asked

    def replication_factor(self, asked: int) -> int:
        return self._settings.default_replication_factor if asked == -1 else asked

    def check_new(self, topic: NewTopic) -> TopicError:
        """Judge a topic to be created against the rules and the current state."""
        fault = name_fault(topic.name)
        if fault is not None:
            return TopicError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {fault}")
        state = self._replica.state
        if topic.name in state.names:
            return TopicError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists.")
        collides = state.folded_names.get(folded_name(topic.name))
        if collides is not None:
            return _collision(topic.name, collides)
        if topic.replication_factor < -1 or topic.replication_factor == 0:
            return TopicError(
                ErrorCode.INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            )
        if topic.partition_count < -1 or topic.partition_count == 0:
            return TopicError(
                ErrorCode.INVALID_PARTITIONS,
                "Number of partitions must be larger than 0, or -1 to use the default value.",
            )
        try:
            validate_topic_configs(topic.configs)
        except InvalidTopicConfigError as error:
            return TopicError(ErrorCode.INVALID_CONFIG, str(error))
        return NO_ERROR

    async def create(self, topic: NewTopic) -> tuple[TopicError, TopicId]:
        """Create a topic that `check_new` has passed; the id is only valid without an error."""
        topic_id = self._clock.random_uuid().bytes
        command = CreateTopic(
            topic_id=topic_id,
            name=topic.name,
            partition_count=self.partition_count(topic.partition_count),
            configs={name: value for name, value in sorted(topic.configs.items()) if value is not None},
        )
        verdict, error = await self._submit(command)
        if verdict is Verdict.TOPIC_EXISTS:
            return TopicError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists."), b""
        if verdict is Verdict.TOPIC_NAME_COLLIDES:
            return _collision(topic.name, self._replica.state.folded_names.get(folded_name(topic.name), "?")), b""
        return error, topic_id

    async def delete(self, topic_id: TopicId) -> TopicError:
        """Delete a topic."""
        _, error = await self._submit(DeleteTopic(topic_id=topic_id))
        return error

    async def grow(self, topic_id: TopicId, partition_count: int) -> TopicError:
        """Raise a topic's partition count."""
        verdict, error = await self._submit(CreatePartitions(topic_id=topic_id, partition_count=partition_count))
        if verdict is Verdict.INVALID_PARTITION_COUNT:
            return TopicError(ErrorCode.INVALID_PARTITIONS, f"The topic already has {partition_count} partitions.")
        return error

    async def alter(self, command: AlterConfigs) -> TopicError | None:
        """Change a topic's configs; None where another change came first and this one must be worked out again."""
        verdict, error = await self._submit(command)
        return None if verdict is Verdict.CONFIGS_CHANGED else error

    async def _submit(self, command: Command) -> tuple[Verdict | None, TopicError]:
        try:
            outcome = await self._appender.submit(command)
        except CommandTooLarge as error:
            return None, TopicError(ErrorCode.POLICY_VIOLATION, str(error))
        except StorageUnavailable as error:
            return None, TopicError(ErrorCode.REQUEST_TIMED_OUT, f"The metadata log cannot be written now: {error}")
        if not isinstance(outcome, SimpleOutcome):
            raise Bug(f"{type(command).__name__} answered {outcome!r}")
        return outcome.verdict, _VERDICTS.get(outcome.verdict, NO_ERROR)


def _collision(name: str, other: str) -> TopicError:
    return TopicError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{name}' collides with existing topic: {other}")
