"""The log of a build, against a registry that loses posts, answers late, or gave the lease to somebody else."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from libs.common import problems
from libs.common.contracts.builds import BuildLog, BuildSpec
from libs.common.contracts.catalog import Language
from services.worker.build_log import MAX_CHARACTERS, LeaseLost, LogStream
from tests.support.eventually import eventually

SPEC = BuildSpec(
    id=uuid4(),
    algorithm_id=uuid4(),
    owner="joe",
    name="hello",
    commit="a" * 40,
    language=Language.PYTHON,
    source="0" * 64,
    lease_token="token",
    lease_seconds=0.04,
)


class Registry:
    """Takes log posts as the registry does; `script` says what happens to the next ones."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.text = ""
        self.posts: list[BuildLog] = []

    async def append_build_log(self, build_id: UUID, log: BuildLog) -> None:
        assert build_id == SPEC.id
        self.posts.append(log)
        step = self.script.pop(0) if self.script else "take"
        if step == "lost":
            raise problems.Conflict("the lease is lost")
        if step != "drop" and log.offset == len(self.text):
            self.text += log.text
        if step in ("drop", "late"):
            raise problems.Unavailable("no answer")


def stream_to(registry: Registry) -> LogStream:
    return LogStream(registry, SPEC)  # type: ignore[arg-type]  # it has all that is used


async def test_text_arrives_once_and_in_order_whatever_is_lost() -> None:
    registry = Registry("drop", "late", "take", "drop")
    stream = stream_to(registry)
    stream.say("one ")
    assert not await stream.post()
    stream.say("two ")
    assert not await stream.post()
    stream.step("three")
    for _ in range(4):
        await stream.post()
    assert registry.text == "one two ==> three\n"


async def test_an_empty_post_is_sent_to_keep_the_lease() -> None:
    registry = Registry()
    task = asyncio.create_task(stream_to(registry).run())
    try:
        await eventually(lambda: len(registry.posts) >= 3)
    finally:
        task.cancel()
    assert [post.text for post in registry.posts[:3]] == ["", "", ""]
    assert {post.lease_token for post in registry.posts} == {"token"}


async def test_a_lost_lease_is_told() -> None:
    with pytest.raises(LeaseLost):
        await stream_to(Registry("lost")).post()


async def test_long_logs_go_in_pieces_and_are_cut() -> None:
    registry = Registry()
    stream = stream_to(registry)
    stream.say("x" * (MAX_CHARACTERS - 10))
    stream.say("y" * 50)
    stream.say("never said")
    assert await stream.post()
    assert len(registry.posts) > 1
    assert registry.text.startswith("x" * (MAX_CHARACTERS - 10) + "y" * 10)
    assert "the rest is left out" in registry.text
    assert "never said" not in registry.text


async def test_characters_that_a_database_refuses_are_replaced() -> None:
    registry = Registry()
    stream = stream_to(registry)
    stream.say("a\0b")
    await stream.post()
    assert registry.text == "a\ufffdb"
