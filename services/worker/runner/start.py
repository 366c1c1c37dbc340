"""What `main.py` does once the modules can be imported."""

from __future__ import annotations

import os
import sys

from .spec import Spec, SpecError, read_members

USAGE = "usage: python -I main.py [--check | --container] SPEC"


def main(arguments: list[str]) -> int:
    """Gives the exit code."""
    checking = "--check" in arguments
    in_container = "--container" in arguments
    paths = [argument for argument in arguments if argument not in ("--check", "--container")]
    if len(paths) != 1 or paths[0].startswith("-"):
        print(USAGE, file=sys.stderr)  # noqa: T201 - the command line's own words
        return 2
    try:
        members = read_members(paths[0])
        if in_container:
            from . import container  # noqa: PLC0415 - only images need it

            container.complete(members, os.environ)
        spec = Spec(members)
        if not checking:
            spec.require_addresses()
    except (OSError, SpecError) as error:
        print(f"the specification cannot be used: {error}", file=sys.stderr)  # noqa: T201
        return 2
    spec.root = os.path.abspath(spec.root)
    if checking:
        from .check import check  # noqa: PLC0415 - serving needs none of it

        return check(spec)
    from . import host  # noqa: PLC0415 - checking needs none of these
    from .guardian import Guardian  # noqa: PLC0415

    outcome = Guardian(spec).run()
    if isinstance(outcome, int):
        return outcome
    host.main(outcome)
    return 0
