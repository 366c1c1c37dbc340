"""The five services as the root sees them: how each is set up and served. Imports one only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fastapi import FastAPI

from libs.common.bus import Bus
from libs.common.settings import ServiceSettings

NAMES = ("fakts", "registry", "deployer", "worker", "gateway")
"""In the order in which they start."""

DEFAULT_PORTS = {"gateway": 8000, "fakts": 8001, "registry": 8002, "deployer": 8003, "worker": 8004}


@dataclass(frozen=True)
class Service:
    """One service, ready to be served."""

    name: str
    settings: type[ServiceSettings]
    create_app: Callable[..., FastAPI]
    http: Callable[[FastAPI], type[Any]] | None
    """Makes the uvicorn protocol class of a service that answers some paths itself."""
    migrations: str | None
    """Package of its Alembic history, of a service that keeps tables."""

    def app(self, settings: ServiceSettings, bus: Bus | None) -> FastAPI:
        return self.create_app(settings, bus=bus)


def load(name: str) -> Service:
    """The service of that name. Raises ValueError for another name."""
    if name not in NAMES:
        raise ValueError(f"there is no service '{name}'; the services are {', '.join(NAMES)}")
    package = f"services.{name}"
    settings = getattr(import_module(f"{package}.settings"), f"{name.capitalize()}Settings")
    protocol = import_module(f"{package}.protocol").http_protocol if name == "gateway" else None
    return Service(
        name=name,
        settings=settings,
        create_app=import_module(f"{package}.app").create_app,
        http=protocol,
        migrations=f"{package}.migrations" if name != "worker" else None,
    )
