"""Git repositories for tests, made and read with the git command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in {"NAME": "Ana", "EMAIL": "ana@example.org"}.items()
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder: Path, *arguments: str) -> str:
    """What git prints, in a folder, whatever the machine's configuration says."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **IDENTITY, **ALONE},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return done.stdout.strip()


def served_repository(place: Path, files: dict[str, str] | None = None) -> Path:
    """A bare repository that takes pushes as the platform's do. With files, its `master` holds them."""
    place.mkdir(parents=True)
    git(place, "init", "--quiet", "--bare", "--template=", "--initial-branch=master")
    git(place, "config", "receive.denyNonFastForwards", "true")
    git(place, "config", "receive.denyDeletes", "true")
    if files is not None:
        checkout = place.with_suffix(".template")
        write(checkout, files)
        commit_all(checkout, "Template")
        git(checkout, "push", "--quiet", str(place), "HEAD:refs/heads/master")
    return place


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def commit_all(folder: Path, message: str) -> str:
    """Make the folder a checkout if it is none, and commit what is there. Returns the commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--template=", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def files_of(repository: Path) -> dict[str, str]:
    """The files of `master`."""
    names = git(repository, "ls-tree", "-r", "--name-only", "master").splitlines()
    return {name: git(repository, "show", f"master:{name}") for name in names}


def commits_of(repository: Path) -> list[str]:
    """The commits of `master`, newest first."""
    return git(repository, "rev-list", "master").splitlines()
