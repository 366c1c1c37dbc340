"""Where a page may send the browser. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode, urlsplit

HOME = "/apps"
SIGN_IN = "/signin"
CONFIGURE = "/configure"
_AUTHORIZE = "/o/"
_OWN = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path on this origin: browsers read `//` and `/\\` as the start of a host's name, and drop tabs and line ends."""
_MAX_PATH = 4000


def own_path(asked: str | None) -> str:
    """The path to go on to after sign-in: what was asked if it is one of this origin's, else the page of own apps."""
    if asked is None or len(asked) > _MAX_PATH or not _OWN.fullmatch(asked):
        return HOME
    return asked


def sign_in(then: str, *, again: bool = False, hint: str = "") -> str:
    """The sign-in page, which goes on to `then`.

    Args:
        again: even for somebody who is signed in.
        hint: the user name that is expected.
    """
    more = {**({"again": "true"} if again else {}), **({"hint": hint} if hint else {})}
    return f"{SIGN_IN}?{urlencode({'next': then, **more}, quote_via=quote, safe='/')}"


def form_sources(going_to: str) -> str | None:
    """Sources of the policy's `form-action` (Content Security Policy, level 3) for a page whose form may be answered
    with a redirect to `going_to`: browsers hold the redirect against the policy too.

    None stands for any: the authorization endpoint may answer with a redirect to whatever app is registered.
    """
    if going_to.startswith(_AUTHORIZE):
        return None
    parts = urlsplit(going_to)
    if not parts.scheme:
        return "'self'"
    if parts.scheme in ("http", "https"):
        return f"'self' {parts.scheme}://{parts.netloc}"
    return f"'self' {parts.scheme}:"
