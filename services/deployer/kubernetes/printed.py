"""What several pods printed, in a text of limited size. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def joined(printed: Sequence[tuple[str, bytes]], limit: int) -> bytes:
    """Each part under its pod's name. Where there is not room for all, each pod has as much as any other that wants
    it, so that one that prints much hides no other; what is left of a part is its last lines.

    Args:
        printed: name and text of each pod.
        limit: bytes; where not even the names fit, these are the last ones of all.
    """
    heads = [f"== {name}\n".encode() for name, _ in printed]
    texts = [len(text) for _, text in printed]
    left = limit - sum(map(len, heads))
    rooms = shares(texts, left) if left > 0 else texts
    parts = [head + _end(text, room) for head, (_, text), room in zip(heads, printed, rooms, strict=True)]
    return b"".join(parts)[-limit:] if limit else b""


def shares(wanted: Sequence[int], room: int) -> Sequence[int]:
    """How much each gets of a room: what it wants, or as much as any other that does not get what it wants."""
    given = [0] * len(wanted)
    for number, index in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[index] = min(wanted[index], room // (len(wanted) - number))
        room -= given[index]
    return given


def _end(text: bytes, room: int) -> bytes:
    """Its last whole lines, or the end of one that is longer than the room."""
    if len(text) <= room:
        return text
    end = text[len(text) - room :]
    first = end.find(b"\n") + 1
    whole = text[len(text) - room - 1 : len(text) - room] == b"\n"
    return end if whole or first in (0, len(end)) else end[first:]
