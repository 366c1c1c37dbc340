"""A real browser before a running platform."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.platform import Platform
from tests.support.author import Author
from tests.support.postgres import Postgres

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEADLINE = 60_000.0
"""Milliseconds."""
SOURCE = "def apply(input):\n    return VERSION\n"


@pytest.fixture(scope="module")
def platform(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    database = asyncio.run(postgres.create_database())
    with Platform(tmp_path_factory.mktemp("platform"), "--database", database) as started:
        started.prepare()
        yield started


@pytest.fixture(scope="module")
def commits(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two built commits of `tool`. Comes before the browser, as building waits."""
    admin = platform.admin
    with Author(platform.url, admin["username"], admin["api_key"], tmp_path_factory.mktemp("author")) as author:
        first = author.deploy("tool", SOURCE.replace("VERSION", "1"))
        second = author.push("tool", {"src/tool.py": SOURCE.replace("VERSION", "2")})
        assert author.build("tool", second)["status"] == "succeeded"
    return [f"admin/tool/{commit}" for commit in (first, second)]


@pytest.fixture(scope="module")
def chromium(platform: Platform) -> Iterator[Browser]:
    """Comes after the platform: Playwright keeps an event loop running in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=DEADLINE, handle_sigint=False
        )
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, platform: Platform, **options: Any) -> Iterator[Page]:
    """A page in a browser profile of its own. No page may run into its own content policy, or have a script fail."""
    context = chromium.new_context(base_url=platform.url, **options)
    context.set_default_timeout(DEADLINE)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    context.close()
    assert faults == []
