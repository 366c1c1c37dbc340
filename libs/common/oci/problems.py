"""What can go wrong with a registry. Every text names the registry, and the repository where there is one."""

from __future__ import annotations

import json

import httpx

_LONGEST_REASON = 300


class RegistryProblem(Exception):
    """The common class of them."""


class RegistryUnreachable(RegistryProblem):
    """It does not answer, or the connection broke too often."""


class RegistryRefused(RegistryProblem):
    """It answered, and did not do what it was asked. `status` is that of its answer."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Unauthorized(RegistryRefused):
    """It wants to know who asks, or that is not enough."""


class NotInRegistry(RegistryRefused):
    """It has no such repository, manifest or blob, or does not tell."""


def reason_of(content: bytes) -> str:
    """What an answer says of its error, in one line (distribution specification, error codes)."""
    try:
        errors = json.loads(content)["errors"]
        words = "; ".join(": ".join(filter(None, (one.get("code"), one.get("message")))) for one in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        words = content.decode(errors="replace")
    return " ".join(words.split())[:_LONGEST_REASON]


def refusal(answer: httpx.Response, content: bytes, what: str) -> RegistryRefused:
    """The problem for an answer's status. `what` begins the text."""
    said = reason_of(content)
    text = f"{what}: the registry answered {answer.status_code}{f' ({said})' if said else ''}"
    if answer.status_code in (401, 403):
        return Unauthorized(f"{text}; check the user and password for this registry", answer.status_code)
    kind = NotInRegistry if answer.status_code == 404 else RegistryRefused
    return kind(text, answer.status_code)
