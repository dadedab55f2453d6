"""What every object store promises, on each implementation that needs no server."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kafscale.errors import Bug, DataCorrupt, ObjectExists, ObjectMissing, StorageUnavailable
from kafscale.storage.objects.base import Buffer, ObjectStore
from kafscale.storage.objects.local import LocalObjectStore
from kafscale.storage.objects.memory import MemoryObjectStore


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store: ObjectStore
    store = MemoryObjectStore() if request.param == "memory" else await LocalObjectStore.open(tmp_path / "objects")
    yield store
    await store.close()


async def keys(store: ObjectStore, prefix: str) -> list[str]:
    return sorted([info.key async for info in store.list(prefix)])


async def test_an_object_is_the_concatenation_of_its_parts(store: ObjectStore) -> None:
    parts: list[Buffer] = [b"one", b"", bytearray(b"two"), memoryview(b"three")[1:]]
    await store.put("flush/ab/1-1", parts)
    assert await store.get("flush/ab/1-1") == b"onetwohree"


async def test_many_parts(store: ObjectStore) -> None:
    await store.put("flush/ab/1-1", [b"%06d" % number for number in range(5000)])
    assert await store.get("flush/ab/1-1") == b"".join(b"%06d" % number for number in range(5000))


async def test_an_empty_object(store: ObjectStore) -> None:
    await store.put("empty", [])
    assert await store.get("empty") == b""
    assert await store.get_tail("empty", 10) == b""
    assert await store.get_range("empty", 0, 0) == b""


async def test_a_large_object(store: ObjectStore) -> None:
    block = bytes(range(256)) * 4096
    await store.put("large", [block] * 8)
    assert await store.get("large") == block * 8


async def test_the_parts_are_neither_changed_nor_kept(store: ObjectStore) -> None:
    part = bytearray(b"bytes")
    await store.put("a", [part])
    part[:] = b"other bytes"
    assert await store.get("a") == b"bytes"


async def test_a_taken_key_stays_as_it_is(store: ObjectStore) -> None:
    await store.put("flush/ab/1-1", [b"first"])
    with pytest.raises(ObjectExists):
        await store.put("flush/ab/1-1", [b"second"])
    assert await store.get("flush/ab/1-1") == b"first"


async def test_one_of_many_puts_of_a_key_wins(store: ObjectStore) -> None:
    results = await asyncio.gather(
        *(store.put("flush/ab/1-1", [b"%d" % number] * 1000) for number in range(20)), return_exceptions=True
    )
    winners = [number for number, result in enumerate(results) if result is None]
    assert len(winners) == 1
    assert all(isinstance(result, ObjectExists) for result in results if result is not None)
    assert await store.get("flush/ab/1-1") == b"%d" % winners[0] * 1000


async def test_a_range_is_the_callers_own(store: ObjectStore) -> None:
    await store.put("a", [b"0123456789"])
    part = await store.get_range("a", 3, 4)
    assert part == b"3456"
    part[:] = b"xxxx"
    assert await store.get_range("a", 3, 4) == b"3456"
    assert await store.get_range("a", 0, 10) == b"0123456789"
    assert await store.get_range("a", 10, 0) == b""


@pytest.mark.parametrize(("start", "length"), [(0, 11), (8, 3), (10, 1), (20, 5)])
async def test_a_range_beyond_the_end_is_corruption(store: ObjectStore, start: int, length: int) -> None:
    await store.put("a", [b"0123456789"])
    with pytest.raises(DataCorrupt):
        await store.get_range("a", start, length)


async def test_the_tail(store: ObjectStore) -> None:
    await store.put("a", [b"0123456789"])
    assert await store.get_tail("a", 3) == b"789"
    assert await store.get_tail("a", 10) == b"0123456789"
    assert await store.get_tail("a", 100) == b"0123456789"


async def test_a_missing_object(store: ObjectStore) -> None:
    await store.put("flush/ab/1-1", [b"x"])
    for missing in ("none", "flush/ab/1-2", "flush/cd/1-1", "flush/ab/1-1/below"):
        with pytest.raises(ObjectMissing):
            await store.get(missing)
        with pytest.raises(ObjectMissing):
            await store.get_range(missing, 0, 1)
        with pytest.raises(ObjectMissing):
            await store.get_tail(missing, 1)


async def test_delete(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "b/1"):
        await store.put(key, [b"x"])
    await store.delete(["a/1", "none", "none/below", "b/1"])
    assert await keys(store, "") == ["a/2"]
    with pytest.raises(ObjectMissing):
        await store.get("a/1")
    await store.delete([])


async def test_list_by_prefix(store: ObjectStore) -> None:
    stored = ["flush/ab/1-1", "flush/ab/1-2", "flush/ac/1-3", "flush-old", "merged/ab/1-4", "top"]
    for key in stored:
        await store.put(key, [key.encode()])
    prefixes = [
        "",
        "f",
        "flush",
        "flush/",
        "flush/a",
        "flush/ab",
        "flush/ab/",
        "flush/ab/1-2",
        "none",
        "none/x",
        "top/",
    ]
    for prefix in prefixes:
        assert await keys(store, prefix) == sorted(key for key in stored if key.startswith(prefix)), prefix


async def test_listed_objects_have_length_and_time(store: ObjectStore) -> None:
    await store.put("a", [b"12345"])
    infos = [info async for info in store.list("")]
    assert [(info.key, info.length) for info in infos] == [("a", 5)]
    assert infos[0].stored_ms > 1_600_000_000_000


async def test_objects_deleted_while_listing_are_no_error(store: ObjectStore) -> None:
    for folder, number in itertools.product("abc", range(3)):
        await store.put(f"{folder}/{number}", [b"x"])
    listed = []
    async for info in store.list(""):
        listed.append(info.key)
        await store.delete([f"{folder}/{number}" for folder, number in itertools.product("abc", range(3))])
    assert set(listed) <= {f"{folder}/{number}" for folder, number in itertools.product("abc", range(3))}


@pytest.mark.parametrize(
    "key",
    [
        *["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", ".incoming/1"],
        *["A", "a b", "a\0", "a\n", "ä", "a_b", "a\\b", "a:b", "%2e", "a" * 256, "a/" * 256 + "a"],
    ],
)
async def test_an_odd_key_is_a_bug(store: ObjectStore, key: str) -> None:
    with pytest.raises(Bug):
        await store.put(key, [b"x"])
    with pytest.raises(Bug):
        await store.get(key)
    with pytest.raises(Bug):
        await store.delete([key])


async def test_a_key_of_full_length(store: ObjectStore) -> None:
    key = "a" * 255 + "/" + "b" * 255 + "/"
    await store.put(key[:-1], [b"x"])
    assert await keys(store, "") == [key[:-1]]


async def test_a_closed_store_refuses(store: ObjectStore) -> None:
    await store.put("a", [b"x"])
    await store.close()
    await store.close()
    with pytest.raises(StorageUnavailable):
        await store.get("a")
    with pytest.raises(StorageUnavailable):
        await store.put("b", [b"x"])
