"""What a call's URL and headers ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.options import MAX_QUERY, MAX_TIMEOUT, InvalidOption, Options, Output, media_type, parse_options


def test_without_a_query_all_is_default() -> None:
    assert parse_options("") == Options(timeout=300.0, stdout=False, output=Output.JSON, sudo=False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("timeout=300&stdout=False", Options()),
        ("timeout=10&stdout=true", Options(timeout=10, stdout=True)),
        ("stdout=TRUE", Options(stdout=True)),
        ("stdout=True&stdout=False", Options()),
        ("output=raw", Options(output=Output.RAW)),
        ("output=void", Options(output=Output.VOID)),
        ("output=RAW", Options(output=Output.RAW)),
        ("output=default", Options()),
        ("output=", Options()),
        ("timeout=", Options()),
        ("sudo=true&unknown=1", Options(sudo=True)),
        ("timeout=0.5", Options(timeout=0.5)),
        ("timeout=3000", Options(timeout=3000)),
        ("timeout=%31%30", Options(timeout=10)),
        ("%%%&&=", Options()),
    ],
)
def test_options_are_read_as_clients_write_them(query: str, expected: Options) -> None:
    assert parse_options(query) == expected


@pytest.mark.parametrize("value", ["0", "-1", "3001", "abc", "1e3", "inf", "nan", "1_0", "٣", "1 2", "9" * 30])
def test_a_timeout_that_is_none_is_refused_with_words(value: str) -> None:
    with pytest.raises(InvalidOption, match="timeout"):
        parse_options(f"timeout={value}")


def test_a_query_without_end_is_refused() -> None:
    with pytest.raises(InvalidOption, match="longer"):
        parse_options("x" * (MAX_QUERY + 1))


@given(st.text(max_size=200))
def test_any_query_is_read_or_refused(query: str) -> None:
    try:
        options = parse_options(query)
    except InvalidOption:
        return
    assert 0 < options.timeout <= MAX_TIMEOUT


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text/plain", "text/plain"),
        ("application/text", "text/plain"),
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("application/json;charset=UTF-8", "application/json"),
        (" application/octet-stream ", "application/octet-stream"),
        ("image/png", None),
        ("", None),
        ("application/x-www-form-urlencoded", None),
        ("text/plain, application/json", None),
    ],
)
def test_media_types_are_known_by_their_name_alone(header: str, expected: str | None) -> None:
    assert media_type(header) == expected
