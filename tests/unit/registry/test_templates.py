"""Templates of new algorithms, and the descriptions of their languages."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from libs.common.contracts.catalog import Language
from services.registry import environments, templates

ENTRY = {Language.PYTHON: "src/Hello.py", Language.JAVASCRIPT: "src/Hello.js", Language.PIPE: "bin/pipe"}


@pytest.mark.parametrize("language", list(Language))
def test_a_template_is_named_after_its_algorithm(language: Language) -> None:
    found = {file.path: file.content.decode() for file in templates.render(language, "joe", "Hello")}
    assert json.loads(found["algorithmia.conf"]) == {
        "username": "joe",
        "algoname": "Hello",
        "language": language.value,
    }
    assert {ENTRY[language], "README.md", ".gitignore"} <= set(found)
    assert not any("{NAME}" in text or "{OWNER}" in text for text in [*found, *found.values()])


def test_only_programs_are_executable() -> None:
    files = [file for language in Language for file in templates.render(language, "joe", "Hello")]
    assert {file.path for file in files if file.executable} == {"bin/pipe"}


def test_package_json_is_what_npm_reads() -> None:
    found = {file.path: file.content for file in templates.render(Language.JAVASCRIPT, "joe", "Hello")}
    assert json.loads(found["package.json"])["name"] == "hello"


@pytest.mark.parametrize("language", list(Language))
def test_the_archive_is_the_same_each_time_and_unpacks_at_its_top(language: Language) -> None:
    archive = templates.archive(language)
    assert archive == templates.archive(language)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        assert "algorithmia.conf" in tar.getnames()
        modes = {entry.name: entry.mode for entry in tar.getmembers()}
    assert modes.get("bin/pipe", 0o755) == 0o755


def test_the_python_template_answers_hello(tmp_path: Path) -> None:
    _unpack(Language.PYTHON, tmp_path)
    (tmp_path / "Algorithmia.py").write_text(
        "class ADK:\n    def __init__(self, apply): self.apply = apply\n    def init(self, sample): pass\n"
    )
    program = "from src.Hello import apply; print(apply('John'), apply(5))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "hello John hello 5\n", done.stderr


def test_the_pipe_template_speaks_the_protocol(tmp_path: Path) -> None:
    _unpack(Language.PIPE, tmp_path)
    answers = tmp_path / "answers"
    requests = [
        {"content_type": "text", "data": "John"},
        {"content_type": "binary", "data": base64.b64encode(b"x").decode()},
    ]
    done = subprocess.run(
        [sys.executable, "bin/pipe"],
        check=False,
        cwd=tmp_path,
        env={"CONSTELLATION_PIPE": str(answers)},
        input="".join(json.dumps(one) + "\n" for one in requests),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "PIPE_INIT_COMPLETE" in done.stdout
    assert json.loads(answers.read_text()) == {"result": "hello eA==", "metadata": {"content_type": "text"}}


@pytest.mark.parametrize("language", list(Language))
def test_languages_are_found_by_what_their_descriptions_say(language: Language) -> None:
    description = environments.describe_environment(language)
    assert environments.by_id(description["id"]) is language
    assert environments.by_specification(description["environment_specification_id"]) is language
    assert environments.by_language(description["language"]["name"]) is language
    assert json.loads(description["language"]["configuration"])["req_files"]


def test_what_is_not_offered_is_not_found() -> None:
    assert environments.by_language("java11") is None
    assert environments.by_specification("x") is None


def _unpack(language: Language, folder: Path) -> None:
    for file in templates.render(language, "joe", "Hello"):
        path = folder / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file.content)
