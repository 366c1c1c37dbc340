"""What each service of the platform is told when it joins: no more than it has a use for."""

from __future__ import annotations

from pydantic import SecretStr

from libs.common.contracts.joining import ServiceConfiguration
from services.fakts.master_key import MasterKey
from services.fakts.settings import FaktsSettings

_WITH_DATABASE = frozenset({"registry", "deployer", "gateway"})
_WITH_BUS = frozenset({"registry", "deployer", "worker", "gateway"})
_WITH_BLOBS = frozenset({"registry", "gateway"})


def configuration(service: str, settings: FaktsSettings, master: MasterKey) -> ServiceConfiguration:
    """The configuration of a service, by its name without prefix."""
    return ServiceConfiguration(
        database_url=_reveal(settings.database_url) if service in _WITH_DATABASE else None,
        bus_url=_reveal(settings.bus_url) if service in _WITH_BUS else None,
        blob_url=_reveal(settings.blob_url) if service in _WITH_BLOBS else None,
        call_token_secret=master.call_token_secret if service == "gateway" else None,
        edge_secret=master.edge_secret if service == "gateway" else None,
        secrets_key=master.secrets_key if service == "registry" else None,
        public_url=settings.public_url,
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
