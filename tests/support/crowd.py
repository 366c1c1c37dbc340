"""Many clients at once, who notice every call that is lost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import httpx

CLIENTS = 8
PATIENCE = 120.0


@dataclass
class Crowd:
    """Clients that call one reference, one call after the other, until they are told to stop.

    The algorithm answers with its `version`, and the `input` that it got.
    """

    url: str
    key: str
    reference: str
    oks: list[tuple[float, int]] = field(default_factory=list)
    """When a call was answered, and by which version."""
    errors: list[tuple[float, str]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Crowd:
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client hangs"

    def _call(self, number: int) -> None:
        with httpx.Client(base_url=self.url, headers={"authorization": f"Simple {self.key}"}, timeout=90.0) as http:
            nth = 0
            while not self._over.is_set():
                nth += 1
                value = f"{number}-{nth}"
                try:
                    answer = http.post(f"/v1/algo/{self.reference}", json=value)
                    body = answer.json()
                except (httpx.HTTPError, ValueError) as error:
                    self.errors.append((time.monotonic(), f"no answer: {error!r}"))
                    continue
                if "result" in body and body["result"]["input"] == value:
                    self.oks.append((time.monotonic(), body["result"]["version"]))
                else:
                    self.errors.append((time.monotonic(), f"{answer.status_code} {body}"))

    def versions_since(self, moment: float) -> set[int]:
        return {version for at, version in self.oks if at > moment}
