"""Text that everything can keep and pass on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.text import plain, storable


@given(st.text(st.characters(), max_size=50), st.none() | st.integers(0, 60))
def test_what_is_storable_is_plain_and_not_too_long(text: str, limit: int | None) -> None:
    kept = storable(text, limit)
    assert plain(kept) == kept
    assert len(kept) == min(len(text), len(text) if limit is None else limit)


@given(st.text(max_size=50).filter(lambda text: "\x00" not in text))
def test_plain_text_is_kept_as_it_is(text: str) -> None:
    assert storable(plain(text)) == text


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\udc00x"])
def test_other_text_is_refused_or_replaced(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        plain(text)
    assert len(storable(text)) == len(text)
