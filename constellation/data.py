"""A client of the Data API: files and collections by their addresses, `data://OWNER/COLLECTION/FILE`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from constellation.rest import Document, Rest, path

CHUNK = 1 << 20
READERS = {"owner": [], "algorithms": ["algo://.my/*"], "everybody": ["user://*"]}
"""Access lists of collections by who reads beside the owner's own keys."""


class Data:
    """Every method raises ApiError. Addresses may leave out `data://`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def list(self, address: str) -> Iterator[Document]:
        """Folders, as `{"name"}`, and files, as `{"filename", "size", "last_modified"}`."""
        marker: dict[str, str] = {}
        while True:
            page = self._rest.get(_url(address), params=marker)
            yield from (*page.get("folders", ()), *page.get("files", ()))
            if not page.get("marker"):
                return
            marker = {"marker": page["marker"]}

    def make(self, address: str, readers: str = "algorithms") -> str:
        """Make a collection; returns its address.

        Args:
            readers: one of READERS.
        """
        place = PurePosixPath(_plain(address))
        body: Document = {"name": place.name, "acl": {"read": READERS[readers]}}
        return str(self._rest.send("POST", _url(str(place.parent)), body)["result"])

    def put(self, file: Path, address: str) -> str:
        """Write a local file's bytes to an address, or into a collection under its own name; returns the address."""
        if len(PurePosixPath(_plain(address)).parts) == 2 or address.endswith("/"):
            address = f"{address.rstrip('/')}/{file.name}"
        with file.open("rb") as source:
            size = {"Content-Length": str(file.stat().st_size)}
            chunks = iter(lambda: source.read(CHUNK), b"")
            answer = self._rest.request("PUT", _url(address), content=chunks, headers=size)
        return str(self._rest.document(answer)["result"])

    def get(self, address: str) -> Iterator[bytes]:
        """The bytes of a file, as they arrive."""
        with self._rest.streamed(_url(address)) as answer:
            yield from answer.iter_bytes(CHUNK)

    def remove(self, address: str, *, force: bool = False) -> int:
        """Remove a file or a collection; returns how many things went.

        Args:
            force: with the files that are in it.
        """
        query = "?force=true" if force else ""
        return int(self._rest.send("DELETE", _url(address) + query)["result"]["deleted"])


def _plain(address: str) -> str:
    return address.removeprefix("data://").strip("/")


def _url(address: str) -> str:
    return "/v1/data" + path(*(_plain(address).split("/")))
