"""Holds a program in a sandbox until it is killed. Run by `test_sandbox.py`: MODE PLACE NAME."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from services.worker.sandbox import Confinement, Job, Sandbox


async def main(mode: str, place: Path, name: str) -> None:
    confinement = Confinement(mode, new_users=mode == "namespaces" and os.geteuid() != 0)  # type: ignore[arg-type]
    job = Job(
        name=name,
        command=["/bin/sh", "-c", "echo started; sleep 987; sleep 987"],
        cwd=Path("/"),
        folder=place / "job",
        environment={},
        uid=210_123,
    )
    async with Sandbox(confinement, place / "mounts").running(job) as (_, output):
        os.write(1, await output.readline())
        await asyncio.sleep(600)


asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
