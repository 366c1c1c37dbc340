"""What an ordinary user's worker can confine. Run by `test_sandbox.py`; says as JSON what a program there saw."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from services.worker import processes
from services.worker.sandbox import MARK, Job, detect

SCRIPT = """
(setsid setsid sleep 987 &)
echo "$(id -u) $(cat "$1/secret" 2>/dev/null || echo hidden) $(ls /proc | grep -c '^[0-9]') \\
    $(grep CapEff /proc/self/status | cut -f2)"
"""


async def main(folder: Path) -> None:
    (folder / "secret").write_text("secret")
    (folder / "mounts").mkdir()
    (folder / "job" / "tmp").mkdir(parents=True)
    sandbox = await detect("auto", folder, folder / "mounts", programs=[Path("/bin/sh")], hidden=[folder], uid=1)
    job = Job(
        name=f"ordinary-{folder.name}",
        command=["/bin/sh", "-c", SCRIPT, "sh", str(folder)],
        cwd=Path("/"),
        folder=folder / "job",
        environment={},
    )
    async with sandbox.running(job) as (process, output):
        uid, secret, count, capabilities = (await output.read()).decode().split()
        await process.wait()
    confinement = sandbox.confinement
    seen = {
        "confinement": [confinement.mode, confinement.new_users, confinement.isolated_network],
        "uid": uid,
        "secret": secret,
        "processes": int(count),
        "capabilities": capabilities,
        "left": [pid for pid, name in processes.marked(MARK).items() if name == job.name],
    }
    sys.stdout.write(json.dumps(seen))


asyncio.run(main(Path(sys.argv[1])))
