"""The bundled algorithm `readability`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.examples.loading import load_example


@pytest.fixture
def readability(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_example("readability", monkeypatch)


def test_a_text_is_counted_and_scored(readability: Any) -> None:
    measured = readability.apply("The quick brown fox jumps over the lazy dog. It did not mind.")
    assert measured["words"] == 13
    assert measured["unique_words"] == 12
    assert measured["sentences"] == 2
    assert measured["syllables"] == 15
    assert measured["words_per_sentence"] == 6.5
    assert measured["flesch_reading_ease"] == pytest.approx(206.835 - 1.015 * 6.5 - 84.6 * 15 / 13, abs=0.05)
    assert measured["flesch_kincaid_grade"] == pytest.approx(0.39 * 6.5 + 11.8 * 15 / 13 - 15.59, abs=0.05)
    assert measured["difficulty"] == "very easy"


def test_a_json_object_is_taken_as_well_as_a_text(readability: Any) -> None:
    assert readability.apply({"text": "One two."}) == readability.apply("One two.")


def test_harder_words_and_longer_sentences_score_lower(readability: Any) -> None:
    plain = readability.apply("We go home now. The sun is low. It is late.")
    hard = readability.apply(
        "Institutional considerations notwithstanding, interdisciplinary collaboration necessitates administrative "
        "reorganization."
    )
    assert hard["flesch_reading_ease"] < 0 < plain["flesch_reading_ease"]
    assert hard["difficulty"] == "very difficult"


def test_a_point_inside_a_number_ends_no_sentence(readability: Any) -> None:
    assert readability.apply('It is 3.5 metres long. "Really?" she asked...')["sentences"] == 3


@pytest.mark.parametrize(
    ("word", "syllables"),
    [("the", 1), ("makes", 1), ("houses", 2), ("jumped", 1), ("wanted", 2), ("table", 2), ("rhythm", 1), ("idea", 2)],
)
def test_syllables_are_estimated_from_the_spelling(readability: Any, word: str, syllables: int) -> None:
    assert readability.syllables_of(word) == syllables


@pytest.mark.parametrize("input", ["", "?! ...", {"txt": "a"}, 5, None, b"bytes", ["a"]])
def test_what_is_no_text_with_words_is_an_input_error(readability: Any, input: object) -> None:
    with pytest.raises(readability.InputError) as refused:
        readability.apply(input)
    assert refused.value.error_type == "InputError"
