"""Is an unpacked repository an algorithm? Says what is missing, with the name of the file that was expected."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from libs.common.contracts.catalog import Language
from services.worker.files import Untrusted, read_within, within

CONFIGURATION = "algorithmia.conf"
PIPE = Path("bin") / "pipe"
_MAX_CONFIGURATION_BYTES = 1 << 20
_SUFFIX = {Language.PYTHON: ".py", Language.JAVASCRIPT: ".js"}


class NotAnAlgorithm(ValueError):
    """What the repository lacks, in a sentence for its author."""


def check(source: Path, language: Language, name: str) -> Sequence[str]:
    """Remarks that the author should read. Raises NotAnAlgorithm. Blocks."""
    remarks = _check_configuration(source, name)
    if language is Language.PIPE:
        program = within(source, PIPE)
        if program is None:
            raise NotAnAlgorithm(f"{PIPE} is missing: the program that speaks the pipe protocol")
        if not os.access(program, os.X_OK):
            raise NotAnAlgorithm(f"{PIPE} is not executable; commit it with `git update-index --chmod=+x {PIPE}`")
        return remarks
    entry = Path("src") / f"{name}{_SUFFIX[language]}"
    if within(source, entry) is None:
        raise NotAnAlgorithm(f"{entry} is missing{_lookalike(source, entry)}")
    return remarks


def _check_configuration(source: Path, name: str) -> list[str]:
    try:
        content = read_within(source, CONFIGURATION, _MAX_CONFIGURATION_BYTES)
    except Untrusted as error:
        raise NotAnAlgorithm(str(error)) from error
    if content is None:
        return [f"{CONFIGURATION} is missing; that is allowed here, but other tools need it"]
    try:
        configuration = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotAnAlgorithm(f"{CONFIGURATION} is not JSON: {error}") from error
    if not isinstance(configuration, dict):
        raise NotAnAlgorithm(f"{CONFIGURATION} must hold a JSON object")
    called = configuration.get("algoname")
    if called is not None and called != name:
        return [f"{CONFIGURATION} says algoname {called!r}, but this algorithm is called {name!r}; the latter counts"]
    return []


def _lookalike(source: Path, entry: Path) -> str:
    """The file that the author may have meant."""
    folder = source / entry.parent
    others = sorted(path.name for path in folder.glob(f"*{entry.suffix}")) if folder.is_dir() else []
    for other in others:
        if other.lower() == entry.name.lower():
            return f"; there is {entry.parent / other}, but capital letters count"
    candidates = [other for other in others if other not in ("__init__.py", "index.js")]
    if len(candidates) == 1:
        return f"; there is {entry.parent / candidates[0]}: the file must be called as the algorithm is"
    return ""
