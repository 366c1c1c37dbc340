"""Entry: `python -I main.py [--check | --container] SPEC` with the interpreter of the algorithm's environment.

Serves the replica that SPEC describes until it is told to stop. With `--check` it loads the algorithm once
and ends: 0 when it can be served, 1 when not, 3 when only its load() raised. 2 when the specification is wrong.
With `--container` the environment says what a container image cannot know (see container.py).
"""

from __future__ import annotations

import importlib
import os
import sys

PACKAGE = "constellation_runner"


def adopt_folder() -> None:
    """Make the modules beside this file importable as a package, without putting any folder on `sys.path`
    where they could shadow, or be shadowed by, the algorithm's own."""
    package = type(sys)(PACKAGE)
    package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules[PACKAGE] = package


if __name__ == "__main__":
    adopt_folder()
    sys.exit(importlib.import_module(PACKAGE + ".start").main(sys.argv[1:]))
