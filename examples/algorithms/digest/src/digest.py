"""Describes a list of texts with the help of two other algorithms of the same owner."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import Algorithmia

CONFIGURATION = Path("algorithmia.conf")
MAX_TEXTS = 100
OPENING = 80


class InputError(ValueError):
    """The input is not what the algorithm takes."""

    error_type = "InputError"


def load() -> str:
    """Whose algorithm this is: it calls its owner's others."""
    owner: str = json.loads(CONFIGURATION.read_text(encoding="utf-8"))["username"]
    return owner


def apply(input: object, owner: str) -> dict[str, Any]:
    """A list of texts, or `{"texts": [...]}`, in; what each is like, and all together, out."""
    texts = texts_of(input)
    client = Algorithmia.client()  # in every call anew: it acts for the caller
    language = client.algo(f"{owner}/language")
    readability = client.algo(f"{owner}/readability")
    described = []
    for text in texts:
        guess = language.pipe({"text": text}).result
        measured = readability.pipe({"text": text}).result
        described.append(
            {
                "opening": text.strip()[:OPENING],
                "language": guess["language"],
                "probability": guess["ranking"][0]["probability"],
                "words": measured["words"],
                "reading_seconds": measured["reading_seconds"],
                "flesch_reading_ease": measured["flesch_reading_ease"] if guess["language"] == "en" else None,
            }
        )
    return {
        "texts": described,
        "languages": dict(Counter(one["language"] for one in described).most_common()),
        "words": sum(one["words"] for one in described),
        "reading_seconds": sum(one["reading_seconds"] for one in described),
    }


def texts_of(input: object) -> list[str]:
    """Raises InputError."""
    texts = input.get("texts") if isinstance(input, dict) else input
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError('send a JSON list of texts, or {"texts": [...]}, none of them empty')
    if len(texts) > MAX_TEXTS:
        raise InputError(f"these are {len(texts)} texts; at most {MAX_TEXTS} are taken at once")
    return texts


Algorithmia.ADK(apply, load).init(["The tide comes in twice a day.", "Das Wasser steigt zweimal am Tag."])
