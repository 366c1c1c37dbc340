"""A replica that is started from a container image: the image holds what the algorithm is, and the environment says
how this container is to be reached.

PORT: TCP port on all interfaces, 8080 by default. REPLICA_TOKEN: what each call must carry in the header
X-Replica-Token; without it anybody who reaches the port may call. REPLICA_GATEWAYS: `http://HOST:PORT`, separated by
commas, where the algorithm's own calls go. REPLICA_LOAD_TIMEOUT (seconds) and REPLICA_CONCURRENCY take the place of
what the image says. HEALTH_PORT: another TCP port, on which whoever runs the container asks how it is, also during a
call. REPLICA_MUST_LOAD=1: the container ends with status 1 when load() fails. Nothing is written outside of TMPDIR,
/tmp by default. What the algorithm prints goes to standard output.
"""

from __future__ import annotations

import os
import tempfile

from .spec import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

PORT = "PORT"
TOKEN = "REPLICA_TOKEN"  # noqa: S105 - the name of a variable
GATEWAYS = "REPLICA_GATEWAYS"
LOAD_TIMEOUT = "REPLICA_LOAD_TIMEOUT"
CONCURRENCY = "REPLICA_CONCURRENCY"
HEALTH_PORT = "HEALTH_PORT"
MUST_LOAD = "REPLICA_MUST_LOAD"
DEFAULT_PORT = 8080
_STDOUT = "/proc/self/fd/1"


def complete(members: dict[str, Any], environment: MutableMapping[str, str]) -> None:
    """Add to a specification's members what this container's environment says, and take the token out of what the
    algorithm inherits. Raises SpecError, and OSError when there is no place for files."""
    port = _number(environment, PORT, DEFAULT_PORT)
    folder = tempfile.mkdtemp(prefix="replica-")
    members.update(
        tcp=f"0.0.0.0:{port}",
        socket=os.path.join(folder, "s"),
        control=os.path.join(folder, "c"),
        state=os.path.join(folder, "state"),
        log=_STDOUT,
        private_tmp=True,
    )
    token = environment.pop(TOKEN, "")
    if token:
        members["token"] = token
    if environment.get(HEALTH_PORT):
        members["health"] = f"0.0.0.0:{_number(environment, HEALTH_PORT, 0)}"
    if MUST_LOAD in environment:
        members["must_load"] = _number(environment, MUST_LOAD, 0) == 1
    gateways = environment.pop(GATEWAYS, "")
    if gateways:
        members["gateways"] = [one.strip() for one in gateways.split(",")]
    if LOAD_TIMEOUT in environment:
        members["load_timeout"] = _number(environment, LOAD_TIMEOUT, 0)
    if CONCURRENCY in environment:
        members["concurrency"] = _number(environment, CONCURRENCY, 0)


def _number(environment: MutableMapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal():
        raise SpecError(f"the variable {name} must be a whole number, not {value!r}")
    return int(value)
