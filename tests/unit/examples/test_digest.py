"""The bundled algorithm `digest`, which calls two others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.examples.loading import algorithmia, load_example

FRENCH = ("le", "la")


class Client:
    """Answers as the two algorithms would, and notes what was called."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str]] = []

    def algo(self, reference: str) -> Any:
        def pipe(input: dict[str, str]) -> Any:
            self.called.append((reference, input["text"]))
            words = input["text"].split()
            if reference.endswith("/language"):
                code = "fr" if words[0] in FRENCH else "en"
                return SimpleNamespace(result={"language": code, "ranking": [{"language": code, "probability": 0.9}]})
            return SimpleNamespace(
                result={"words": len(words), "reading_seconds": 2 * len(words), "flesch_reading_ease": 90.0}
            )

        return SimpleNamespace(pipe=pipe)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def digest(client: Client, monkeypatch: pytest.MonkeyPatch) -> Any:
    return load_example("digest", monkeypatch, Algorithmia=algorithmia(client=lambda: client))


def test_it_calls_the_algorithms_of_the_owner_that_its_configuration_names(
    digest: Any, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "algorithmia.conf").write_text(json.dumps({"username": "ana", "algoname": "digest"}))
    monkeypatch.chdir(tmp_path)
    digest.apply(["the sea"], digest.load())
    assert client.called == [("ana/language", "the sea"), ("ana/readability", "the sea")]


def test_each_text_is_described_and_all_are_summed_up(digest: Any) -> None:
    described = digest.apply({"texts": ["the sea", "le ciel bleu", "a ship"]}, "ana")
    assert [one["language"] for one in described["texts"]] == ["en", "fr", "en"]
    assert [one["flesch_reading_ease"] for one in described["texts"]] == [90.0, None, 90.0]
    assert described["languages"] == {"en": 2, "fr": 1}
    assert described["words"] == 7
    assert described["reading_seconds"] == 14


@pytest.mark.parametrize("input", [[], "a text", {"texts": "a"}, ["a", ""], ["a", 5], None, ["a"] * 101])
def test_what_is_no_short_list_of_texts_is_an_input_error(digest: Any, client: Client, input: object) -> None:
    with pytest.raises(digest.InputError) as refused:
        digest.apply(input, "ana")
    assert refused.value.error_type == "InputError"
    assert client.called == []
