"""The console's files, as browsers get them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service.gateway.conftest import Platform, running_platform


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    async with running_platform(tmp_path) as started:
        await started.start()
        yield started


async def test_every_path_is_the_page_and_what_it_loads_is_kept(platform: Platform) -> None:
    assert (await platform.request("GET", "/console")).headers["location"] == "/console/"
    pages = [await platform.request("GET", f"/console/{path}") for path in ("", "satellites/new", "signed-in?code=x")]
    assert {page.status for page in pages} == {200}
    assert len({page.body for page in pages}) == 1
    page = pages[0]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    for directive in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"):
        assert directive in policy.split("; ")
    assert b"<script>" not in page.body
    assert b"style=" not in page.body
    loaded = re.findall(rb'(?:href|src)="([^"]+)"', page.body)
    assert len(loaded) == 4
    for path in loaded:
        file = await platform.request("GET", path.decode())
        assert (file.status, "immutable" in file.headers["cache-control"]) == (200, True), path
        assert file.headers["x-content-type-options"] == "nosniff"
    assert (await platform.request("HEAD", "/console/")).status == 200
    assert (await platform.request("POST", "/console/")).status != 200


async def test_a_page_of_another_release_gets_files_that_it_does_not_keep(platform: Platform) -> None:
    other = await platform.request("GET", "/console/static/0123456789ab/app.js")
    assert (other.status, other.headers["cache-control"]) == (200, "no-store")
    assert other.headers["content-type"] == "text/javascript; charset=utf-8"
    for name in ("none.js", "index.html", "..%2Ffiles.py"):
        missing = await platform.request("GET", f"/console/static/0123456789ab/{name}")
        assert b"import" not in missing.body, name
        assert missing.status == 404 or b"<!doctype html>" in missing.body, name
