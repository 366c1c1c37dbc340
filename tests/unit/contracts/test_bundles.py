"""What an index of a bundle may be."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from libs.common.contracts.bundles import BundleIndex

SMALL = ("images/index.json", "images/oci-layout", "plan.json", "secrets.json")


def index(*paths: str) -> BundleIndex:
    members: dict[str, Any] = {
        "satellite_id": uuid4(),
        "satellite": "edge",
        "satellite_version": 1,
        "launch_id": uuid4(),
        "launch": "prod",
        "deployment_id": uuid4(),
        "files": [{"path": path, "size": 1, "sha256": path[-64:] if "blobs" in path else "a" * 64} for path in paths],
    }
    return BundleIndex.model_validate(members)


def test_it_names_each_file_once_and_all_that_every_bundle_has() -> None:
    blob = "images/blobs/sha256/" + "b" * 64
    assert [file.is_blob for file in index(*SMALL, blob).files] == [False] * 4 + [True]
    with pytest.raises(ValidationError, match="named twice"):
        index(*SMALL, blob, blob)
    with pytest.raises(ValidationError, match=r"lacks secrets\.json, images/oci-layout"):
        index("images/index.json", "plan.json")
