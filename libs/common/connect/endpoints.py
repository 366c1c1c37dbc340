"""The requests of the Fakts protocol, version 2, to one platform.

Every method raises Unreachable when the platform does not answer or is at fault, and Refused for its errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from libs.common.connect import protocol
from libs.common.connect.errors import Refused, Unreachable
from libs.common.connect.protocol import Credential, Deployment, DeviceLogin, TokenAnswer
from libs.common.contracts.joining import Manifest

_ANSWER_SECONDS = 10.0
_REPORT_SECONDS = 5.0
_AGAIN_SECONDS = (0.3, 1.0)


class Endpoints:
    """Args:
    url: of the platform, as `protocol.server_url` returned it.
    """

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self.url = url
        self._deployment: Deployment | None = None

    async def discover(self) -> Deployment:
        """Where what is asked; found out once."""
        if self._deployment is None:
            answer = await self._send("GET", f"{self.url}{protocol.WELL_KNOWN}")
            if answer.is_redirect:
                raise Unreachable(
                    f"{self.url} redirects to {answer.headers.get('location')}; connect to that address"
                )
            if answer.status_code >= 500:
                raise Unreachable(f"{self.url} answered {answer.status_code}; is all of the platform running?")
            self._deployment = protocol.deployment(self.url, _json(answer))
        return self._deployment

    async def start(self, manifest: Manifest, *, seconds: float) -> DeviceLogin:
        """Ask for a code that a person can approve."""
        endpoint = (await self.discover()).device_endpoint
        if endpoint is None:
            raise Unreachable(f"{self.url} lets nobody in by a code; use a mandate key or a redeem token")
        answer = await self._send("POST", endpoint, json=protocol.start_body(manifest, seconds=seconds))
        return protocol.device_login(self.url, self._good(answer))

    async def token(self, form: Mapping[str, str], *, again: bool = False) -> TokenAnswer:
        """Ask the token endpoint.

        Args:
            again: the question may be repeated when it is not known whether it was heard.
        """
        endpoint = (await self.discover()).token_endpoint
        for pause in _AGAIN_SECONDS if again else ():
            try:
                return await self._token(endpoint, form)
            except Unreachable:
                await asyncio.sleep(pause)
        return await self._token(endpoint, form)

    async def revoke(self, credential: Credential) -> None:
        """End a login (RFC 7009)."""
        endpoint = (await self.discover()).revocation_endpoint
        if endpoint is not None:
            answer = await self._send("POST", endpoint, data=protocol.revocation_form(credential))
            if answer.status_code != 200:
                raise self._fault(answer)

    async def report(self, token: str, alias_reports: Mapping[str, Any], *, functional: bool) -> None:
        """Tell what could be reached of what was given."""
        endpoint = (await self.discover()).report_endpoint
        if endpoint is not None:
            body = {"alias_reports": alias_reports, "functional": functional}
            headers = {"authorization": f"Bearer {token}"}
            await self._send("POST", endpoint, json=body, headers=headers, timeout=_REPORT_SECONDS)

    async def _token(self, endpoint: str, form: Mapping[str, str]) -> TokenAnswer:
        return protocol.token_answer(self.url, self._good(await self._send("POST", endpoint, data=form)))

    async def _send(
        self, method: str, url: str, *, timeout: float = _ANSWER_SECONDS, **options: Any
    ) -> httpx.Response:
        headers = {"accept": "application/json", **options.pop("headers", {})}
        try:
            return await self._http.request(method, url, headers=headers, timeout=timeout, **options)
        except httpx.TimeoutException:
            raise Unreachable(f"{self.url} did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.url} cannot be reached ({error}); is the platform running there?") from error

    def _good(self, answer: httpx.Response) -> Any:
        document = _json(answer)
        if answer.status_code != 200 or (isinstance(document, dict) and document.get("status") == "error"):
            raise self._fault(answer)
        return document

    def _fault(self, answer: httpx.Response) -> Refused | Unreachable:
        refused = protocol.refusal(_json(answer), answer.status_code)
        return refused or Unreachable(f"{self.url} answered {answer.status_code} without a reason")


def _json(answer: httpx.Response) -> Any:
    """The body, or None when it is no JSON."""
    try:
        return answer.json()
    except ValueError:
        return None
