"""Addresses of hosted data: every published spelling, as owner, collection and file. Pure.

The spellings are those of the Algorithmia Data API: `OWNER/COLLECTION/FILE`, with `.my` for the caller's own name;
`.session/FILE`; `.algo/OWNER/NAME/temp/FILE` and `.../perm/FILE`, which inside that algorithm shorten to
`.algo/temp/FILE` and `.algo/perm/FILE`. `data://` may stand in front, and a slash at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from libs.common.contracts.references import NAME

MAX_FILE_NAME = 1024
"""In bytes of UTF-8."""
_URI = re.compile(r"([A-Za-z0-9]+(?:\+[^/:]*)?):/{1,2}(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SESSION = ".session"
_ALGO = ".algo"
_SHELVES = ("temp", "perm")
_NAME_RULE = "a letter, then letters, digits or _, at most 30"


class InvalidPath(ValueError):
    """The text is no address of hosted data; the message says why."""


class NotHosted(ValueError):
    """The address is that of another store, which a connector would be needed for."""


class NoSuchPlace(LookupError):
    """The address means something only inside an algorithm."""


@dataclass(frozen=True, slots=True)
class DataPath:
    """Where something is. The root has no `owner`, an account's folder no `collection`, a collection no `file`."""

    owner: str = ""
    """Name of the account whose it is."""
    collection: str = ""
    """Its name. That of a call's session is `.session/REQUEST_ID`, that of an algorithm `.algo/OWNER/NAME/SHELF`."""
    file: str = ""

    @property
    def is_special(self) -> bool:
        """A collection that nobody makes: it is there when it is needed."""
        return self.collection.startswith(".")

    @property
    def is_session(self) -> bool:
        return self.collection.startswith(f"{_SESSION}/")

    @property
    def is_temporary(self) -> bool:
        """Files here last for about a day."""
        return self.is_special and self.collection.endswith("/temp")

    @property
    def algorithm(self) -> str:
        """`OWNER/NAME` of the algorithm that a collection belongs to beside its owner; empty for others."""
        if not self.collection.startswith(f"{_ALGO}/"):
            return ""
        return self.collection[len(_ALGO) + 1 :].rpartition("/")[0]

    def __str__(self) -> str:
        if self.is_session:
            parts = [_SESSION, self.file]
        elif self.is_special:
            parts = [self.collection, self.file]
        else:
            parts = [self.owner, self.collection, self.file]
        return "data://" + "/".join(part for part in parts if part)


def session_collection(request_id: str) -> str:
    """The collection of the session that the top-level call with this id has."""
    return f"{_SESSION}/{request_id}"


def parse(text: str, *, account: str, algorithm: str = "", session: str = "") -> DataPath:
    """What a decoded path behind `/v1/data/` or `/v1/connector/data/` names.

    Args:
        account: name of the caller.
        algorithm: `OWNER/NAME` of the algorithm that asks for the caller, if one does.
        session: request id of the top-level call that it serves.

    Raises:
        InvalidPath, NotHosted, NoSuchPlace: with a message for the caller.
    """
    if found := _URI.fullmatch(text):
        connector, text = found.groups()
        check_connector(connector)
    parts = text.strip("/").split("/")
    if parts == [""]:
        return DataPath()
    if parts[0] == _SESSION:
        if not session:
            raise NoSuchPlace("there is a .session only inside an algorithm, while a call is under way")
        return DataPath(account, session_collection(session), _file(parts[1:]))
    if parts[0] == _ALGO:
        return _of_algorithm(parts[1:], account, algorithm)
    owner = account if parts[0] == ".my" else parts[0]
    if not NAME.fullmatch(owner):
        raise InvalidPath(f"'{owner[:80]}' is no name of an account ({_NAME_RULE}), and not .my, .session or .algo")
    if len(parts) == 1:
        return DataPath(owner)
    return DataPath(owner, collection_name(parts[1]), _file(parts[2:]))


def check_connector(name: str) -> None:
    """Raises NotHosted for a store that is not this one."""
    if name != "data":
        raise NotHosted(
            f"'{name[:80]}' is another store, and connectors to other stores are not offered here; "
            "copy the files to a collection, data://OWNER/COLLECTION"
        )


def collection_name(text: str) -> str:
    """The name, if a collection may have it. Raises InvalidPath."""
    if not NAME.fullmatch(text):
        raise InvalidPath(f"'{text[:80]}' is no name for a collection: {_NAME_RULE}")
    return text


def _of_algorithm(parts: list[str], account: str, algorithm: str) -> DataPath:
    if parts and parts[0] in _SHELVES and len(parts) <= 2:
        if not algorithm:
            raise NoSuchPlace(
                f".algo/{parts[0]} is that of the algorithm that asks, and none does; write .algo/OWNER/NAME"
            )
        return DataPath(account, f"{_ALGO}/{algorithm}/{parts[0]}", _file(parts[1:]))
    if len(parts) < 3 or parts[2] not in _SHELVES or not all(NAME.fullmatch(part) for part in parts[:2]):
        raise InvalidPath("data of algorithms is at .algo/OWNER/NAME/temp/FILE or .algo/OWNER/NAME/perm/FILE")
    return DataPath(account, "/".join((_ALGO, *parts[:3])), _file(parts[3:]))


def _file(parts: list[str]) -> str:
    """The name of the file, or nothing where the path ends before one."""
    if not parts:
        return ""
    name = parts[0]
    if len(parts) > 1:
        raise InvalidPath("collections do not nest: a path is OWNER/COLLECTION/FILE, and a file's name has no slash")
    if not name or name in (".", "..") or _CONTROL.search(name) or len(name.encode()) > MAX_FILE_NAME:
        raise InvalidPath(
            f"a file's name has 1 to {MAX_FILE_NAME} bytes, no control characters, and is neither . nor .."
        )
    return name
