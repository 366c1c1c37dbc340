"""What launches answer to: the feed `launched` as lookup tables.

A launch's algorithms answer below `/launches/ID/v1/algo/`, and those that have the plain address below `/v1/algo/`
too. They are served by the launch's own replicas, for the keys that its satellite version accepts.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from libs.common.contracts.launches import KEYS_PREFIX, LAUNCH_PREFIX, KeySet, Launched
from services.gateway.pool import Pools
from services.gateway.table import Table, Target


class Entry:
    """A vanity URL of a launch."""

    __slots__ = ("algorithm_id", "keys", "launch", "revision_id", "route")

    def __init__(self, launch: Launched, keys: str, *, algorithm_id: UUID, revision_id: UUID, route: UUID) -> None:
        self.launch = launch
        self.keys = keys
        """Digest of the accepted keys."""
        self.algorithm_id = algorithm_id
        self.revision_id = revision_id
        self.route = route


class Launches:
    """`apply` is given to the follower of the feed."""

    def __init__(self, pools: Pools, table: Table) -> None:
        self._pools = pools
        self._table = table
        self._launches: dict[str, Launched] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        """By launch and vanity URL; the plain ones with an empty launch."""
        self._keys: dict[str, frozenset[str]] = {}
        self._accounts: dict[str, frozenset[str]] = {}
        self.changes = 0
        """Rises with every change, for caches built on top."""

    def apply(self, key: str, body: dict[str, Any] | None) -> None:
        """Raises ValueError for an entry that is none; the one before stays."""
        if key.startswith(KEYS_PREFIX):
            digest = key.removeprefix(KEYS_PREFIX)
            self._keys.pop(digest, None)
            self._accounts.pop(digest, None)
            if body is not None:
                keys = KeySet.model_validate(body).keys
                self._keys[digest], self._accounts[digest] = frozenset(keys), frozenset(keys.values())
        elif key.startswith(LAUNCH_PREFIX):
            new = Launched.model_validate(body) if body is not None else None
            self._replace(key.removeprefix(LAUNCH_PREFIX), new)
        self.changes += 1

    def find(self, vanity_url: str, launch_id: str = "") -> Entry | None:
        """The entry that answers to a vanity URL, of one launch or at the plain address."""
        return self._entries.get((launch_id, vanity_url))

    def target(self, entry: Entry) -> Target | None:
        """What a call of the entry runs; None when its algorithm is no more."""
        algorithm = self._table.by_id(entry.algorithm_id)
        return Target(algorithm, entry.revision_id, self._pools.launched(entry.route)) if algorithm else None

    def accepts(self, entry: Entry, *, digest: str | None, account: str) -> bool:
        """Does the entry's version take calls of a key?

        Args:
            digest: SHA-256 of the key; None for an access token, which stands for all keys of its account.
        """
        if digest is None:
            return account in self._accounts.get(entry.keys, ())
        return digest in self._keys.get(entry.keys, ())

    def _replace(self, launch_id: str, new: Launched | None) -> None:
        old = self._launches.pop(launch_id, None)
        for one in old.entries if old is not None else ():
            for place in ((launch_id, one.vanity_url), ("", one.vanity_url)):
                known = self._entries.get(place)
                if known is not None and known.launch is old:
                    del self._entries[place]
        kept = set()
        if new is not None:
            self._launches[launch_id] = new
            for one in new.entries:
                entry = Entry(
                    new, new.keys, algorithm_id=one.algorithm_id, revision_id=one.revision_id, route=one.route
                )
                kept.add(one.route)
                self._entries[launch_id, one.vanity_url] = entry
                if one.vanity_url in new.plain:
                    self._entries["", one.vanity_url] = entry
        for one in old.entries if old is not None else ():
            if one.route not in kept:
                self._pools.forget_launched(one.route)
