"""Pushing an algorithm's files to its repository on the platform, with the git command and nothing left behind.

A folder that is the top of a git checkout has its `HEAD` pushed. Any other folder becomes one commit on top of what
the repository has, made in a temporary repository: history only grows, and the folder gets no `.git`.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from constellation import rest

MASTER = "refs/heads/master"
IGNORED = ("__pycache__/", "*.py[cod]", ".venv/", "node_modules/", ".DS_Store")
"""What a plain folder never brings along, besides what its own `.gitignore` names."""
_KEPT = ("GIT_CONFIG", "GIT_EXEC_PATH", "GIT_PROXY", "GIT_SSL")
_FORGOTTEN = (
    "your branch does not have all commits of the platform's master, and history there only grows; get them with "
    "`git pull {url} master`, or, to keep your files as they are, with `git fetch {url} master` and "
    "`git merge --allow-unrelated-histories -s ours FETCH_HEAD`. Then push again"
)


class PushFailed(Exception):
    """The files did not arrive; the message is git's, or says what to do."""


@dataclass(frozen=True)
class Pushed:
    """What `master` is after a push."""

    commit: str
    changed: bool
    """False when the platform had all of it already."""
    uncommitted: bool = False
    """The checkout has changes that are in no commit, and so were not pushed."""


@dataclass(frozen=True)
class Remote:
    """A repository and how git proves who asks."""

    url: str
    key: str | None = None
    """An API key or access token. Git gets it in its environment, so it is in no argument, address or file."""

    def configuration(self) -> dict[str, str]:
        settings = {
            "core.hooksPath": os.devnull,
            "credential.helper": "",
            "http.followRedirects": "false",
        }
        if self.key is not None:
            basic = base64.b64encode(f"x:{self.key}".encode()).decode()
            authorization = f"Bearer {self.key}" if rest.is_token(self.key) else f"Basic {basic}"
            settings[f"http.{self.url}.extraHeader"] = f"Authorization: {authorization}"
        return settings


def push(folder: Path, remote: Remote, *, author: str, message: str, seconds: float = 300.0) -> Pushed:
    """Bring the folder's files to the repository's `master`. Pushing the same again changes nothing.

    Args:
        author: account name for the commit that a plain folder becomes.
        message: of that commit.
        seconds: for all of it.

    Raises PushFailed.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise PushFailed(f"{folder} is not a folder")
    git = _Git(remote, time.monotonic() + seconds, seconds)
    there = git.head()
    if _is_checkout(git, folder):
        return _push_checkout(git, folder, there)
    with tempfile.TemporaryDirectory(prefix="constellation-push-") as temporary:
        return _push_files(git, folder, Path(temporary), there, author=author, message=message)


def _is_checkout(git: _Git, folder: Path) -> bool:
    if not (folder / ".git").exists():
        return False
    top = git.run("rev-parse", "--show-toplevel", cwd=folder)
    return Path(top) == folder


def _push_checkout(git: _Git, folder: Path, there: str | None) -> Pushed:
    try:
        commit = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=folder)
    except PushFailed:
        raise PushFailed(f"{folder} has no commit yet; commit your files and push again") from None
    uncommitted = bool(git.run("status", "--porcelain", cwd=folder))
    if commit != there:
        git.send(commit, cwd=folder)
    return Pushed(commit, changed=commit != there, uncommitted=uncommitted)


def _push_files(git: _Git, folder: Path, temporary: Path, there: str | None, *, author: str, message: str) -> Pushed:
    identity = {"NAME": author, "EMAIL": f"{author}@localhost"}
    git.environment |= {
        "GIT_DIR": str(temporary / "repository"),
        "GIT_WORK_TREE": str(folder),
        **{f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in identity.items()},
    }
    git.run("init", "--quiet", "--template=", "--object-format=sha1", cwd=folder)
    git.run("config", "core.autocrlf", "false", cwd=folder)
    exclude = temporary / "repository" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("".join(f"{pattern}\n" for pattern in IGNORED))
    git.run("add", "--all", "--", ".", cwd=folder)
    if not git.run("ls-files", "--cached", cwd=folder):
        raise PushFailed(f"{folder} holds no files to push")
    tree = git.run("write-tree", cwd=folder)
    parents: list[str] = []
    if there is not None:
        git.run("fetch", "--quiet", "--no-tags", "--depth=1", git.remote.url, MASTER, cwd=folder)
        there = git.run("rev-parse", "FETCH_HEAD", cwd=folder)
        if tree == git.run("rev-parse", f"{there}^{{tree}}", cwd=folder):
            return Pushed(there, changed=False)
        parents = ["-p", there]
    commit = git.run("commit-tree", tree, *parents, "-m", message, cwd=folder)
    git.send(commit, cwd=folder)
    return Pushed(commit, changed=True)


class _Git:
    """The git command with one remote's credential and one deadline for all that it runs."""

    def __init__(self, remote: Remote, deadline: float, seconds: float) -> None:
        program = shutil.which("git")
        if program is None:
            raise PushFailed("git is not installed on this machine; install it to push algorithms")
        self.remote = remote
        self.environment = _environment(remote.configuration())
        self._program = program
        self._deadline = deadline
        self._seconds = seconds

    def head(self) -> str | None:
        """The commit of the remote's `master`; None while it has none."""
        with tempfile.TemporaryDirectory(prefix="constellation-push-") as nowhere:
            listed = self.run("ls-remote", "--quiet", self.remote.url, MASTER, cwd=Path(nowhere))
        return listed.split()[0] if listed else None

    def send(self, commit: str, *, cwd: Path) -> None:
        try:
            self.run("push", "--quiet", self.remote.url, f"{commit}:{MASTER}", cwd=cwd)
        except PushFailed as error:
            if "(fetch first)" in str(error) or "(non-fast-forward)" in str(error):
                raise PushFailed(_FORGOTTEN.format(url=self.remote.url)) from error
            raise

    def run(self, *arguments: str, cwd: Path) -> str:
        """What git prints. Raises PushFailed with what it complains of."""
        with subprocess.Popen(  # noqa: S603 - git, with arguments of ours
            [self._program, *arguments],
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                output, complaint = process.communicate(timeout=max(0.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                late = f"git {arguments[0]} had not finished after {self._seconds:g} s; try again"
                raise PushFailed(late) from None
            finally:
                if process.returncode is None:  # git's own children go with it
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            raise PushFailed(_words(complaint) or f"git {arguments[0]} failed without a word")
        return output.decode(errors="replace").strip()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what points git elsewhere or makes it print requests, and with these settings."""
    inherited = os.environ.items()
    kept = {name: value for name, value in inherited if not name.startswith("GIT_") or name.startswith(_KEPT)}
    count = int(kept.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(settings.items(), start=count):
        kept |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **kept,
        "GIT_CONFIG_COUNT": str(count + len(settings)),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "LC_ALL": "C",
    }


def _words(complaint: bytes) -> str:
    """What git says of a failure, without its advice to people at a prompt."""
    lines = (line.strip() for line in complaint.decode(errors="replace").splitlines())
    said = "; ".join(line for line in lines if line and not line.startswith("hint:"))
    return said[:2000]
