"""A pod's container as a Docker engine takes it. What is not named here is refused rather than left out."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.kubernetes.store import Body, Store

_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_QUANTITY = re.compile(r"(\d+)(Ki|Mi|Gi|)")
_KNOWN = frozenset(
    {
        *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "resources"),
        *("volumeMounts", "securityContext", "lifecycle", "startupProbe", "readinessProbe", "livenessProbe"),
        *("terminationMessagePath", "terminationMessagePolicy"),
    }
)
_KNOWN_SECURITY = frozenset(
    {
        *("allowPrivilegeEscalation", "readOnlyRootFilesystem", "runAsNonRoot", "runAsUser", "runAsGroup"),
        *("capabilities", "fsGroup", "seccompProfile"),
    }
)


class CannotRun(Exception):
    """A kubelet would not run the container either, or this one does not know how. The text says why."""


def volumes(store: Store, pod: Body, folder: Path) -> Mapping[str, Path]:
    """Make the pod's volumes, as folders below `folder`. Raises CannotRun."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    group = spec.get("securityContext", {}).get("fsGroup")
    made = {}
    for volume in spec.get("volumes", ()):
        place = folder / volume["name"]
        place.mkdir(parents=True)
        if "emptyDir" in volume:
            place.chmod(0o2777)
        elif "configMap" in volume:
            for name, text in _config_map(store, namespace, volume["configMap"]["name"]).items():
                _write(place / name, text.encode(), volume["configMap"].get("defaultMode", 0o644), group)
        elif "secret" in volume:
            for name, value in _secret(store, namespace, volume["secret"]["secretName"]).items():
                _write(place / name, value, volume["secret"].get("defaultMode", 0o644), group)
        else:
            raise CannotRun(f"volume '{volume['name']}' is of a kind that this kubelet does not know")
        if group is not None:
            shutil.chown(place, group=group)
        made[volume["name"]] = place
    return made


def configuration(store: Store, pod: Body, container: Body, places: Mapping[str, Path], network: str) -> Body:
    """What the engine is asked to make.

    Args:
        network: the container whose network it shares.

    Raises:
        CannotRun: a Secret is missing, or it asks for what is not known here.
    """
    security = {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}
    unknown = {*(container.keys() - _KNOWN), *(security.keys() - _KNOWN_SECURITY)}
    if unknown:
        raise CannotRun(f"this kubelet does not know {', '.join(sorted(unknown))}")
    user = security.get("runAsUser")
    if security.get("runAsNonRoot") and not user:
        raise CannotRun("container has runAsNonRoot, and no user who is not root is named")
    variables = environment(store, pod["metadata"]["namespace"], container)
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    made: Body = {
        "Image": container["image"],
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "User": f"{user}:{security.get('runAsGroup', 0)}",
        "HostConfig": {
            "NetworkMode": f"container:{network}",
            "ReadonlyRootfs": security.get("readOnlyRootFilesystem", False),
            "CapDrop": security.get("capabilities", {}).get("drop", []),
            "SecurityOpt": [] if security.get("allowPrivilegeEscalation", True) else ["no-new-privileges"],
            "GroupAdd": [str(security["fsGroup"])] if "fsGroup" in security else [],
            "Binds": [
                f"{places[one['name']]}:{one['mountPath']}{':ro' if one.get('readOnly') else ''}"
                for one in container.get("volumeMounts", ())
            ],
        },
    }
    if limit is not None:
        size = _bytes(limit)
        made["HostConfig"] |= {"Memory": size, "MemorySwap": size}
    if "command" in container:
        made["Entrypoint"] = container["command"]
        made["Cmd"] = container.get("args", [])
    elif "args" in container:
        made["Cmd"] = container["args"]
    return made


def environment(store: Store, namespace: str, container: Body) -> Mapping[str, str]:
    """Variables of `env` come before those of `envFrom`, and what a cluster adds comes last."""
    found = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for source in container.get("envFrom", ()):
        if "secretRef" in source:
            values = _secret(store, namespace, source["secretRef"]["name"])
            found |= {name: value.decode() for name, value in values.items()}
        else:
            found |= _config_map(store, namespace, source["configMapRef"]["name"])
    for variable in container.get("env", ()):
        found[variable["name"]] = _value(store, namespace, variable)
    return found


def _value(store: Store, namespace: str, variable: Body) -> str:
    if "valueFrom" not in variable:
        value = str(variable.get("value", ""))
        if "$(" in value:
            raise CannotRun(f"this kubelet does not put variables into variables, as {variable['name']} wants it")
        return value
    source: Any = variable["valueFrom"]
    if "secretKeyRef" in source:
        reference = source["secretKeyRef"]
        values: Mapping[str, bytes] = _secret(store, namespace, reference["name"])
    elif "configMapKeyRef" in source:
        reference = source["configMapKeyRef"]
        texts = _config_map(store, namespace, reference["name"])
        values = {name: text.encode() for name, text in texts.items()}
    else:
        raise CannotRun(f"this kubelet does not know where {variable['name']} comes from")
    if reference["key"] not in values:
        raise CannotRun(f"couldn't find key {reference['key']} in {namespace}/{reference['name']}")
    return values[reference["key"]].decode()


def _secret(store: Store, namespace: str, name: str) -> Mapping[str, bytes]:
    data = _object(store, "Secret", namespace, name).get("data") or {}
    return {key: b64decode(value) for key, value in data.items()}


def _config_map(store: Store, namespace: str, name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = _object(store, "ConfigMap", namespace, name).get("data") or {}
    return found


def _object(store: Store, kind: str, namespace: str, name: str) -> Body:
    found = store.objects.get((kind, namespace, name))
    if found is None:
        raise CannotRun(f'{kind.lower()} "{name}" not found')
    return found


def _write(file: Path, content: bytes, mode: int, group: int | None) -> None:
    file.write_bytes(content)
    file.chmod(mode)
    if group is not None:
        shutil.chown(file, group=group)


def _bytes(quantity: str) -> int:
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        raise CannotRun(f"this kubelet does not know how much {quantity} is")
    return int(found[1]) * _UNITS[found[2]]
