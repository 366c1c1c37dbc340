"""The credential with which a satellite reports to the platform that it came from."""

from __future__ import annotations

from constellation.api import Api
from constellation.bundle.content import Content
from constellation.bundle.folder import BundleFolder
from libs.common.contracts.satellites import reporter


def enrol(api: Api, bundle: BundleFolder, content: Content) -> None:
    """See that the folder has one. One that it has of the same launch and platform is kept. Raises ApiError."""
    index = content.index
    known = {"launch": str(index.launch_id), "url": bundle.origin.get("url")}
    if {name: bundle.report.get(name) for name in known} == known:
        return
    key = api.mandate(reporter(index.launch_id), note=f"reports of launch {index.launch}")
    bundle.report = {**known, "key": key}
