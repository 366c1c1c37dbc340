"""The credential with which a satellite reports to the platform that it came from."""

from __future__ import annotations

from constellation.api import Api
from constellation.bundle.content import Content
from constellation.bundle.folder import BundleFolder


def enrol(api: Api, bundle: BundleFolder, content: Content) -> None:
    """See that the folder has one. One that it has is kept. Raises ApiError."""
