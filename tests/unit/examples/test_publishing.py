"""Publishing the bundled examples, to a scripted platform that keeps real repositories."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from constellation import push
from constellation.api import Api
from constellation.examples import EXAMPLES, FOLDER, publish_all
from constellation.push import Pushed, PushFailed, Remote
from constellation.rest import ApiError
from tests.unit.cli.git import commits_of, files_of, served_repository

URL = "http://platform.example"
ADMIN = {"username": "ana", "api_key": "simAAAA1111bbbb2222CCCC33331"}
NAMES = {example.name for example in EXAMPLES}


class Platform:
    """Makes algorithms, builds the head of each repository, and publishes what is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.algorithms: dict[str, dict[str, Any]] = {}
        self.build_status: dict[str, str] = {}
        self.made: list[str] = []
        self.published: list[str] = []
        self.compiled: list[str] = []
        self.refusals: list[tuple[int, Any] | Exception] = []

    def add(self, name: str, label: str) -> None:
        self.algorithms[name] = {"details": {"label": label}, "settings": {}}
        served_repository(self.repository(name), {"README.md": "template"})

    def repository(self, name: str) -> Path:
        return self.folder / f"{name}.git"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            return httpx.Response(refusal[0], json=refusal[1])
        status, document = self.answer(request.method, request.url.path, json.loads(request.content or b"null"))
        return httpx.Response(status, json=document)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        found: tuple[int, Any] = error(404, 7000, f"there is no {method} {path} here")
        match method, path.strip("/").split("/"):
            case "GET", ["v1", "users", "ana", "algorithms"]:
                found = 200, {"results": [], "marker": None}
            case "POST", ["v1", "algorithms", "ana"]:
                found = self.create(body)
            case "GET", ["v1", "algorithms", "ana", name] if name in self.algorithms:
                found = 200, self.algorithms[name]
            case "GET", ["v1", "algorithms", "ana", name, "builds"]:
                found = 200, {"results": self.builds(name), "marker": None}
            case "POST", ["v1", "algorithms", "ana", name, "compile"]:
                self.compiled.append(name)
                self.build_status[name] = "succeeded"
                found = 200, {}
            case "POST", ["v1", "algorithms", "ana", name, "versions"]:
                found = self.publish(name, body)
            case "GET", ["admin", "v1", "builds", name, "log"]:
                found = 200, self.log(name)
        return found

    def create(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.made.append(body["name"])
        self.add(body["name"], body["details"]["label"])
        self.algorithms[body["name"]] |= {"details": body["details"], "settings": body["settings"]}
        return 201, self.algorithms[body["name"]]

    def builds(self, name: str) -> list[dict[str, str]]:
        """The template's commit is not built, every later head is."""
        commits = commits_of(self.repository(name))
        status = self.build_status.get(name, "succeeded")
        return [{"build_id": name, "status": status, "commit_sha": commits[0]}] if len(commits) > 1 else []

    def log(self, name: str) -> dict[str, Any]:
        status = self.build_status.get(name, "succeeded")
        reason = None if status == "succeeded" else "no such package"
        text = "==> building\n"
        return {"text": text, "next_offset": len(text), "finished": True, "status": status, "reason": reason}

    def publish(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        if "version_info" in self.algorithms[name]:
            return error(409, 1007, "it is published already")
        self.published.append(name)
        self.algorithms[name] |= {"version_info": {"semantic_version": "0.1.0"}, "published": body}
        return 200, self.algorithms[name]


def error(status: int, code: int, message: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message}}


class LocalApi(Api):
    """Pushes to the platform's folder in the place of its address."""

    def __init__(self, platform: Platform, url: str, key: str) -> None:
        super().__init__(url, key, transport=httpx.MockTransport(platform))
        self._platform = platform

    def push(self, folder: Path, owner: str, name: str, *, message: str, seconds: float = 300.0) -> Pushed:
        try:
            return push.push(folder, Remote(str(self._platform.repository(name))), author=owner, message=message)
        except PushFailed as failed:
            raise ApiError(str(failed)) from failed


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """With the programs that the examples need on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "node").touch(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{Path(str(shutil.which('git'))).parent}")
    return Platform(tmp_path / "repositories")


def published(platform: Platform) -> tuple[dict[str, str], list[str]]:
    """Failures and reports of publishing."""
    said: list[str] = []
    failures = publish_all(URL, ADMIN, said.append, connect=lambda url, key: LocalApi(platform, url, key))
    return failures, said


def test_every_example_is_published_for_everybody(platform: Platform) -> None:
    failures, said = published(platform)
    assert failures == {}
    assert set(platform.published) == NAMES
    assert all(f"ana/{name}/0.1.0 is published." in said for name in NAMES)
    for example in EXAMPLES:
        made = platform.algorithms[example.name]
        assert made["published"]["settings"] == {"algorithm_callability": "public"}
        assert made["settings"]["language"] == ("javascript" if example.name == "slugify" else "python3")
        assert made["details"]["summary"].startswith(f"# {example.name}")


def test_what_is_pushed_are_the_examples_files_with_their_owners_name(platform: Platform) -> None:
    published(platform)
    files = files_of(platform.repository("digest"))
    assert files["src/digest.py"] == (FOLDER / "digest" / "src" / "digest.py").read_text().strip()
    assert json.loads(files["algorithmia.conf"]) == {
        "username": "ana",
        "algoname": "digest",
        "language": "python3",
    }
    assert not any("__pycache__" in name for name in files)


def test_publishing_again_does_nothing_and_says_nothing(platform: Platform) -> None:
    published(platform)
    heads = {name: commits_of(platform.repository(name)) for name in NAMES}
    assert published(platform) == ({}, [])
    assert len(platform.published) == len(NAMES)
    assert {name: commits_of(platform.repository(name)) for name in NAMES} == heads


def test_an_example_that_was_only_created_goes_on(platform: Platform) -> None:
    platform.add("digest", "Digest (example)")
    failures, _ = published(platform)
    assert failures == {}
    assert "digest" not in platform.made
    assert "digest" in platform.published


def test_an_example_that_was_pushed_and_not_published_is_not_pushed_again(platform: Platform) -> None:
    published(platform)
    del platform.algorithms["language"]["version_info"]
    head = commits_of(platform.repository("language"))
    failures, _ = published(platform)
    assert failures == {}
    assert platform.published.count("language") == 2
    assert commits_of(platform.repository("language")) == head


def test_an_example_whose_build_failed_earlier_is_built_again(platform: Platform) -> None:
    platform.build_status["thumbnail"] = "failed"
    failures, _ = published(platform)
    assert "no such package" in failures["thumbnail"]
    assert "==> building" in failures["thumbnail"]
    assert set(platform.published) == NAMES - {"thumbnail"}
    assert platform.compiled == []
    failures, _ = published(platform)
    assert failures == {}
    assert platform.compiled == ["thumbnail"]
    assert set(platform.published) == NAMES


def test_an_algorithm_of_ones_own_with_the_same_name_is_left_alone(platform: Platform) -> None:
    platform.add("language", "My own")
    failures, _ = published(platform)
    assert list(failures) == ["language"]
    assert "left alone" in failures["language"]
    assert len(commits_of(platform.repository("language"))) == 1


def test_examples_that_need_a_program_are_left_out_without_it(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_git = tmp_path / "only"
    only_git.mkdir()
    (only_git / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(only_git))
    failures, said = published(platform)
    assert failures == {}
    assert set(platform.published) == NAMES - {"slugify"}
    assert "The example slugify is left out: node is not on the path." in said


def test_a_platform_that_is_still_starting_is_waited_for(platform: Platform) -> None:
    platform.refusals = [error(503, 5001, "not known here yet"), error(502, 5001, "not yet")]
    failures, _ = published(platform)
    assert failures == {}
    assert set(platform.published) == NAMES


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [(httpx.ConnectError("refused"), "cannot be reached"), (error(401, 2002, "the key is not known"), "not known")],
)
def test_a_platform_that_cannot_be_used_is_the_reason_for_all(
    platform: Platform, refusal: tuple[int, Any] | Exception, reason: str
) -> None:
    platform.refusals = [refusal]
    failures, said = published(platform)
    assert set(failures) == NAMES
    assert all(reason in failure for failure in failures.values())
    assert said == []


@pytest.mark.parametrize("admin", [{}, {"username": "ana"}, {"username": "ana", "api_key": ""}])
def test_credentials_that_are_not_complete_are_the_reason_for_all(admin: dict[str, str]) -> None:
    failures = publish_all(URL, admin, lambda _: None)
    assert set(failures) == NAMES
    assert all("have no" in failure for failure in failures.values())


def test_every_bundled_folder_is_an_example_and_is_laid_out_like_one() -> None:
    assert {folder.name for folder in FOLDER.iterdir()} == NAMES
    for example in EXAMPLES:
        configuration = json.loads((FOLDER / example.name / "algorithmia.conf").read_text())
        assert configuration["algoname"] == example.name
        assert configuration["language"] == example.language
        suffix = "js" if example.language == "javascript" else "py"
        assert (FOLDER / example.name / "src" / f"{example.name}.{suffix}").is_file()
        assert (FOLDER / example.name / "README.md").read_text().startswith(f"# {example.name}\n")
        if example.language == "python3":
            assert (FOLDER / example.name / "requirements.txt").is_file()
            assert (FOLDER / example.name / "src" / "__init__.py").is_file()
