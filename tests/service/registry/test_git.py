"""Git over HTTP, spoken by the real git."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.service.registry.conftest import Clone, Platform, Starter
from tests.support.eventually import eventually

FETCH = "application/x-git-upload-pack-request"
PUSH = "application/x-git-receive-pack-request"


def processes(folder: Path) -> list[dict[str, str]]:
    """Environments of the git processes that work below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        variables = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
        if variables.get("GIT_PROJECT_ROOT") == str(folder):
            found.append(variables)
    return found


async def head(platform: Platform, algorithm_id: str) -> str | None:
    return await platform.registry.repositories.head(UUID(algorithm_id))


class TestAuthentication:
    @pytest.mark.parametrize("user", ["joe", "x"])
    async def test_a_key_clones_and_pushes(self, platform: Platform, user: str) -> None:
        created = await platform.create()
        clone = await platform.clone(user=user, secret=platform.keys["joe"]).start()
        commit = await clone.commit()
        await clone.push()
        assert await head(platform, created["id"]) == commit

    async def test_a_password_clones_and_pushes(self, platform: Platform) -> None:
        created = await platform.create()
        clone = await platform.clone(secret="joe's password").start()
        commit = await clone.commit()
        await clone.push()
        assert await head(platform, created["id"]) == commit

    async def test_a_wrong_password_or_key_does_not(self, platform: Platform) -> None:
        await platform.create()
        for user, secret in (
            ("joe", "wrong"),
            ("joe", "simAAAAAAAAAAAAAAAAAAAAAAAA1"),
            ("ann", platform.keys["joe"]),
            ("ann", "joe's password"),
        ):
            code, output = await Clone(platform, "joe/hello", user, secret).attempt(
                "clone", Clone(platform, "joe/hello", user, secret).url, "copy", cwd=platform.folder
            )
            assert code != 0
            assert "Authentication failed" in output

    async def test_a_revoked_key_does_not(self, platform: Platform) -> None:
        await platform.create()
        clone = await platform.clone().start()
        platform.fakts.revoke_key(platform.keys["joe"])

        async def refused() -> bool:
            return (await clone.attempt("fetch"))[0] != 0

        assert await eventually(refused)

    async def test_whoever_says_nothing_is_asked(self, platform: Platform) -> None:
        await platform.create()
        for path in (
            "/git/joe/hello.git/info/refs?service=git-upload-pack",
            "/git/joe/absent.git/info/refs?service=git-upload-pack",
            "/git/joe/hello.git/HEAD",
            "/git/",
        ):
            answer = await platform.ask("GET", path, None)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith('Basic realm="')
        for service in ("git-upload-pack", "git-receive-pack"):
            answer = await platform.ask("POST", f"/git/joe/hello.git/{service}", None, content=b"0000")
            assert answer.status_code == 401


class TestAccess:
    async def test_what_is_anothers_does_not_exist(self, platform: Platform) -> None:
        await platform.create()
        await platform.built()
        await platform.publish(callability="public")
        for path in ("joe/hello", "joe/absent", "nobody/hello", "joe/../joe", "joe/hello.git/../hello"):
            clone = Clone(platform, path, "ann", platform.keys["ann"])
            code, output = await clone.attempt("clone", clone.url, "copy", cwd=platform.folder)
            assert code != 0
            assert "not found" in output

    async def test_members_push_and_executors_do_not(self, platform: Platform) -> None:
        created = await platform.create("hello", "acme")
        clone = await platform.clone("hello", "acme", "eve").start()
        commit = await clone.commit()
        await clone.push()
        assert await head(platform, created["id"]) == commit
        refused = platform.clone("hello", "acme", "max")
        code, output = await refused.attempt("clone", refused.url, "copy", cwd=platform.folder)
        assert code != 0
        assert "403" in output

    async def test_a_key_that_only_calls_reads_no_source(self, platform: Platform) -> None:
        await platform.create()
        clone = platform.clone(user="joe", secret=platform.keys["joe_calls"])
        code, output = await clone.attempt("clone", clone.url, "copy", cwd=platform.folder)
        assert code != 0
        assert "allow_algo_management" in output, "git shows its user why"

    async def test_only_the_smart_protocol_is_spoken(self, platform: Platform) -> None:
        created = await platform.create()
        for path in ("HEAD", "objects/info/packs", "config", "info/refs", "info/refs?service=git-shell"):
            answer = await platform.ask("GET", f"/git/joe/hello.git/{path}")
            assert answer.status_code == 404, path
        assert created["id"] not in answer.text


class TestHistory:
    async def test_it_is_not_rewritten(self, platform: Platform) -> None:
        created = await platform.create()
        clone = await platform.clone().start()
        kept = await clone.commit("a")
        await clone.push()
        await clone.git("reset", "-q", "--hard", "HEAD~1")
        await clone.commit("b")
        code, output = await clone.attempt("push", "--force", "origin", "HEAD:master")
        assert code != 0
        assert "non-fast-forward" in output
        assert await head(platform, created["id"]) == kept
        assert len(await platform.builds()) == 1

    async def test_branches_are_not_deleted(self, platform: Platform) -> None:
        created = await platform.create()
        clone = await platform.clone().start()
        await clone.push("HEAD:side")
        for branch in ("side", "master"):
            code, output = await clone.attempt("push", "origin", f":{branch}")
            assert code != 0
            assert "deletion prohibited" in output or "deletion of the current branch" in output
        assert await head(platform, created["id"]) is not None

    async def test_broken_objects_are_refused(self, platform: Platform) -> None:
        created = await platform.create()
        before = await head(platform, created["id"])
        clone = await platform.clone().start()
        tree = await clone.git("rev-parse", "HEAD^{tree}")
        parent = await clone.git("rev-parse", "HEAD")
        raw = f"tree {tree}\nparent {parent}\nauthor no date <>\ncommitter no date <>\n\nbroken\n"
        (clone.folder / "raw").write_text(raw)
        broken = await clone.git("hash-object", "-t", "commit", "-w", "--literally", "raw")
        code, output = await clone.attempt("push", "origin", f"{broken}:refs/heads/master")
        assert code != 0
        assert "fsck" in output or "unpacker error" in output or "remote unpack failed" in output
        assert await head(platform, created["id"]) == before


class TestTransfer:
    async def test_twenty_megabytes_stream_there_and_back(self, platform: Platform) -> None:
        created = await platform.create()
        clone = await platform.clone().start()
        content = os.urandom(20 << 20)
        commit = await clone.commit("big.bin", content)
        await clone.push()
        assert await head(platform, created["id"]) == commit
        again = await platform.clone().start()
        assert (again.folder / "big.bin").read_bytes() == content

    async def test_a_push_over_the_limit_is_refused(self, start: Starter) -> None:
        async with start(git_limit_mib=1) as platform:
            created = await platform.create()
            before = await head(platform, created["id"])
            clone = await platform.clone().start()
            await clone.commit("big.bin", os.urandom(3 << 20))
            for options in ([], ["-c", "http.postBuffer=10000000"]):
                code, output = await clone.attempt(*options, "push", "origin", "HEAD:master")
                assert code != 0
                assert "at most 1 MiB" in output or "413" in output
            assert await head(platform, created["id"]) == before
            assert await platform.builds() == []
            assert await eventually(lambda: not processes(platform.folder / "data/git"))

    async def test_what_unpacks_over_the_limit_is_refused_too(self, start: Starter) -> None:
        async with start(git_limit_mib=1) as platform:
            created = await platform.create()
            before = await head(platform, created["id"])
            clone = await platform.clone().start()
            await clone.commit("big.bin", os.urandom(2 << 20))
            commit = await clone.git("rev-parse", "HEAD")
            pack = (
                await asyncio.to_thread(
                    subprocess.run,
                    ["git", "pack-objects", "--stdout", "--revs"],
                    cwd=clone.folder,
                    input=f"{commit}\n^{before}\n".encode(),
                    capture_output=True,
                    check=True,
                )
            ).stdout
            line = f"{before} {commit} refs/heads/master\0report-status".encode()
            body = f"{len(line) + 4:04x}".encode() + line + b"0000" + pack
            packed = gzip.compress(body + b"\0" * (8 << 20))
            headers = {"content-type": PUSH, "content-encoding": "gzip"}
            answer = await platform.ask(
                "POST", "/git/joe/hello.git/git-receive-pack", content=packed, headers=headers
            )
            assert b"unpack ok" not in answer.content
            assert await head(platform, created["id"]) == before

    async def test_compressed_requests_are_understood(self, platform: Platform) -> None:
        created = await platform.create()
        wanted = await head(platform, created["id"])
        line = f"want {wanted} no-progress\n".encode()
        body = f"{len(line) + 4:04x}".encode() + line + b"0000" + b"0009done\n"
        headers = {"content-type": FETCH, "content-encoding": "gzip"}
        answer = await platform.ask(
            "POST", "/git/joe/hello.git/git-upload-pack", content=gzip.compress(body), headers=headers
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-git-upload-pack-result"
        assert b"PACK" in answer.content
        answer = await platform.ask(
            "POST", "/git/joe/hello.git/git-upload-pack", content=body, headers={**headers, "content-encoding": "br"}
        )
        assert answer.status_code == 415
        for other in ({}, {"content-type": "application/json"}):
            answer = await platform.ask("POST", "/git/joe/hello.git/git-upload-pack", content=body, headers=other)
            assert answer.status_code == 415
            assert answer.headers["content-type"].startswith("text/plain")
            assert FETCH in answer.text

    async def test_branches_and_tags_travel_too(self, platform: Platform) -> None:
        await platform.create()
        clone = await platform.clone().start()
        await clone.git("tag", "v1")
        await clone.push("HEAD:side", "--tags")
        again = await platform.clone().start()
        assert await again.git("tag") == "v1"
        assert "origin/side" in await again.git("branch", "-r")
        assert await platform.builds() == [], "only master is built"


class TestEnds:
    async def test_a_client_that_leaves_takes_its_process_with_it(self, platform: Platform) -> None:
        await platform.create()
        folder = platform.folder / "data/git"
        async with unfinished_push(platform):
            assert await eventually(lambda: processes(folder))
        assert await eventually(lambda: not processes(folder))

    async def test_a_request_that_takes_too_long_ends(self, start: Starter) -> None:
        async with start(git_seconds=0.5) as platform:
            await platform.create()
            async with unfinished_push(platform) as reader:
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
                assert answer.startswith(b"HTTP/1.1 504")
                assert b"content-type: text/plain" in answer
            await eventually(lambda: not processes(platform.folder / "data/git"))

    async def test_a_client_that_sends_without_end_is_stopped_though_git_gave_up_before(self, start: Starter) -> None:
        async with start(git_limit_mib=1) as platform:
            await platform.create()

            async def nonsense() -> AsyncIterator[bytes]:
                for _ in range(64):
                    yield b"nonsense" * 8192

            asking = platform.ask(
                "POST", "/git/joe/hello.git/git-receive-pack", content=nonsense(), headers={"content-type": PUSH}
            )
            answers = await asyncio.gather(asyncio.wait_for(asking, 60), return_exceptions=True)
            assert not isinstance(answers[0], TimeoutError)
            assert await eventually(lambda: not processes(platform.folder / "data/git"))

    async def test_git_sees_nothing_of_the_services_environment(
        self, start: Starter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONSTELLATION_SECRET_OF_TESTS", "visible")
        async with start() as platform:
            await platform.create()
            async with unfinished_push(platform):
                found = await eventually(lambda: processes(platform.folder / "data/git"))
        variables = [name for process in found for name in process]
        assert "GIT_PROJECT_ROOT" in variables
        assert not [name for name in variables if "CONSTELLATION" in name]


@asynccontextmanager
async def unfinished_push(platform: Platform) -> AsyncIterator[asyncio.StreamReader]:
    """A client that pushes, and does not go on after its first bytes."""
    url = httpx.URL(platform.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    login = base64.b64encode(f"joe:{platform.keys['joe']}".encode()).decode()
    writer.write(
        f"POST /git/joe/hello.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n"
        f"Content-Type: {PUSH}\r\nContent-Length: 1000\r\n\r\n00".encode()
    )
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
