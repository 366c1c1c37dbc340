"""The objects of the Algorithmia management API, and of the administrators' one, made from rows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from libs.common.contracts.builds import BuildState
from libs.common.contracts.catalog import Callability
from libs.common.pages import Page
from services.registry.calls import CallError
from services.registry.models import Algorithm, AuditEntry, Build, Call, Release, Secret
from services.registry.secret_providers import PROVIDER_ID
from services.registry.versions import Version

T = TypeVar("T")

SCM = {"id": "internal", "provider": "internal", "default": True, "enabled": True}
SCM_STATUS = {"scm_connection_status": "active"}
_STATUS = {
    BuildState.QUEUED: "in-progress",
    BuildState.RUNNING: "in-progress",
    BuildState.SUCCEEDED: "succeeded",
    BuildState.FAILED: "failed",
}


class Links:
    """Absolute addresses. `base` is the origin that clients use."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")

    def to(self, path: str) -> str:
        return f"{self._base}{path}"

    def algorithm(self, algorithm: Algorithm) -> str:
        return self.to(f"/v1/algorithms/{algorithm.owner}/{algorithm.name}")

    def repository(self, algorithm: Algorithm) -> str:
        return self.to(f"/git/{algorithm.owner}/{algorithm.name}.git")


def algorithm(row: Algorithm, links: Links, newest: Version | None = None, *, insider: bool) -> dict[str, Any]:
    """The algorithm; with `newest`, that version of it."""
    if newest is not None:
        return version(row, newest, links, insider=insider)
    return _algorithm(row, links, Callability.PRIVATE)


def version(row: Algorithm, found: Version, links: Links, *, insider: bool) -> dict[str, Any]:
    """The algorithm and one version of it. How it was built is for insiders."""
    release, build = found.release, found.build
    view = _algorithm(row, links, release.callability if release else Callability.PRIVATE)
    view["version_info"] = _version_info(build, release)
    view["compilation"] = {"successful": build.state is BuildState.SUCCEEDED}
    view["self_link"] = f"{links.algorithm(row)}/versions/{build.commit}"
    if release is not None:
        view["settings"]["insights_enabled"] = release.insights_enabled
    if insider:
        view["build"] = build_of(found)
        view["compilation"]["output"] = build.reason or ""
    return view


def build_of(found: Version) -> dict[str, Any]:
    build, release = found.build, found.release
    view: dict[str, Any] = {
        "build_id": str(build.id),
        "status": _STATUS[build.state],
        "commit_sha": build.commit,
        "started_at": timestamp(build.started_at or build.created_at),
        "finished_at": timestamp(build.finished_at) if build.finished_at else None,
        "resource_type": "algorithm_build",
    }
    if release is not None:
        view["version_info"] = {"semantic_version": release.semantic_version}
    return view


def build_details(build: Build) -> dict[str, Any]:
    """A build for administrators: also why it failed, and where it is."""
    return {
        **build_of(Version(build, None)),
        "id": str(build.id),
        "algorithm_id": str(build.algorithm_id),
        "state": build.state.value,
        "reason": build.reason,
        "attempts": build.attempts,
        "worker": build.worker,
        "created_at": timestamp(build.created_at),
        "log_length": build.log_length,
    }


def secret(row: Secret) -> dict[str, Any]:
    """All of a secret but its value."""
    return {
        "id": str(row.id),
        "short_name": row.short_name,
        "secret_key": row.variable,
        "description": row.description,
        "owner_type": "algorithm",
        "owner_id": str(row.algorithm_id),
        "provider_id": str(PROVIDER_ID),
        "created_at": timestamp(row.created_at),
        "modified_at": timestamp(row.modified_at),
    }


def call_error(found: CallError) -> dict[str, Any]:
    call, row = found.call, found.algorithm
    return {
        "created_at": int(call.at.timestamp() * 1000),
        "request_id": call.request_id,
        "username": row.owner if row else None,
        "algoname": row.name if row else call.reference,
        "algoversion": found.version,
        "input": call.input_head,
        "error": call.error,
        "error_type": call.error_type,
        "billable_to": call.account,
        "worker": call.gateway,
    }


def call(row: Call) -> dict[str, Any]:
    return {
        "request_id": row.request_id,
        "at": timestamp(row.at),
        "account": row.account,
        "algorithm_id": _text(row.algorithm_id),
        "revision_id": _text(row.revision_id),
        "reference": row.reference,
        "duration_seconds": row.duration_seconds,
        "status": row.status,
        "error_type": row.error_type,
        "error": row.error,
        "parent": row.parent,
        "gateway": row.gateway,
        "launch_id": _text(row.launch_id),
    }


def audit_entry(row: AuditEntry) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "at": timestamp(row.at),
        "service": row.service,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "outcome": row.outcome,
        "detail": row.detail,
    }


def listing(page: Page[T], view: Callable[[T], dict[str, Any]], next_link: str | None) -> dict[str, Any]:
    """A list of the management API."""
    return {"marker": page.marker, "next_link": next_link, "results": [view(entry) for entry in page.entries]}


def admin_listing(page: Page[T], view: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """A list of the administrators' API."""
    return {"items": [view(entry) for entry in page.entries], "cursor": page.marker}


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _algorithm(row: Algorithm, links: Links, callability: Callability) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "owner": row.owner,
        "resource_type": "algorithm",
        "details": row.details,
        "settings": {
            **row.settings,
            "algorithm_callability": callability.value,
            "royalty_microcredits": 0,
            "insights_enabled": False,
            "scaling": row.scaling,
        },
        "source": {
            "scm": SCM,
            "repository_name": row.name,
            "repository_owner": row.owner,
            "repository_https_url": links.repository(row),
            "repository_ssh_url": "",
        },
        "self_link": links.algorithm(row),
    }


def _version_info(build: Build, release: Release | None) -> dict[str, Any]:
    info: dict[str, Any] = {"git_hash": build.commit, "version_uuid": str(build.id)}
    if release is not None:
        info["semantic_version"] = release.semantic_version
        info["release_notes"] = release.release_notes or ""
        info["sample_input"] = release.sample_input or ""
        info["sample_output"] = release.sample_output or ""
        info["insights_enabled"] = release.insights_enabled
    return info


def _text(value: object) -> str | None:
    return None if value is None else str(value)
