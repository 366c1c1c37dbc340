"""What the engine is asked for, and what its answers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.worker.runtimes.docker import (
    Options,
    configuration,
    device_requests,
    exit_of,
    full_reference,
    registry_of,
)
from services.worker.runtimes.protocol import Container, Exit
from services.worker.sandbox import Limits


def container(folder: Path, **members: Any) -> Container:
    return Container(
        **{
            "replica": uuid4(),
            "command": ["/opt/python", "-I", "main.py"],
            "cwd": folder,
            "folder": folder,
            "environment": {"NAME": "value"},
            "readable": [folder / "tree"],
            "writable": [folder / "own"],
            "limits": Limits(64, 32, 1024, 10),
            **members,
        }
    )


def options(**members: Any) -> Options:
    return Options(**{"worker_id": "w-1", "image": "i:1", "network": "bridge", "user": "1000:1000", **members})


def test_a_container_may_do_little(tmp_path: Path) -> None:
    one = container(tmp_path, uid=200_001)
    asked = configuration(one, options(cpus=1.5, tools=[tmp_path / "tools"]))
    host = asked["HostConfig"]
    assert (asked["User"], asked["Image"]) == ("200001:200001", "i:1")
    assert asked["Labels"] == {"constellation.worker": "w-1", "constellation.replica": str(one.replica)}
    assert (asked["Entrypoint"], asked["Cmd"]) == (["/opt/python"], ["-I", "main.py"])
    assert {"NAME=value", "HOME=/tmp"} <= set(asked["Env"])
    assert (host["CapDrop"], host["SecurityOpt"], host["ReadonlyRootfs"]) == (
        ["ALL"],
        ["no-new-privileges:true"],
        True,
    )
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 << 20,
        64 << 20,
        15 * 10**8,
        32,
    )
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["LogConfig"]["Type"] == "json-file"
    assert {one["Target"]: one["ReadOnly"] for one in host["Mounts"]} == {
        str(tmp_path / "tree"): True,
        str(tmp_path / "tools"): True,
        str(tmp_path / "own"): False,
    }
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert configuration(container(tmp_path), options())["User"] == "1000:1000"


@pytest.mark.parametrize(
    ("isolated", "network", "mode", "published"),
    [
        (False, "bridge", "bridge", {"7000/tcp": [{"HostIp": "10.0.0.1", "HostPort": "7000"}]}),
        (False, "host", "host", {}),
        (True, "bridge", "none", {}),
    ],
)
def test_networks(isolated: bool, network: str, mode: str, published: dict[str, Any], tmp_path: Path) -> None:
    one = container(tmp_path, isolated=isolated, listening=("10.0.0.1", 7000))
    asked = configuration(one, options(network=network))
    assert asked["HostConfig"]["NetworkMode"] == mode
    assert asked["HostConfig"]["PortBindings"] == published
    assert set(asked["ExposedPorts"]) == set(published)


def test_what_lies_in_a_folder_that_images_close_is_reached(tmp_path: Path) -> None:
    own = tmp_path / "replica"
    asked = configuration(container(own, readable=[Path("/root/python/3.11")]), options())
    (stand_in,) = [one for one in asked["HostConfig"]["Mounts"] if one["Target"] == "/root"]
    assert (stand_in["Source"], stand_in["ReadOnly"]) == (str(own / "root"), True)
    assert (own / "root" / "python" / "3.11").exists()


def test_gpus() -> None:
    gpu = {"Driver": "", "Capabilities": [["gpu"]]}
    assert device_requests([]) == []
    assert device_requests([1, 3]) == [{**gpu, "DeviceIDs": ["1", "3"]}]


def test_a_container_is_told_which_gpus_it_has(tmp_path: Path) -> None:
    """The engine counts them anew inside, and images for GPUs ask for all of them by themselves."""
    two = configuration(container(tmp_path, gpus=(1, 3)), options())
    assert two["HostConfig"]["DeviceRequests"] == device_requests([1, 3])
    assert {"NVIDIA_VISIBLE_DEVICES=1,3", "CUDA_VISIBLE_DEVICES=0,1"} <= set(two["Env"])
    none = configuration(container(tmp_path, environment={"NVIDIA_VISIBLE_DEVICES": "all"}), options())
    assert none["HostConfig"]["DeviceRequests"] == []
    assert {"NVIDIA_VISIBLE_DEVICES=void", "CUDA_VISIBLE_DEVICES="} <= set(none["Env"])


def test_processors_are_those_of_the_algorithm_else_those_of_the_worker(tmp_path: Path) -> None:
    assert configuration(container(tmp_path, cpus=0.5), options(cpus=2))["HostConfig"]["NanoCpus"] == 5 * 10**8
    assert configuration(container(tmp_path), options(cpus=2))["HostConfig"]["NanoCpus"] == 2 * 10**9
    assert configuration(container(tmp_path), options())["HostConfig"]["NanoCpus"] == 0


@pytest.mark.parametrize(
    ("image", "full", "registry"),
    [
        ("python", "docker.io/library/python:latest", "docker.io"),
        ("tools/python:3", "docker.io/tools/python:3", "docker.io"),
        ("localhost/python", "localhost/python:latest", "localhost"),
        ("registry:5000/python", "registry:5000/python:latest", "registry:5000"),
        ("quay.io/a/b@sha256:0", "quay.io/a/b@sha256:0", "quay.io"),
    ],
)
def test_references(image: str, full: str, registry: str) -> None:
    assert full_reference(image) == full
    assert registry_of(full) == registry


def test_how_a_container_ended() -> None:
    def shown(code: int, **state: Any) -> dict[str, Any]:
        return {"State": {"Status": "exited", "ExitCode": code, **state}, "HostConfig": {"Memory": 64 << 20}}

    assert exit_of(None) == Exit(None, "its container was removed")
    assert exit_of(shown(0)) == Exit(0)
    assert exit_of(shown(0, OOMKilled=True)) == Exit(0), "a process in it ran out of memory, and it went on"
    assert exit_of(shown(137, OOMKilled=True)) == Exit(137, "it used more memory than its 64 MiB")
    assert exit_of(shown(137)) == Exit(137, "it was killed")
    assert exit_of(shown(127, Error="no such file")) == Exit(127, "no such file")
    assert exit_of(shown(0, Status="created")) == Exit(None, "its container was never started")
