"""Which entity tags an If-Match names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import etags
from libs.common.problems import Invalid

TAGS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f'), max_size=8)


@pytest.mark.parametrize(
    ("lines", "holds"),
    [
        (['"3"'], True),
        (["*"], True),
        ([" * "], True),
        (['"2"'], False),
        (['""'], False),
        (['W/"3"'], False),
        (['W/"3", "3"'], True),
        (['"1", "2" ,\t"3"'], True),
        (['"1","2"'], False),
        (['"1"', '"3"'], True),
        ([', ,"3",,'], True),
        (['"a,b", "3"'], True),
        (['"1,", "3,"'], False),
    ],
)
def test_it_holds_when_a_strong_tag_is_the_same(lines: list[str], holds: bool) -> None:
    assert etags.matches(lines, etags.strong(3)) is holds


@pytest.mark.parametrize(
    "line", ["", " ", ",", "3", '"3', '3"', '"3" "3"', '"3", 3', '*, "3"', '"3", *', 'w/"3"', '"a b"', '"3";', "**"]
)
def test_what_is_no_list_of_tags_is_refused_in_words(line: str) -> None:
    with pytest.raises(Invalid, match='such as "3"') as refused:
        etags.matches([line], etags.strong(3))
    assert refused.value.status == 400


@given(tags=st.lists(st.tuples(st.booleans(), TAGS), min_size=1, max_size=5), current=TAGS)
def test_any_list_is_read_as_it_was_written(tags: list[tuple[bool, str]], current: str) -> None:
    line = ", ".join(f"{'W/' if weak else ''}{etags.strong(tag)}" for weak, tag in tags)
    assert etags.matches([line], etags.strong(current)) is ((False, current) in tags)
