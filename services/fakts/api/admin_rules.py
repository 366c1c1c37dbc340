"""Administrators' routes over the rules of approval."""

from __future__ import annotations

from typing import Any

from libs.common import idempotency
from libs.common.auth import Caller, admin_only
from libs.common.db import Session
from services.fakts.context import Ctx
from services.fakts.preflight import rule_list
from services.fakts.preflight.rule_list import RuleList
from services.fakts.preflight.strategies import catalog

router = idempotency.router(admin_only, prefix="/admin/v1/rules")


@router.get("")
async def list_rules(session: Session) -> dict[str, Any]:
    """The rules in their order, and the strategies that they may name."""
    current = await rule_list.current(session)
    return {
        "rules": [rule_list.render(rule) for rule in current],
        "strategies": sorted(catalog.installed()),
    }


@router.put("")
async def replace_rules(body: RuleList, session: Session, context: Ctx, caller: Caller) -> dict[str, Any]:
    """Replace all rules, for apps that ask from now on. Without any, each signed-in user may approve."""
    await rule_list.replace(session, [one.rule() for one in body.rules])
    names = ", ".join(one.name for one in body.rules)
    await context.audit.record(session, actor=caller.name, action="rules.replace", subject="rules", detail=names)
    return await list_rules(session)
