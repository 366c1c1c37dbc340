"""What `configure` sets: the keys, what they mean, and whether a value can be one. Pure.

Every key may be written with a leading dot or without.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, IPvAnyNetwork

from constellation.bundle.problems import Misconfigured
from libs.common.oci.references import ImageReference, InvalidImageReference, parse

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_FQDN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_NAMES = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True)
class Setting:
    """One key. `check` gives what is wrong with a value, or None."""

    key: str
    means: str
    check: Callable[[str], str | None]
    required: bool = False


def _registry(value: str) -> str | None:
    try:
        found = parse(f"{value.rstrip('/')}/x" if "/" not in value else value)
    except InvalidImageReference as error:
        return f"{error}; HOST:PORT or HOST:PORT/PATH is needed"
    if found.tag is not None or found.digest is not None or not value.startswith(found.registry):
        return f"'{value}' is no registry with a path: HOST:PORT or HOST:PORT/PATH is needed"
    return None


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str | None]:
    return lambda value: None if pattern.fullmatch(value) else f"'{value}' is no {what}"


def _number(low: int, high: int) -> Callable[[str], str | None]:
    def check(value: str) -> str | None:
        if value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high:
            return None
        return f"'{value}' is no number from {low} to {high}"

    return check


def _flag(value: str) -> str | None:
    return None if value in ("true", "false") else f"'{value}' is neither true nor false"


def _network(value: str) -> str | None:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return f"'{value}' is no address, such as 10.96.0.10, and no network, such as 10.96.0.0/24"
    return None


def _any(value: str) -> str | None:
    return None if value.isprintable() else "the value has characters that cannot be printed"


SETTINGS = (
    Setting("stage.container_registry", "registry for the images: HOST:PORT/PATH", _registry, required=True),
    Setting("stage.container_registry_plain_http", "true: it is spoken to without TLS", _flag),
    Setting("stage.kubernetes.kubeconfig_path", "file that says how the cluster is reached", _any, required=True),
    Setting("stage.kubernetes.context", "context of that file; its current one by default", _any),
    Setting(
        "stage.kubernetes.namespace",
        "namespace to run in",
        _matching(
            _NAMESPACE, "name of a namespace: at most 63 lower-case letters, digits and '-', no '-' at either end"
        ),
        required=True,
    ),
    Setting("stage.fqdn", "host name that calls are made to; makes an Ingress", _matching(_FQDN, "host name")),
    Setting("stage.ingress_class", "ingress controller; the cluster's own by default", _matching(_NAMES, "name")),
    Setting(
        "stage.tls_secret", "Secret in the namespace with the certificate", _matching(_NAMES, "name of a Secret")
    ),
    Setting(
        "stage.image_pull_secret",
        "Secret in the namespace to pull images with",
        _matching(_NAMES, "name of a Secret"),
    ),
    Setting("stage.name_server", "where pods ask for names, if it is neither pods nor link-local", _network),
    Setting("stage.gateway_replicas", "gateways to run; 2 by default", _number(1, 100)),
    Setting("stage.deadline_seconds", "how long deploy waits; 900 by default", _number(10, 86_400)),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}


class Stage(BaseModel):
    """A complete configuration."""

    model_config = ConfigDict(frozen=True)

    container_registry: str
    kubeconfig_path: Path
    namespace: str
    context: str | None = None
    container_registry_plain_http: bool | None = None
    fqdn: str | None = None
    ingress_class: str | None = None
    tls_secret: str | None = None
    image_pull_secret: str | None = None
    name_server: IPvAnyNetwork | None = None
    gateway_replicas: int = 2
    deadline_seconds: int = 900

    def repository(self, name: str) -> ImageReference:
        """A repository of the registry."""
        return repository(self.container_registry, name)

    @property
    def is_plain(self) -> bool:
        """The registry is spoken to without TLS."""
        return is_plain(self.container_registry, self.container_registry_plain_http)


def repository(registry: str, name: str) -> ImageReference:
    """A repository of a registry, as `stage.container_registry` names it."""
    return parse(f"{registry.rstrip('/')}/{name}")


def is_plain(registry: str, said: bool | None) -> bool:
    """Without TLS: where that was said, and on this machine's loopback unless it was denied."""
    if said is not None:
        return said
    host = urlsplit(f"//{repository(registry, 'x').registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def changed(now: Mapping[str, str], assignments: Sequence[str]) -> dict[str, str]:
    """The configuration with `KEY=VALUE` set; `KEY=` takes a key out.

    Raises Misconfigured that names every key with a fault; then nothing is to be changed.
    """
    result, faults = dict(now), []
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        key, value = name.strip().removeprefix("."), value.strip()
        setting = _BY_KEY.get(key)
        if setting is None:
            faults.append(_unknown(key))
        elif not equals:
            faults.append(f"{key}: a value is missing: {key}=VALUE")
        elif not value:
            result.pop(key, None)
        elif (wrong := setting.check(value)) is not None:
            faults.append(f"{key}: {wrong}")
        else:
            result[key] = value
    if faults:
        raise Misconfigured("; ".join(faults))
    return result


def stage(now: Mapping[str, str]) -> Stage:
    """What `deploy` works with. Raises Misconfigured that names every key that is missing."""
    if missing := [setting.key for setting in SETTINGS if setting.required and setting.key not in now]:
        raise Misconfigured(f"not configured yet: {', '.join(missing)}; set each with 'configure KEY=VALUE'")
    return Stage.model_validate({key.rpartition(".")[2]: value for key, value in now.items()})


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, _BY_KEY, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: there is no such key; {hint}The keys are {', '.join(_BY_KEY)}"
