"""Entries that are made once, shared, and evicted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from services.worker.cache import Cache, evict


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def fill(cache: Cache, name: str, *, size: int, used: float) -> Path:
    async def make(folder: Path) -> None:
        (folder / "file").write_bytes(os.urandom(size))

    path = await cache.take(name, "filler", make)
    cache.give_back(name, "filler")
    os.utime(path.with_name(name + ".size"), (used, used))
    return path


async def test_an_entry_is_made_once_for_all_who_want_it(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), list[str]()

    async def make(folder: Path) -> None:
        made.append(folder.name)
        await asyncio.sleep(0.01)
        (folder / "file").write_text("content")

    paths = await asyncio.gather(*(cache.take("name", f"user-{number}", make) for number in range(5)))
    assert set(paths) == {tmp_path / "name"}
    assert len(made) == 1
    assert (tmp_path / "name" / "file").read_text() == "content"


async def test_a_failure_leaves_nothing_and_the_next_one_tries_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    async def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no")

    async def succeed(folder: Path) -> None:
        (folder / "whole").touch()

    with pytest.raises(RuntimeError):
        await cache.take("name", "user", fail)
    assert names_in(tmp_path) == []
    assert names_in(await cache.take("name", "user", succeed)) == ["whole"]


async def test_half_entries_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".new-123").mkdir()
    (tmp_path / ".new-123" / "file").touch()
    (tmp_path / "whole").mkdir()
    Cache(tmp_path)
    assert names_in(tmp_path) == ["whole"]


async def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    one, two = Cache(tmp_path / "one"), Cache(tmp_path / "two")
    oldest = await fill(one, "oldest", size=100_000, used=1)
    middle = await fill(two, "middle", size=100_000, used=2)
    newest = await fill(one, "newest", size=100_000, used=3)
    assert await evict([one, two], 400_000) == []
    assert await evict([one, two], 250_000) == [oldest]
    assert (oldest.exists(), middle.exists(), newest.exists()) == (False, True, True)
    assert await evict([one, two], 0) == [middle, newest]
    assert names_in(tmp_path) == ["one", "two"]


async def test_two_who_evict_at_once_remove_each_entry_once_and_no_more_than_one_would(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    paths = [await fill(cache, f"entry-{number}", size=100_000, used=number) for number in range(8)]
    one, other = await asyncio.gather(evict([cache], 350_000), evict([cache], 350_000))
    assert sorted(one + other) == paths[:5]
    assert all(path.exists() for path in paths[5:])


async def test_what_is_in_use_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    used = await fill(cache, "used", size=100_000, used=1)
    unused = await fill(cache, "unused", size=100_000, used=2)
    cache.keep("used", "replica")
    cache.keep("used", "another")
    cache.give_back("used", "another")
    assert await evict([cache], 0) == [unused]
    cache.give_back("used", "replica")
    assert await evict([cache], 0) == [used]


async def test_an_entry_of_unknown_size_is_measured(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_bytes(os.urandom(100_000))
    entry = cache.entries()[0]
    assert entry.bytes >= 100_000
    await cache.measure("old")
    assert cache.entries()[0].bytes == entry.bytes
    assert cache.entries()[0].used > entry.used
