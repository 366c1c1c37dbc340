"""A satellite whose replicas are containers: `constellation up --runtime docker` on a private engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.author import Author
from tests.support.crowd import Crowd
from tests.support.deployment import Up
from tests.support.docker import Docker
from tests.system.test_launches import SECONDS, Administrator, of_version

pytestmark = pytest.mark.docker


def test_a_launch_runs_in_containers(docker: Docker, python_image: str, tmp_path: Path) -> None:
    variables = {
        "CONSTELLATION_DOCKER_HOST": docker.host,
        "CONSTELLATION_RUNTIME_IMAGE": python_image,
        "CONSTELLATION_RUNTIME_NETWORK": "host",
    }
    for name in ("up", "author"):
        (tmp_path / name).mkdir()
    with Up(tmp_path / "up", "--runtime", "docker", **variables) as platform:
        admin_file = platform.admin
        with (
            Author(platform.url, admin_file["username"], admin_file["api_key"], tmp_path / "author") as author,
            Administrator(platform) as admin,
        ):
            tell(platform, author, admin, docker)
        assert docker.run("ps", "-aq", "--filter", "label=constellation.worker"), "containers run until the end"
    assert not docker.run("ps", "-aq", "--filter", "label=constellation.worker"), "none is left"


def tell(platform: Up, author: Author, admin: Administrator, docker: Docker) -> None:
    spoken = of_version(1) + "print('the algorithm is loaded')\n"
    tools = [author.deploy("tool", spoken), author.push("tool", {"src/tool.py": of_version(2)})]
    author.build("tool", tools[1])
    other = author.deploy("other", of_version(1))

    def entries(commit: str) -> list[dict[str, Any]]:
        return [
            {"algorithm": f"{author.username}/tool/{commit}", "vanity_url": "boxed/tool", "replicas": 2},
            {"algorithm": f"{author.username}/other/{other}", "vanity_url": "boxed/other", "replicas": 1},
        ]

    satellite = admin.ok("POST", "/satellites", json={"name": "boxed", "algorithms": entries(tools[0])})["id"]
    launch = admin.ok("POST", f"/satellites/{satellite}/launches", json={"name": "prod"})["id"]
    first = admin.order(launch, "deploy")
    found = admin.wait(first, "deployed")
    assert [(one["ready"], one["desired"]) for one in found["entries"]] == [(2, 2), (1, 1)]
    assert admin.ok("GET", "/workers")["items"][0]["runtime"] == "docker"
    assert author.result("boxed/other", 7)["input"] == 7
    assert len(names(docker)) >= 3

    with Crowd(platform.url, author.key, "boxed/tool") as crowd:
        platform.wait_until(lambda: len(crowd.oks) > 50, "answer by vanity URL", SECONDS)
        old = next(one for one in admin.replicas(first) if "/tool" in one["algorithm"])
        printed = admin.ok("GET", f"/replicas/{old['id']}/log")
        assert ("the algorithm is loaded" in printed["text"], printed["ended"]) == (True, False)
        admin.ok("PUT", f"/satellites/{satellite}", json={"algorithms": entries(tools[1])})
        second = admin.order(launch, "deploy", satellite_version=2)
        admin.wait(second, "deployed")
        platform.wait_until(lambda: crowd.oks[-1][1] == 2, "answer with version 2", SECONDS)
        platform.wait_until(
            lambda: admin.ok("GET", f"/replicas/{old['id']}")["actual"] == "stopped", "end version 1", SECONDS
        )
        assert crowd.errors == [], "no call was lost"

        gone = admin.ok("GET", f"/replicas/{old['id']}/log", params={"offset": printed["next_offset"]})
        assert (gone["offset"], gone["ended"]) == (printed["next_offset"], True)
        victim = next(one["id"] for one in admin.replicas(second) if "/tool" in one["algorithm"])
        docker.run("kill", next(name for name in names(docker) if name.endswith(victim)))
        platform.wait_until(
            lambda: len(ready := admin.replicas(second)) == 3 and victim not in {one["id"] for one in ready},
            "make up for a killed container",
            SECONDS,
        )
        failed = admin.ok("GET", f"/replicas/{victim}")
        assert failed["actual"] == "failed"
        assert "ended with status 137: it was killed" in failed["reason"]
    assert all("exited" in words or "ended" in words or "lost" in words for _, words in crowd.errors), crowd.errors


def names(docker: Docker) -> list[str]:
    """Of all containers of replicas that run."""
    return docker.run("ps", "--filter", "label=constellation.replica", "--format", "{{.Names}}").split()
