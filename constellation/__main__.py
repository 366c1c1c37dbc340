"""`python -m constellation`: the command line, where no script of that name is installed."""

from __future__ import annotations

from constellation.cli import main

if __name__ == "__main__":
    main()
