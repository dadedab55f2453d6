"""Everything a request handler may use, put together once by `kafscale.broker.broker`."""

from dataclasses import dataclass

from kafscale.broker.fetch_sessions import FetchSessionCache
from kafscale.broker.groups.coordinator import GroupCoordinator
from kafscale.broker.growth import Growth
from kafscale.broker.node import Node
from kafscale.broker.producer_ids import ProducerIds
from kafscale.broker.topic_limits import TopicLimitsCache
from kafscale.broker.topics import TopicAdmin
from kafscale.clock import Clock
from kafscale.config import BrokerSettings, Loaded
from kafscale.metadata.appender import Appender
from kafscale.metadata.replica import Replica
from kafscale.storage.budget import MemoryBudget
from kafscale.storage.read_path import ReadPath
from kafscale.storage.write_path import WritePath


@dataclass(slots=True, kw_only=True)
class Services:
    """The parts of one running broker."""

    loaded: Loaded
    clock: Clock
    node: Node
    replica: Replica
    appender: Appender
    write_path: WritePath
    read_path: ReadPath
    budget: MemoryBudget
    growth: Growth
    fetch_sessions: FetchSessionCache
    topic_limits: TopicLimitsCache
    topics: TopicAdmin
    producer_ids: ProducerIds
    group_coordinator: GroupCoordinator

    @property
    def settings(self) -> BrokerSettings:
        return self.loaded.settings
