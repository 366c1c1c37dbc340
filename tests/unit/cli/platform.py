"""The platform as commands see it: scripted answers, and what was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

URL = "http://platform.example"


KEY, ADMIN_KEY = "simAAAA1111bbbb2222CCCC33331", "simZZZZ1111bbbb2222CCCC33331"


class Platform:
    """Answers by method and path, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, httpx.Response] = {}
        self.requests: list[httpx.Request] = []

    def on(self, line: str, document: Any, status: int = 200) -> None:
        self.answers[line] = httpx.Response(status, json=document)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        line = f"{request.method} {request.url.path}"
        unknown = httpx.Response(404, json={"detail": f"there is no {line} here"})
        return self.answers.get(line, unknown)

    @property
    def keys(self) -> set[str]:
        return {request.headers["authorization"].removeprefix("Simple ") for request in self.requests}

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


Run = Callable[..., Any]


def algorithm(**more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "name": "hello",
        "owner": "ana",
        "details": {"label": "Hello"},
        "settings": {"language": "python3-1", "network_access": "full", "algorithm_callability": "private"},
        "source": {"repository_https_url": f"{URL}/git/ana/hello.git"},
        **more,
    }


def finished_log(text: str, status: str = "succeeded", reason: str | None = None) -> dict[str, Any]:
    return {
        "build_id": "b1",
        "text": text,
        "offset": 0,
        "next_offset": len(text),
        "finished": True,
        "status": status,
        "reason": reason,
    }
