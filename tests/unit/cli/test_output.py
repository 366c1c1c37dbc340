"""What people see on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest

from constellation.cli.output import Output

COLUMNS = {"NAME": "name", "USED": "used.memory"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NO_COLOR": "1", "COLUMNS": "80", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)


@contextmanager
def terminal() -> Iterator[Terminal]:
    with redirect_stdout(Terminal()) as screen:
        yield screen


def test_a_table_shows_text_as_it_is() -> None:
    with terminal() as screen:
        Output().table(COLUMNS, [{"name": "[red]a[/red]\x1b[2J", "used": {"memory": 5}}, {"name": None}], none="none")
    shown = screen.getvalue()
    assert "[red]a[/red][2J" in shown
    assert "\x1b[2J" not in shown
    assert "NAME" in shown


def test_an_empty_table_says_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal() as screen:
        Output().table(COLUMNS, [], none="Nothing is there yet.")
    assert screen.getvalue() == ""
    assert capsys.readouterr().err == "Nothing is there yet.\n"


def test_json_is_laid_out_for_people() -> None:
    with terminal() as screen:
        Output().value({"a": 1})
    assert screen.getvalue() == '{\n  "a": 1\n}\n'


def test_fields_without_a_value_are_left_out() -> None:
    with terminal() as screen:
        Output().document({"name": "a", "label": None, "scaling": {"min": 0, "warm": True}})
    assert screen.getvalue() == "name     a\nscaling  min=0, warm=yes\n"
