"""The platform that made a satellite, as the satellite sees it: it takes reports, when it can be reached."""

from __future__ import annotations

import time
from importlib.metadata import version as package_version
from pathlib import Path
from uuid import UUID

import httpx
from pydantic import ValidationError

from libs.common.connect import protocol
from libs.common.connect.endpoints import Endpoints
from libs.common.connect.errors import ConnectFailed
from libs.common.connect.protocol import Credential
from libs.common.contracts.joining import Manifest
from libs.common.contracts.satellites import ReportsTaken, reporter
from libs.common.contracts.scopes import REPORT

_ANSWER_SECONDS = 30.0
_BAD_REPORT = frozenset({400, 413, 422})


class NotTaken(Exception):
    """Reports were not taken; the message says why, and holds no secret.

    Args:
        faulty: it is for what the reports are, so that they will never be taken.
    """

    def __init__(self, reason: str, *, faulty: bool = False) -> None:
        super().__init__(reason)
        self.faulty = faulty


class Key:
    """The mandate key: as it was given, or from a file, which may be replaced at any time."""

    def __init__(self, value: str | None, file: Path | None) -> None:
        self._value = value
        self._file = file

    def read(self) -> str:
        """Raises NotTaken."""
        if self._value is not None or self._file is None:
            return self._value or ""
        try:
            return self._file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotTaken(f"the key for reports cannot be read from {self._file} ({type(error).__name__})") from None


class Mothership:
    """Args:
    insecure: the key may cross a network in the clear.

    Raises:
        ConnectFailed: the address is none that a key may be sent to; the message says why.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, key: Key, launch_id: UUID, *, insecure: bool) -> None:
        try:
            self.url = protocol.server_url(url, allow_insecure=insecure)
        except ConnectFailed:
            if protocol.server_url(url, allow_insecure=True):
                raise ConnectFailed(
                    f"{url} is not encrypted: whoever is on the way could read the key. Set "
                    "CONSTELLATION_MOTHERSHIP to its https address, or, if the network is trusted, "
                    "CONSTELLATION_REPORT_INSECURE=true"
                ) from None
        self._http = http
        self._key = key
        self._launch_id = launch_id
        self._endpoints = Endpoints(http, self.url)
        self._manifest = Manifest(
            identifier=reporter(launch_id),
            version=package_version("constellation"),
            scopes=(REPORT,),
            description="the gateways of a satellite, for their reports",
        )
        self._credential: Credential | None = None

    async def report(self, document: bytes) -> ReportsTaken:
        """Hand reports over. Raises NotTaken."""
        answer = await self._post(document, await self._token())
        if answer.status_code == 401:  # it was revoked, or the platform's keys are others
            self._credential = None
            answer = await self._post(document, await self._token())
        if answer.status_code != 200:
            raise NotTaken(_reason(self.url, answer), faulty=answer.status_code in _BAD_REPORT)
        try:
            return ReportsTaken.model_validate_json(answer.content)
        except ValidationError:
            raise NotTaken(f"{self.url} does not answer as a platform does; is the address right?") from None

    async def _post(self, document: bytes, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        url = f"{self.url}/admin/v1/launches/{self._launch_id}/reports"
        try:
            return await self._http.post(url, content=document, headers=headers, timeout=_ANSWER_SECONDS)
        except httpx.TimeoutException:
            raise NotTaken(f"{self.url} did not answer in time") from None
        except httpx.HTTPError as error:
            raise NotTaken(f"{self.url} cannot be reached ({error})") from None

    async def _token(self) -> str:
        """An access token. Raises NotTaken."""
        credential = self._credential
        if credential is None or time.time() >= credential.renew_at:
            form = protocol.mandate_form(self._key.read(), self._manifest)
            try:
                answer = await self._endpoints.token(form)
            except ConnectFailed as error:
                raise NotTaken(str(error)) from None
            credential = protocol.credential(answer, self.url, self._manifest, now=time.time())
            self._credential = credential
        return credential.access_token


def _reason(url: str, answer: httpx.Response) -> str:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = "without a reason"
    return f"{url} answered {answer.status_code}: {detail[:500]}"
