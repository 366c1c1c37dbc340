"""The schemas of releases of Kubernetes (kubernetes-validate)."""

from __future__ import annotations

from functools import cache
from typing import Any

from kubernetes_validate import ValidationError, utils

utils.schema_contents = cache(utils.schema_contents)  # or it reads and parses megabytes for each object


def fault(body: dict[str, Any], release: str) -> str | None:
    """What a release has against an object; None for nothing. Members that it does not know are a fault."""
    try:
        utils.validate(body, release, strict=True)
    except ValidationError as error:
        return f"{'.'.join(str(part) for part in error.path)}: {error.message}"
    return None
