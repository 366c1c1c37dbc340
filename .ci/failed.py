"""Which tests of the last run failed and may run again: their names, each ended by NUL.

Where none may, says on standard error why not, and ends with status 1. Reads what `tests/conftest.py` and pytest's
own `--last-failed` leave in pytest's cache.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

MOST = 5
RUN_TO_THE_END = 1
"""pytest's exit status when tests failed and nothing interrupted it. `tests/conftest.py` notes crashes as others."""


def main() -> int:
    cache = Path(".pytest_cache/v")
    try:
        status = json.loads((cache / "constellation/exit_status").read_text())
        failed = list(json.loads((cache / "cache/lastfailed").read_text()))
    except FileNotFoundError:
        return _none("the tests did not run to their end")
    if status != RUN_TO_THE_END or not failed:
        return _none(f"the tests did not run to their end (pytest's exit status {status})")
    if uncollected := [name for name in failed if "::" not in name]:
        return _none(f"not collected: {', '.join(uncollected)}")
    if len(failed) > MOST:
        return _none(f"{len(failed)} tests failed, and at most {MOST} may run again")
    sys.stdout.write("".join(f"{name}\0" for name in failed))
    return 0


def _none(reason: str) -> int:
    sys.stderr.write(f"\n######## nothing is run again: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
