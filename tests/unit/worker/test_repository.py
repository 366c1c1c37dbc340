"""What a repository lacks to be an algorithm."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.contracts.catalog import Language
from services.worker.repository import NotAnAlgorithm, check

CONFIGURATION = '{"username": "joe", "algoname": "hello"}'


def repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_complete_repository_has_no_remarks(tmp_path: Path) -> None:
    source = repository(tmp_path, {"src/hello.py": "", "algorithmia.conf": CONFIGURATION})
    assert list(check(source, Language.PYTHON, "hello")) == []


def test_remarks_are_no_errors(tmp_path: Path) -> None:
    source = repository(tmp_path, {"src/hello.js": ""})
    assert "algorithmia.conf is missing" in check(source, Language.JAVASCRIPT, "hello")[0]
    repository(tmp_path, {"algorithmia.conf": '{"algoname": "other"}'})
    assert "says algoname 'other'" in check(source, Language.JAVASCRIPT, "hello")[0]


@pytest.mark.parametrize(
    ("language", "files", "reason"),
    [
        (Language.PYTHON, {}, "src/hello.py is missing"),
        (Language.JAVASCRIPT, {"src/hello.py": ""}, "src/hello.js is missing"),
        (Language.PYTHON, {"src/HELLO.py": ""}, "there is src/HELLO.py, but capital letters count"),
        (Language.PYTHON, {"src/a.py": "", "src/__init__.py": ""}, "there is src/a.py: the file must be called as"),
        (Language.PIPE, {"bin/other": ""}, "bin/pipe is missing"),
        (Language.PIPE, {"bin/pipe": ""}, "bin/pipe is not executable"),
        (Language.PYTHON, {"src/hello.py": "", "algorithmia.conf": "{"}, "algorithmia.conf is not JSON"),
        (Language.PYTHON, {"src/hello.py": "", "algorithmia.conf": "[]"}, "must hold a JSON object"),
        (Language.PYTHON, {"src/hello.py": "", "algorithmia.conf": "[" * 100_000}, "algorithmia.conf is not JSON"),
        (Language.PYTHON, {"src/hello.py": "", "algorithmia.conf": " " * (2 << 20)}, "larger than 1048576 bytes"),
    ],
)
def test_what_is_missing_is_named(language: Language, files: dict[str, str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(NotAnAlgorithm) as refused:
        check(repository(tmp_path, files), language, "hello")
    assert reason in str(refused.value)


def test_several_other_files_are_not_guessed_about(tmp_path: Path) -> None:
    source = repository(tmp_path, {"src/a.py": "", "src/b.py": ""})
    with pytest.raises(NotAnAlgorithm) as refused:
        check(source, Language.PYTHON, "hello")
    assert str(refused.value) == "src/hello.py is missing"


def test_files_elsewhere_are_none_of_the_repository(tmp_path: Path) -> None:
    repository(tmp_path, {"elsewhere/algorithmia.conf": "a secret", "elsewhere/hello.py": "", "source/src/x.txt": ""})
    source = tmp_path / "source"
    (source / "algorithmia.conf").symlink_to("../elsewhere/algorithmia.conf")
    (source / "src" / "hello.py").symlink_to("../../elsewhere/hello.py")
    with pytest.raises(NotAnAlgorithm, match=r"src/hello\.py is missing"):
        check(source, Language.PYTHON, "hello")
    (source / "src" / "hello.py").unlink()
    (source / "src" / "hello.py").symlink_to("x.txt")
    assert "algorithmia.conf is missing" in check(source, Language.PYTHON, "hello")[0]
