"""The platform's own way in (`libs.common.join`) against the real fakts, over a real port."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import httpx
import pytest

from libs.common.auth import Authenticator, TokenVerifier
from libs.common.clients.fakts import FaktsClient
from libs.common.clients.feeds import FeedClient
from libs.common.contracts.joining import Alias
from libs.common.directory import Directory
from libs.common.feed import FeedFollower
from libs.common.join import JoinRefused, membership
from libs.common.loops import tasks
from services.fakts.app import create_app
from tests.service.fakts.running import JOIN_TOKEN, settings_for
from tests.support.eventually import eventually
from tests.support.serving import bound, serving


async def test_a_service_joins_finds_fakts_follows_the_feed_and_renews_its_token(
    fakts_url: str, tmp_path: Path
) -> None:
    listener = bound()
    port = listener.getsockname()[1]
    given = settings_for(fakts_url, tmp_path, port=port, advertise_host="127.0.0.1", lease_seconds=3.0)
    async with serving(create_app(given), listener) as url, httpx.AsyncClient(timeout=60) as http:
        join = partial(membership, http, fakts_url=url, token=JOIN_TOKEN, version="1")
        async with join(identifier="constellation.deployer", requires=("fakts", "registry")) as one:
            await one.offer(Alias(id="d", host="127.0.0.1", port=1))
            await one.wait_for("fakts")
            assert one.urls("fakts") == [url]
            assert one.configuration.database_url == fakts_url
            directory = Directory()
            follower = FeedFollower("identity", FeedClient(http, one, "fakts", "identity").fetch, directory.apply)
            async with tasks(follower.run()):
                await asyncio.wait_for(follower.ready.wait(), 60)
                assert directory.accounts["admin"].staff
            principal = await Authenticator(TokenVerifier(one.jwks), directory).authenticate(
                f"Bearer {await one.token()}"
            )
            assert principal is not None
            assert (principal.name, principal.instance) == ("deployer", one.instance_id)
            assert await FaktsClient(http, one).verify_password("admin", "wrong", address="192.0.2.9") is None

            before = await one.token()
            one._expires = 0.0
            assert await one.token() != before
            await one.offer(Alias(id="d", host="127.0.0.1", port=2))

            async with join(identifier="constellation.gateway", requires=("deployer",)) as two:
                await two.offer(Alias(id="g", host="127.0.0.1", port=3))
                await two.wait_for("deployer")
                assert two.urls("deployer") == ["http://127.0.0.1:2"]

                before_renewal = one._last_lease
                await eventually(lambda: one._last_lease > before_renewal + 3.0)
                await two.offer(Alias(id="g", host="127.0.0.1", port=3))
                assert two.urls("deployer") == ["http://127.0.0.1:2"]
        async with join(identifier="constellation.gateway", requires=("deployer",)) as three:
            await three.offer(Alias(id="g", host="127.0.0.1", port=3))
            assert three.urls("deployer") == []


async def test_a_wrong_token_is_refused_in_words(fakts_url: str, tmp_path: Path) -> None:
    async with serving(create_app(settings_for(fakts_url, tmp_path))) as url, httpx.AsyncClient(timeout=60) as http:
        with pytest.raises(JoinRefused, match="invalid_grant: This key is not known"):
            async with membership(http, fakts_url=url, token="wrong", identifier="constellation.worker", version="1"):
                pass
