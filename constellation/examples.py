"""The bundled example algorithms, published as the platform's first user.

Safe to run on every start: what is published is left alone, and what was interrupted goes on where it stood.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constellation.api import NOTHING_NEW, Api
from constellation.rest import ApiError, Document

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "algorithms"
CONFIGURATION = "algorithmia.conf"
BUILD_SECONDS = 900.0
PUSH_SECONDS = 60.0
READY_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_PASSING = (502, 503, 504)
_LOG_TAIL = 2000

Report = Callable[[str], None]
Connect = Callable[[str, str], Api]


@dataclass(frozen=True)
class Example:
    """One folder below `examples/algorithms`."""

    name: str
    label: str
    """Also how an example is told from an algorithm of somebody's own with the same name."""
    tagline: str
    sample_input: str | None = None
    language: str = "python3"
    needs: str | None = None
    """A program that must be on the path of this machine."""
    chains: bool = False
    """It calls other algorithms."""
    memory_mib: int = 512

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    def details(self) -> Document:
        readme = (self.folder / "README.md").read_text(encoding="utf-8")
        return {"label": self.label, "tagline": self.tagline, "summary": readme}

    def settings(self) -> Document:
        return {
            "language": self.language,
            "source_visibility": "open",
            "license": "apache2",
            "network_access": "full",
            "pipeline_enabled": self.chains,
            "scaling": {"memory_mib": self.memory_mib},
        }


EXAMPLES = (
    Example(
        name="readability",
        label="Readability (example)",
        tagline="Counts and Flesch scores of a text",
        sample_input='"The quick brown fox jumps over the lazy dog."',
    ),
    Example(
        name="language",
        label="Language (example)",
        tagline="Which of six languages a text is in",
        sample_input='{"text": "Das Wasser steigt zweimal am Tag."}',
    ),
    Example(
        name="thumbnail",
        label="Thumbnail (example)",
        tagline="A small PNG of a large image",
        memory_mib=1024,
    ),
    Example(
        name="digest",
        label="Digest (example)",
        tagline="Describes texts with the help of two other algorithms",
        sample_input='{"texts": ["The tide comes in twice a day.", "Das Wasser steigt zweimal am Tag."]}',
        chains=True,
    ),
    Example(
        name="slugify",
        label="Slugify (example)",
        tagline="The readable part of an address, from a title",
        sample_input='"Crème brûlée, in ten minutes!"',
        language="javascript",
        needs="node",
        memory_mib=1024,
    ),
)


def publish_all(url: str, admin: Mapping[str, str], report: Report, *, connect: Connect = Api) -> dict[str, str]:
    """Publish every example that is not published yet, callable by everybody.

    All are pushed before the first build is waited for, so builds can run side by side.

    Args:
        url: the platform's address.
        admin: `username` and `api_key` of the account that shall own them, as `admin.json` has them.
        report: told about progress, in one line each time.
        connect: makes the client for an address and a key.

    Returns those that could not be published, with the reason. Raises nothing that the platform or the network does.
    """
    if missing := [name for name in ("username", "api_key") if not admin.get(name)]:
        return {one.name: f"the administrator's credentials have no {' and no '.join(missing)}" for one in EXAMPLES}
    failures: dict[str, str] = {}
    builds: dict[Example, str] = {}
    try:
        with connect(url, admin["api_key"]) as api:
            publisher = Publisher(api, admin["username"], report)
            publisher.wait_ready()
            for example in EXAMPLES:
                with _noted(failures, example):
                    if (build := publisher.push(example)) is not None:
                        builds[example] = build
            for example, build in builds.items():
                with _noted(failures, example):
                    publisher.publish(example, build)
    except ApiError as error:  # nobody answers there, or not to this key
        return {one.name: str(error) for one in EXAMPLES}
    return failures


class Publisher:
    """Brings one example after another to its owner's account. Every method raises ApiError, OSError."""

    def __init__(self, api: Api, owner: str, report: Report) -> None:
        self._api = api
        self._owner = owner
        self._report = report

    def wait_ready(self) -> None:
        """Return once the platform answers: just after a start, its services may not have found one another."""
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                next(self._api.algorithms(self._owner), None)
            except ApiError as error:
                if error.status not in _PASSING or time.monotonic() > end:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    def push(self, example: Example) -> str | None:
        """Have an example built. Returns the id of its build; None when there is nothing left to do."""
        found = self._find(example.name)
        if found is not None and "semantic_version" in found.get("version_info", {}):
            return None
        if found is not None and found["details"].get("label") != example.label:
            raise ApiError(f"{self._owner} has an algorithm of that name already, which is left alone")
        if not example.folder.is_dir():
            raise ApiError(f"{example.folder} is not part of this installation")
        if example.needs is not None and shutil.which(example.needs) is None:
            self._report(f"The example {example.name} is left out: {example.needs} is not on the path.")
            return None
        if found is None:
            self._api.create_algorithm(
                self._owner, example.name, details=example.details(), settings=example.settings()
            )
        with tempfile.TemporaryDirectory(prefix="constellation-example-") as temporary:
            folder = self._copy(example, Path(temporary))
            message = f"The bundled example {example.name}"
            pushed = self._api.push(folder, self._owner, example.name, message=message, seconds=PUSH_SECONDS)
        build: str = self._api.build_of(self._owner, example.name, pushed)["build_id"]
        self._report(f"The example {example.name} is being built ...")
        return build

    def publish(self, example: Example, build: str) -> None:
        """Wait for the build, and publish it."""
        log: list[str] = []
        finished = self._api.follow_build(build, log.append, seconds=BUILD_SECONDS)
        if finished["status"] != "succeeded":
            raise ApiError(f"its build failed: {finished['reason']}\n{''.join(log)[-_LOG_TAIL:]}".rstrip())
        info: dict[str, Any] = {"release_notes": "Bundled with the platform."}
        if example.sample_input is not None:
            info["sample_input"] = example.sample_input
        try:
            made = self._api.publish(self._owner, example.name, callability="public", info=info)
        except ApiError as error:
            if error.code != NOTHING_NEW:  # somebody else published it meanwhile
                raise
            return
        self._report(f"{self._owner}/{example.name}/{made['version_info']['semantic_version']} is published.")

    def _find(self, name: str) -> Document | None:
        """The algorithm of that name, if there is one."""
        try:
            return self._api.algorithm(self._owner, name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _copy(self, example: Example, folder: Path) -> Path:
        """The example's files, with its owner in the configuration."""
        target = folder / example.name
        shutil.copytree(example.folder, target, ignore=shutil.ignore_patterns("__pycache__"))
        file = target / CONFIGURATION
        configuration = json.loads(file.read_text(encoding="utf-8")) | {"username": self._owner}
        file.write_text(json.dumps(configuration, indent=4) + "\n", encoding="utf-8")
        return target


@contextmanager
def _noted(failures: dict[str, str], example: Example) -> Iterator[None]:
    try:
        yield
    except (ApiError, OSError) as error:
        failures[example.name] = str(error)
