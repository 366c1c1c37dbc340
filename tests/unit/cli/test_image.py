"""`constellation image`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from constellation.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "where to? Give --push REF, --layout DIR, or both"),
        (["--push", "r.example/a"], "the settings of a worker do not fit: CONSTELLATION_BUILD_CONCURRENCY: "),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], said: str) -> None:
    environment = {"CONSTELLATION_BUILD_CONCURRENCY": "-1"}
    done = CliRunner().invoke(app, ["image", "build", "joe/hello", *arguments], env=environment)
    assert done.exit_code == 1
    assert said in done.stderr
