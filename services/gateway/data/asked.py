"""A request for data, as far as it is decided without the index: who asks, for which place, and whose that is."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from libs.common.problems import Forbidden, NotFound
from services.gateway.data.acl import Access, Visitor
from services.gateway.data.paths import DataPath


@dataclass(frozen=True, slots=True)
class Asked:
    visitor: Visitor
    path: DataPath
    owner_id: UUID | None
    """Id of the path's account; None when there is none of that name."""

    def absent(self) -> NotFound:
        return NotFound(f"there is no {self.path} here")

    def check(self, allowed: Access, wanted: Access) -> None:
        """Raises NotFound when the visitor may not even see it, Forbidden when it may only see it."""
        if allowed >= wanted:
            return
        if allowed is Access.NONE and not self.visitor.belongs_to(self.path.owner):
            raise self.absent()
        if allowed is Access.NONE:
            raise Forbidden("this key sees no data; use one that has 'allow_data'")
        if self.visitor.manages(self.path.owner) and not self.visitor.writes:
            raise Forbidden("this key may not change data; use one that has 'allow_data_write'")
        raise Forbidden(f"only the owner changes what is in {self.path}")
