"""The server that comes with the platform: where it listens, and on a machine that is too busy for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from libs.common import embedded_postgres
from libs.common.db import Database
from libs.common.embedded_postgres import EmbeddedPostgres
from tests.service.worker.places import passable_folder

LONG = "customers/northern-region/acme-incorporated/constellation-deployment/production/database-of-the-platform"
NOBODY = 65534


async def answers(url: str) -> None:
    database = Database(url, "public")
    try:
        await database.ping()
    finally:
        await database.close()


@pytest.mark.parametrize("name", ["postgres", LONG, "é: two words?#+%20&'$(x)"])
def test_it_listens_where_only_its_own_user_passes(name: str) -> None:
    with passable_folder() as folder:
        data = folder / name
        data.parent.mkdir(parents=True, exist_ok=True)
        server = EmbeddedPostgres(data)
        try:
            url = server.start()
            asyncio.run(answers(url))
            (place,) = parse_qs(urlsplit(url).query)["host"]
            socket = Path(place, ".s.PGSQL.5432")
            assert socket.samefile(data / ".s.PGSQL.5432")
            assert data.stat().st_mode & 0o777 == 0o700
            if os.geteuid() == 0:
                assert not passes(socket, NOBODY)
        finally:
            server.stop()
        assert not socket.exists()
        assert place == str(data) or not Path(place).parent.exists()


def passes(path: Path, uid: int) -> bool:
    """Whether this user can open what is there."""
    identity: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.run(["test", "-e", str(path)], check=False, timeout=60, **identity).returncode == 0


def test_one_that_outlived_its_parent_is_taken_over_under_the_same_name() -> None:
    with passable_folder() as folder:
        (folder / LONG).parent.mkdir(parents=True)
        first, second = EmbeddedPostgres(folder / LONG), EmbeddedPostgres(folder / LONG)
        try:
            url = first.start()
            assert second.start() == url
            asyncio.run(answers(url))
        finally:
            second.stop()
            first.stop()


class SlowServer(embedded_postgres._Server):
    """One whose start takes longer than the package waits, and that is still starting at the next look."""

    faults: list[Exception]

    def start(self) -> None:
        if self.faults:
            raise self.faults.pop(0)
        super().start()


def test_a_server_that_starts_slowly_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    SlowServer.faults = [subprocess.TimeoutExpired("pg_ctl", 10), AssertionError()]
    monkeypatch.setattr(embedded_postgres, "_Server", SlowServer)
    with passable_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres")
        assert server.start().startswith("postgresql://")
        server.stop()
    assert SlowServer.faults == []


def test_a_server_that_does_not_start_in_time_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    SlowServer.faults = [subprocess.TimeoutExpired("pg_ctl", 10)]
    monkeypatch.setattr(embedded_postgres, "_Server", SlowServer)
    monkeypatch.setattr(embedded_postgres, "_START_SECONDS", -1.0)
    with pytest.raises(RuntimeError, match="did not start in"):
        EmbeddedPostgres(tmp_path / "postgres").start()
