from __future__ import annotations

import pytest

from services.gateway.data.paths import DataPath, InvalidPath, NoSuchPlace, NotHosted, check_connector, parse

INSIDE = {"account": "mia", "algorithm": "joe/echo", "session": "req-1"}


@pytest.mark.parametrize(
    ("text", "path", "spelled"),
    [
        ("", DataPath(), "data://"),
        ("/", DataPath(), "data://"),
        ("data://", DataPath(), "data://"),
        (".my", DataPath("mia"), "data://mia"),
        (".my/", DataPath("mia"), "data://mia"),
        ("joe", DataPath("joe"), "data://joe"),
        ("joe/c", DataPath("joe", "c"), "data://joe/c"),
        ("data://.my/c/", DataPath("mia", "c"), "data://mia/c"),
        ("data:/.my/c/f", DataPath("mia", "c", "f"), "data://mia/c/f"),
        (".my/c/ünï ☎ b+c&.txt", DataPath("mia", "c", "ünï ☎ b+c&.txt"), "data://mia/c/ünï ☎ b+c&.txt"),
        (".session", DataPath("mia", ".session/req-1"), "data://.session"),
        (".session/f", DataPath("mia", ".session/req-1", "f"), "data://.session/f"),
        (".algo/temp", DataPath("mia", ".algo/joe/echo/temp"), "data://.algo/joe/echo/temp"),
        (".algo/perm/f", DataPath("mia", ".algo/joe/echo/perm", "f"), "data://.algo/joe/echo/perm/f"),
        (".algo/eva/other/temp/f", DataPath("mia", ".algo/eva/other/temp", "f"), "data://.algo/eva/other/temp/f"),
        (".algo/temp/perm/temp", DataPath("mia", ".algo/temp/perm/temp"), "data://.algo/temp/perm/temp"),
    ],
)
def test_every_spelling_names_a_place(text: str, path: DataPath, spelled: str) -> None:
    assert parse(text, **INSIDE) == path
    assert str(path) == spelled
    assert parse(spelled, **INSIDE) == path


@pytest.mark.parametrize(
    ("text", "special", "session", "temporary", "algorithm"),
    [
        (".my/c/f", False, False, False, ""),
        (".my", False, False, False, ""),
        (".session/f", True, True, False, ""),
        (".algo/temp/f", True, False, True, "joe/echo"),
        (".algo/eva/x/perm/f", True, False, False, "eva/x"),
    ],
)
def test_a_path_tells_how_long_things_last_and_whose_they_are(
    text: str, special: bool, session: bool, temporary: bool, algorithm: str
) -> None:
    path = parse(text, **INSIDE)
    assert (path.is_special, path.is_session, path.is_temporary, path.algorithm) == (
        special,
        session,
        temporary,
        algorithm,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".my/c/d/f", "do not nest"),
        (".my/c/" + "x" * 1025, "1024 bytes"),
        (".my/c/a\nb", "control"),
        (".my/c/..", ".."),
        (".my/c//f", "do not nest"),
        (".my/1c/f", "'1c' is no name for a collection"),
        ("-x/c", "'-x' is no name of an account"),
        (".other/c", ".session"),
        (".algo", ".algo/OWNER/NAME/temp"),
        (".algo/joe/echo", ".algo/OWNER/NAME/temp"),
        (".algo/joe/echo/other/f", ".algo/OWNER/NAME/temp"),
        (".algo/joe/-/temp/f", ".algo/OWNER/NAME/temp"),
        (".algo/joe/echo/temp/a/b", "do not nest"),
    ],
)
def test_what_is_no_address_is_refused_with_words(text: str, words: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        parse(text, **INSIDE)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["s3://bucket/key", "s3+lab://bucket/key", "dropbox:/a/b", "gs+x y://b"])
def test_other_stores_are_named_as_such(text: str) -> None:
    with pytest.raises(NotHosted, match=f"'{text.partition(':')[0].replace('+', '.')}' is another store"):
        parse(text, account="mia")
    with pytest.raises(NotHosted):
        check_connector("s3")
    check_connector("data")


@pytest.mark.parametrize("text", [".session", ".session/f", ".algo/temp/f", ".algo/perm"])
def test_what_only_an_algorithm_has_is_nowhere_else(text: str) -> None:
    with pytest.raises(NoSuchPlace):
        parse(text, account="mia")
