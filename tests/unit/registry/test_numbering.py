"""Version numbers and their callability."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.catalog import Callability
from libs.common.problems import Invalid
from services.registry.numbering import VersionType, callability, next_number, version_type

PUBLIC, PRIVATE = Callability.PUBLIC, Callability.PRIVATE
kinds = st.sampled_from(list(VersionType))


class TestVersionType:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            (None, VersionType.MINOR),
            ("", VersionType.MINOR),
            ("major", VersionType.MAJOR),
            ("minor", VersionType.MINOR),
            ("revision", VersionType.REVISION),
            ("patch", VersionType.REVISION),
        ],
    )
    def test_words_for_it(self, text: str | None, kind: VersionType) -> None:
        assert version_type(text) is kind

    def test_another_word_is_refused(self) -> None:
        with pytest.raises(Invalid, match="'huge' is not one of major, minor, revision"):
            version_type("huge")


class TestNextNumber:
    @pytest.mark.parametrize(
        ("kind", "number"),
        [(VersionType.MAJOR, (1, 0, 0)), (VersionType.MINOR, (0, 1, 0)), (VersionType.REVISION, (0, 0, 1))],
    )
    def test_the_first(self, kind: VersionType, number: tuple[int, int, int]) -> None:
        assert next_number([], kind) == number

    @pytest.mark.parametrize(
        ("kind", "number"),
        [(VersionType.MAJOR, (2, 0, 0)), (VersionType.MINOR, (1, 11, 0)), (VersionType.REVISION, (1, 10, 3))],
    )
    def test_after_the_highest_as_numbers(self, kind: VersionType, number: tuple[int, int, int]) -> None:
        assert next_number([(1, 9, 0), (1, 10, 2), (1, 2, 7)], kind) == number

    @given(steps=st.lists(kinds, max_size=30))
    def test_numbers_only_rise_and_never_repeat(self, steps: list[VersionType]) -> None:
        published: list[tuple[int, int, int]] = []
        for kind in steps:
            number = next_number(published, kind)
            assert not published or number > max(published)
            published.append(number)


class TestCallability:
    def test_the_first_version_chooses_and_is_private_when_it_does_not(self) -> None:
        assert callability([], (0, 1, 0), PUBLIC) is PUBLIC
        assert callability([], (0, 1, 0), None) is PRIVATE

    def test_a_minor_keeps_that_of_its_major(self) -> None:
        assert callability([((1, 0, 0), PUBLIC)], (1, 1, 0), None) is PUBLIC
        assert callability([((1, 0, 0), PUBLIC)], (1, 1, 0), PUBLIC) is PUBLIC
        with pytest.raises(Invalid, match=r"versions of 1 are public, so 1.1.0 cannot be private"):
            callability([((1, 0, 0), PUBLIC)], (1, 1, 0), PRIVATE)

    def test_a_revision_keeps_that_of_its_minor(self) -> None:
        with pytest.raises(Invalid, match=r"versions of 1.1 are private, so 1.1.1 cannot be public"):
            callability([((1, 0, 0), PRIVATE), ((1, 1, 0), PRIVATE)], (1, 1, 1), PUBLIC)

    def test_a_new_major_is_free_again(self) -> None:
        assert callability([((1, 0, 0), PRIVATE)], (2, 0, 0), PUBLIC) is PUBLIC
        assert callability([((1, 0, 0), PUBLIC)], (2, 0, 0), None) is PRIVATE

    @given(steps=st.lists(st.tuples(kinds, st.sampled_from([PUBLIC, PRIVATE, None])), max_size=30))
    def test_a_major_never_mixes(self, steps: list[tuple[VersionType, Callability | None]]) -> None:
        published: list[tuple[tuple[int, int, int], Callability]] = []
        for kind, asked in steps:
            number = next_number([one for one, _ in published], kind)
            try:
                published.append((number, callability(published, number, asked)))
            except Invalid:
                continue
        for major in {number[0] for number, _ in published}:
            assert len({found for number, found in published if number[0] == major}) == 1
