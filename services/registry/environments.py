"""The languages that algorithms can be written in, as the Algorithmia API describes them. Pure.

Ids are made from names, so they are the same on every installation.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid5

from libs.common.contracts.catalog import Language

_NAMESPACE = UUID("5c8a9f2e-3f0b-4f0e-9d36-0f5b6f1f8a11")
_CREATED_AT = "2026-01-01T00:00:00.000Z"

SETTING = {"python3-1": Language.PYTHON, "javascript": Language.JAVASCRIPT, "pipe": Language.PIPE}
"""Values of `settings.language`."""
OTHER_NAMES = {"python3": "python3-1"}
"""Names of languages that stand for a value of `settings.language` too."""
_PACKAGE_SETS = {"python3": Language.PYTHON, "node": Language.JAVASCRIPT, "javascript": Language.JAVASCRIPT}
_DESCRIPTIONS = {
    Language.PYTHON: ("Python 3", "Python 3 with the packages of requirements.txt", ["requirements.txt"]),
    Language.JAVASCRIPT: ("JavaScript", "Node.js with the packages of package.json", ["package.json"]),
    Language.PIPE: ("Any language", "An executable bin/pipe that speaks the pipe protocol", ["bin/pipe"]),
}


def environment_id(language: Language) -> UUID:
    return uuid5(_NAMESPACE, f"environment {language}")


def specification_id(language: Language) -> UUID:
    return uuid5(_NAMESPACE, f"specification {language}")


def by_language(name: str) -> Language | None:
    return SETTING.get(OTHER_NAMES.get(name, name))


def by_id(text: str) -> Language | None:
    return next((language for language in Language if str(environment_id(language)) == text), None)


def by_specification(text: str) -> Language | None:
    return next((language for language in Language if str(specification_id(language)) == text.lower()), None)


def by_package_set(name: str) -> Language | None:
    """Package sets of the original are named after their language and its version: `python37`, `node10`."""
    return next((language for prefix, language in _PACKAGE_SETS.items() if name.startswith(prefix)), None)


def languages() -> list[dict[str, Any]]:
    return [describe_language(language) for language in Language]


def describe_language(language: Language) -> dict[str, Any]:
    display, _, required = _DESCRIPTIONS[language]
    configuration = {
        "display_name": display,
        "req_files": required,
        "artifacts": [{"source": "/opt/algorithm", "destination": "/opt/algorithm/"}],
    }
    return {"name": language.value, "display_name": display, "configuration": json.dumps(configuration)}


def describe_environment(language: Language) -> dict[str, Any]:
    display, description, _ = _DESCRIPTIONS[language]
    return {
        "id": str(environment_id(language)),
        "environment_specification_id": str(specification_id(language)),
        "display_name": display,
        "description": description,
        "created_at": _CREATED_AT,
        "language": describe_language(language),
        "machine_type": "CPU",
    }
