"""Who asks for data: from an `Authorization` header to a `Visitor`."""

from __future__ import annotations

from libs.common.contracts.identity import PrincipalKind
from libs.common.contracts.references import Reference
from libs.common.problems import Forbidden, Unauthenticated
from services.gateway.callers import Callers
from services.gateway.data.acl import Visitor
from services.gateway.table import Table


class Visitors:
    """Args:
    table: what may be called, for the names of algorithms.
    """

    def __init__(self, callers: Callers, table: Table) -> None:
        self._callers = callers
        self._table = table

    async def find(self, authorization: str | None) -> Visitor:
        """The visitor. Raises Unauthenticated, Forbidden, Unavailable."""
        if not authorization:
            raise Unauthenticated("authorization required")
        caller = await self._callers.find(authorization.encode("latin-1"))
        principal, claims = caller.principal, caller.claims
        if principal.kind not in (PrincipalKind.ACCOUNT, PrincipalKind.ALGORITHM):
            raise Forbidden("services and satellites have no hosted data")
        permissions = principal.permissions
        algorithm = self._table.find(Reference(claims.algorithm)) if claims is not None else None
        return Visitor(
            account=principal.name,
            organizations=principal.organizations,
            reads=permissions.allow_data or permissions.allow_data_write,
            writes=permissions.allow_data_write,
            algorithm=f"{algorithm.owner}/{algorithm.name}" if algorithm is not None else "",
            session=claims.root if claims is not None else "",
        )
