"""The rules of this deployment, as rows. Nothing here commits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common.problems import Invalid
from libs.common.text import check_json
from services.fakts import locks, models
from services.fakts.fields import Plain
from services.fakts.preflight import rules
from services.fakts.preflight.rules import Rule
from services.fakts.preflight.strategies import catalog

MAX_RULES = 200
_ALL = select(models.Rule.name, models.Rule.strategy, models.Rule.conditions, models.Rule.options).order_by(
    models.Rule.position
)

_Name = Annotated[str, Field(min_length=1, max_length=100), Plain]
_Values = Annotated[
    list[Annotated[str, Field(max_length=255), Plain]],
    Field(max_length=200),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
]


class RuleBody(BaseModel):
    """A rule as people write it: the options of its strategy stand beside its name."""

    model_config = ConfigDict(extra="allow")

    name: _Name
    strategy: _Name
    when: dict[str, _Values] = {}

    def rule(self) -> Rule:
        return Rule(self.name, self.strategy, self.when, dict(self.model_extra or {}))


class RuleList(BaseModel):
    """All rules, in their order."""

    rules: list[RuleBody] = Field(max_length=MAX_RULES)


async def current(session: AsyncSession) -> Sequence[Rule]:
    """The rules in their order; where nobody made any, those of `rules.DEFAULT`."""
    return [Rule(*row) for row in await session.execute(_ALL)] or rules.DEFAULT


async def replace(session: AsyncSession, new: Iterable[Rule]) -> None:
    """Replace all rules; without any, the default holds again. Raises Invalid for a rule that could not decide."""
    wanted = list(new)
    names = set()
    for rule in wanted:
        if rule.name in names:
            raise Invalid(f"two rules are named '{rule.name}'")
        names.add(rule.name)
        try:
            check_json(dict(rule.options))
            rules.check(rule, catalog.find)
        except Exception as error:
            raise Invalid(f"the rule '{rule.name}': {error}") from error
    await locks.take(session, locks.RULES)
    await session.execute(delete(models.Rule))
    session.add_all(
        models.Rule(
            position=position,
            name=rule.name,
            strategy=rule.strategy,
            conditions={condition: list(values) for condition, values in rule.when.items()},
            options=dict(rule.options),
        )
        for position, rule in enumerate(wanted)
    )
    await session.flush()


async def begin_with(session: AsyncSession, file: Path) -> None:
    """Take the rules of a JSON file (`{"rules": [...]}`) over, unless there are rules already.

    Raises Invalid for a file that cannot be read or holds no rules.
    """
    await locks.take(session, locks.RULES)
    if await session.scalar(select(models.Rule.id).limit(1)) is not None:
        return
    try:
        bodies = RuleList.model_validate_json(await asyncio.to_thread(file.read_bytes)).rules
    except OSError as error:
        raise Invalid(f"the rules in {file} cannot be read: {error.strerror}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{file} holds no rules: {at}: {first['msg']}") from None
    await replace(session, [body.rule() for body in bodies])


def render(rule: Rule) -> dict[str, Any]:
    return {
        **rule.options,
        "name": rule.name,
        "strategy": rule.strategy,
        "when": {condition: list(values) for condition, values in rule.when.items()},
    }
