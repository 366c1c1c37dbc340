"""Which platform a command talks to, and with which key.

Options come first, then the environment, then `admin.json` of a platform that runs from a data directory here, then
what `constellation login` kept, the newest first. The keys of a file and the tokens of a login are only ever sent to
the platform that they are of, and none is ever shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

URL, API_KEY, ADMIN_API_KEY, DATA_DIR = (
    "CONSTELLATION_URL",
    "CONSTELLATION_API_KEY",
    "CONSTELLATION_ADMIN_API_KEY",
    "CONSTELLATION_DATA_DIR",
)
ADMIN_FILE = "admin.json"
DEFAULT_DATA_DIR = Path(".constellation")


Token = Callable[[str | None], str]
"""Gives an access token that is good now, and another one than a token that was refused."""


class Failed(Exception):
    """A command cannot do what it was asked for. The message says why, and what to do."""


class NotConnected(Failed):
    """It is not known which platform is meant, or whose key to use."""


@dataclass(frozen=True)
class KeptLogin:
    """What `constellation login` left behind."""

    url: str
    username: str | None
    token: Token = field(repr=False)


@dataclass(frozen=True)
class Connection:
    url: str
    api_key: str | None = field(default=None, repr=False)
    """Acts for an account."""
    admin_api_key: str | None = field(default=None, repr=False)
    """Reaches administrators' routes."""
    username: str | None = None
    """Whose keys these are, where that is known."""
    login: Token | None = field(default=None, repr=False)
    """Where there is no key."""

    def authors_key(self) -> str | Token:
        """The key for work on algorithms. Raises NotConnected."""
        return self._first(self.api_key, self.admin_api_key)

    def administrators_key(self) -> str | Token:
        """The key for work on the platform. The server decides whether it suffices. Raises NotConnected."""
        return self._first(self.admin_api_key, self.api_key)

    def _first(self, *keys: str | None) -> str | Token:
        found = next((key for key in keys if key), None) or self.login
        if found is None:
            raise NotConnected(
                f"there is no API key for {self.url}; run `constellation login {self.url}`, give --api-key or set "
                f"{API_KEY}"
            )
        return found

    def algorithm(self, text: str) -> tuple[str, str]:
        """Owner and name of `OWNER/NAME`, or of a `NAME` of one's own. Raises Failed."""
        owner, slash, name = text.removeprefix("algo://").rpartition("/")
        if not slash:
            owner = self.account(None)
        if not owner or not name or "/" in owner:
            raise Failed(f"'{text}' names no algorithm: OWNER/NAME does")
        return owner, name

    def account(self, name: str | None) -> str:
        """The account that is meant: the named one, else the keys' own. Raises NotConnected."""
        found = name or self.username
        if found is None:
            raise NotConnected("it is not known whose key this is; name the owner: OWNER/NAME, or --owner")
        return found


def connect(
    environment: Mapping[str, str],
    *,
    url: str | None = None,
    api_key: str | None = None,
    data_dir: Path | None = None,
    logins: Callable[[], Iterable[KeptLogin]] = tuple,
) -> Connection:
    """The platform and keys that a command uses.

    Args:
        url, api_key, data_dir: as the command's options say.
        logins: those that are kept, the newest first.

    Raises NotConnected.
    """
    folder = data_dir or Path(environment.get(DATA_DIR) or DEFAULT_DATA_DIR)
    file = _read(folder / ADMIN_FILE, wanted=data_dir is not None)
    address = (url or environment.get(URL) or file.get("url") or "").rstrip("/")
    if not address and (newest := next(iter(logins()), None)) is not None:
        address = newest.url
    if not address:
        raise NotConnected(
            f"which platform? Give --url or set {URL}, run `constellation login URL`, or run this where a "
            f"platform has its data directory ({folder / ADMIN_FILE} is not there)"
        )
    if not address.startswith(("http://", "https://")):
        raise NotConnected(f"'{address}' is no address of a platform: it starts with http:// or https://")
    if api_key:
        return Connection(address, api_key)
    if environment.get(API_KEY) or environment.get(ADMIN_API_KEY):
        return Connection(address, environment.get(API_KEY), environment.get(ADMIN_API_KEY))
    if address == file.get("url", "").rstrip("/"):
        return Connection(address, file.get("api_key"), file.get("admin_api_key"), file.get("username"))
    kept = next((login for login in logins() if login.url == address), None)
    return Connection(address) if kept is None else Connection(address, username=kept.username, login=kept.token)


def _read(path: Path, *, wanted: bool) -> dict[str, str]:
    """What the file says; nothing when it is not there, unless it was asked for."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted:
            raise NotConnected(f"{path} is not there; is that the data directory of a platform?") from None
        return {}
    except (OSError, ValueError) as error:
        raise NotConnected(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not JSON'}") from None
    if not isinstance(document, dict):
        raise NotConnected(f"{path} cannot be read: it holds no JSON object")
    return {name: value for name, value in document.items() if isinstance(value, str)}
