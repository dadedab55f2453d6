"""What only the log in memory does: several brokers over one log."""

from kafscale.metadata.log import AppendUid
from kafscale.metadata.memory import MemoryLog, MemoryLogStorage
from tests.support.log_follower import RecordingFollower


async def test_brokers_share_one_order() -> None:
    storage = MemoryLogStorage()
    logs = [MemoryLog(storage), MemoryLog(storage)]
    followers = [RecordingFollower(), RecordingFollower()]
    for log, follower in zip(logs, followers, strict=True):
        log.follow(0, follower)
    await logs[0].append(AppendUid(1, 1), b"a")
    await logs[1].append(AppendUid(2, 1), b"b")
    await logs[1].seal()
    assert followers[0].events == followers[1].events == [(1, b"a"), (2, b"b"), ("sealed", 2)]


async def test_a_closed_log_no_longer_follows() -> None:
    storage = MemoryLogStorage()
    closed, living = MemoryLog(storage), MemoryLog(storage)
    follower = RecordingFollower()
    closed.follow(0, follower)
    await closed.close()
    await living.append(AppendUid(1, 1), b"a")
    assert follower.events == []
