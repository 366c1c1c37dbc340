"""Following a feed: pages, epochs, the copy on disk. The publisher is scripted."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts.feeds import FeedChange, FeedPage
from libs.common.feed import FeedFollower
from libs.common.loops import tasks
from tests.support.eventually import UNASKED, eventually


class Publisher:
    """Publishes what a test tells it to, `page` changes at a time."""

    def __init__(self, *, epoch: str = "one", page: int = 1000) -> None:
        self.epoch = epoch
        self.page = page
        self.entries: dict[str, tuple[int, dict[str, Any] | None]] = {}
        self.version = 0
        self.floor = 0
        self.down = False
        self.asked: list[tuple[int, str, float]] = []
        self._changed = asyncio.Event()

    def publish(self, key: str, body: dict[str, Any] | None) -> None:
        self.version += 1
        self.entries[key] = (self.version, body)
        self._changed.set()
        self._changed = asyncio.Event()

    def start_over(self, epoch: str) -> None:
        self.epoch, self.version, self.entries = epoch, 0, {}
        self._changed.set()
        self._changed = asyncio.Event()

    async def fetch(self, *, since: int, epoch: str, wait: float) -> FeedPage:
        self.asked.append((since, epoch, wait))
        if self.down:
            raise OSError("nobody there")
        while wait and epoch == self.epoch and since >= self.version:
            await self._changed.wait()
        if epoch != self.epoch:
            since = 0
        newer = sorted((version, key, body) for key, (version, body) in self.entries.items() if version > since)
        shown = newer[: self.page]
        return FeedPage(
            epoch=self.epoch,
            version=shown[-1][0] if shown else since,
            changes=tuple(FeedChange(key=key, version=version, body=body) for version, key, body in shown),
            floor=self.floor,
            more=len(newer) > len(shown),
        )


class Copy:
    """What a follower's `apply` was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.entries: dict[str, Any] = {}

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        self.told.append((key, body))
        if body is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = body


async def test_changes_and_ends_of_keys_arrive_in_their_order() -> None:
    publisher, copy = Publisher(), Copy()
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    async with tasks(follower.run()):
        publisher.publish("a", {"n": 1})
        await eventually(lambda: copy.entries == {"a": {"n": 1}})
        publisher.publish("b", {"n": 2})
        publisher.publish("a", None)
        await eventually(lambda: copy.entries == {"b": {"n": 2}})
    assert copy.told == [("a", {"n": 1}), ("b", {"n": 2}), ("a", None)]
    assert follower.entries == {"b": {"n": 2}}
    assert follower.version == 3


async def test_an_empty_feed_is_a_whole_copy_at_once() -> None:
    publisher = Publisher(epoch="")
    follower = FeedFollower("f", publisher.fetch, Copy().apply)
    async with tasks(follower.run()):
        await asyncio.wait_for(follower.ready.wait(), 60)
    assert follower.complete


async def test_a_copy_that_arrives_in_pages_is_whole_with_the_last_one() -> None:
    publisher, copy = Publisher(page=2), Copy()
    for number in range(5):
        publisher.publish(str(number), {})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    whole: list[tuple[int, bool]] = []

    def apply(key: str, body: dict[str, Any] | None) -> None:
        copy.apply(key, body)
        whole.append((len(copy.entries), follower.complete))

    follower = FeedFollower("f", publisher.fetch, apply)
    async with tasks(follower.run()):
        await asyncio.wait_for(follower.ready.wait(), 60)
    assert follower.complete
    assert len(copy.entries) == 5
    assert not any(complete for _, complete in whole)


async def test_a_new_epoch_replaces_everything_and_is_whole_only_at_its_end() -> None:
    publisher, copy = Publisher(), Copy()
    publisher.publish("old", {"n": 1})
    publisher.publish("both", {"n": 1})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await follower.refresh()
    assert follower.complete
    publisher.start_over("two")
    publisher.page = 1
    publisher.publish("both", {"n": 2})
    publisher.publish("new", {"n": 2})
    since, epoch = follower.version, follower.epoch
    page = await publisher.fetch(since=since, epoch=epoch, wait=0)
    follower._take(page, since, epoch)
    assert not follower.complete
    assert await follower.refresh()
    assert follower.complete
    assert copy.entries == {"both": {"n": 2}, "new": {"n": 2}}
    assert ("old", None) in copy.told
    assert (follower.epoch, follower.version) == ("two", 2)


async def test_it_goes_on_when_the_publisher_comes_back() -> None:
    publisher, copy = Publisher(), Copy()
    publisher.down = True
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    async with tasks(follower.run()):
        await eventually(lambda: len(publisher.asked) >= 2)
        assert not follower.ready.is_set()
        publisher.publish("a", {})
        publisher.down = False
        await eventually(lambda: copy.entries == {"a": {}})
    assert follower.fresh_at is not None


async def test_an_entry_that_cannot_be_applied_is_logged_and_the_next_one_taken() -> None:
    publisher, copy = Publisher(), Copy()

    def apply(key: str, body: dict[str, Any] | None) -> None:
        if key == "bad":
            raise ValueError("unreadable")
        copy.apply(key, body)

    publisher.publish("bad", {"n": 1})
    publisher.publish("good", {"n": 2})
    follower = FeedFollower("f", publisher.fetch, apply)
    assert await follower.refresh()
    assert copy.entries == {"good": {"n": 2}}


async def test_what_comes_soon_after_a_copy_was_saved_is_saved_too(tmp_path: Path) -> None:
    publisher, path = Publisher(), tmp_path / "f.json"
    follower = FeedFollower("f", publisher.fetch, Copy().apply, snapshot=path)
    async with tasks(follower.run()):
        publisher.publish("a", {})
        await eventually(lambda: "a" in json.loads(path.read_bytes())["entries"])
        publisher.publish("b", {})
        await eventually(lambda: "b" in json.loads(path.read_bytes())["entries"], UNASKED)


async def test_many_that_refresh_ask_once() -> None:
    publisher, copy = Publisher(), Copy()
    publisher.publish("a", {})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await asyncio.gather(*(follower.refresh() for _ in range(20))) == [True] * 20
    assert len(publisher.asked) == 1


async def test_a_refresh_that_gets_no_answer_says_so_and_keeps_the_copy() -> None:
    publisher, copy = Publisher(), Copy()
    publisher.publish("a", {})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await follower.refresh()
    publisher.down = True
    assert not await follower.refresh()
    assert copy.entries == {"a": {}}


async def test_an_answer_that_was_overtaken_changes_nothing() -> None:
    publisher, copy = Publisher(), Copy()
    publisher.publish("a", {"n": 1})
    late = await publisher.fetch(since=0, epoch="one", wait=0)
    publisher.publish("a", {"n": 2})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await follower.refresh()
    follower._take(late, 0, "one")
    assert copy.entries == {"a": {"n": 2}}
    assert follower.version == 2


# The copy on disk


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "feeds" / "f.json"


async def test_a_restart_without_the_publisher_finds_the_copy_on_disk(snapshot: Path) -> None:
    publisher, copy = Publisher(), Copy()
    publisher.publish("a", {"n": 1})
    publisher.publish("b", {"n": 2})
    publisher.publish("a", None)
    before = FeedFollower("f", publisher.fetch, copy.apply, snapshot=snapshot)
    assert await before.refresh()
    before.save()

    found = Copy()
    after = FeedFollower("f", publisher.fetch, found.apply, snapshot=snapshot)
    assert after.load()
    assert after.ready.is_set()
    assert after.complete
    assert found.entries == {"b": {"n": 2}}
    publisher.publish("c", {"n": 3})
    assert await after.refresh()
    assert publisher.asked[-1][:2] == (3, "one"), "it asks only for what is newer"
    assert found.entries == {"b": {"n": 2}, "c": {"n": 3}}


async def test_the_copy_on_disk_is_for_its_owner_only(snapshot: Path) -> None:
    publisher = Publisher()
    publisher.publish("a", {"secret": 1})
    follower = FeedFollower("f", publisher.fetch, Copy().apply, snapshot=snapshot)
    assert await follower.refresh()
    follower.save()
    assert permissions(snapshot) == 0o600
    assert permissions(snapshot.parent) == 0o700


async def test_a_copy_that_is_still_arriving_is_not_written(snapshot: Path) -> None:
    publisher = Publisher(page=1)
    publisher.publish("a", {})
    publisher.publish("b", {})
    follower = FeedFollower("f", publisher.fetch, Copy().apply, snapshot=snapshot)
    follower._take(await publisher.fetch(since=0, epoch="", wait=0), 0, "")
    follower.save()
    assert not FeedFollower("f", publisher.fetch, Copy().apply, snapshot=snapshot).load()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": "x", "epoch": "", "entries": {}}']
)
def test_a_broken_copy_on_disk_is_no_copy(snapshot: Path, content: bytes) -> None:
    snapshot.parent.mkdir()
    snapshot.write_bytes(content)
    follower = FeedFollower("f", Publisher().fetch, Copy().apply, snapshot=snapshot)
    assert not follower.load()
    assert not follower.ready.is_set()
    assert follower.entries == {}


def test_no_copy_on_disk_is_no_copy(snapshot: Path) -> None:
    assert not FeedFollower("f", Publisher().fetch, Copy().apply, snapshot=snapshot).load()
    assert not FeedFollower("f", Publisher().fetch, Copy().apply).load()


async def test_a_folder_that_cannot_be_written_does_not_stop_following(tmp_path: Path) -> None:
    (tmp_path / "feeds").write_text("a file where the folder should be")
    publisher, copy = Publisher(), Copy()
    publisher.publish("a", {})
    follower = FeedFollower("f", publisher.fetch, copy.apply, snapshot=tmp_path / "feeds" / "f.json")
    assert await follower.refresh()
    follower.save()
    assert copy.entries == {"a": {}}


def kept(publisher: Publisher, *keys: str) -> None:
    """The publisher forgets all keys but those."""
    publisher.entries = {key: publisher.entries[key] for key in keys}
    publisher.floor = publisher.version


async def test_who_has_less_than_is_told_starts_again() -> None:
    publisher, copy = Publisher(), Copy()
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    for key in ("a", "b"):
        publisher.publish(key, {"n": 1})
    assert await follower.refresh()
    publisher.publish("a", None)
    publisher.publish("c", {"n": 1})
    kept(publisher, "b", "c")
    assert await follower.refresh()
    assert copy.entries == follower.entries == {"b": {"n": 1}, "c": {"n": 1}}
    assert (follower.version, follower.complete) == (publisher.version, True)
    asked = len(publisher.asked)
    assert await follower.refresh()
    assert len(publisher.asked) == asked + 1, "a whole copy is not fetched again"


async def test_a_first_copy_in_pages_begins_below_the_floor_and_again_when_it_rises_meanwhile() -> None:
    publisher, copy = Publisher(page=2), Copy()
    for number in range(6):
        publisher.publish(f"k{number}", {"n": number})
    kept(publisher, *(f"k{number}" for number in range(6)))
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await follower.refresh()
    assert [since for since, _, _ in publisher.asked] == [0, 2, 4]

    fetch, publisher.asked = publisher.fetch, []

    async def forgetting(*, since: int, epoch: str, wait: float) -> FeedPage:
        page = await fetch(since=since, epoch=epoch, wait=wait)
        if "k0" in publisher.entries:
            publisher.publish("k0", None)
            publisher.publish("new", {"n": 7})
            kept(publisher, *(f"k{number}" for number in range(1, 6)), "new")
        return page

    late = FeedFollower("f", forgetting, copy.apply)
    assert await late.refresh()
    assert late.entries == {"new": {"n": 7}, **{f"k{number}": {"n": number} for number in range(1, 6)}}


@pytest.mark.parametrize("page", [1000, 2], ids=["whole", "pages"])
async def test_an_answer_for_a_copy_that_was_given_up_meanwhile_makes_no_copy(page: int) -> None:
    publisher, copy = Publisher(page=page), Copy()
    for key in ("a", "b", "gone"):
        publisher.publish(key, {"n": 1})
    follower = FeedFollower("f", publisher.fetch, copy.apply)
    assert await follower.refresh()
    publisher.publish("gone", None)
    publisher.publish("c", {"n": 1})
    kept(publisher, "a", "b", "c")
    asked = (follower.version, follower.epoch)
    first, second, third = [await publisher.fetch(since=asked[0], epoch=asked[1], wait=0) for _ in range(3)]
    follower._take(first, *asked)
    follower._take(second, *asked)
    assert (follower.entries, follower.complete) == ({}, False)
    follower._take(await publisher.fetch(since=0, epoch="", wait=0), 0, "")
    follower._take(third, *asked)
    assert await follower.refresh()
    assert copy.entries == follower.entries == {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}}
