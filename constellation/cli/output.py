"""What commands print: results on standard output, everything about the way there on standard error.

Tables are for people on a terminal. Elsewhere the same rows are lines with tabs, and with `--json` all is JSON.
Text of the platform is shown, never obeyed: it cannot move the cursor or set colours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Output:
    """Args:
    as_json: print JSON documents only.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def table(self, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], *, none: str) -> None:
        """One line per row.

        Args:
            columns: heading and the member of a row that stands below it; `a.b` is a member of a member.
            none: what to say on a terminal when there are no rows.
        """
        found = list(rows)
        if self.as_json:
            self._print_json(found)
            return
        lines = [[_cell(_member(row, member)) for member in columns.values()] for row in found]
        if not sys.stdout.isatty():
            for line in [list(columns), *lines]:
                self.text("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        elif lines:
            _print_table(list(columns), lines)
        else:
            self.note(none)

    def document(self, fields: Mapping[str, Any], document: Mapping[str, Any] | None = None) -> None:
        """One thing: its fields for people, or as JSON the whole document."""
        if self.as_json:
            self._print_json(fields if document is None else document)
            return
        width = max(map(len, fields))
        for name, value in fields.items():
            if value is not None:
                self.text(f"{name:<{width}}  {_cell(value)}")

    def text(self, text: str, *, end: str = "\n") -> None:
        print(printable(text), end=end, flush=True)  # noqa: T201 - what commands are for

    def note(self, text: str, *, end: str = "\n") -> None:
        """Something about the way there."""
        print(printable(text), end=end, file=sys.stderr, flush=True)  # noqa: T201

    def value(self, value: Any) -> None:
        """A JSON value: laid out for people, compact for programs."""
        indent = 2 if sys.stdout.isatty() else None
        self.text(json.dumps(value, ensure_ascii=False, indent=indent))

    def _print_json(self, value: Any) -> None:
        print(json.dumps(value, indent=2), flush=True)  # noqa: T201


def printable(text: str) -> str:
    """The text without control characters, other than line ends and tabs."""
    return text.translate(_CONTROLS)


def _member(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case Mapping():
            return ", ".join(f"{name}={_cell(part)}" for name, part in value.items())
        case Sequence():
            return ", ".join(map(_cell, value))
        case _:
            return str(value)


def _print_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in line))
    Console().print(table)
