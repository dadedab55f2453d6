"""Which checkpoint a start, and the next checkpoint, go on from when one is damaged or missing."""

import logging

import pytest

from kafscale.errors import StartRefused
from kafscale.metadata.checkpoints import encode_checkpoint
from kafscale.metadata.entries import decode_entry
from kafscale.metadata.loading import LoadedState, load_state
from kafscale.metadata.log import LogEntry
from kafscale.metadata.state.encoding import encode_state
from tests.unit.metadata.test_checkpointer import World

OLDER, NEWEST, END = 3, 5, 6


class Kept(World):
    """A log of END entries with checkpoints at OLDER and NEWEST, or only at NEWEST."""

    @classmethod
    async def made(cls, *, with_older: bool = True) -> "Kept":
        world = cls()
        if with_older:
            world.write(OLDER)
            await world.checkpointer.run_once()
        world.write(NEWEST - world.entries)
        await world.checkpointer.run_once()
        world.write(END - NEWEST)
        return world

    def key(self, position: int) -> str:
        return next(one.key for one in self.log.storage.checkpoints if one.position == position)

    def damage(self, position: int) -> None:
        key = self.key(position)
        self.store.objects[key] = self.store.objects[key][:-1] + b"?"

    def remove(self, position: int) -> None:
        del self.store.objects[self.key(position)]

    async def loaded(self) -> LoadedState:
        loaded = await load_state(self.log, self.store)
        assert loaded.end == END
        return loaded

    async def refusal(self) -> str:
        with pytest.raises(StartRefused) as raised:
            await load_state(self.log, self.store)
        return str(raised.value)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_newest_checkpoint_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    world = await Kept.made()
    world.remove(OLDER)
    assert (await world.loaded()).position == NEWEST
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("with_older", [True, False])
async def test_a_missing_newest_checkpoint_is_replayed(caplog: pytest.LogCaptureFixture, with_older: bool) -> None:
    """The second kept checkpoint, and the entries kept for it, could once not be used for anything."""
    world = await Kept.made(with_older=with_older)
    world.remove(NEWEST)
    loaded = await world.loaded()
    assert loaded.position == (OLDER if with_older else 0)
    for one in world.log.storage.read(loaded.position, END):
        loaded.state.apply(decode_entry(one.payload))
    assert encode_state(loaded.state) == encode_state(world.node.replica.state)
    (warning,) = warnings_in(caplog)
    assert f"{world.key(NEWEST)} is missing" in warning
    assert (world.key(OLDER) if with_older else "the beginning of the metadata log") in warning


@pytest.mark.parametrize("with_older", [True, False])
async def test_a_damaged_newest_checkpoint_is_refused_and_the_way_around_it_named(with_older: bool) -> None:
    world = await Kept.made(with_older=with_older)
    world.damage(NEWEST)
    said = await world.refusal()
    assert f"{world.key(NEWEST)} is damaged" in said
    assert "move it out of the object directory and start again" in said
    assert (world.key(OLDER) if with_older else "the beginning of the metadata log") in said
    world.remove(NEWEST)
    await world.loaded()


async def test_no_way_around_a_damaged_checkpoint_is_named_that_leads_nowhere() -> None:
    world = await Kept.made()
    world.damage(NEWEST)
    world.damage(OLDER)
    said = await world.refusal()
    assert f"{world.key(NEWEST)} is damaged" in said
    assert f"{world.key(OLDER)}, is damaged" in said
    assert "move it" not in said
    world.remove(OLDER)
    said = await world.refusal()
    assert f"{world.key(OLDER)}, is missing too" in said
    assert "move it" not in said


@pytest.mark.parametrize("older", ["missing", "damaged"])
async def test_both_checkpoints_lost(older: str) -> None:
    world = await Kept.made()
    world.remove(NEWEST)
    if older == "missing":
        world.remove(OLDER)
    else:
        world.damage(OLDER)
    said = await world.refusal()
    assert f"{world.key(NEWEST)} is missing" in said
    assert f"{world.key(OLDER)}, is {older}" in said
    assert "Restore one of them from a backup" in said


async def test_a_checkpoint_of_another_log_is_refused() -> None:
    world = await Kept.made()
    state = world.node.replica.state
    world.store.objects[world.key(NEWEST)] = encode_checkpoint(NEWEST + 1, state)
    assert "are not of one broker" in await world.refusal()


@pytest.mark.parametrize("left", [0, 1])
async def test_a_log_that_does_not_lead_up_to_the_missing_checkpoint(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await Kept.made()
    world.remove(NEWEST)

    async def read(after: int, up_to: int) -> list[LogEntry]:
        return world.log.storage.read(after, up_to)[:left]

    monkeypatch.setattr(world.log, "read", read)
    assert f"so are entries of the metadata log after position {OLDER}" in await world.refusal()


async def test_the_next_checkpoint_is_built_around_a_missing_one(caplog: pytest.LogCaptureFixture) -> None:
    """It once stopped the broker, though its state was whole."""
    world = await Kept.made()
    missing = world.key(NEWEST)
    world.remove(NEWEST)
    await world.checkpointer.run_once()
    assert world.positions == [END, NEWEST]
    (warning,) = warnings_in(caplog)
    assert missing in warning
    world.write()
    await world.checkpointer.run_once()
    assert world.positions == [END + 1, END]
    assert set(world.store.objects) == {one.key for one in world.log.storage.checkpoints}
    assert world.node.failures == []
