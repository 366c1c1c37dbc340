"""Where packages come from: settings, uv's variables, pip's variables and files, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.worker.indexes import configured
from services.worker.settings import WorkerSettings


def settings(**members: Any) -> WorkerSettings:
    return WorkerSettings(**members)


def pip_file(folder: Path, text: str, name: str = "pip.conf") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nothing_is_configured_by_default() -> None:
    found = configured(settings(), {"PATH": "/bin", "SECRET": "x", "UV_PUBLISH_TOKEN": "x"}, [])
    assert dict(found.variables) == {}
    assert list(found.readable) == []


def test_pips_files_are_translated_with_pips_meaning(tmp_path: Path) -> None:
    file = pip_file(
        tmp_path,
        "[global]\nindex-url = https://one/simple\nextra-index-url =\n    https://two/simple\n    https://three/simple\n"
        "find_links = /wheels /more\ntrusted-host = one two\ncert = /certs.pem\ntimeout = 60\nproxy = http://proxy\n"
        "[install]\nno-index = true\n[freeze]\nindex-url = https://other\n",
    )
    assert dict(configured(settings(), {}, [file]).variables) == {
        "UV_DEFAULT_INDEX": "https://one/simple",
        "UV_INDEX": "https://two/simple https://three/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "one two",
        "SSL_CERT_FILE": "/certs.pem",
        "UV_HTTP_TIMEOUT": "60",
        "ALL_PROXY": "http://proxy",
        "UV_NO_INDEX": "1",
    }


def test_later_files_and_pips_variables_win_over_earlier_files(tmp_path: Path) -> None:
    shared = pip_file(tmp_path, "[global]\nindex-url = https://shared\nfind-links = /shared\n", "shared")
    own = pip_file(tmp_path, "[global]\nindex-url = https://own\n", "own")
    found = configured(settings(), {"PIP_FIND_LINKS": "/variable", "PIP_DEFAULT_TIMEOUT": "9"}, [shared, own])
    assert found.variables["UV_DEFAULT_INDEX"] == "https://own"
    assert found.variables["UV_FIND_LINKS"] == "/variable"
    assert found.variables["UV_HTTP_TIMEOUT"] == "9"


def test_uvs_own_variables_win_over_pips(tmp_path: Path) -> None:
    file = pip_file(
        tmp_path, "[global]\nindex-url = https://pip\nextra-index-url = https://pip2\nfind-links = /pip\n"
    )
    environ = {"UV_INDEX_URL": "https://uv", "UV_EXTRA_INDEX_URL": "https://uv2", "UV_FIND_LINKS": "/uv"}
    assert dict(configured(settings(), environ, [file]).variables) == environ


def test_settings_win_over_everything(tmp_path: Path) -> None:
    file = pip_file(tmp_path, "[global]\nindex-url = https://pip\n")
    chosen = settings(index_url="https://mine", extra_index_url="https://a https://b", find_links="/x /y")
    found = configured(chosen, {"UV_INDEX_URL": "https://uv", "UV_EXTRA_INDEX_URL": "https://uv2"}, [file])
    assert found.variables["UV_DEFAULT_INDEX"] == "https://mine"
    assert found.variables["UV_INDEX"] == "https://a https://b"
    assert found.variables["UV_FIND_LINKS"] == "/x,/y"
    assert not {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL"} & found.variables.keys()


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    broken = pip_file(tmp_path, "no section = here\n", "broken")
    good = pip_file(tmp_path, "[global]\nindex-url = https://good\n", "good")
    found = configured(settings(), {}, [broken, tmp_path / "missing", good])
    assert found.variables["UV_DEFAULT_INDEX"] == "https://good"


def test_pips_own_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    pip_file(tmp_path / "pip", "[global]\nindex-url = https://user\n")
    chosen = pip_file(tmp_path, "[global]\nindex-url = https://chosen\n", "chosen")
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert configured(settings(), environ).variables["UV_DEFAULT_INDEX"] == "https://user"
    assert configured(settings(), {**environ, "PIP_CONFIG_FILE": str(chosen)}).variables["UV_DEFAULT_INDEX"] == (
        "https://chosen"
    )
    assert configured(settings(), {**environ, "PIP_CONFIG_FILE": "/dev/null"}).variables.keys() <= {"SSL_CERT_FILE"}


def test_local_folders_are_shown_to_sandboxes(tmp_path: Path) -> None:
    for name in ("simple", "wheels", "named"):
        (tmp_path / name).mkdir()
    (tmp_path / "certs.pem").touch()
    chosen = settings(
        index_url=(tmp_path / "simple").as_uri(),
        extra_index_url=f"local={(tmp_path / 'named').as_uri()} https://example.org/simple",
        find_links=f"{tmp_path / 'wheels'} {tmp_path / 'missing'}",
    )
    found = configured(chosen, {"SSL_CERT_FILE": str(tmp_path / "certs.pem")}, [])
    assert list(found.readable) == [tmp_path / name for name in ("certs.pem", "named", "simple", "wheels")]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("at https://joe:secret@host/simple?", "at https://[hidden]@host/simple?"),
        ("at https://token@host/simple", "at https://[hidden]@host/simple"),
        ("mail joe@host and https://host/a@b", "mail joe@host and https://host/a@b"),
    ],
)
def test_credentials_are_hidden(text: str, redacted: str) -> None:
    assert configured(settings(), {}, []).redact(text) == redacted
