"""Files: written, read as clients ask for them, replaced, removed."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

from tests.service.gateway.client import Client
from tests.service.gateway.data.world import Hosted
from tests.support.eventually import eventually

TEXT = "☎ ünï\n"


async def test_a_file_is_one_whatever_its_address_is_written_like(hosted: Hosted) -> None:
    made = await hosted.ask("POST", ".my/", json={"name": "c"})
    assert made.content == b'{"result":"data://joe/c"}'
    name = "ünï ☎ b+c&.txt"
    put = await hosted.ask("PUT", f".my/c/{quote(name)}", content=TEXT.encode())
    assert put.json() == {"result": f"data://joe/c/{name}"}
    places = ("/v1/data/.my", "/v1/data/joe", "/v1/data/data://.my", "/v1/data/data:/joe", "/v1/connector/data/.my")
    for place in places:
        got = await hosted.ask("GET", f"{place}/c/{quote(name)}")
        assert (got.text, got.headers["x-data-type"]) == (TEXT, "file"), place
        for slash in ("", "/"):
            listed = await hosted.ask("GET", f"{place}/c{slash}")
            assert listed.headers["x-data-type"] == "directory"
            [file] = listed.json()["files"]
            assert (file["filename"], file["size"]) == (name, len(TEXT.encode()))
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", file["last_modified"])
    assert (await hosted.ask("HEAD", ".my/c")).headers["x-data-type"] == "directory"
    head = await hosted.ask("HEAD", f".my/c/{quote(name)}")
    assert (head.headers["content-length"], head.headers["x-data-type"]) == (str(len(TEXT.encode())), "file")
    removed = await hosted.ask("DELETE", f".my/c/{quote(name)}")
    assert removed.content == b'{"result":{"deleted":1}}'
    for method in ("HEAD", "GET", "DELETE"):
        gone = await hosted.ask(method, f".my/c/{quote(name)}", 404)
        assert "there is no data://joe/c/" in gone.headers["x-error-message"]
    await hosted.ask("PUT", ".my/absent/f", 404, content=b"x")
    await hosted.ask("PUT", ".my/c", 400, content=b"x")
    await hosted.ask("PUT", ".my/c/d/f", 400, content=b"x")
    await hosted.ask("GET", ".my/c/%FC", 400)
    for uri in ("/v1/data/s3+lab://bucket/key", "/v1/connector/s3/bucket/key", "/v1/connector/dropbox"):
        refused = await hosted.ask("GET", uri, 501)
        assert "connectors to other stores are not offered" in refused.json()["error"]["message"]


async def test_bytes_come_back_in_the_type_and_part_that_is_asked_for(hosted: Hosted) -> None:
    await hosted.make("c")
    content = os.urandom((2 << 20) + 17)
    await hosted.ask("PUT", ".my/c/b", content=content)
    await hosted.ask("PUT", ".my/c/t.txt", content=TEXT.encode())
    await hosted.ask("PUT", ".my/c/page.html", content=b"<script>alert(1)</script>")
    await hosted.ask("PUT", ".my/c/empty", content=b"")
    plain = "text/plain; charset=utf-8"
    for path, accept, kind in (
        ("b", "*/*", "application/octet-stream"),
        ("b", "text/plain", plain),
        ("t.txt", "*/*", plain),
        ("t.txt", "application/octet-stream", "application/octet-stream"),
        ("t.txt", "application/json", "application/json"),
        ("page.html", "text/html,*/*;q=0.8", plain),
        ("empty", "*/*", plain),
    ):
        answer = await hosted.ask("GET", f".my/c/{path}", headers={"accept": accept})
        assert answer.headers["content-type"] == kind, (path, accept)
        assert answer.headers["x-content-type-options"] == "nosniff"
    whole = await hosted.ask("GET", ".my/c/b")
    assert whole.content == content
    part = await hosted.ask("GET", ".my/c/b", 206, headers={"range": "bytes=1048570-1048580"})
    assert part.content == content[1048570:1048581]
    assert part.headers["content-range"] == f"bytes 1048570-1048580/{len(content)}"
    end = await hosted.ask("GET", ".my/c/b", 206, headers={"range": "bytes=-17", "if-range": whole.headers["etag"]})
    assert end.content == content[-17:]
    changed = await hosted.ask("GET", ".my/c/b", headers={"range": "bytes=-17", "if-range": '"other"'})
    assert changed.content == content
    nothing = await hosted.ask("GET", ".my/c/b", 416, headers={"range": f"bytes={len(content)}-"})
    assert nothing.headers["content-range"] == f"bytes */{len(content)}"
    await hosted.ask("PUT", ".my/c/b", content=b"shorter")
    assert (await hosted.ask("GET", ".my/c/b")).content == b"shorter"


async def test_what_does_not_arrive_whole_leaves_nothing_and_what_was_there_stays(hosted: Hosted) -> None:
    await hosted.make("c")
    await hosted.ask("PUT", ".my/c/f", content=b"before")
    kept = hosted.stored()
    too_large = await hosted.ask("PUT", ".my/c/f", 413, content=b"x" * ((3 << 20) + 1))
    assert "3145728 bytes" in too_large.json()["error"]["message"]

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * (1 << 20)

    await hosted.ask("PUT", ".my/c/f", 413, content=endless())
    for name in ("f", "new"):
        async with Client.connect(hosted.platform.url) as client:
            head = f"PUT /v1/data/.my/c/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: {hosted.platform.key}\r\n"
            await client.write(f"{head}Content-Length: {3 << 20}\r\n\r\n".encode() + b"y" * (2 << 20))
            # It has arrived when it is on its way to the folder.
            await eventually(lambda: len(hosted.stored()) > len(kept), 60)
        await eventually(lambda: hosted.stored() == kept, 60)
    assert (await hosted.ask("GET", ".my/c/f")).content == b"before"
    assert [file["filename"] for file in (await hosted.ask("GET", ".my/c")).json()["files"]] == ["f"]


async def test_a_store_that_fails_is_told_and_leaves_what_was_there(hosted: Hosted) -> None:
    await hosted.make("c")
    await hosted.ask("PUT", ".my/c/f", content=b"before")
    place, aside = hosted.folder / "data", hosted.folder / "aside"
    place.rename(aside)
    place.write_bytes(b"a file where the folder should be")
    refused = await hosted.ask("PUT", ".my/c/f", 503, content=b"x")
    assert "object store" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    place.unlink()
    aside.rename(place)
    assert (await hosted.ask("GET", ".my/c/f")).content == b"before"
    [name] = hosted.stored()
    (place / name[:2] / name).unlink()
    lost = await hosted.ask("GET", ".my/c/f", 500)
    assert "not where they should be" in lost.json()["error"]["message"]
    await hosted.ask("PUT", ".my/c/f", content=b"again")
    assert (await hosted.ask("GET", ".my/c/f")).content == b"again"


async def test_many_write_the_same_file_and_one_of_them_is_it(hosted: Hosted) -> None:
    await hosted.make("c")
    contents = [b"%d" % n * 1000 for n in range(10, 22)]
    await asyncio.gather(*(hosted.ask("PUT", ".my/c/f", content=content) for content in contents))
    assert (await hosted.ask("GET", ".my/c/f")).content in contents
    assert len((await hosted.ask("GET", ".my/c")).json()["files"]) == 1


async def test_a_refused_upload_is_refused_before_it_is_sent(hosted: Hosted) -> None:
    parts = urlsplit(hosted.platform.url)
    async with Client.connect(f"http://{parts.netloc}") as client:
        head = "PUT /v1/data/.my/absent/f HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n"
        await client.write(f"{head}Authorization: {hosted.platform.key}\r\n\r\n".encode())
        assert (await client.read()).status == 404
