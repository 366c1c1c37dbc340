"""The one place where secrets are kept, as the Algorithmia API lists it. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

PROVIDER_ID = uuid5(UUID("9d0c4a55-5d2a-4a5e-8a2f-2f1f7b1f1c0e"), "internal")
_CREATED = "2026-01-01T00:00:00.000Z"


def providers() -> list[dict[str, Any]]:
    return [
        {
            "id": str(PROVIDER_ID),
            "name": "internal",
            "description": "Encrypted in the platform's database",
            "moduleName": "services.registry.secrets",
            "factoryClassName": "Cipher",
            "interfaceVersion": "1.0",
            "isEnabled": True,
            "isDefault": True,
            "created": _CREATED,
            "modified": _CREATED,
        }
    ]
