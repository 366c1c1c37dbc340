"""The part of the client of administrators' HTTP API that has container images made and pushed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from constellation.rest import ApiError, Document, Rest, path

_UNFINISHED = {"wanted", "running"}
_LOOK_SECONDS = 0.5


class ImagesApi:
    """Every method raises ApiError."""

    _rest: Rest

    def images(self) -> Iterator[Document]:
        """Newest first."""
        return self._rest.pages("/admin/v1/images")

    def image(self, image_id: str) -> Document:
        """The image, with its `blobs` and `pushes`."""
        return self._rest.get(path("admin", "v1", "images", image_id))

    def order_image(self, order: Document) -> Document:
        """Have an image made, unless it was.

        Args:
            order: `algorithm` (OWNER/NAME/VERSION), `revision`, or `gateway`; if need be `platform` and `renew`.
        """
        return self._rest.send("POST", "/admin/v1/images", order)

    def push_image(self, image_id: str, to: str) -> Document:
        """Have an image pushed. The answer is the push."""
        return self._rest.send("POST", path("admin", "v1", "images", image_id, "push"), {"to": to})

    def image_push(self, image_id: str, push_id: str) -> Document:
        pushes: list[Document] = self.image(image_id)["pushes"]
        found = next((one for one in pushes if one["id"] == push_id), None)
        if found is None:
            raise ApiError(f"image {image_id} has no push {push_id}")
        return found

    def follow_work(
        self, look: Callable[[], Document], on_change: Callable[[str], None], *, seconds: float = 3600.0
    ) -> Document:
        """Wait until an image is made or pushed, and tell of every change meanwhile. Returns what `look` gives then:
        its `state` is `ready` or `failed`, the latter with a `reason`."""
        end, said = time.monotonic() + seconds, ""
        while True:
            found = look()
            if found["state"] != said:
                said = found["state"]
                on_change(said)
            if said not in _UNFINISHED:
                return found
            if time.monotonic() >= end:
                raise ApiError(f"it is {said} after {seconds:g} s; it goes on")
            time.sleep(_LOOK_SECONDS)
