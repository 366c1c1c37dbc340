"""What may be configured, and what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bundle.configuration import SETTINGS, changed, stage
from constellation.bundle.problems import Misconfigured

GOOD = {
    "stage.container_registry": "registry.example:5000/edge/satellites",
    "stage.container_registry_plain_http": "true",
    "stage.kubernetes.kubeconfig_path": "/etc/kube/config",
    "stage.kubernetes.context": "prod",
    "stage.kubernetes.namespace": "edge-1",
    "stage.fqdn": "Edge.example.org",
    "stage.ingress_class": "nginx",
    "stage.tls_secret": "edge-tls",
    "stage.image_pull_secret": "pull",
    "stage.name_server": "10.96.0.10",
    "stage.gateway_replicas": "3",
    "stage.deadline_seconds": "60",
}


def test_each_key_with_and_without_the_leading_dot() -> None:
    assert set(GOOD) == {one.key for one in SETTINGS}
    for dot in ("", "."):
        assert changed({}, [f"{dot}{key}={value}" for key, value in GOOD.items()]) == GOOD
    assert changed(GOOD, [".stage.fqdn=", "stage.tls_secret="]).keys() == GOOD.keys() - {
        "stage.fqdn",
        "stage.tls_secret",
    }
    ready = stage(GOOD)
    assert (ready.kubeconfig_path, ready.gateway_replicas) == (Path("/etc/kube/config"), 3)
    assert ready.container_registry_plain_http is True
    assert str(ready.name_server) == "10.96.0.10/32"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stage.kubernetes.namespace=Not legal", "stage.kubernetes.namespace: 'Not legal' is no name of a namespace"),
        ("stage.kubernetes.namespace=" + "a" * 64, "stage.kubernetes.namespace"),
        ("stage.container_registry=http://x", "stage.container_registry"),
        ("stage.container_registry=host:5000/x:tag", "stage.container_registry"),
        ("stage.container_registry=host:5000/UPPER", "stage.container_registry"),
        ("stage.container_registry=images", "stage.container_registry: 'images' is no registry"),
        ("stage.fqdn=a..b", "stage.fqdn"),
        ("stage.fqdn=-a", "stage.fqdn"),
        ("stage.name_server=dns.example", "stage.name_server: 'dns.example' is no address, such as 10.96.0.10"),
        ("stage.name_server=10.96.0.10/24", "stage.name_server: '10.96.0.10/24' is no address"),
        ("stage.gateway_replicas=0", "stage.gateway_replicas: '0' is no number from 1 to 100"),
        ("stage.gateway_replicas=²", "stage.gateway_replicas"),
        ("stage.container_registry_plain_http=yes", "neither true nor false"),
        ("stage.kubernetes.context=a\x07", "cannot be printed"),
        ("stage.fqdn", "stage.fqdn: a value is missing"),
        ("stage.kubernetes.namspace=x", "did you mean stage.kubernetes.namespace"),
        ("zzz=1", "zzz: there is no such key; The keys are stage.container_registry"),
    ],
)
def test_what_cannot_be_is_said_by_its_key_and_nothing_is_half_set(assignment: str, words: str) -> None:
    now = {"stage.fqdn": "a.example"}
    with pytest.raises(Misconfigured) as refused:
        changed(now, ["stage.fqdn=b.example", assignment])
    assert words in str(refused.value)
    assert now == {"stage.fqdn": "a.example"}


@pytest.mark.parametrize(
    "place", ["localhost:5000", "127.0.0.1:5000/a/b", "[::1]:5000/x", "registry.example/x", "host:80"]
)
def test_registries_with_and_without_a_path(place: str) -> None:
    assert changed({}, [f"stage.container_registry={place}"]) == {"stage.container_registry": place}


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"stage\.kubernetes\.kubeconfig_path, stage\.kubernetes\.namespace"):
        stage({"stage.container_registry": "host:5000"})


@given(st.text(), st.text())
def test_whatever_is_typed_is_a_setting_or_a_refusal(key: str, value: str) -> None:
    try:
        result = changed({}, [f"{key}={value}"])
    except Misconfigured:
        return
    assert result.keys() <= {one.key for one in SETTINGS}


@pytest.mark.parametrize(
    ("place", "said", "plain"),
    [
        ("127.0.0.1:5000/x", None, True),
        ("[::1]:5000", None, True),
        ("localhost:5000/x", None, True),
        ("registry.example:5000/x", None, False),
        ("10.0.0.7:5000/x", None, False),
        ("registry.example:5000/x", "true", True),
        ("localhost:5000/x", "false", False),
    ],
)
def test_without_tls_only_where_that_is_safe_or_said(place: str, said: str | None, *, plain: bool) -> None:
    now = {**GOOD, "stage.container_registry": place}
    del now["stage.container_registry_plain_http"]
    if said is not None:
        now["stage.container_registry_plain_http"] = said
    found = stage(now)
    assert found.is_plain is plain
    assert str(found.repository("satellite-1")) == f"{place}/satellite-1"
