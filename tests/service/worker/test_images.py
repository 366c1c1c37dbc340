"""Images of algorithms: built by real workers, pushed to a real registry, run by a real Docker engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from libs.common.contracts.catalog import CatalogEntry, Language
from libs.common.contracts.catalog import Revision as Built
from libs.common.oci import references
from libs.common.oci.layout import Layout
from libs.common.oci.registry import Registry
from libs.common.oci.transfer import FromLayout, push, save
from services.worker import gateway_image, image_build, runner
from services.worker.environments import Prepared
from services.worker.image_build import ImageNotBuilt, Target
from services.worker.images import Assembled, BasePython, BaseUnfit, Revision, assembled
from tests.service.worker.packages import FolderIndex, wheel
from tests.service.worker.platform_double import Platform as PlatformDouble
from tests.service.worker.registry_double import COMMIT, OWNER, Build
from tests.support.docker import Docker
from tests.support.docker_registry import DockerRegistry
from tests.support.eventually import eventually
from tests.support.images import HERE, TOKEN, VERSION, container, python_base
from tests.support.ports import free_ports
from tests.support.satellites import PlanMaker

PYTHON = BasePython.usual(VERSION)
KEY = "simAAAA+AAAA/AAAAAAAAAAAAAA1"
RUNNER = Path(runner.__file__).parent

ALGORITHM = {
    "requirements.txt": "greetings\n",
    "src/__init__.py": "",
    "src/hello.py": """\
import os, sys, tempfile
import greetings

def apply(input):
    try:
        open("here", "w")
        root = "writable"
    except OSError as error:
        root = type(error).__name__
    tempfile.TemporaryFile().close()
    print("said to", input)
    secret = os.environ.get("REPLICA_TOKEN")
    return [greetings.WORD, input, os.getuid(), root, sys.prefix, secret]
""",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, python_archive: Path) -> FromLayout:
    return FromLayout(python_base(tmp_path_factory.mktemp("base"), python_archive))


@pytest.fixture(scope="module")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


def revision(language: Language = Language.PYTHON, name: str = "hello") -> Revision:
    return Revision(OWNER, name, COMMIT, language)


def entry(name: str, build: Build) -> CatalogEntry:
    """An algorithm of the catalog with one revision."""
    built = Built(
        id=uuid4(),
        commit=COMMIT,
        language=Language.PYTHON,
        artifact=build.artifact,
        built_at=datetime.now(UTC),
    )
    return CatalogEntry(id=uuid4(), owner=OWNER, name=name, revisions=(built,))


@asynccontextmanager
async def pushed(made: Assembled, base: FromLayout, server: DockerRegistry, work: Path) -> AsyncIterator[str]:
    """A reference under which engines can pull an image."""
    reference = references.parse(f"{server.host}/joe/{uuid4().hex}:1")
    async with httpx.AsyncClient(timeout=60) as client:
        registry = Registry(client, reference, plain_http=True)
        digest = await push(made.image, base, made.made, registry, reference, work)
    yield f"{reference}@{digest}"


@pytest.mark.docker
async def test_a_revision_runs_in_docker_and_is_the_same_image_wherever_it_was_built(
    docker: Docker, base: FromLayout, registry_server: DockerRegistry, tmp_path: Path
) -> None:
    index = FolderIndex(tmp_path / "index")
    index.add("greetings", "1.0", wheel("greetings", "1.0", {"greetings.py": "WORD = 'Hi'\n"}))
    (tmp_path / "work").mkdir()
    data, layout = tmp_path / "data", tmp_path / "layout"
    async with PlatformDouble() as double:
        async with double.worker(data, index_url=index.url):
            build = await double.build(ALGORITHM, name="hello")
        (environment,) = (path for path in (data / "environments").iterdir() if path.is_dir())
        made_of = Prepared(data / "trees" / build.artifact.digest, environment)
        image = await base.image(HERE)
        async with assembled(revision(), made_of, image, PYTHON, runner=RUNNER, work=tmp_path / "work") as made:
            digest = made.image.descriptor.digest

        # The same by the command, elsewhere and later: source and environment are made anew.
        double.catalog = [entry("other", build), entry("hello", build)]
        settings = double.settings(
            tmp_path / "another place", index_url=index.url, image_base=str(base.layout.folder)
        )
        target = Target(f"{registry_server.host}/joe/hello:{COMMIT}", layout)
        said: list[str] = []
        wanted = f"joe/hello/{COMMIT}"
        plain = [registry_server.host]
        assert await image_build.build(settings, wanted, target, plain_http=plain, say=said.append) == digest
        with pytest.raises(ImageNotBuilt, match="there is no algorithm joe/nobody"):
            await image_build.build(settings, "joe/nobody", target, say=said.append)
        with pytest.raises(ImageNotBuilt, match="joe/hello has no public version that was built; name one"):
            await image_build.build(settings, "joe/hello", target, say=said.append)
        with pytest.raises(ImageNotBuilt, match=rf"{registry_server.host}.*the registry at https://.* cannot be"):
            await image_build.build(settings, wanted, target, say=said.append)
    assert Layout(layout).image(HERE, f"joe/hello:{COMMIT}").descriptor.digest == digest
    Layout(layout).verify()
    reference = f"{registry_server.host}/joe/hello:{COMMIT}@{digest}"
    assert not [*(tmp_path / "work").iterdir(), *(tmp_path / "another place").glob("image-*")]

    await asyncio.to_thread(docker.run, "pull", reference)
    async with container(docker, reference) as (name, caller):
        known = {"x-replica-token": TOKEN}
        answer = caller.call("Ann", headers={**known, "x-flags": "stdout"})
        assert answer.result == ["Hi", "Ann", 65532, "OSError", "/opt/constellation/environment", None]
        assert answer.json["metadata"]["stdout"] == "said to Ann\n"
        assert caller.call("Eve").status == 403
        await eventually(lambda: "said to Ann" in docker.run("logs", name))
        shown = json.loads(docker.run("inspect", name))[0]["Config"]
        assert shown["User"] == "65532:65532"
        assert "KEPT=yes" in shown["Env"]
        assert shown["Labels"]["org.opencontainers.image.revision"] == COMMIT
        caller.close()
        await asyncio.to_thread(docker.run, "stop", "--time", "60", name)  # the runner takes no more calls and ends
        assert docker.run("inspect", "--format", "{{.State.ExitCode}}", name) == "0"


@pytest.mark.docker
async def test_a_pipe_algorithm_runs_in_docker(
    docker: Docker, base: FromLayout, registry_server: DockerRegistry, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    program = tree / "bin" / "pipe"
    program.write_text(
        "#!/usr/local/bin/python3\nimport json, sys\nprint('PIPE_INIT_COMPLETE', flush=True)\n"
        "for line in sys.stdin:\n    data = json.loads(line)['data']\n"
        "    open('/tmp/algoout', 'w').write(json.dumps("
        "{'result': data * 2, 'metadata': {'content_type': 'text'}}) + '\\n')\n"
    )
    program.chmod(0o755)
    image = await base.image(HERE)
    made_of = Prepared(tree, None)
    async with assembled(revision(Language.PIPE), made_of, image, PYTHON, runner=RUNNER, work=tmp_path) as made:
        async with pushed(made, base, registry_server, tmp_path) as reference:
            pass
        layout = Layout.create(tmp_path / "layout")
        await save(made.image, base, made.made, layout, "pipe", tmp_path)
        layout.verify()
    async with container(docker, reference) as (_, caller):
        assert caller.call("ab", headers={"x-replica-token": TOKEN}).result == "abab"


@pytest.mark.docker
async def test_the_platform_itself_runs_in_docker(
    docker: Docker, base: FromLayout, registry_server: DockerRegistry, tmp_path: Path
) -> None:
    image = await base.image(HERE)
    async with (
        gateway_image.assembled(image, PYTHON, work=tmp_path) as made,
        pushed(made, base, registry_server, tmp_path) as reference,
    ):
        pass
    name = f"gateway-{uuid4().hex[:8]}"
    confined = ["--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--network", "host"]

    def said(*arguments: str) -> str:
        return docker.run("run", "--rm", *confined, *arguments)

    assert "Run one service" in await asyncio.to_thread(said, reference, "serve", "--help")
    code = "import os, services.gateway.app, services.gateway.data.api; print(os.getuid(), os.getcwd())"
    imported = ["--entrypoint", str(PYTHON.path), reference, "-P", "-c", code]
    assert await asyncio.to_thread(said, *imported) == "65532 /tmp"
    (port,) = free_ports(1)
    plan = tmp_path / "plan.json"
    plan.write_text(PlanMaker("text/echo", keys=[KEY]).plan().model_dump_json())
    settings = ["--env", f"CONSTELLATION_PORT={port}", "--env", "CONSTELLATION_SATELLITE_PLAN=/tmp/plan.json"]
    settings += ["--volume", f"{plan}:/tmp/plan.json:ro"]
    url = f"http://127.0.0.1:{port}"
    try:
        command = ["run", "--detach", "--name", name, *confined, *settings, reference]
        await asyncio.to_thread(docker.run, *command)
        async with httpx.AsyncClient(timeout=60) as client:

            async def is_ready() -> bool:
                running = await asyncio.to_thread(docker.run, "inspect", "--format", "{{.State.Running}}", name)
                assert running == "true" or pytest.fail(docker.logs(name))
                return (await client.get(f"{url}/readyz")).status_code == 200

            await eventually(is_ready)
            headers = {"authorization": "Simple of somebody else"}
            assert (await client.post(f"{url}/v1/algo/text/echo", json=1, headers=headers)).status_code == 401
    finally:
        await asyncio.to_thread(docker.run, "rm", "--force", name)


async def test_a_base_with_another_python_is_refused(base: FromLayout, tmp_path: Path) -> None:
    image = await base.image(HERE)
    other = BasePython.usual("3.8.20")
    with pytest.raises(BaseUnfit, match=rf"holds Python {VERSION}, .* made with 3.8.20; .* with Python 3.8$"):
        async with assembled(revision(), Prepared(tmp_path, tmp_path), image, other, runner=RUNNER, work=tmp_path):
            pass
