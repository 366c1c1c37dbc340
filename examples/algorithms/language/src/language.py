"""Guesses the language of a text from its letter trigrams."""

from __future__ import annotations

import re
from collections import Counter
from math import exp, log
from pathlib import Path
from typing import Any

from Algorithmia import ADK

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
NAMES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch"}
NOT_LETTERS = re.compile(r"[\W\d_]+")
SMOOTHING = 0.5


class InputError(ValueError):
    """The input is not what the algorithm takes."""

    error_type = "InputError"


class Profile:
    """How likely each trigram is in one language, learnt from a sample of it."""

    def __init__(self, sample: str, vocabulary: int) -> None:
        counts = Counter(trigrams(sample))
        total = sum(counts.values()) + SMOOTHING * vocabulary
        self._unseen = log(SMOOTHING / total)
        self._seen = {trigram: log((count + SMOOTHING) / total) for trigram, count in counts.items()}

    def likelihood(self, found: Counter[str]) -> float:
        """Logarithm of the probability of these trigrams."""
        return sum(count * self._seen.get(trigram, self._unseen) for trigram, count in found.items())


def load() -> dict[str, Profile]:
    """The profiles, which are the state that every call gets."""
    samples = {code: (SAMPLES / f"{code}.txt").read_text(encoding="utf-8") for code in NAMES}
    vocabulary = len({trigram for sample in samples.values() for trigram in trigrams(sample)})
    return {code: Profile(sample, vocabulary) for code, sample in samples.items()}


def apply(input: object, profiles: dict[str, Profile]) -> dict[str, Any]:
    """Text, or `{"text": ...}`, in; the languages out, the likeliest first."""
    text = input.get("text") if isinstance(input, dict) else input
    if not isinstance(text, str):
        raise InputError('send a text, or a JSON object such as {"text": "..."}')
    found = Counter(trigrams(text))
    if not found:
        raise InputError("the text has no letters")
    likelihoods = {code: profile.likelihood(found) for code, profile in profiles.items()}
    best = max(likelihoods.values())
    weights = {code: exp(value - best) for code, value in likelihoods.items()}
    total = sum(weights.values())
    ranking = sorted(weights, key=lambda code: (-weights[code], code))
    return {
        "language": ranking[0],
        "ranking": [
            {"language": code, "name": NAMES[code], "probability": round(weights[code] / total, 4)}
            for code in ranking
        ],
    }


def trigrams(text: str) -> list[str]:
    """Three letters at a time, with a space at both ends of each word; a word that is shorter counts whole."""
    words = NOT_LETTERS.sub(" ", text.lower()).split()
    padded = [f" {word} " for word in words]
    return [word[start : start + 3] for word in padded for start in range(len(word) - 2)]


ADK(apply, load).init("The ship left the harbour before the sun was up.")
