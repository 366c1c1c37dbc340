"""`office-hours`: apps are let in while somebody is there. Within the hours the rules that follow decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.fakts.preflight.strategies import options as read
from services.fakts.preflight.strategies.interface import Decision, Preflight, Refuse

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class OfficeHours:
    """Options: `opens` and `closes`, such as `08:00` and `17:30`; `days`, of `mon` to `sun`, Monday to Friday if left
    out; `zone`, such as `Europe/Berlin`, UTC if left out."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        read.check_known(options, "opens", "closes", "days", "zone")
        self._opens = _clock(options, "opens")
        self._closes = _clock(options, "closes")
        self._days = read.texts(options, "days") or DAYS[:5]
        if unknown := [day for day in self._days if day not in DAYS]:
            raise ValueError(f"'{unknown[0]}' is no day; there are {', '.join(DAYS)}")
        self._zone = read.optional_text(options, "zone") or "UTC"
        try:
            self._here = UTC if self._zone == "UTC" else ZoneInfo(self._zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone '{self._zone}'") from None

    def decide(self, preflight: Preflight) -> Decision | None:
        here = preflight.at.astimezone(self._here)
        if DAYS[here.weekday()] in self._days and self._opens <= here.time() < self._closes:
            return None
        hours = f"{self._opens:%H:%M} to {self._closes:%H:%M} ({self._zone}), {', '.join(self._days)}"
        return Refuse(f"Apps are let in from {hours}.")


def _clock(options: Mapping[str, Any], name: str) -> time:
    try:
        return time.fromisoformat(read.text(options, name))
    except ValueError:
        raise ValueError(f"option '{name}' is a time of day such as 08:00") from None
