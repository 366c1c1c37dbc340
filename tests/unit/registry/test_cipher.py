"""Sealing secrets."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.secrets import Cipher, SecretUnreadable

ROW = uuid4()
text = st.text(st.characters(exclude_categories=["Cs"]))


@given(value=text)
def test_a_value_comes_back(value: str) -> None:
    assert Cipher("k").open(ROW, Cipher("k").seal(ROW, value)) == value


@given(value=text.filter(lambda value: len(value) > 3))
def test_a_sealed_value_does_not_show_and_is_never_the_same(value: str) -> None:
    cipher = Cipher("k")
    first, second = cipher.seal(ROW, value), cipher.seal(ROW, value)
    assert first != second
    assert value.encode() not in first


def test_it_opens_only_with_its_key_in_its_row_and_untouched() -> None:
    sealed = Cipher("k").seal(ROW, "value")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for cipher, row, content in (
        (Cipher("K"), ROW, sealed),
        (Cipher("k"), uuid4(), sealed),
        (Cipher("k"), ROW, changed),
    ):
        with pytest.raises(SecretUnreadable, match="another secrets key"):
            cipher.open(row, content)
