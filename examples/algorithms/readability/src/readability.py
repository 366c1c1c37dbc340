"""Counts and readability scores of an English text."""

from __future__ import annotations

import re
from typing import Any

WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
SENTENCE_END = re.compile(r"[.!?\u2026]+[\"')\]\u201d\u2019]*(?=\s|$)")
VOWELS = re.compile(r"[aeiouy]+")
SILENT_END = re.compile(r"(?<=[^aeiouy])(?:e|es|ed)$")
SPOKEN_END = re.compile(r"(?:[^aeiouy]le|[^aeiouy]les|[td]ed|(?:[cgsxz]|sh|ch)es)$")
WORDS_PER_MINUTE = 230
BANDS = (
    (90, "very easy"),
    (80, "easy"),
    (70, "fairly easy"),
    (60, "plain"),
    (50, "fairly difficult"),
    (30, "difficult"),
)


class InputError(ValueError):
    """The input is not what the algorithm takes."""

    error_type = "InputError"


def apply(input: object) -> dict[str, Any]:
    """Text, or `{"text": ...}`, in; statistics and the Flesch scores out."""
    text = text_of(input)
    words = WORD.findall(text)
    if not words:
        raise InputError("the text has no words")
    sentences = max(1, len([part for part in SENTENCE_END.split(text) if WORD.search(part)]))
    syllables = sum(map(syllables_of, words))
    words_per_sentence = len(words) / sentences
    syllables_per_word = syllables / len(words)
    ease = 206.835 - 1.015 * words_per_sentence - 84.6 * syllables_per_word
    grade = 0.39 * words_per_sentence + 11.8 * syllables_per_word - 15.59
    return {
        "characters": len(text),
        "words": len(words),
        "unique_words": len({word.lower() for word in words}),
        "sentences": sentences,
        "syllables": syllables,
        "words_per_sentence": round(words_per_sentence, 2),
        "syllables_per_word": round(syllables_per_word, 2),
        "flesch_reading_ease": round(ease, 1),
        "flesch_kincaid_grade": round(grade, 1),
        "difficulty": next((name for least, name in BANDS if ease >= least), "very difficult"),
        "reading_seconds": round(60 * len(words) / WORDS_PER_MINUTE),
    }


def text_of(input: object) -> str:
    """Raises InputError."""
    text = input.get("text") if isinstance(input, dict) else input
    if not isinstance(text, str):
        raise InputError('send a text, or a JSON object such as {"text": "..."}')
    return text


def syllables_of(word: str) -> int:
    """An estimate: groups of vowels, without a silent ending."""
    lower = word.lower()
    if SILENT_END.search(lower) and not SPOKEN_END.search(lower):
        lower = SILENT_END.sub("", lower)
    return max(1, len(VOWELS.findall(lower)))
