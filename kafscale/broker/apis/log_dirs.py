"""DescribeLogDirs (35), versions 1-4.

KIP-113, KIP-827 (size of the volume, v4). There is one log directory, named like the data directory. A partition's size
is that of its record batches in the object store; there are no replicas that move, so nothing lags and nothing is
a future log. Where the objects are not on this machine the volume has no size (-1).
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from kafka.protocol.admin import DescribeLogDirsRequest, DescribeLogDirsResponse

from kafscale.broker.request import RequestContext
from kafscale.broker.services import Services
from kafscale.config import local_path
from kafscale.metadata.state.cluster import Topic
from kafscale.protocol.error_codes import ErrorCode

LogDir = DescribeLogDirsResponse.DescribeLogDirsResult
LogDirTopic = LogDir.DescribeLogDirsTopic
LogDirPartition = LogDirTopic.DescribeLogDirsPartition


class _Volume(NamedTuple):
    """Sizes in bytes; -1 is unknown."""

    total_bytes: int
    usable_bytes: int


_NO_VOLUME: Final = _Volume(-1, -1)


async def describe_log_dirs(
    services: Services, context: RequestContext, request: DescribeLogDirsRequest
) -> DescribeLogDirsResponse:
    """Answer the sizes of the partitions asked for (topics null: of all); those that do not exist are left out."""
    await services.replica.barrier()
    volume = _volume(services.settings.storage_url)
    log_dir = LogDir(
        error_code=int(ErrorCode.NONE),
        log_dir=_directory(services.settings.data_dir),
        topics=[_sizes(topic, partitions) for topic, partitions in _asked(services, request) if partitions],
        total_bytes=volume.total_bytes,
        usable_bytes=volume.usable_bytes,
    )
    return DescribeLogDirsResponse(
        throttle_time_ms=0, error_code=int(ErrorCode.NONE), results=[log_dir], version=context.api_version
    )


def _asked(services: Services, request: DescribeLogDirsRequest) -> Iterator[tuple[Topic, list[int]]]:
    state = services.replica.state
    if request.topics is None:
        for name in sorted(state.names):
            topic = state.topics[state.names[name]]
            yield topic, list(range(topic.partition_count))
        return
    wanted: dict[str, dict[int, None]] = {}
    for asked in request.topics:
        wanted.setdefault(asked.topic, {}).update(dict.fromkeys(asked.partitions))
    for name, partitions in wanted.items():
        known = state.topic_named(name)
        if known is not None:
            yield known, [index for index in partitions if 0 <= index < known.partition_count]


def _sizes(topic: Topic, partitions: list[int]) -> DescribeLogDirsResponse.DescribeLogDirsResult.DescribeLogDirsTopic:
    return LogDirTopic(
        name=topic.name,
        partitions=[
            LogDirPartition(
                partition_index=index,
                partition_size=topic.partitions[index].size_bytes,
                offset_lag=0,
                is_future_key=False,
            )
            for index in partitions
        ],
    )


def _directory(data_dir: str) -> str:
    return str(Path(data_dir).expanduser().absolute())


def _volume(storage_url: str) -> _Volume:
    if urlsplit(storage_url).scheme != "file":
        return _NO_VOLUME
    try:
        usage = shutil.disk_usage(local_path(storage_url))
    except OSError:
        return _NO_VOLUME
    return _Volume(usage.total, usage.free)
