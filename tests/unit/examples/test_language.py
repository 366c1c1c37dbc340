"""The bundled algorithm `language`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.examples.loading import algorithmia, load_example

HELD_OUT = {
    "en": "Please send me the invoice before Friday, since the accountant leaves for her holidays then.",
    "de": "Bitte schicken Sie mir die Rechnung vor Freitag, denn dann geht die Buchhalterin in den Urlaub.",
    "fr": "Veuillez m'envoyer la facture avant vendredi, car la comptable part alors en vacances.",
    "es": "Por favor, envíeme la factura antes del viernes, porque después la contable se va de vacaciones.",
    "it": "Per favore mi mandi la fattura entro venerdì, perché poi la contabile parte per le vacanze.",
    "nl": "Stuur mij de rekening alstublieft voor vrijdag, want daarna gaat de boekhoudster met vakantie.",
}


@pytest.fixture
def language(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_example("language", monkeypatch, Algorithmia=algorithmia())


@pytest.mark.parametrize("code", HELD_OUT)
def test_sentences_that_no_profile_was_learnt_from_are_recognized(language: Any, code: str) -> None:
    guess = language.apply(HELD_OUT[code], language.load())
    assert guess["language"] == code
    assert guess["ranking"][0]["language"] == code
    assert guess["ranking"][0]["probability"] > 0.9


def test_the_ranking_holds_every_language_and_adds_up_to_one(language: Any) -> None:
    ranking = language.apply({"text": "an"}, language.load())["ranking"]
    assert {entry["language"] for entry in ranking} == set(HELD_OUT)
    probabilities = [entry["probability"] for entry in ranking]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=0.001)


def test_a_very_long_text_has_a_result_too(language: Any) -> None:
    assert language.apply(HELD_OUT["nl"] * 2000, language.load())["language"] == "nl"


@pytest.mark.parametrize("input", ["", "12345 !!", {"txt": "a"}, 5, None])
def test_what_is_no_text_with_letters_is_an_input_error(language: Any, input: object) -> None:
    with pytest.raises(language.InputError) as refused:
        language.apply(input, language.load())
    assert refused.value.error_type == "InputError"
