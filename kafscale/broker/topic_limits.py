"""The few topic configs that the produce path needs, worked out once per topic and change of its configs."""

from typing import NamedTuple

from kafscale.config import BrokerSettings
from kafscale.metadata.entries import TopicId
from kafscale.metadata.state.cluster import Topic
from kafscale.topic_configs import topic_value

TOPICS_KEPT_MAX = 10_000
"""Topics whose limits are kept, some 5 MB of them: nobody says here when a topic is deleted, so all are forgotten then
and worked out again when they are needed, which takes less than checking one batch."""


class TopicLimits(NamedTuple):
    """What a batch for this topic must keep to. Times in milliseconds."""

    batch_bytes_max: int
    is_log_append_time: bool
    timestamp_before_max_ms: int
    timestamp_after_max_ms: int


class TopicLimitsCache:
    """Limits by topic; an entry is renewed when the topic's configs object is another one."""

    __slots__ = ("_known", "_settings")

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._known: dict[TopicId, tuple[dict[str, str], TopicLimits]] = {}

    def of(self, topic: Topic) -> TopicLimits:
        known = self._known.get(topic.topic_id)
        if known is not None and known[0] is topic.configs:
            return known[1]
        limits = self._work_out(topic.configs)
        if known is None and len(self._known) >= TOPICS_KEPT_MAX:
            self._known.clear()
        self._known[topic.topic_id] = (topic.configs, limits)
        return limits

    def _work_out(self, configs: dict[str, str]) -> TopicLimits:
        def number(name: str) -> int:
            value = topic_value(name, configs, self._settings)
            return value if isinstance(value, int) else int(str(value))

        return TopicLimits(
            number("max.message.bytes"),
            topic_value("message.timestamp.type", configs, self._settings) == "LogAppendTime",
            number("message.timestamp.before.max.ms"),
            number("message.timestamp.after.max.ms"),
        )
