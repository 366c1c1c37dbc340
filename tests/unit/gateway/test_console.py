"""What the console's files share with fakts: whose client it is, and how pages look."""

from __future__ import annotations

import re
from importlib.resources import files

from services.fakts.oauth import console
from services.fakts.origin import Origin
from services.fakts.pages.rendering import STATIC as PAGES
from services.gateway.console.files import FILES

CONSOLE = files("services.gateway.console") / "static"
VENDORED = ("preact.js", "preact-hooks.js", "htm.js")


def test_the_console_asks_as_the_client_that_fakts_knows() -> None:
    script = (CONSOLE / "session.js").read_text()
    values = dict(re.findall(r'^const (\w+) = "([^"]+)";$', script, re.MULTILINE))
    origin = Origin("https", "platform.example", None)
    assert values["CLIENT"] == str(console.CLIENT_ID)
    assert f"https://platform.example{values['RETURN']}" == console.redirect_uri(origin)
    assert f'scope: "{" ".join(console.SCOPES)}"' in script


def test_the_console_has_the_colours_of_the_other_pages() -> None:
    def colours(text: str) -> list[str]:
        return re.findall(r"--[a-z-]+: #[0-9a-f]{6};", text)

    own = colours(FILES["console.css"].decode())
    assert own == colours(PAGES["pages.css"].decode())
    assert len(own) == 28


def test_no_file_of_the_console_makes_markup_of_text_or_names_another_origin() -> None:
    for file in CONSOLE.iterdir():
        if file.name.endswith((".js", ".css", ".html")) and file.name not in VENDORED:
            text = file.read_text()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://\w", text), file
