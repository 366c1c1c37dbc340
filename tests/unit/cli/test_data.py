"""`constellation data`."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.unit.cli.platform import KEY, Platform, Run
from tests.unit.cli.test_api import Server, answer, api

FILE = {"filename": "f", "size": 3, "last_modified": "2026-01-01T00:00:00.000000Z"}


def test_collections_and_files_are_listed(run: Run, platform: Platform) -> None:
    platform.on("GET /v1/data/.my", {"folders": [{"name": "c"}]})
    assert run("data", "ls").stdout == "NAME\tSIZE\tMODIFIED\nc\t\t\n"
    platform.on("GET /v1/data/joe/c", {"files": [FILE]})
    assert run("data", "ls", "data://joe/c/").stdout.splitlines()[1:] == ["f\t3\t2026-01-01T00:00:00.000000Z"]
    assert platform.keys == {KEY}


def test_a_listing_is_read_page_by_page() -> None:
    server = Server(answer({"folders": [{"name": "c"}], "marker": "m/+"}), answer({"files": [FILE]}))
    assert list(api(server).data.list("data://")) == [{"name": "c"}, FILE]
    assert server.lines == ["GET /v1/data/", "GET /v1/data/?marker=m%2F%2B"]


def test_a_collection_is_made_with_its_readers_and_removed(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/data/.my", {"result": "data://ana/c"})
    assert "data://ana/c" in run("data", "mkdir", "data://.my/c", "--readers", "everybody").stdout
    assert platform.body == {"name": "c", "acl": {"read": ["user://*"]}}
    run("data", "mkdir", ".my/c")
    assert platform.body["acl"] == {"read": ["algo://.my/*"]}
    platform.on("DELETE /v1/data/.my/c", {"result": {"deleted": 2}})
    assert json.loads(run("data", "rm", ".my/c", "--force", "--json").stdout) == {"removed": 2}
    assert platform.requests[-1].url.query == b"force=true"
    platform.on("DELETE /v1/data/.my/c", {"error": {"message": "data://ana/c is not empty"}}, 409)
    done = run("data", "rm", ".my/c")
    assert (done.exit_code, done.stderr) == (1, "constellation: data://ana/c is not empty\n")
    assert platform.requests[-1].url.query == b""


def test_a_file_is_brought_under_its_name_or_another(run: Run, platform: Platform, tmp_path: Path) -> None:
    file = tmp_path / "a b.bin"
    file.write_bytes(b"\x00\xff")
    for address, path in (
        (".my/c", "/v1/data/.my/c/a%20b.bin"),
        ("data://ana/c/", "/v1/data/ana/c/a%20b.bin"),
        ("data://ana/c/x#y", "/v1/data/ana/c/x%23y"),
    ):
        platform.on(f"PUT {path.replace('%20', ' ').replace('%23', '#')}", {"result": "data://ana/c/there"})
        assert "data://ana/c/there" in run("data", "put", str(file), address).stdout
        request = platform.requests[-1]
        assert (request.url.raw_path.decode(), request.headers["content-length"]) == (path, "2")
        assert request.content == b"\x00\xff"


def test_a_file_is_fetched_whole_or_not_at_all(run: Run, platform: Platform, tmp_path: Path) -> None:
    platform.answers["GET /v1/data/.my/c/f"] = httpx.Response(200, content=b"\x00\xffnew")
    assert run("data", "get", ".my/c/f").stdout_bytes == b"\x00\xffnew"
    target = tmp_path / "out"
    target.write_bytes(b"old")
    platform.on("GET /v1/data/.my/c/absent", {"error": {"message": "there is no data://ana/c/absent here"}}, 404)
    done = run("data", "get", ".my/c/absent", "-o", "out")
    assert (done.exit_code, "no data://ana/c/absent" in done.stderr, target.read_bytes()) == (1, True, b"old")
    platform.answers["GET /v1/data/.my/c/f"] = httpx.Response(200, content=b"\x00\xffnew")
    assert run("data", "get", ".my/c/f", "-o", "out").exit_code == 0
    assert target.read_bytes() == b"\x00\xffnew"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []
