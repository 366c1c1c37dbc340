"""What a cluster is asked, and how it refuses."""

from __future__ import annotations

import re

from starlette.requests import Request

from tests.support.kubernetes.store import Body

_KINDS = {
    ("", "namespaces"): "Namespace",
    ("", "serviceaccounts"): "ServiceAccount",
    ("", "secrets"): "Secret",
    ("", "configmaps"): "ConfigMap",
    ("", "services"): "Service",
    ("", "pods"): "Pod",
    ("", "events"): "Event",
    ("apps", "deployments"): "Deployment",
    ("apps", "replicasets"): "ReplicaSet",
    ("networking.k8s.io", "networkpolicies"): "NetworkPolicy",
    ("networking.k8s.io", "ingresses"): "Ingress",
    ("policy", "poddisruptionbudgets"): "PodDisruptionBudget",
}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v1(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>log))?"
)


class Refusal(Exception):
    """A Status that is answered."""

    def __init__(self, code: int, reason: str, message: str, causes: list[Body] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"causes": causes or []},
            "code": code,
        }


class Asked:
    """A request, as the API understands it."""

    def __init__(self, request: Request) -> None:
        found = _PATH.fullmatch(request.url.path)
        kind = _KINDS.get((found["group"] or "", found["plural"])) if found else None
        if found is None or kind is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        self.request = request
        self.kind, self.group, self.plural = kind, found["group"] or "", found["plural"]
        self.namespace: str | None = found["namespace"]
        self.name: str | None = found["name"]
        self.part: str | None = found["part"]
        self.query = request.query_params
        self.labels = _equalities(self.query.get("labelSelector", ""))
        self.fields = _equalities(self.query.get("fieldSelector", ""))
        self.manager = self.query.get("fieldManager", "unknown")
        self.dry_run = self.query.get("dryRun") == "All"

    @property
    def verb(self) -> str:
        if self.request.method == "GET":
            return "get" if self.name else "watch" if self.query.get("watch") == "true" else "list"
        return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[self.request.method]

    @property
    def resource(self) -> str:
        """Such as `deployments.apps` or `pods/log`."""
        plural = f"{self.plural}/{self.part}" if self.part else self.plural
        return f"{plural}.{self.group}" if self.group else plural

    @property
    def key(self) -> tuple[str, str | None, str]:
        return self.kind, self.namespace, self.name or ""


def _equalities(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in text.split(",") if part)}
