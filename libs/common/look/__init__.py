"""What all pages of the platform have in common: colours, text and the icon. Their own style sheets come after."""

from __future__ import annotations

from importlib.resources import files

_FOLDER = files(__package__)

STYLE = (_FOLDER / "look.css").read_bytes()
ICON = (_FOLDER / "icon.svg").read_bytes()
