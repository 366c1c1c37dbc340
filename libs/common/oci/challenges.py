"""How a registry says who it wants to know: `WWW-Authenticate` (RFC 9110, section 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SCHEME = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9._-]*)(?=[\s,]|$)(?!\s*=)")
_PARAMETER = re.compile(r"\s*,?\s*([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")


@dataclass(frozen=True)
class Challenge:
    """`scheme` in lower case, such as `bearer`."""

    scheme: str
    parameters: Mapping[str, str]


def parse(header: str) -> Sequence[Challenge]:
    """The challenges of one header, as far as they can be understood."""
    found: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
