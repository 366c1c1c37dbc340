"""Dependencies of JavaScript algorithms: npm's own lock, installed with `npm ci`, in the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.worker.files import Untrusted, read_untrusted, read_within
from services.worker.indexes import Indexes
from services.worker.python_packages import MAX_LOCK_BYTES, RequirementsFailed
from services.worker.steps import Say, StepFailed, Steps, Workspace, give
from services.worker.toolchain import Node

MANIFEST = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
MODULES = "node_modules"
_PROJECT_CONFIGURATION = ".npmrc"
_PROJECT = "project"
_COPY_THEN = 'cp -r "$0/." . && exec "$@"'
"""npm writes where its project is, so it gets a copy in its own /tmp."""
_QUIET = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


class NodePackages:
    """Locks and installs with one Node.js."""

    def __init__(self, steps: Steps, node: Node, indexes: Indexes, environ: Mapping[str, str]) -> None:
        self._steps = steps
        self._node = node
        self._indexes = indexes
        self._variables = {n: v for n, v in environ.items() if n.lower().startswith("npm_config_")}
        self._user_configuration = Path(environ.get("HOME", "/nonexistent"), _PROJECT_CONFIGURATION)

    async def lock(self, place: Workspace, source: Path, say: Say) -> bytes | None:
        """The repository's own lock, or a new one for its package.json; None for one without dependencies.

        Raises RequirementsFailed.
        """
        for name in LOCKS:
            if (lock := await _read(source, name)) is not None:
                say(f"{name} of the repository is used\n")
                return lock
        project = await _lay_out(place, source)
        if not (project / MANIFEST).exists():
            say(f"there is no {MANIFEST}: the algorithm gets Node.js alone\n")
            return None
        arguments = ["install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved"]
        try:
            await self._run(place, arguments, say)
            return read_untrusted(place.tmp / LOCKS[0], MAX_LOCK_BYTES)
        except StepFailed as error:
            raise RequirementsFailed(f"the dependencies could not be resolved: {_reason(error.output)}") from error
        except Untrusted as error:
            raise RequirementsFailed(f"the dependencies could not be locked: {error}") from error

    async def install(self, place: Workspace, lock: bytes, source: Path, say: Say) -> Path:
        """Install what the lock says; returns the `node_modules` that were made, in the workspace.

        Raises RequirementsFailed.
        """
        (await _lay_out(place, source) / LOCKS[0]).write_bytes(lock)
        try:
            await self._run(place, ["ci", "--omit=dev"], say)
        except StepFailed as error:
            raise RequirementsFailed(f"the dependencies could not be installed: {_reason(error.output)}") from error
        modules = place.tmp / MODULES
        modules.mkdir(exist_ok=True)  # npm makes none when nothing is needed
        return modules

    async def _run(self, place: Workspace, arguments: Sequence[str], say: Say) -> None:
        configuration = place.folder / "npmrc"
        if self._user_configuration.is_file() and not configuration.exists():
            configuration.write_bytes(self._user_configuration.read_bytes())
            give(configuration, place.uid)
        environment = {
            **{name: value for name, value in self._indexes.variables.items() if not name.startswith("UV_")},
            **self._variables,
            "PATH": f"{self._node.path.parent}:/usr/local/bin:/usr/bin:/bin",
            "NPM_CONFIG_CACHE": str(place.cache / "npm"),
            "NPM_CONFIG_USERCONFIG": str(configuration),
            "NO_COLOR": "1",
        }
        program = [str(self._node.path), str(self._node.npm), *arguments, *_QUIET]
        await self._steps.run(
            place,
            ["/bin/sh", "-c", _COPY_THEN, str(place.folder / _PROJECT), *program],
            cwd=self._steps.inside(place),
            environment=environment,
            say=lambda text: say(self._indexes.redact(text)),
        )


async def _lay_out(place: Workspace, source: Path) -> Path:
    """The parts of the repository that npm looks at, in a folder that its programs can only read. Raises
    RequirementsFailed."""
    project = place.folder / _PROJECT
    project.mkdir(exist_ok=True)
    for name in (MANIFEST, _PROJECT_CONFIGURATION):
        if (content := await _read(source, name)) is not None:
            (project / name).write_bytes(content)
    return project


async def _read(source: Path, name: str) -> bytes | None:
    """A file of the repository, None without one. Raises RequirementsFailed."""
    try:
        return await asyncio.to_thread(read_within, source, name, MAX_LOCK_BYTES)
    except Untrusted as error:
        raise RequirementsFailed(f"the dependencies could not be read: {error}") from error


def _reason(output: str) -> str:
    """npm's first line that says more than a code."""
    lines = [line.removeprefix("npm error").strip() for line in output.splitlines() if line.startswith("npm error")]
    said = [line for line in lines if line and not line.startswith(("code ", "errno ", "syscall ", "A complete log"))]
    return said[0][:500] if said else "npm gave no reason"
