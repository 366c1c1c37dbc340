"""Images and their pushes as administrators get to see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from libs.common.contracts.images import ImageSubject
from services.registry.models import Image, ImageBlob, ImagePush, ImageWork
from services.registry.views import timestamp


def image(row: Image, subject: ImageSubject | None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "kind": "gateway" if row.revision_id is None else "revision",
        "revision_id": str(row.revision_id) if row.revision_id else None,
        "algorithm": f"{subject.owner}/{subject.name}/{subject.commit}" if subject else None,
        "release": row.release,
        "platform": row.platform,
        "digest": row.digest,
        "base": row.base,
        "size": row.size,
        **_work(row),
    }


def details(
    row: Image, subject: ImageSubject | None, blobs: Sequence[ImageBlob], pushes: Sequence[ImagePush]
) -> dict[str, Any]:
    """An image with all that belongs to it, also to one that was made before."""
    return {
        **image(row, subject),
        "blobs": [{"digest": one.digest, "size": one.size, "media_type": one.media_type} for one in blobs],
        "pushes": [push(one) for one in pushes],
    }


def push(row: ImagePush) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "image_id": str(row.image_id),
        "to": row.reference,
        "digest": row.digest,
        **_work(row),
    }


def _work(row: ImageWork) -> dict[str, Any]:
    return {
        "state": row.state.value,
        "reason": row.reason,
        "attempts": row.attempts,
        "worker": row.worker,
        "created_at": timestamp(row.created_at),
        "started_at": _moment(row.started_at),
        "finished_at": _moment(row.finished_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment is not None else None
