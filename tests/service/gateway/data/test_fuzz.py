"""No request makes the gateway fail: data, calls, and what it passes on."""

from __future__ import annotations

from tests.service.gateway.data.world import Hosted
from tests.support.fuzzing import Fuzz


async def test_no_request_makes_the_gateway_fail(hosted: Hosted) -> None:
    platform = hosted.platform
    platform.fakts.add_account("ann")
    await platform.routed()
    for name in ("files", "open", "empty"):
        await hosted.make(name, ["user://*"] if name == "open" else None)
    for path in ("files/a.txt", "files/b.bin", "open/c.json"):
        await hosted.ask("PUT", f".my/{path}", content=b"content" * 100)
    known = {
        "path": [
            *("joe", "joe/files", "joe/files/a.txt", "joe/files/b.bin", "joe/open", "joe/open/c.json", "joe/empty"),
            *(".my", ".my/files", ".my/files/new.txt", ".my/new", ".session", ".algo", "joe/files/a.txt/"),
        ],
        "connector": ["data", "s3"],
        "reference": ["joe/echo", "joe/echo/1.0.0", "joe/none"],
        "launch_id": ["dev"],
        "name": ["files", "new"],
    }
    callers = {
        "nobody": {},
        "the owner": {"authorization": hosted.key("joe")},
        "a reader": {"authorization": hosted.key("ann", "r")},
    }
    await Fuzz(platform.app, platform.url, callers, known).run()
