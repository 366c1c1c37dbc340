"""Which version number a publication gets, and for whom it is callable. Pure.

The rule of the API, as it is kept here: a revision keeps the callability of its minor, a minor that of its major.
A publication that names another callability is refused, one that names none takes over what it must keep. The first
version of a major is free to choose, and private when it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from libs.common.contracts.catalog import Callability
from libs.common.problems import Invalid

Number = tuple[int, int, int]


class VersionType(StrEnum):
    MAJOR = "major"
    MINOR = "minor"
    REVISION = "revision"


def version_type(text: str | None) -> VersionType:
    """Absent counts as minor, and `patch` is another word for revision. Raises Invalid."""
    if not text:
        return VersionType.MINOR
    if text == "patch":
        return VersionType.REVISION
    try:
        return VersionType(text)
    except ValueError:
        raise Invalid(f"version_type '{text}' is not one of major, minor, revision") from None


def next_number(published: Iterable[Number], kind: VersionType) -> Number:
    """The number after the highest published one; the first minor is 0.1.0."""
    major, minor, revision = max(published, default=(0, 0, 0))
    match kind:
        case VersionType.MAJOR:
            return major + 1, 0, 0
        case VersionType.MINOR:
            return major, minor + 1, 0
        case _:
            return major, minor, revision + 1


def callability(
    published: Iterable[tuple[Number, Callability]], number: Number, asked: Callability | None
) -> Callability:
    """For whom `number` is callable. Raises Invalid when the caller asks for what it cannot be."""
    major, minor, revision = number
    same_major = {n: c for n, c in published if n[0] == major}
    same_minor = {n: c for n, c in same_major.items() if n[1] == minor}
    keeps = same_minor or same_major
    if not keeps:
        return asked or Callability.PRIVATE
    kept = keeps[max(keeps)]
    if asked is not None and asked is not kept:
        family = f"{major}.{minor}" if keeps is same_minor else f"{major}"
        raise Invalid(
            f"versions of {family} are {kept}, so {major}.{minor}.{revision} cannot be {asked}:"
            " publish a version of type 'major' to change that"
        )
    return kept
