"""Routes of languages, environments, templates and source code managers."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from libs.common import web
from libs.common.auth import account_only
from libs.common.contracts.catalog import Language
from libs.common.problems import NotFound
from services.registry import environments, templates, views

routes = web.router(account_only)

EDGE = "/v1/algorithm-environments/edge"


@routes.get(f"{EDGE}/languages")
async def list_languages() -> list[dict[str, Any]]:
    return environments.languages()


@routes.get(f"{EDGE}/languages/{{name}}/environments")
async def list_environments(name: str) -> dict[str, Any]:
    language = environments.by_language(name)
    if language is None:
        raise NotFound(f"there is no language '{name}' here; .../languages lists those there are", code=4001)
    return {"environments": [environments.describe_environment(language)]}


@routes.get(f"{EDGE}/environment-specifications/{{specification}}/template")
async def get_template(specification: str) -> Response:
    """The template of a language as a `.tar.gz`."""
    language: Language | None = environments.by_specification(specification)
    if language is None:
        raise NotFound(f"there is no environment specification '{specification}'", code=4001)
    headers = {"content-disposition": 'attachment; filename="template.tar.gz"'}
    return Response(templates.archive(language), headers=headers, media_type="application/gzip")


@routes.get("/v1/scms")
async def list_scms() -> dict[str, Any]:
    return {"marker": None, "next_link": None, "results": [views.SCM]}


@routes.get("/v1/scms/{scm_id}")
async def get_scm(scm_id: str) -> dict[str, Any]:
    if scm_id != views.SCM["id"]:
        raise NotFound(f"there is no source code manager '{scm_id}' here", code=4009)
    return views.SCM
