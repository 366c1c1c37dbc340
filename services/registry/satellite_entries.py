"""What a satellite is asked to hold, checked before anything is looked up. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, StrictInt

from libs.common.contracts.launches import MAX_REPLICAS, VANITY
from libs.common.contracts.references import NAME
from libs.common.problems import Unprocessable

MAX_ENTRIES = 200
MAX_NAME = 100
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")


class EntryBody(BaseModel):
    """`{"algorithm": "OWNER/NAME/HASH", "vanity_url": "foo/bar", "replicas": 2}`"""

    model_config = ConfigDict(extra="forbid")

    algorithm: str
    vanity_url: str
    replicas: StrictInt = 1


@dataclass(frozen=True)
class Asked:
    """One entry, taken apart."""

    owner: str
    name: str
    commit: str
    vanity_url: str
    replicas: int


def read(entries: Sequence[EntryBody]) -> list[Asked]:
    """Raises Unprocessable that names every entry with a fault, and says what is wrong with it."""
    if not entries:
        raise Unprocessable("a satellite holds at least one algorithm: give 'algorithms'")
    if len(entries) > MAX_ENTRIES:
        raise Unprocessable(f"a satellite holds at most {MAX_ENTRIES} algorithms, and these are {len(entries)}")
    faults: list[str] = []
    found: list[Asked] = []
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries):
        place = f"algorithms[{number}]"
        faults += [f"{place}: {fault}" for fault in _faults(entry)]
        first = seen.setdefault(entry.vanity_url.lower(), number)
        if first != number:
            faults.append(f"{place}: the vanity URL '{entry.vanity_url[:90]}' is that of algorithms[{first}] too")
        found.append(Asked(*(parts(entry.algorithm) or ("", "", "")), entry.vanity_url, entry.replicas))
    if faults:
        raise Unprocessable("; ".join(faults[:20]))
    return found


def parts(text: str) -> tuple[str, str, str] | None:
    """Owner, name and commit of `OWNER/NAME/HASH`, or None when it is none."""
    words = text.removeprefix("algo://").split("/")
    if len(words) != 3 or not (NAME.fullmatch(words[0]) and NAME.fullmatch(words[1]) and _COMMIT.fullmatch(words[2])):
        return None
    return words[0], words[1], words[2].lower()


def not_a_version(text: str) -> str:
    """What is wrong with a text that is no `OWNER/NAME/HASH`."""
    return f"'{text[:120]}' is not OWNER/NAME/HASH, where HASH is the 40 hex digits of a built commit"


def name(text: str, what: str) -> str:
    """The name of a satellite or launch without outer space. Raises Unprocessable."""
    found = text.strip()
    if not found or len(found) > MAX_NAME or not found.isprintable():
        raise Unprocessable(f"the name of a {what} has 1 to {MAX_NAME} printable characters")
    return found


def _faults(entry: EntryBody) -> list[str]:
    faults = []
    if parts(entry.algorithm) is None:
        faults.append(not_a_version(entry.algorithm))
    if not VANITY.fullmatch(entry.vanity_url):
        faults.append(
            f"'{entry.vanity_url[:90]}' is no vanity URL: use word/word, of letters, digits, '_' and inner '-', "
            "at most 40 characters each"
        )
    if not 1 <= entry.replicas <= MAX_REPLICAS:
        faults.append(
            f"{entry.replicas} replicas are not possible: use 1 to {MAX_REPLICAS}"
            + (", or leave the algorithm out" if entry.replicas == 0 else "")
        )
    return faults
