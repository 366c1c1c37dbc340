"""The console in a browser, and what its tests begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import DEADLINE, opened
from tests.browser.platform import Platform

expect.set_options(timeout=DEADLINE)
SHEET, CONFIRM = "dialog.sheet", "dialog.confirm"
STATE = f"{SHEET} .state"


@contextmanager
def console(chromium: Browser, platform: Platform, path: str = "/console/", **options: Any) -> Iterator[Page]:
    """The console with the administrator signed in. It asks no other origin for anything."""
    with opened(chromium, platform, **options) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path)
        sign_in(page, platform.admin["username"], platform.admin["password"])
        expect(page).to_have_url(re.compile(re.escape(path) + "$"))
        expect(page.get_by_text("Signed in as admin")).to_be_attached()
        yield page
        assert [url for url in asked if not url.startswith(platform.url)] == []


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def entry(page: Page, number: int) -> Locator:
    return page.get_by_role("group", name=f"Algorithm {number}")


def fill_entry(page: Page, number: int, algorithm: str, vanity: str, replicas: str = "1") -> None:
    row = entry(page, number)
    row.get_by_label("Algorithm", exact=True).fill(algorithm)
    row.get_by_label("Vanity URL").fill(vanity)
    row.get_by_label("Replicas").fill(replicas)


def satellite(platform: Platform, name: str, algorithm: str, vanity: str, replicas: int = 1) -> str:
    algorithms = [{"algorithm": algorithm, "vanity_url": vanity, "replicas": replicas}]
    made: str = platform.ask("POST", "/admin/v1/satellites", json={"name": name, "algorithms": algorithms})["id"]
    return made


def launch(platform: Platform, of: str, name: str, **more: Any) -> str:
    made: str = platform.ask("POST", f"/admin/v1/satellites/{of}/launches", json={"name": name, **more})["id"]
    return made


def do(page: Page, act: str, confirm: str) -> None:
    """Something that the sheet offers, and asks about."""
    page.locator(SHEET).get_by_role("button", name=act, exact=True).click()
    page.locator(CONFIRM).get_by_role("button", name=confirm, exact=True).click()
    expect(page.locator(CONFIRM)).to_have_count(0)
