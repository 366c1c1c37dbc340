"""Comparing what API keys allow. Pure."""

from __future__ import annotations

import re

from libs.common.contracts.identity import Permissions

_ACL = re.compile(r"algo://(\*|[A-Za-z][A-Za-z0-9_]{0,29}/(\*|[A-Za-z][A-Za-z0-9_]{0,29}/\*))")
_FLAGS = ("allow_algo", "allow_data", "allow_data_write", "allow_web_algo", "allow_algo_management")


def is_acl_entry(text: str) -> bool:
    """`algo://*`, `algo://OWNER/*` or `algo://OWNER/NAME/*`."""
    return _ACL.fullmatch(text) is not None


def excess(wanted: Permissions, held: Permissions) -> str:
    """What `wanted` allows and `held` does not, by name; empty when there is nothing."""
    for flag in _FLAGS:
        if getattr(wanted, flag) and not getattr(held, flag):
            return flag
    for entry in wanted.algo_acl if wanted.allow_algo else ():
        if not any(_covers(other, entry) for other in held.algo_acl):
            return f"algo_acl {entry}"
    if wanted.allow_web_algo and held.referer_host and wanted.referer_host != held.referer_host:
        return f"referer_host other than {held.referer_host}"
    return ""


def _covers(wide: str, narrow: str) -> bool:
    return narrow == wide or (wide.endswith("*") and narrow.startswith(wide[:-1]))
