"""What lasts for a call, for a day, or until it is replaced; gateways side by side; and PostgreSQL away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from libs.common import db
from libs.common.blobs import StoreFailed
from libs.common.db import Database
from services.gateway.data.expiry import Expiry
from services.gateway.data.files import Upload
from services.gateway.data.hosted import SCHEMA
from services.gateway.models import StoredObject
from tests.service.gateway.conftest import SECRET, Platform
from tests.service.gateway.data.world import HISTORY, Hosted, call_token
from tests.service.gateway.doubles import Answer, entry, envelope
from tests.service.gateway.doubles import Asked as Played
from tests.support.eventually import eventually
from tests.support.postgres import Postgres


async def test_a_session_is_its_calls_alone_and_ends_with_it(hosted: Hosted) -> None:
    platform = hosted.platform
    over = {"first": asyncio.Event(), "second": asyncio.Event()}

    async def wait(asked: Played) -> Answer:
        await over[asked.body.decode()].wait()
        return envelope("done", asked.headers["x-request-id"])

    replica = await platform.routed(play=wait, concurrency=4)
    calls = [asyncio.create_task(platform.call(body=name)) for name in over]
    await eventually(lambda: len(replica.calls) == 2)
    tokens = {asked.body.decode(): asked.headers["x-caller"] for asked in replica.calls}
    first, second = tokens["first"], tokens["second"]
    assert (await hosted.ask("GET", ".session", key=first)).content == b"{}"
    put = await hosted.ask("PUT", ".session/f", key=first, content=b"first's")
    assert put.json() == {"result": "data://.session/f"}
    await hosted.ask("PUT", ".session/f", key=second, content=b"second's")
    assert (await hosted.ask("GET", ".session/f", key=first)).text == "first's"
    # A call that the first one's algorithm makes shares its session.
    inner = platform.registry.publish(entry("joe", "inner"))
    replica_of_inner = await platform.routed(algorithm=inner)
    assert (await platform.call("joe/inner", key=first)).status == 200
    chained = replica_of_inner.calls[-1].headers["x-caller"]
    assert (await hosted.ask("GET", ".session/f", key=chained)).text == "first's"
    await hosted.ask("PUT", ".session/g", key=chained, content=b"inner's")
    listed = (await hosted.ask("GET", ".session", key=first, params={"acl": "true"})).json()
    assert ([file["filename"] for file in listed["files"]], "acl" in listed) == (["f", "g"], False)
    await hosted.ask("GET", ".session/f", 404)
    assert (await hosted.ask("GET", ".my")).content == b"{}"

    over["first"].set()

    async def is_gone() -> bool:
        url = f"{platform.url}/v1/data/.session/f"
        return (await hosted.http.get(url, headers={"authorization": first})).status_code == 404

    await eventually(is_gone, 60)
    assert (await hosted.ask("GET", ".session/f", key=second)).text == "second's"
    over["second"].set()
    assert {(await call).status for call in calls} == {200}


async def test_an_algorithm_has_data_of_its_own_with_each_caller(hosted: Hosted) -> None:
    platform = hosted.platform
    platform.fakts.add_account("mia")
    mia = hosted.key("mia")
    await hosted.ask("GET", "", key=mia)
    own, for_mia = call_token(platform), call_token(platform, "mia")
    put = await hosted.ask("PUT", ".algo/perm/f", key=for_mia, content=b"mia's")
    assert put.json() == {"result": "data://.algo/joe/echo/perm/f"}
    await hosted.ask("PUT", ".algo/temp/f", key=own, content=b"joe's")
    for path, key, text in (
        (".algo/joe/echo/perm/f", mia, "mia's"),
        (".algo/joe/echo/perm/f", for_mia, "mia's"),
        (".algo/joe/echo/temp/f", platform.key, "joe's"),
        (".algo/temp/f", own, "joe's"),
    ):
        assert (await hosted.ask("GET", path, key=key)).text == text
    for path, key in ((".algo/joe/echo/perm/f", own), (".algo/joe/echo/perm/f", platform.key), (".algo/temp/f", mia)):
        await hosted.ask("GET", path, 404, key=key)
    # Another algorithm of the same caller may read what this one left, and not change it.
    other = platform.registry.publish(entry("joe", "other"))
    await eventually(lambda: str(other.id) in str(platform.source.catalog.entries))
    as_other = call_token(platform, "mia", algorithm=str(other.id))
    assert (await hosted.ask("GET", ".algo/joe/echo/perm/f", key=as_other)).text == "mia's"
    await hosted.ask("PUT", ".algo/joe/echo/perm/f", 403, key=as_other, content=b"x")
    await hosted.ask("PATCH", ".algo/perm", 400, key=for_mia, json={"acl": {"read": []}})
    # What it reads and writes for its caller, beside what is its own.
    await hosted.make("in", [])
    await hosted.ask("PUT", ".my/in/words", content=b"of mice")
    assert (await hosted.ask("GET", ".my/in/words", key=own)).text == "of mice"
    await hosted.ask("PUT", "joe/in/out", key=own, content=b"and men")
    await hosted.ask("GET", "joe/in/words", 404, key=for_mia)


async def test_what_is_over_goes_and_its_bytes_a_little_later(hosted: Hosted, index_url: str) -> None:
    database = Database(index_url, SCHEMA)
    ahead = timedelta()
    expiry = Expiry(database, hosted.objects, hosted.platform.gateway.calls, clock=lambda: db.now() + ahead)
    inside = call_token(hosted.platform)
    await hosted.make("c")
    for path in (".algo/temp/day", ".algo/perm/ever", ".session/call", "joe/c/old", "joe/c/old", "joe/c/gone"):
        await hosted.ask("PUT", path, key=inside, content=path.encode())
    await hosted.ask("DELETE", "joe/c/gone")
    assert len(hosted.stored()) == 6
    # A gateway that died during an upload left a row, and part of a file.
    async with database.transaction() as session:
        session.add(left := StoredObject(expires_at=db.now() + timedelta(hours=1)))
    part = hosted.folder / "data" / left.id.hex[:2] / f"{left.id.hex}#1"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"half")
    await expiry.once()
    assert len(hosted.stored()) == 7
    ahead = timedelta(minutes=11)
    await expiry.once()
    assert len(hosted.stored()) == 5
    # The session is of a call that no living gateway knows.
    ahead = timedelta(hours=2)
    await expiry.once()
    assert (await hosted.ask("GET", ".session", key=inside)).content == b"{}"
    assert (await hosted.ask("GET", ".algo/temp/day", key=inside)).status_code == 200
    ahead = timedelta(hours=25)
    await expiry.once()
    await hosted.ask("GET", ".algo/temp/day", 404, key=inside)
    ahead = timedelta(days=400)
    await expiry.once()
    assert len(hosted.stored()) == 2
    for path in (".algo/perm/ever", "joe/c/old"):
        assert (await hosted.ask("GET", path, key=inside)).text == path
    await database.close()


async def test_an_object_that_the_store_does_not_remove_holds_up_no_other(hosted: Hosted, index_url: str) -> None:
    database = Database(index_url, SCHEMA)
    ahead = timedelta()
    expiry = Expiry(database, hosted.objects, hosted.platform.gateway.calls, clock=lambda: db.now() + ahead)
    objects = [StoredObject(id=uuid4(), expires_at=db.now() + timedelta(hours=1)) for _ in range(12)]
    async with database.transaction() as session:
        session.add_all(objects)
    paths = [hosted.folder / "data" / one.id.hex[:2] / one.id.hex for one in objects]
    refused = paths[:7]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in refused:
            path.mkdir()  # no store removes a folder for an object
        else:
            path.write_bytes(b"x")

    async def left() -> int:
        async with database.transaction() as session:
            return len((await session.execute(select(StoredObject.id))).all())

    ahead = timedelta(hours=2)
    for _ in range(len(refused)):
        with suppress(StoreFailed):
            await expiry.once()
    assert (hosted.stored(), await left()) == ([], len(refused))
    await expiry.once()
    for path in refused:
        path.rmdir()
    ahead = timedelta(hours=4)
    await expiry.once()
    assert await left() == 0
    await database.close()


async def test_gateways_share_the_data_and_go_on_with_calls_while_postgresql_is_away(
    monkeypatch: pytest.MonkeyPatch, surroundings: Platform, external_postgres: Postgres, tmp_path: Path
) -> None:
    # Two gateways in one process: their figures have the same names.
    monkeypatch.setattr("services.gateway.app.REGISTRY", CollectorRegistry())
    url = await external_postgres.create_database(HISTORY)
    await asyncio.to_thread(external_postgres.stop)
    folder = tmp_path / "blobs"
    surroundings.fakts.configure("gateway", call_token_secret=SECRET, database_url=url, blob_url=folder.as_uri())
    await surroundings.start(data_dir=tmp_path / "one")
    one = surroundings.url
    await surroundings.routed()
    async with httpx.AsyncClient(timeout=60) as http:
        hosted = Hosted(surroundings, http, folder)
        assert (await surroundings.call(body="before")).result == "before"
        refused = await hosted.ask("GET", ".my", 503)
        assert int(refused.headers["retry-after"]) > 0
        await hosted.ask("GET", "")

        await asyncio.to_thread(external_postgres.start)

        async def is_back() -> bool:
            headers = {"authorization": surroundings.key}
            return (await http.get(f"{one}/v1/data/.my", headers=headers)).status_code == 200

        await eventually(is_back, 60)
        await hosted.make("c")
        await hosted.ask("PUT", ".my/c/f", content=b"one's")
        await surroundings.start(data_dir=tmp_path / "two")
        assert surroundings.url != one
        assert (await hosted.ask("GET", ".my/c/f")).text == "one's"
        await hosted.ask("PUT", ".my/c/f", content=b"two's")
        surroundings.url = one
        assert (await hosted.ask("GET", ".my/c/f")).text == "two's"

        await asyncio.to_thread(external_postgres.stop)
        for method, path in (("GET", ".my"), ("GET", ".my/c/f"), ("HEAD", ".my/c/f"), ("PUT", ".my/c/f")):
            refused = await hosted.ask(method, path, 503, content=b"x" if method == "PUT" else None)
            assert int(refused.headers["retry-after"]) > 0
        assert (await surroundings.call(body="during")).result == "during"
        assert (await surroundings.request("GET", "/readyz")).status == 200
        await asyncio.to_thread(external_postgres.start)
        await eventually(is_back, 60)
        assert (await hosted.ask("GET", ".my/c/f")).text == "two's"


async def test_a_gateway_without_a_database_says_so(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.data.hosted.OPENING_SECONDS", 0.01)
    async with httpx.AsyncClient(timeout=60) as http:
        refused = await Hosted(platform, http, Path()).ask("GET", ".my", 503)
        assert "set its database URL" in refused.json()["error"]["message"]


async def test_an_upload_that_outlives_its_time_or_its_collection_is_given_up(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hosted.make("c")
    take = Upload._take

    async def late(self: Upload, *arguments: object) -> None:
        await hosted.ask("DELETE", ".my/c?force=true")
        await take(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Upload, "_take", late)
    await hosted.ask("PUT", ".my/c/f", 404, content=b"x")
    await eventually(lambda: hosted.stored() == [], 60)

    monkeypatch.setattr(Upload, "_take", take)
    monkeypatch.setattr("services.gateway.data.files.UPLOAD_AT_MOST", timedelta(seconds=-1))
    await hosted.make("d")

    async def removed_meanwhile(self: Upload, *arguments: object) -> None:
        await eventually(lambda: hosted.stored() == [], 60)
        await take(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Upload, "_take", removed_meanwhile)
    await hosted.ask("PUT", ".my/d/f", 408, content=b"x")
    await hosted.ask("GET", ".my/d/f", 404)
