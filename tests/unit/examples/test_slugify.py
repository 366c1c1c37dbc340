"""The bundled algorithm `slugify`, run by Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from constellation.examples import FOLDER

NODE = shutil.which("node")
CALL = """
const { apply } = require(process.argv[1])
apply(JSON.parse(process.argv[2]), (error, result) => {
  console.log(JSON.stringify(error ? { error: error.message, type: error.error_type } : { result }))
})
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not on the path")


def called(input: Any) -> dict[str, str]:
    module = FOLDER / "slugify" / "src" / "slugify.js"
    command = [str(NODE), "-e", CALL, str(module), json.dumps(input)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    answer: dict[str, str] = json.loads(output)
    return answer


@pytest.mark.parametrize(
    ("input", "slug"),
    [
        ("Crème brûlée, in ten minutes!", "creme-brulee-in-ten-minutes"),
        ("  Straße & Co. \u2013 it's 100% ÆON ", "strasse-and-co-its-100-aeon"),
        ("한국어 がくせい", "한국어-がくせい"),
        ("...", ""),
        ({"text": "Two Words", "separator": "_"}, "two_words"),
        ({"text": "Two Words", "separator": ""}, "twowords"),
        ({"text": "one two three", "max_length": 8}, "one-two"),
        ({"text": "abcdefghij", "max_length": 4}, "abcd"),
    ],
)
def test_a_title_becomes_a_slug(input: Any, slug: str) -> None:
    assert called(input) == {"result": slug}


@pytest.mark.parametrize(
    "input", [5, None, {}, {"text": 1}, {"text": "a", "separator": "/"}, {"text": "a", "max_length": 0}]
)
def test_what_makes_no_slug_is_an_input_error(input: Any) -> None:
    answer = called(input)
    assert answer["type"] == "InputError"
    assert answer["error"]
