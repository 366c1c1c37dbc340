from __future__ import annotations

import pytest

from services.gateway.data.media import BINARY, JSON, TEXT, answer_type


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain", TEXT),
        ("application/json", JSON),
        ("application/octet-stream", BINARY),
        ("text/*;q=0.5, application/octet-stream;q=0.4", TEXT),
        ("text/plain;q=0.1, application/json", JSON),
        ("text/plain;q=0, application/octet-stream", BINARY),
        ("text/plain; q=much", TEXT),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("*/*", "image/png"),
        ("text/html, */*;q=0.1", "image/png"),
        ("audio/ogg", "image/png"),
        ("", "image/png"),
    ],
)
def test_the_answer_has_the_type_that_the_client_accepts(accept: str, expected: str) -> None:
    assert answer_type(accept, "a.png", is_text=False) == expected


@pytest.mark.parametrize(
    ("name", "as_text", "as_bytes"),
    [
        ("a.txt", TEXT, BINARY),
        ("a.csv", TEXT, BINARY),
        ("note", TEXT, BINARY),
        ("a.json", JSON, BINARY),
        ("a.xml", TEXT, BINARY),
        ("a.png", "image/png", "image/png"),
        ("a.pdf", "application/pdf", "application/pdf"),
        ("a.txt.gz", BINARY, BINARY),
        ("a.html", TEXT, BINARY),
        ("a.svg", TEXT, BINARY),
        ("a.js", TEXT, BINARY),
        ("http:x.html", TEXT, BINARY),
    ],
)
def test_a_file_has_a_type_of_its_own_and_none_that_a_browser_would_run(
    name: str, as_text: str, as_bytes: str
) -> None:
    assert answer_type("*/*", name, is_text=True) == as_text
    assert answer_type("text/html,image/svg+xml,application/xml", name, is_text=False) == as_bytes
