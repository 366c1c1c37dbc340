"""Locks, options and reasons of Python requirements."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.worker.files import Untrusted
from services.worker.python_packages import MAX_LOCK_BYTES, index_options, normalised, resolve_reason


def test_a_lock_has_no_comments_and_no_addresses_of_indexes() -> None:
    text = (
        "# made by uv\n--index-url https://joe:secret@host/simple\n--extra-index-url https://other\n-f /wheels\n\n"
        "six==1.17.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via -r requirements.txt\n"
        "--find-links /wheels\n-i https://third\nidna==3.1 ; python_version > '3' \\\n    --hash=sha256:cc\n"
    )
    assert normalised(text.encode()).decode() == (
        "six==1.17.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "idna==3.1 ; python_version > '3' \\\n    --hash=sha256:cc\n"
    )


def test_options_about_indexes_are_found_in_nested_files(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "--extra-index-url https://download.example/cpu\nsix\n-r more/base.txt\n-c constraints.txt\n"
        "-r ../outside.txt\n-r requirements.txt\n-r missing.txt\n"
    )
    (tmp_path / "more" / "wheels").mkdir(parents=True)
    (tmp_path / "more" / "base.txt").write_text("--find-links=wheels\n-f https://page.example/links\nidna\n")
    assert index_options(tmp_path) == [
        "--extra-index-url https://download.example/cpu",
        f"--find-links {tmp_path / 'more' / 'wheels'}",
        "-f https://page.example/links",
    ]


def test_options_of_files_outside_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("--index-url https://secret\n")
    source = tmp_path / "source"
    source.mkdir()
    (source / "requirements.txt").write_text("-r ../secret.txt\n-r link.txt\n")
    (source / "link.txt").symlink_to("../secret.txt")
    assert index_options(source) == []


def test_requirements_without_end_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "requirements.txt").open("wb") as file:
        file.truncate(MAX_LOCK_BYTES + 1)
    with pytest.raises(Untrusted, match=r"requirements\.txt is larger than"):
        index_options(tmp_path)


def test_without_requirements_there_are_no_options(tmp_path: Path) -> None:
    assert index_options(tmp_path) == []


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "error: No solution found when resolving dependencies\n  cause: Because nosuch-pkg was not found in the "
            "package registry and you require nosuch-pkg, we can conclude that ...\n",
            "requirement 'nosuch-pkg' was not found by the resolver",
        ),
        (
            "  \u00d7 No solution found when resolving dependencies:\n"
            "  \u2570\u2500\u25b6 Because there is no version of six==99 and you require six==99, we can conclude",
            "no version of requirement 'six==99' was found by the resolver",
        ),
        (
            "error: No solution found\n"
            "  cause: Because a==1 depends on b==1 and c==1 depends on b==2, we can conclude.\n",
            "the requirements could not be resolved: Because a==1 depends on b==1 and c==1 depends on b==2, "
            "we can conclude.",
        ),
        ("error: Distribution not found at: file:///x\n", "the requirements could not be resolved: Distribution not"),
        ("\nsomething else\n", "the requirements could not be resolved: something else"),
        ("", "the requirements could not be resolved: the program gave no reason"),
    ],
)
def test_the_reason_is_one_sentence(output: str, reason: str) -> None:
    assert resolve_reason(output).startswith(reason)
    assert "\n" not in resolve_reason(output)
