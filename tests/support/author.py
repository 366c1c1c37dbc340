"""An author of algorithms, at work with git and HTTP only, as anybody without our code would be."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

BUILD_SECONDS = 300.0
GIT_SECONDS = 180
SETTINGS = {
    "language": "python3-1",
    "environment": "cpu",
    "license": "apl",
    "network_access": "full",
    "pipeline_enabled": True,
    "source_visibility": "closed",
}


class Author:
    """One user with a key, on one platform."""

    def __init__(self, url: str, username: str, key: str, folder: Path) -> None:
        self.url = url
        self.username = username
        self.key = key
        self._folder = folder
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Simple {key}"}, timeout=300.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def create(self, name: str, **settings: Any) -> dict[str, Any]:
        body = {"name": name, "details": {"label": name}, "settings": {**SETTINGS, **settings}}
        answer = self.http.post(f"/v1/algorithms/{self.username}", json=body)
        assert answer.status_code in (200, 201), answer.text
        created: dict[str, Any] = answer.json()
        return created

    def clone(self, name: str) -> Path:
        """A fresh clone of the algorithm's repository."""
        work = self._folder / f"{name}-{time.monotonic_ns()}"
        self.git("clone", "-q", f"{self.url}/git/{self.username}/{name}.git", str(work), cwd=self._folder)
        return work

    def push(self, name: str, files: dict[str, str]) -> str:
        """Commit these files on top of master and push. Returns the commit's SHA-1."""
        work = self.clone(name)
        for path, text in files.items():
            file = work / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            if path.startswith("bin/"):
                file.chmod(0o755)
        self.git("add", "-A", cwd=work)
        self.git("commit", "-q", "--allow-empty", "-m", "a change", cwd=work)
        self.git("push", "-q", "origin", "HEAD:master", cwd=work)
        return self.git("rev-parse", "HEAD", cwd=work)

    def git(self, *command: str, cwd: Path, ok: bool = True) -> str:
        """Run git with this author's key, which stands in no argument and no URL."""
        basic = base64.b64encode(f"{self.username}:{self.key}".encode()).decode()
        environment = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            "GIT_CONFIG_KEY_1": "user.name",
            "GIT_CONFIG_VALUE_1": "An Author",
            "GIT_CONFIG_KEY_2": "user.email",
            "GIT_CONFIG_VALUE_2": "author@example.org",
        }
        done = subprocess.run(
            ["git", *command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
        assert (done.returncode == 0) is ok, f"git {command[0]}: {done.stdout}{done.stderr}"
        return (done.stdout if ok else done.stderr).strip()

    def build(self, name: str, commit: str) -> dict[str, Any]:
        """The finished build of a commit, with its log under `log`."""
        end = time.monotonic() + BUILD_SECONDS
        while time.monotonic() < end:
            answer = self.http.get(f"/v1/algorithms/{self.username}/{name}/builds")
            if answer.status_code == 200:
                for build in answer.json()["results"]:
                    if build["commit_sha"] == commit and build["status"] != "in-progress":
                        logs = self.http.get(f"/v1/algorithms/{self.username}/{name}/builds/{build['build_id']}/logs")
                        return {**build, "log": logs.json()["logs"]}
            time.sleep(0.2)
        raise AssertionError(f"{name} at {commit} was not built within {BUILD_SECONDS:.0f} s")

    def publish(self, name: str, callability: str = "public", version_type: str = "minor") -> str:
        body = {
            "details": {"label": name},
            "settings": {"algorithm_callability": callability},
            "version_info": {"version_type": version_type},
        }
        answer = self.http.post(f"/v1/algorithms/{self.username}/{name}/versions", json=body)
        assert answer.status_code == 200, answer.text
        version: str = answer.json()["version_info"]["semantic_version"]
        return version

    def deploy(self, name: str, source: str, *, requirements: str = "", **settings: Any) -> str:
        """Create, push one module in plain style, build and publish. Returns the commit."""
        self.create(name, **settings)
        commit = self.push(name, {f"src/{name}.py": source, "requirements.txt": requirements})
        build = self.build(name, commit)
        assert build["status"] == "succeeded", build["log"]
        self.publish(name)
        return commit

    def call(self, ref: str, value: Any = None, *, key: str | None = None, **options: Any) -> httpx.Response:
        """Call with a JSON value."""
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Simple {key}"
        where = ref if "/" in ref else f"{self.username}/{ref}"
        return self.http.post(f"/v1/algo/{where}", content=json.dumps(value), params=options, headers=headers)

    def result(self, ref: str, value: Any = None, **options: Any) -> Any:
        """The result of a call that must succeed."""
        answer = self.call(ref, value, **options)
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.json(), answer.text
        return answer.json()["result"]

    def error(self, ref: str, value: Any = None, **options: Any) -> dict[str, Any]:
        """The error of a call that must fail inside the algorithm."""
        answer = self.call(ref, value, **options)
        assert answer.status_code == 200, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error
