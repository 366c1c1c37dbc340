"""The loop that makes it so: reads what is due, plans it, writes the plan, then wakes the workers.

It holds nothing between two runs but since when it watches. All intent is in rows before anybody is told of it, so
that whatever dies, the next run goes on from what was committed.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.common import db
from libs.common.contracts.replicas import ReplicaState
from libs.common.db import Database, after_commit
from libs.common.lease import new_token
from libs.common.loops import Loop
from services.deployer import events, store
from services.deployer.catalog import Catalog
from services.deployer.hints import Hints
from services.deployer.models import (
    Demand,
    Deployment,
    DeploymentKind,
    EventKind,
    Planner,
    Replica,
)
from services.deployer.plan import plan
from services.deployer.replicas import move, request_drain
from services.deployer.routes import Routes
from services.deployer.states import LIVE
from services.deployer.view import Decision, Plan, Start, View

_PLANNER = "deployer"
LEAD = timedelta(seconds=5)
"""How long a planner that knows more of the catalog keeps others from planning after its last run."""


class CatalogCopy(Protocol):
    """How far the local copy of the catalog feed is. A FeedFollower is one."""

    complete: bool
    epoch: str
    version: int
