"""Pushing a folder to a repository, here one that is a file path away."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from constellation.push import Pushed, PushFailed, Remote, push
from tests.support.replica import is_running, until
from tests.unit.cli.git import commit_all, commits_of, files_of, git, served_repository, write

KEY = "simAAAA1111bbbb2222CCCC33331"


def pushed(folder: Path, repository: Path) -> Pushed:
    return push(folder, Remote(str(repository)), author="ana", message="A push", seconds=60)


def test_a_folder_becomes_a_commit_on_top_of_what_is_there(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git", {"README.md": "template", "src/old.py": "old"})
    [template] = commits_of(repository)
    folder = write(tmp_path / "mine", {"README.md": "mine", "src/new.py": "new"})
    result = pushed(folder, repository)
    assert result.changed
    assert commits_of(repository) == [result.commit, template]
    assert files_of(repository) == {"README.md": "mine", "src/new.py": "new"}
    assert git(repository, "log", "-1", "--format=%an %s", "master") == "ana A push"
    assert not (folder / ".git").exists()


def test_a_folder_is_the_first_commit_of_an_empty_repository(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    result = pushed(write(tmp_path / "mine", {"a": "1"}), repository)
    assert commits_of(repository) == [result.commit]


def test_pushing_the_same_files_again_changes_nothing(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git", {"a": "0"})
    folder = write(tmp_path / "mine", {"a": "1"})
    first = pushed(folder, repository)
    assert pushed(folder, repository) == Pushed(first.commit, changed=False)
    write(folder, {"a": "2"})
    third = pushed(folder, repository)
    assert third.changed
    assert len(commits_of(repository)) == 3


def test_what_is_ignored_or_made_by_running_the_files_stays_behind(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    files = {
        ".gitignore": "secret.txt\n",
        "secret.txt": "s",
        "src/a.py": "a",
        "src/__pycache__/a.cpython-311.pyc": "c",
        "node_modules/x/index.js": "x",
        ".venv/bin/python": "p",
    }
    pushed(write(tmp_path / "mine", files), repository)
    assert set(files_of(repository)) == {".gitignore", "src/a.py"}


def test_programs_stay_executable(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    folder = write(tmp_path / "mine", {"bin/pipe": "#!/bin/sh\n"})
    (folder / "bin" / "pipe").chmod(0o755)
    pushed(folder, repository)
    assert git(repository, "ls-tree", "-r", "master").startswith("100755")


def test_a_folder_inside_a_checkout_is_pushed_by_itself(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    outer = write(tmp_path / "outer", {"other": "x", "mine/a": "1"})
    commit_all(outer, "Outer")
    pushed(outer / "mine", repository)
    assert files_of(repository) == {"a": "1"}


def test_the_head_of_a_checkout_is_pushed_with_its_history(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git", {"a": "0"})
    checkout = tmp_path / "mine"
    git(tmp_path, "clone", "--quiet", str(repository), str(checkout))
    write(checkout, {"a": "1"})
    commit_all(checkout, "One")
    write(checkout, {"a": "2"})
    head = commit_all(checkout, "Two")
    assert pushed(checkout, repository) == Pushed(head, changed=True)
    assert len(commits_of(repository)) == 3
    assert pushed(checkout, repository) == Pushed(head, changed=False)


def test_uncommitted_changes_of_a_checkout_are_told_and_not_pushed(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    checkout = write(tmp_path / "mine", {"a": "1"})
    commit_all(checkout, "One")
    write(checkout, {"a": "2"})
    assert pushed(checkout, repository).uncommitted
    assert files_of(repository) == {"a": "1"}


def test_a_checkout_without_the_history_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git", {"a": "0"})
    before = commits_of(repository)
    checkout = write(tmp_path / "mine", {"a": "1"})
    commit_all(checkout, "Unrelated")
    with pytest.raises(PushFailed, match="git merge --allow-unrelated-histories -s ours FETCH_HEAD"):
        pushed(checkout, repository)
    assert commits_of(repository) == before
    git(checkout, "fetch", "--quiet", str(repository), "master")
    git(checkout, "merge", "--quiet", "--allow-unrelated-histories", "-s", "ours", "FETCH_HEAD", "-m", "Merge")
    assert pushed(checkout, repository).changed
    assert files_of(repository) == {"a": "1"}


def test_a_checkout_without_a_commit_is_refused(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git")
    checkout = write(tmp_path / "mine", {"a": "1"})
    git(checkout, "init", "--quiet")
    with pytest.raises(PushFailed, match="no commit yet"):
        pushed(checkout, repository)


def test_a_folder_that_is_empty_or_missing_is_refused(tmp_path: Path) -> None:
    repository = served_repository(tmp_path / "r.git", {"a": "0"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(PushFailed, match="holds no files"):
        pushed(tmp_path / "empty", repository)
    with pytest.raises(PushFailed, match="is not a folder"):
        pushed(tmp_path / "missing", repository)


def test_what_git_says_is_in_the_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", {"a": "1"})
    with pytest.raises(PushFailed, match="does not appear to be a git repository"):
        pushed(folder, tmp_path / "nowhere.git")


def test_the_machines_own_git_settings_do_not_change_what_is_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = served_repository(tmp_path / "r.git")
    write(
        tmp_path,
        {"config": "[core]\n\tautocrlf = true\n[commit]\n\tgpgSign = true\n[init]\n\tdefaultObjectFormat = sha256\n"},
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a").write_bytes(b"1\r\n2\r\n")
    pushed(folder, repository)
    assert git(repository, "cat-file", "-s", "master:a") == "6"


def test_the_key_is_in_gits_environment_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    write(programs, {"git": f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\nenv >> {tmp_path}/environment\nexit 1\n'})
    (programs / "git").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CURL_VERBOSE", "1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "http.proxy")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "http://proxy.example")
    url = "http://platform.example/git/ana/hello.git"
    with pytest.raises(PushFailed) as refused:
        push(write(tmp_path / "mine", {"a": "1"}), Remote(url, KEY), author="ana", message="m")
    basic = base64.b64encode(f"x:{KEY}".encode()).decode()
    arguments = (tmp_path / "arguments").read_text()
    assert url in arguments
    for text in (arguments, str(refused.value)):
        assert KEY not in text
        assert basic not in text
    given = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    settings = {
        given[f"GIT_CONFIG_KEY_{number}"]: given[f"GIT_CONFIG_VALUE_{number}"]
        for number in range(int(given["GIT_CONFIG_COUNT"]))
    }
    assert settings["http.proxy"] == "http://proxy.example"
    assert settings[f"http.{url}.extraHeader"] == f"Authorization: Basic {basic}"
    assert settings["http.followRedirects"] == "false"
    assert "GIT_CURL_VERBOSE" not in given
    assert KEY not in repr(given)


def test_a_git_that_hangs_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    write(programs, {"git": f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/child\nwait\n"})
    (programs / "git").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    mine, note = write(tmp_path / "mine", {"a": "1"}), tmp_path / "child"
    for seconds in (1, 10, 60):  # a busy machine may not come so far in a second
        with pytest.raises(PushFailed, match=rf"had not finished after {seconds} s"):
            push(mine, Remote("r"), author="ana", message="m", seconds=seconds)
        if note.exists() and note.read_text():
            break
    child = int(note.read_text())
    until(lambda: not is_running(child))


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PushFailed, match="git is not installed"):
        pushed(tmp_path, tmp_path)
