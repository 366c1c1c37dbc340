"""The part of the client of the platform's HTTP API that fetches bundles."""

from __future__ import annotations

from pathlib import Path

import httpx
from pydantic import ValidationError

from constellation.rest import ApiError, Document, Rest, path
from libs.common.contracts.bundles import Bundle, BundleAwaited

_SECONDS = 300.0
"""For everything of a bundle but its blobs."""


class BundlesApi:
    """Every method raises ApiError."""

    _rest: Rest

    def bundle(self, launch_id: str) -> Bundle | BundleAwaited:
        """Everything of a launch's bundle but its blobs, or what is still being made."""
        answer = self._rest.request("GET", path("admin", "v1", "launches", launch_id, "bundle"), timeout=_SECONDS)
        kind: type[Bundle] | type[BundleAwaited] = BundleAwaited if answer.status_code == 202 else Bundle
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError:
            raise ApiError(f"{answer.url} did not answer as the platform does; is the address right?") from None

    def signing_keys(self) -> Document:
        """The platform's published keys (RFC 7517)."""
        return self._rest.get("/o/jwks/")

    def mandate(self, identifier: str, *, note: str) -> str:
        """A key with which the app of that identifier, and no other, lets itself in."""
        body = {"kind": "app", "identifiers": [identifier], "note": note}
        return str(self._rest.send("POST", "/admin/v1/mandates", body)["key"])

    def read_blob(self, sha256: str, part: Path) -> None:
        """Append to a file what it lacks of a blob of an image. What has come when the connection breaks stays."""
        have = part.stat().st_size if part.exists() else 0
        headers = {"accept-encoding": "identity", **({"range": f"bytes={have}-"} if have else {})}
        where = path("admin", "v1", "images", "blobs", f"sha256:{sha256}")
        with self._rest.streamed(where, headers=headers) as answer, part.open("ab") as file:
            if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                file.truncate(0)
            for piece in answer.iter_raw():
                file.write(piece)
