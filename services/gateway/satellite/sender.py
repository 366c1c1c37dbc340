"""Sealed reports on their way to the platform: oldest first, again and again until it has them."""

from __future__ import annotations

import asyncio
import random

from libs.common import logs
from services.gateway.satellite import reports
from services.gateway.satellite.mothership import Mothership, NotTaken
from services.gateway.satellite.spool import Spool

log = logs.get(__name__)

MOST_BYTES = 3 << 20
"""Of one request."""
MOST = 50
_PAUSE = 1.0


class Sender:
    """Args:
    longest_pause: seconds, at most, from one attempt to the next while the platform does not take reports.
    """

    def __init__(self, spool: Spool, mothership: Mothership, *, longest_pause: float) -> None:
        self._spool = spool
        self._mothership = mothership
        self._longest = longest_pause
        self._most = MOST
        self._news = asyncio.Event()
        self.trouble: str | None = None
        """Why reports are not taken just now."""

    def wake(self) -> None:
        """There is something to send."""
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        pause = _PAUSE
        while True:
            self._news.clear()
            try:
                while await self.send():
                    pause = _PAUSE
            except (NotTaken, OSError) as error:
                self._tell(error)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, self._longest)
            else:
                await self._news.wait()

    async def send(self) -> bool:
        """Send the oldest reports; False when there are none. Raises NotTaken, OSError."""
        chosen, documents = await asyncio.to_thread(self._spool.oldest, self._most, MOST_BYTES)
        if not chosen:
            return False
        try:
            taken = await self._mothership.report(reports.batch(documents))
        except NotTaken as error:
            if not error.faulty:
                raise
            if len(chosen) > 1:
                self._most = 1  # to find out which one it is
                return True
            reason, sequence = logs.redact(str(error)), chosen[0].sequence
            if await asyncio.to_thread(self._spool.give_up_records, chosen[0]):
                log.warning("report_refused_with_records", reason=reason, sequence=sequence)
                return True
            log.error("report_refused", reason=reason, sequence=sequence)  # noqa: TRY400 - the reason is all there is
            await asyncio.to_thread(self._spool.remove, chosen[0].run, chosen[0].sequence)
            return True
        if taken.run != chosen[0].run or taken.sequence < chosen[-1].sequence:
            raise NotTaken("the platform did not take all that it was sent")
        await asyncio.to_thread(self._spool.remove, taken.run, chosen[-1].sequence)
        self._most = MOST
        if self.trouble is not None:
            log.info("reports_taken_again", waiting=self._spool.waiting)
        self.trouble = None
        return True

    def _tell(self, error: Exception) -> None:
        reason = logs.redact(str(error))
        if reason != self.trouble:
            log.warning("reports_wait", reason=reason, waiting=self._spool.waiting)
        self.trouble = reason
