"""Web pages of other origins: what a browser is told, and which keys work from there."""

from __future__ import annotations

import pytest

from libs.common.contracts.identity import Permissions
from tests.service.gateway.conftest import Platform

PAGE = "https://app.example"


@pytest.mark.parametrize("path", ["/v1/data/joe/pictures", "/v1/connector/data/joe", "/v1/algo/joe/echo"])
async def test_a_browser_may_ask_first(platform: Platform, path: str) -> None:
    answer = await platform.request("OPTIONS", path, Origin=PAGE, Access_Control_Request_Method="PUT")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert ("PUT" in answer.headers["access-control-allow-methods"]) == ("algo" not in path)
    elsewhere = await platform.request("OPTIONS", "/v1/algorithms", Origin=PAGE)
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_data_is_for_browsers_whose_key_says_so(platform: Platform) -> None:
    def key(**members: object) -> str:
        return platform.fakts.add_key("joe", permissions=Permissions(allow_data=True, **members))

    async def status(authorization: str, **headers: str) -> int:
        answer = await platform.request("GET", "/v1/data/", Authorization=authorization, **headers)
        if "Origin" in headers:
            assert answer.headers["access-control-allow-origin"] == headers["Origin"]
            assert "x-error-message" in answer.headers["access-control-expose-headers"]
        return answer.status

    native, web = key(), key(allow_web_algo=True)
    bound = key(allow_web_algo=True, referer_host="app.example")
    assert [await status(native), await status(native, Origin=PAGE)] == [200, 403]
    assert [await status(web), await status(web, Origin=PAGE)] == [200, 200]
    assert [await status(bound, Origin=PAGE), await status(bound, Origin="https://evil.example")] == [200, 403]
    assert await status(bound, Origin="null", Referer=f"{PAGE}/page") == 200
    app = f"Bearer {platform.fakts.user_token('joe', 'data:read')}"
    assert await status(app, Origin=PAGE) == 200
    assert await status("Bearer a.b.c", Origin=PAGE) == 401
