"""What only the local store does."""

from pathlib import Path

import pytest

from kafscale.errors import StorageUnavailable
from kafscale.storage.objects.local import INCOMING, LocalObjectStore


def files_below(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()]


async def test_objects_survive_a_restart(tmp_path: Path) -> None:
    store = await LocalObjectStore.open(tmp_path / "a" / "b" / "objects")
    await store.put("flush/ab/1-1", [b"x"])
    await store.close()
    store = await LocalObjectStore.open(tmp_path / "a" / "b" / "objects")
    assert await store.get("flush/ab/1-1") == b"x"
    await store.close()


async def test_what_interrupted_puts_left_is_removed_and_never_listed(tmp_path: Path) -> None:
    store = await LocalObjectStore.open(tmp_path)
    (tmp_path / INCOMING / "7").write_bytes(b"half an obj")
    assert [info async for info in store.list("")] == []
    await store.close()
    store = await LocalObjectStore.open(tmp_path)
    assert list((tmp_path / INCOMING).iterdir()) == []
    await store.close()


async def test_a_put_leaves_nothing_but_the_object(tmp_path: Path) -> None:
    store = await LocalObjectStore.open(tmp_path)
    await store.put("flush/ab/1-1", [b"x"])
    assert files_below(tmp_path) == [tmp_path / "flush" / "ab" / "1-1"]
    await store.close()


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        await LocalObjectStore.open(tmp_path / "file" / "objects")
