"""Where hosted data is: its index in PostgreSQL, its bytes in the object store, opened once fakts has named both.

The gateway does not wait for that, as calls need neither. Until it is done, requests for data are told to come back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.common import logs
from libs.common.blobs import Objects
from libs.common.db import Database
from libs.common.problems import Unavailable
from services.gateway.calls import Calls
from services.gateway.data.expiry import Expiry
from services.gateway.entry import Entry
from services.gateway.settings import GatewaySettings

log = logs.get(__name__)

SCHEMA = "gateway"
MIGRATIONS = "services.gateway.migrations"
FOLDER = "data"
"""In the object store, which others use too."""
OPENING_SECONDS = 5.0
"""How long a request waits for what is just being opened."""
_PAUSE = 0.5
_LONG_PAUSE = 5.0


@dataclass(frozen=True)
class Stores:
    database: Database
    objects: Objects


class HostedData:
    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._stores: Stores | None = None
        self._opened = asyncio.Event()
        self._why = "this gateway has not joined the platform yet"

    async def stores(self) -> Stores:
        """Raises Unavailable while they cannot be used."""
        if self._stores is None:
            try:
                async with asyncio.timeout(OPENING_SECONDS):
                    await self._opened.wait()
            except TimeoutError:
                raise Unavailable(f"hosted data cannot be reached just now: {self._why}") from None
        assert self._stores is not None  # noqa: S101 - that is what the event says
        return self._stores

    async def run(self, entry: Entry, calls: Calls) -> None:
        """Open what fakts names, and remove what is over. Runs until cancelled.

        Args:
            calls: those of this gateway.
        """
        await entry.inside.wait()
        configuration = entry.member.configuration
        if configuration.database_url is None:
            self._why = "fakts gave this gateway no database; set its database URL there"
            log.error("no_database", consequence="no hosted data", remedy="set the database URL in fakts")
            return
        self._why = "its database does not answer"
        database = Database(configuration.database_url, SCHEMA)
        try:
            objects = Objects(configuration.blob_url or str((self._settings.data_dir / "blobs").absolute()), FOLDER)
            await self._migrate(database)
            self._stores = Stores(database, objects)
            self._opened.set()
            await Expiry(database, objects, calls).loop.run()
        finally:
            await database.close()

    async def _migrate(self, database: Database) -> None:
        pause = _PAUSE
        while True:
            try:
                await database.migrate(MIGRATIONS)
            except Exception as error:  # whatever it is, calls are served meanwhile
                log.warning("waiting_for_database", reason=logs.redact(str(error) or type(error).__name__))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONG_PAUSE)
            else:
                return
