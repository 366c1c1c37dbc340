"""`constellation image`."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from constellation.cli import app
from tests.unit.cli.platform import Platform, Run

IMAGE: dict[str, Any] = {
    "id": "i1",
    "kind": "revision",
    "algorithm": "joe/hello/abc",
    "release": None,
    "platform": "linux/amd64",
    "state": "wanted",
    "reason": None,
    "digest": None,
    "base": None,
    "size": None,
}
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "where to? Give --push REF, --layout DIR, or both"),
        (["--push", "r.example/a"], "the settings of a worker do not fit: CONSTELLATION_BUILD_CONCURRENCY: "),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], said: str) -> None:
    environment = {"CONSTELLATION_BUILD_CONCURRENCY": "-1"}
    done = CliRunner().invoke(app, ["image", "build", "joe/hello", *arguments], env=environment)
    assert done.exit_code == 1
    assert said in done.stderr


def test_an_image_is_made_and_waited_for(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/images", IMAGE, 202)
    ready = {**IMAGE, "state": "ready", "digest": DIGEST, "size": 7, "pushes": [{"to": "r/a:1", "state": "ready"}]}
    platform.on("GET /admin/v1/images/i1", ready)
    done = run("image", "make", "joe/hello/abc", "--platform", "linux/amd64")
    assert done.exit_code == 0, done.stderr
    assert DIGEST in done.stdout
    assert "r/a:1 ready" in done.stdout
    assert run("image", "show", "i1").stdout == done.stdout
    done = run("image", "make", "--gateway", "--renew", "--no-wait")
    assert platform.body == {"gateway": True, "renew": True}
    assert "wanted" in done.stdout
    for wrong in ([], ["joe/hello/abc", "--gateway"]):
        assert "say of what" in run("image", "make", *wrong).stderr


def test_what_fails_says_why_and_has_an_exit_status(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/images", IMAGE, 202)
    platform.on("GET /admin/v1/images/i1", {**IMAGE, "state": "failed", "reason": "no base", "pushes": []})
    done = run("image", "make", "joe/hello/abc")
    assert (done.exit_code, "no base" in done.stdout, "failed" in done.stderr) == (1, True, True)


def test_an_image_is_pushed(run: Run, platform: Platform) -> None:
    push = {"id": "p1", "to": "r.example/a:t", "digest": DIGEST, "state": "wanted", "reason": None}
    platform.on("POST /admin/v1/images/i1/push", push, 202)
    platform.on("GET /admin/v1/images/i1", {**IMAGE, "pushes": [{**push, "state": "ready"}]})
    assert "wanted" in run("image", "push", "i1", "r.example/a", "--no-wait").stdout
    assert platform.body == {"to": "r.example/a"}
    done = run("image", "push", "i1", "r.example/a")
    assert (done.exit_code, "ready" in done.stdout) == (0, True)
    platform.on("GET /admin/v1/images/i1", {**IMAGE, "pushes": []})
    assert "has no push p1" in run("image", "push", "i1", "r.example/a").stderr


def test_images_are_listed(run: Run, platform: Platform) -> None:
    platform.on("GET /admin/v1/images", {"items": [IMAGE], "cursor": None})
    assert "i1\trevision\tjoe/hello/abc\tlinux/amd64\twanted" in run("image", "ls").stdout
