"""No request makes a worker fail."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from services.worker import replica_log
from tests.service.worker.platform_double import Platform
from tests.support.fuzzing import Fuzz


async def test_no_request_makes_a_worker_fail(tmp_path: Path) -> None:
    async with Platform() as platform, platform.worker(tmp_path / "data") as worker:
        left = uuid4()
        replica_log.archive(worker.settings.data_dir / "logs", left, replica_log.Kept(100, "prïnted".encode()))
        platform.fakts.add_account("joe")
        callers = {
            "nobody": {},
            "a user": {"authorization": platform.fakts.add_key("joe")},
            "a deployer": {"authorization": f"Bearer {platform.fakts.service_token('deployer')}"},
        }
        await Fuzz(worker.app, worker.url, callers, {"replica_id": [str(left)]}).run()
