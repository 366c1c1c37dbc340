"""Which platform and which key a command uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from constellation.cli.connection import Connection, Failed, KeptLogin, NotConnected, connect

FILE = {
    "url": "http://here.example:8000",
    "username": "admin",
    "password": "p",
    "api_key": "key of the file",
    "admin_api_key": "admin key of the file",
}


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a platform that runs here."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".constellation"
    folder.mkdir()
    (folder / "admin.json").write_text(json.dumps(FILE))
    return folder


def test_a_platform_that_runs_here_is_used_with_its_keys(data_dir: Path) -> None:
    found = connect({})
    assert found == Connection(FILE["url"], FILE["api_key"], FILE["admin_api_key"], "admin")
    assert found.authors_key() == FILE["api_key"]
    assert found.administrators_key() == FILE["admin_api_key"]


def test_options_come_before_the_environment_and_that_before_the_file(data_dir: Path) -> None:
    environment = {"CONSTELLATION_URL": "https://there.example/", "CONSTELLATION_API_KEY": "e"}
    assert connect(environment) == Connection("https://there.example", "e")
    assert connect(environment, url="http://other.example", api_key="o") == Connection("http://other.example", "o")
    assert connect({"CONSTELLATION_API_KEY": "e"}) == Connection(FILE["url"], "e")
    both = connect({"CONSTELLATION_API_KEY": "e", "CONSTELLATION_ADMIN_API_KEY": "a"})
    assert (both.authors_key(), both.administrators_key()) == ("e", "a")


def test_keys_of_the_file_are_for_its_own_platform_only(data_dir: Path) -> None:
    found = connect({}, url="http://other.example")
    assert found == Connection("http://other.example")
    with pytest.raises(NotConnected, match="no API key for"):
        found.authors_key()
    assert connect({}, url=FILE["url"] + "/").authors_key() == FILE["api_key"]


def logins() -> list[KeptLogin]:
    """Two logins, the first renewed last."""

    def token_of(url: str) -> Callable[[str | None], str]:
        return lambda _: f"token of {url}"

    names = ("https://new.example", "http://here.example:8000")
    return [KeptLogin(url, f"ana at {url}", token_of(url)) for url in names]


def test_a_login_is_used_where_there_is_no_key(data_dir: Path, tmp_path: Path) -> None:
    found = connect({}, url="https://new.example/", logins=logins)
    assert (found.url, found.username) == ("https://new.example", "ana at https://new.example")
    key = found.administrators_key()
    assert not isinstance(key, str)
    assert key(None) == "token of https://new.example"
    assert connect({}, logins=logins).authors_key() == FILE["api_key"]
    environment = {"CONSTELLATION_API_KEY": "e"}
    assert connect(environment, url="https://new.example", logins=logins).authors_key() == "e"
    with pytest.raises(NotConnected, match="constellation login https://other"):
        connect({}, url="https://other.example", logins=logins).authors_key()
    (data_dir / "admin.json").unlink()
    newest = connect({}, logins=logins)
    assert (newest.url, newest.username) == ("https://new.example", "ana at https://new.example")
    assert "token of" not in repr(newest)


def test_one_key_is_used_for_everything(data_dir: Path) -> None:
    assert connect({"CONSTELLATION_ADMIN_API_KEY": "a"}).authors_key() == "a"
    assert connect({"CONSTELLATION_API_KEY": "e"}).administrators_key() == "e"


def test_another_data_directory_can_be_named(data_dir: Path, tmp_path: Path) -> None:
    moved = data_dir.rename(tmp_path / "elsewhere")
    assert connect({}, data_dir=moved).username == "admin"
    assert connect({"CONSTELLATION_DATA_DIR": str(moved)}).username == "admin"
    with pytest.raises(NotConnected, match="is not there"):
        connect({}, data_dir=tmp_path / "nowhere")


def test_without_any_platform_it_is_said_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotConnected, match="--url or set CONSTELLATION_URL"):
        connect({})
    with pytest.raises(NotConnected, match="http:// or https://"):
        connect({}, url="platform.example")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_broken_file_is_told(data_dir: Path, text: str) -> None:
    (data_dir / "admin.json").write_text(text)
    with pytest.raises(NotConnected, match="cannot be read"):
        connect({})


def test_no_key_is_shown() -> None:
    assert "secret" not in repr(Connection("http://a.example", "secret", "secret", "ana"))


def test_names_without_an_owner_are_ones_own() -> None:
    mine = Connection("http://a.example", "k", username="ana")
    assert mine.algorithm("hello") == ("ana", "hello")
    assert mine.algorithm("algo://bob/hello") == ("bob", "hello")
    with pytest.raises(NotConnected, match="OWNER/NAME"):
        Connection("http://a.example", "k").algorithm("hello")


@pytest.mark.parametrize("text", ["a/b/c", "/b", "a/", ""])
def test_what_names_no_algorithm_is_refused(text: str) -> None:
    with pytest.raises(Failed, match="names no algorithm"):
        Connection("http://a.example", "k", username="ana").algorithm(text)
