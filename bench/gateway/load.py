"""Load in a closed loop by wrk, and a check that what comes back is right."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from bench.gateway.sides import Side
from bench.processes import cpu_seconds
from bench.report import Result

WRK = "wrk"
BODY = json.dumps({"text": "x" * 88}).encode()
"""100 bytes of JSON."""

_LUA = """
wrk.method = "POST"
wrk.body = {body}
wrk.headers["Content-Type"] = "application/json"
{headers}
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d %d\\n",
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.mean, latency.max, summary.bytes))
end
"""


def check(side: Side) -> None:
    """Raises RuntimeError unless the side echoes the body."""
    parts = urlsplit(side.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    for _ in range(3):
        connection.request("POST", side.path, BODY, {"Content-Type": "application/json", **side.headers})
        response = connection.getresponse()
        body = response.read()
        answered = json.loads(body)
        if response.status != 200 or answered.get("result", answered) != json.loads(BODY):
            raise RuntimeError(f"{side.name} answered {response.status} {body[:200]!r}")
    connection.close()


def run(side: Side, connections: int, seconds: int, folder: Path) -> Result:
    """Raises RuntimeError when any request failed."""
    script = folder / f"{side.name.replace(' ', '-')}.lua"
    headers = "\n".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in side.headers.items())
    script.write_text(_LUA.format(body=json.dumps(BODY.decode()), headers=headers))
    command = [WRK, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"{side.url}{side.path}"]
    before = {name: cpu_seconds(pid) for name, pid in side.pids.items()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)  # noqa: S603 - ours
    after = {name: cpu_seconds(pid) for name, pid in side.pids.items()}
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    requests, duration, refused, broken, p50, _, p99, *_ = map(int, found[1].split())
    if refused or broken or not requests:
        raise RuntimeError(f"{side.name}: of {requests} requests {refused} were refused and {broken} broken")
    check(side)
    cpu_us = {name: (after[name] - before[name]) / requests * 1e6 for name in side.pids}
    return Result(
        side=side.name,
        connections=connections,
        per_second=requests / duration * 1e6,
        p50_us=p50,
        p99_us=p99,
        cpu_us=cpu_us,
        core_us=sum(cpu_us.values()),
    )
