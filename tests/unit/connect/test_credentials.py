"""Logins that are kept: by their owner alone, whole, and for one at a time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from libs.common.connect import credentials
from libs.common.connect.credentials import CredentialFile, Memory, Store
from libs.common.connect.errors import ConnectFailed
from libs.common.connect.protocol import Credential


def credential(token: str = "t", *, server: str = "https://a.example", identifier: str = "app") -> Credential:
    return Credential(
        server=server,
        identifier=identifier,
        asked="",
        client_id="c",
        access_token=token,
        refresh_token="r",
        renew_at=1.0,
        expires_at=2.0,
        account="ana",
        scope="openid",
        instances={},
        statuses={},
    )


def test_only_its_owner_can_read_a_login_and_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = credentials.file_for(tmp_path / "config" / "logins", "https://a.example", "app")
        assert file.read() is None
        file.write(credential())
        inode = file.path.stat().st_ino
        file.write(credential("u"))
    finally:
        os.umask(before)
    assert file.read() == credential("u")
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert file.path.stat().st_ino != inode
    assert [entry.name for entry in file.path.parent.iterdir()] == [file.path.name]
    file.remove()
    file.remove()
    assert file.read() is None


@pytest.mark.parametrize("text", ["", "{", '{"server": "https://a.example"}'])
def test_a_broken_file_is_no_login(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert CredentialFile(tmp_path / "x.json").read() is None


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = credentials.file_for(tmp_path / "file" / "logins", "https://a.example", "app")
    with pytest.raises(ConnectFailed, match="XDG_CONFIG_HOME"):
        file.write(credential())
    with pytest.raises(ConnectFailed, match="XDG_CONFIG_HOME"):
        file.read()
    with pytest.raises(ConnectFailed, match="XDG_CONFIG_HOME"):
        async with file.locked():
            pass


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_a_login_is_renewed_by_one_at_a_time(tmp_path: Path, where: str) -> None:
    memory = Memory()

    def store() -> Store:
        """As another process would have it."""
        return memory if where == "memory" else CredentialFile(tmp_path / "logins" / "x.json")

    inside, order = asyncio.Event(), list[str]()

    async def first() -> None:
        async with store().locked():
            inside.set()
            for _ in range(5):
                await asyncio.sleep(0.02)
                order.append("first")

    async def second() -> None:
        await inside.wait()
        async with store().locked():
            order.append("second")

    await asyncio.gather(first(), second())
    assert order == ["first"] * 5 + ["second"]


async def test_a_lock_that_is_never_released_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_LOCK_SECONDS", 0.0)
    file = CredentialFile(tmp_path / "x.json")
    async with file.locked():
        with pytest.raises(ConnectFailed, match="another process holds"):
            async with CredentialFile(file.path).locked():
                pass


def test_logins_of_one_app_are_found_the_newest_first(tmp_path: Path) -> None:
    for number, name in enumerate(("https://a.example", "https://b.example:8000", "http://c.example")):
        file = credentials.file_for(tmp_path, name, "app")
        file.write(credential(server=name))
        os.utime(file.path, (number, number))
    credentials.file_for(tmp_path, "https://a.example", "other").write(credential(identifier="other"))
    (tmp_path / "broken.json").write_text("{")
    found = [one.server for one in credentials.logins(tmp_path, "app")]
    assert found == ["http://c.example", "https://b.example:8000", "https://a.example"]
    assert list(credentials.logins(tmp_path / "nowhere", "app")) == []


def test_apps_and_platforms_do_not_share_a_file(tmp_path: Path) -> None:
    names = [
        ("https://a.example", "x"),
        ("http://a.example", "x"),
        ("https://a.example", "x y"),
        ("https://a", "x_y"),
    ]
    paths = {credentials.file_for(tmp_path, *one).path for one in names}
    assert len(paths) == len(names)
    assert all(path.parent == tmp_path for path in paths)
    assert credentials.file_for(tmp_path, "https://a.example/../..", "../../x" * 50).path.parent == tmp_path


def test_a_machine_keeps_the_name_that_it_was_given(tmp_path: Path) -> None:
    name = credentials.device(tmp_path / "a")
    assert credentials.device(tmp_path / "a") == name
    assert credentials.device(tmp_path / "b") != name
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectFailed, match="XDG_CONFIG_HOME"):
        credentials.device(tmp_path / "file")


def test_the_users_configuration_is_where_the_system_says(tmp_path: Path) -> None:
    assert credentials.folder({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "constellation" / "logins"
    for unset in ({}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative"}):
        assert credentials.folder(unset) == Path.home() / ".config" / "constellation" / "logins"
