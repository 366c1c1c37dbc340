"""What pages say about scopes, times and browsers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from libs.common.contracts.scopes import WORDS

_BROWSERS = (
    ("Edge", r"\bEdgA?/"),
    ("Opera", r"\bOPR/"),
    ("Firefox", r"\bFirefox/"),
    ("Chrome", r"\b(?:Headless)?Chrome/"),
    ("Safari", r"\bSafari/"),
    ("curl", r"^curl/"),
)
_SYSTEMS = (
    ("Android", r"\bAndroid\b"),
    ("iOS", r"\b(?:iPhone|iPad)\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac OS X\b"),
    ("Linux", r"\bLinux\b"),
)


def scopes(asked: Iterable[str]) -> list[tuple[str, str | None]]:
    """The words of a scope, each with what it allows; None for what this platform gives no meaning."""
    return [(word, WORDS.get(word)) for word in dict.fromkeys(asked)]


def sentence(text: str) -> str:
    """The words of a problem as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def moment(when: datetime) -> str:
    """In UTC, to the minute."""
    return when.strftime("%-d %b %Y, %H:%M UTC")


def time_left(until: datetime, now: datetime) -> str:
    """How long it is until then, as people say it."""
    seconds = max(0, round((until - now).total_seconds()))
    if seconds < 90:
        return f"{seconds} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 90 else f"{round(minutes / 60)} hours"


def browser(agent: str) -> str:
    """A browser's `User-Agent` as people know it."""
    name, system = _first(_BROWSERS, agent), _first(_SYSTEMS, agent)
    return " on ".join(part for part in (name or "A browser", system) if part)


def _first(known: Iterable[tuple[str, str]], agent: str) -> str | None:
    return next((name for name, pattern in known if re.search(pattern, agent)), None)
