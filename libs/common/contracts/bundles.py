"""Bundles: what a satellite is carried away in, and how one knows that it is whole and whose it is.

A bundle is a folder of files. Its index names each one with its length and SHA-256. The platform's signature is over
the index's digest, with one of the keys that it signs access tokens with, under a type of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from libs.common.contracts.identity import Wire

SIGNATURE_TYPE = "constellation-bundle"
"""Member `typ` of the signature's header (RFC 7515). Nothing else that the platform signs has it."""
SIGNATURE_ALGORITHM = "RS256"
PLAN_FILE = "plan.json"
SECRETS_FILE = "secrets.json"
IMAGES_FOLDER = "images"
IMAGES_INDEX_FILE = f"{IMAGES_FOLDER}/index.json"
IMAGES_MARK_FILE = f"{IMAGES_FOLDER}/oci-layout"
BLOBS_FOLDER = f"{IMAGES_FOLDER}/blobs/sha256"
DIGEST = r"^[0-9a-f]{64}$"
_SMALL = (PLAN_FILE, SECRETS_FILE, IMAGES_INDEX_FILE, IMAGES_MARK_FILE)
_BLOB = re.compile(rf"{re.escape(BLOBS_FOLDER)}/([0-9a-f]{{64}})")


class BundleFile(Wire):
    path: str
    """Below the bundle's folder, with `/`."""
    size: int = Field(ge=0)
    sha256: str = Field(pattern=DIGEST)

    @property
    def is_blob(self) -> bool:
        """Part of an image, and named by its digest."""
        return _BLOB.fullmatch(self.path) is not None

    @model_validator(mode="after")
    def _is_expected(self) -> Self:
        blob = _BLOB.fullmatch(self.path)
        if self.path not in _SMALL and (blob is None or blob[1] != self.sha256):
            raise ValueError(f"a bundle has no file '{self.path}'")
        return self


class BundleIndex(Wire):
    """`bundle.json`. The same content gives the same index."""

    format: Literal[1] = 1
    satellite_id: UUID
    satellite: str
    satellite_version: int
    launch_id: UUID
    launch: str
    deployment_id: UUID
    files: tuple[BundleFile, ...]
    """By path. All files but the index and its signature."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is named twice")
        if missing := [path for path in _SMALL if path not in paths]:
            raise ValueError(f"the index lacks {', '.join(missing)}")
        return self


class SatelliteSecrets(Wire):
    """`secrets.json`: environment variables of replicas, by algorithm id."""

    format: Literal[1] = 1
    salt: str
    """Without it the digest of this file would tell whoever guesses a secret that the guess is right."""
    algorithms: Mapping[UUID, Mapping[str, str]] = {}


class Bundle(Wire):
    """`GET /admin/v1/launches/{id}/bundle`: everything but the blobs of images, as of one moment."""

    index: str
    """The content of `bundle.json`, to the letter."""
    signature: str
    """The content of `bundle.jws`: a compact JWS over `sha256:` and the index's digest. Its header has the key."""
    files: Mapping[str, str] = Field(repr=False)
    """Content of the files that are no blobs, by path."""


class BundleAwaited(Wire):
    """The same with status 202: what is still being made."""

    waiting: tuple[str, ...]
