"""Constellation for programs: apps that use a platform, and nothing of what serves one.

    import constellation

    MANIFEST = {"identifier": "org.example.reader", "version": "1.0", "scopes": ["openid", "algo:call"]}
    with constellation.connect_sync("http://127.0.0.1:8000", MANIFEST) as app:
        print(app.algo("admin/readability").pipe("A short text.").result)

`connect` is the same for asynchronous programs. Names are looked up when they are used, so that importing this costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from libs.common.connect.app import Algorithm as Algorithm
    from libs.common.connect.app import App as App
    from libs.common.connect.blocking import SyncApp as SyncApp
    from libs.common.connect.blocking import connect_sync as connect_sync
    from libs.common.connect.calls import Answer as Answer
    from libs.common.connect.connect import connect as connect
    from libs.common.connect.errors import CallFailed as CallFailed
    from libs.common.connect.errors import ConnectFailed as ConnectFailed
    from libs.common.connect.errors import Denied as Denied
    from libs.common.connect.errors import Expired as Expired
    from libs.common.connect.errors import NeedsLogin as NeedsLogin
    from libs.common.connect.errors import Refused as Refused
    from libs.common.connect.errors import Unavailable as Unavailable
    from libs.common.connect.errors import Unreachable as Unreachable
    from libs.common.connect.protocol import DeviceLogin as DeviceLogin
    from libs.common.contracts.joining import Manifest as Manifest
    from libs.common.contracts.joining import Requirement as Requirement

_ROOMS = {
    "libs.common.connect.app": ("Algorithm", "App"),
    "libs.common.connect.blocking": ("SyncApp", "connect_sync"),
    "libs.common.connect.calls": ("Answer",),
    "libs.common.connect.connect": ("connect",),
    "libs.common.connect.errors": (
        "CallFailed",
        "ConnectFailed",
        "Denied",
        "Expired",
        "NeedsLogin",
        "Refused",
        "Unavailable",
        "Unreachable",
    ),
    "libs.common.connect.protocol": ("DeviceLogin",),
    "libs.common.contracts.joining": ("Manifest", "Requirement"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(room), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOM_OF])
