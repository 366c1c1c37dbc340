"""An algorithm revision as a container image: a base image with the right Python, and on it three layers.

/opt/constellation/runner        the runner, which is the image's entrypoint (see runner/container.py)
/opt/constellation/environment   what the requirements installed, as a virtual environment of the base's Python
/opt/constellation/algorithm     the source, and beside it the runner's specification

The layers change rarely in this order, so that registries and hosts share most of them. The same revision, runner
and base give the same bytes, whichever worker puts them together and when. Containers run as a user without rights,
and write nothing but /tmp.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from libs.common.contracts.catalog import Language
from libs.common.oci.images import Image, Start, compose
from libs.common.oci.layers import Entry, Layer, tree, write_layer
from services.worker.environments import Prepared
from services.worker.repository import PIPE
from services.worker.runner.container import DEFAULT_PORT

HOME = PurePosixPath("/opt/constellation")
RUNNER, ENVIRONMENT, ALGORITHM, SPEC = HOME / "runner", HOME / "environment", HOME / "algorithm", HOME / "spec.json"
USER = "65532:65532"
"""Nobody's account, by the custom of images without root."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSION = "PYTHON_VERSION"
"""A variable by which the official Python images say what they hold."""


class BaseUnfit(ValueError):
    """The base image cannot run the algorithm; the text says why."""


@dataclass(frozen=True)
class Revision:
    """What an image is made for."""

    owner: str
    name: str
    commit: str
    language: Language


@dataclass(frozen=True)
class BasePython:
    """The interpreter in the base image: its path there, and the version that environments were made with."""

    path: PurePosixPath
    version: str

    @classmethod
    def usual(cls, version: str) -> BasePython:
        """Where the official images of Python, and many others, have it."""
        return cls(PurePosixPath(f"/usr/local/bin/python{minor(version)}"), version)


@dataclass(frozen=True)
class Assembled:
    """An image, and the layers in it that are not the base's, by digest. They are there as long as the context of
    `assembled` is open."""

    image: Image
    made: Mapping[str, Path]


@asynccontextmanager
async def assembled(
    revision: Revision,
    prepared: Prepared,
    base: Image,
    python: BasePython,
    *,
    runner: Path,
    work: Path,
    epoch: int = 0,
) -> AsyncIterator[Assembled]:
    """The image of a revision.

    Args:
        prepared: its source and environment, which stay as they are meanwhile.
        runner: folder of the runner's modules.
        work: folder for the layers' files.
        epoch: the time that everything in it has, in seconds since 1970 (SOURCE_DATE_EPOCH).

    Raises:
        BaseUnfit: the base holds another version of Python.
        UnfitForLayer: source or environment hold what cannot be part of an image.
    """
    check_python(base, python)
    labels = {
        "org.opencontainers.image.title": f"{revision.owner}/{revision.name}",
        "org.opencontainers.image.revision": revision.commit,
    }
    parts = _parts(revision, prepared, python, runner)
    async with on_base(base, parts, _start(base, revision, python, labels), work=work, epoch=epoch) as made:
        yield made


@asynccontextmanager
async def on_base(
    base: Image, parts: Mapping[str, Iterable[Entry]], start: Start, *, work: Path, epoch: int
) -> AsyncIterator[Assembled]:
    """An image of layers on a base. Arguments and problems as for `assembled`.

    Args:
        parts: each layer's entries by its name, the lowest first.
    """
    with tempfile.TemporaryDirectory(dir=work, prefix="image-") as folder:
        layers: list[Layer] = []
        for name, entries in parts.items():
            file = Path(folder) / f"{name}.tar.gz"
            said = f"constellation: {name}"
            layers.append(await asyncio.to_thread(write_layer, entries, file, epoch=epoch, created_by=said))
        image = compose(
            base,
            [layer.stacked for layer in layers],
            start,
            annotations={**start.labels, "org.opencontainers.image.base.digest": base.descriptor.digest},
            epoch=epoch,
        )
        yield Assembled(image, {layer.descriptor.digest: layer.file for layer in layers})


def check_python(base: Image, python: BasePython) -> None:
    """Raises BaseUnfit when the base says that it holds another Python."""
    found = variables(base).get(_VERSION, python.version)
    if minor(found) != minor(python.version):
        raise BaseUnfit(
            f"the base image holds Python {found}, but what goes on it was made with {python.version}; name a"
            f" base image with Python {minor(python.version)}"
        )


def _parts(
    revision: Revision, prepared: Prepared, python: BasePython, runner: Path
) -> Mapping[str, Iterator[Entry] | list[Entry]]:
    """Each layer's entries by its name, the lowest first."""
    moved = {} if prepared.environment is None else {prepared.environment: ENVIRONMENT}
    files = sorted(file for file in runner.iterdir() if file.suffix in (".py", ".js"))
    parts: dict[str, Iterator[Entry] | list[Entry]] = {
        "runner": [Entry(RUNNER / file.name, source=file) for file in files]
    }
    if prepared.environment is not None:
        parts["environment"] = _environment(prepared.environment, revision.language, python)
    spec = json.dumps(_members(revision), sort_keys=True).encode()
    parts["algorithm"] = [*tree(prepared.tree, ALGORITHM, left_out=is_cache, moved=moved), Entry(SPEC, source=spec)]
    return parts


def _environment(folder: Path, language: Language, python: BasePython) -> Iterator[Entry]:
    """A virtual environment is tied to its interpreter by links and one file, which are made anew for the base's."""
    if language is not Language.PYTHON:
        yield from tree(folder, ENVIRONMENT)
        return
    links = {"python": str(python.path), "python3": "python", f"python{minor(python.version)}": "python"}
    own = {PurePosixPath("bin", name) for name in links} | {PurePosixPath("pyvenv.cfg"), PurePosixPath(".lock")}
    yield from tree(folder, ENVIRONMENT, left_out=lambda path: path in own or is_cache(path))
    for name, target in links.items():
        yield Entry(ENVIRONMENT / "bin" / name, target=target)
    configuration = f"home = {python.path.parent}\nversion = {python.version}\ninclude-system-site-packages = false\n"
    yield Entry(ENVIRONMENT / "pyvenv.cfg", source=configuration.encode())


def variables(image: Image) -> dict[str, str]:
    """The environment variables that containers of an image have."""
    return dict(line.partition("=")[::2] for line in image.config.config.get("Env") or ())


def is_cache(path: PurePosixPath) -> bool:
    """Compiled modules hold the time and the place of their source, so no two are alike."""
    return path.name == "__pycache__"


def _members(revision: Revision) -> dict[str, Any]:
    """Of the runner's specification (see runner/spec.py)."""
    members: dict[str, Any] = {"name": revision.name, "root": str(ALGORITHM), "kind": "pipe"}
    if revision.language is Language.PYTHON:
        members["kind"] = "python"
    elif revision.language is Language.JAVASCRIPT:
        members["command"] = ["node", str(RUNNER / "pipe_node.js"), revision.name]
    else:
        members["command"] = [str(ALGORITHM / PIPE)]
    return members


def _start(base: Image, revision: Revision, python: BasePython, labels: Mapping[str, str]) -> Start:
    interpreter = python.path
    path = variables(base).get("PATH", _DEFAULT_PATH)
    if revision.language is Language.PYTHON:
        interpreter = ENVIRONMENT / "bin" / "python"
        path = f"{interpreter.parent}:{path}"
    return Start(
        entrypoint=[str(interpreter), "-I", str(RUNNER / "main.py"), "--container", str(SPEC)],
        user=USER,
        working_dir=str(ALGORITHM),
        environment={"PATH": path, "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},  # noqa: S108 - the container's
        labels=labels,
        exposed=[f"{DEFAULT_PORT}/tcp"],
    )


def minor(version: str) -> str:
    """`3.11` of `3.11.9`."""
    return ".".join(version.split(".")[:2])
