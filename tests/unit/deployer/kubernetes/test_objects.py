"""What a satellite consists of in a namespace: checked against the schemas of the clusters that may take it."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.catalog import NetworkAccess
from libs.common.contracts.launches import entry_id
from libs.common.contracts.replicas import derived_token
from services.deployer.kubernetes import objects, pods
from services.deployer.kubernetes.objects import Object, Stage
from services.deployer.kubernetes.satellite import Manifest, Satellite, Site, Tokens, Unfit
from tests.support import cluster_satellites as satellites
from tests.support.kubernetes import schemas

LAUNCH = UUID(int=1)
TOKENS = Tokens("replica-token-1", "call-secret-1")
SITE = Site("sat", fqdn="edge.example.com")
VERSIONS = ("1.30", "1.36", "1.37")
ECHO = satellites.algorithm("echo")
LONER = satellites.algorithm("loner", access=NetworkAccess.ISOLATED, memory_mib=1500, concurrency=4)


def a_satellite(**more: Any) -> Satellite:
    order = satellites.order(
        LAUNCH, 1, satellites.entry("text/echo", ECHO, 0, 3), satellites.entry("Text/_Lone_", LONER)
    )
    return satellites.satellite(order, ECHO, LONER, **more)


def rendered(satellite: Satellite | None = None, site: Site = SITE) -> dict[tuple[str, str], Manifest]:
    return {one.key: one.body for one in objects.render(satellite or a_satellite(), site, TOKENS)}


def container(body: Manifest) -> Manifest:
    found: Manifest = body["spec"]["template"]["spec"]["containers"][0]
    return found


def named(kind: str, prefix: str, found: dict[tuple[str, str], Manifest]) -> Manifest:
    (body,) = [body for key, body in found.items() if key[0] == kind and key[1].startswith(prefix)]
    return body


def sealed(prefix: str, found: dict[tuple[str, str], Manifest]) -> Manifest:
    """The Secret of that name that never changes."""
    return named("Secret", prefix, {key: body for key, body in found.items() if body.get("immutable")})


def check(made: list[Object], version: str) -> None:
    for one in made:
        assert schemas.fault(one.body, version) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_the_clusters_schema_says(version: str) -> None:
    site = dataclasses.replace(SITE, ingress_class="nginx", tls_secret="cert", pull_secrets=("pull",))
    site = dataclasses.replace(site, name_servers=("10.96.0.10/32", "fd00::a/128"))
    satellite = a_satellite(secrets={ECHO.id: {"KEY": "value"}}, report_token="mandate")
    made = [*objects.render(satellite, site, TOKENS)]
    check(made, version)
    assert schemas.fault(objects.namespace(site), version) is None
    kinds = {one.key[0] for one in made}
    assert kinds == {
        *("ServiceAccount", "Secret", "ConfigMap", "NetworkPolicy", "Service", "Deployment"),
        *("PodDisruptionBudget", "Ingress"),
    }


@settings(max_examples=50)
@given(
    vanity=st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,38}[A-Za-z0-9_])?/[A-Za-z0-9]{1,40}", fullmatch=True),
    memory=st.integers(64, 1_048_576),
    replicas=st.integers(1, 1000),
)
def test_whatever_is_launched_gives_objects_that_clusters_take(vanity: str, memory: int, replicas: int) -> None:
    algorithm = satellites.algorithm("any", memory_mib=memory)
    order = satellites.order(LAUNCH, 1, satellites.entry(vanity, algorithm, 0, replicas))
    satellite = satellites.satellite(order, algorithm)
    made = [*objects.render(satellite, SITE, TOKENS)]
    check(made, "1.36")
    for kind, name in (one.key for one in made):
        assert len(name) <= 63, (kind, name)
    assert len({one.key for one in made}) == len(made)
    assert made == [*objects.render(satellite, SITE, TOKENS)]


def test_pods_have_no_rights_and_no_way_to_any() -> None:
    for body in (body for key, body in rendered().items() if key[0] == "Deployment"):
        spec = body["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(body)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [mount["mountPath"] for mount in container(body)["volumeMounts"] if not mount.get("readOnly")] == [
            "/tmp"
        ]


def test_a_pod_that_ends_may_finish_the_longest_call() -> None:
    for body in (body for key, body in rendered().items() if key[0] == "Deployment"):
        spec = body["spec"]["template"]["spec"]
        pause = container(body)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] > 3000 + pause
        assert body["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_gateways_are_told_where_replicas_are() -> None:
    found = rendered()
    content = named("ConfigMap", "execution-engine-", found)["data"]
    replicas = json.loads(content["replicas.json"])
    services = {key[1] for key in found if key[0] == "Service"}
    for vanity in ("text/echo", "Text/_Lone_"):
        place = replicas[str(entry_id(LAUNCH, vanity))]
        assert place["port"] == 8080
        assert place["host"] in services
        assert found["Service", place["host"]]["spec"]["clusterIP"] == "None"
        selector = found["Service", place["host"]]["spec"]["selector"]
        labels = found["Deployment", place["host"]]["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
    plan = json.loads(content["plan.json"])
    assert plan["order"]["satellite_version"] == 1
    variables = {one["name"]: one for one in container(found["Deployment", "execution-engine"])["env"]}
    assert variables["CONSTELLATION_SATELLITE_PLAN"]["value"] == "/etc/constellation/satellite/plan.json"
    secret = variables["CONSTELLATION_REPLICA_SECRET"]["valueFrom"]["secretKeyRef"]
    assert secret["key"] in found["Secret", secret["name"]]["data"]


def test_an_algorithm_has_what_its_settings_say() -> None:
    modest = satellites.algorithm("modest", pipeline=False)
    modest = modest.model_copy(update={"pipeline_enabled": False})
    order = satellites.order(LAUNCH, 1, satellites.entry("a/lone", LONER), satellites.entry("a/modest", modest))
    found = rendered(satellites.satellite(order, LONER, modest))
    lone, other = container(named("Deployment", "algo-a-lone", found)), named("Deployment", "algo-a-modest", found)
    assert lone["resources"] == {"requests": {"memory": "1500Mi"}, "limits": {"memory": "1500Mi"}}
    variables = {one["name"]: one.get("value") for one in lone["env"]}
    assert (variables["REPLICA_CONCURRENCY"], variables["REPLICA_GATEWAYS"]) == ("4", "http://execution-engine:80")
    assert "REPLICA_GATEWAYS" not in {one["name"] for one in container(other)["env"]}
    assert "envFrom" not in lone


def test_gpus_and_processors_are_asked_of_the_cluster() -> None:
    asking = satellites.algorithm("asking", memory_mib=2048, cpus=0.25, gpus=2)
    assert pods.resources(asking) == {
        "requests": {"memory": "2Gi", "cpu": "250m", "nvidia.com/gpu": "2"},
        "limits": {"memory": "2Gi", "nvidia.com/gpu": "2"},
    }
    assert [pods.milli(cpus) for cpus in (2.0, 1.5, 0.0001)] == ["2", "1500m", "1m"]
    assert [pods.binary(mib) for mib in (64, 1024, 1 << 20, 1536)] == ["64Mi", "1Gi", "1Ti", "1536Mi"]


def test_secrets_are_in_secrets_and_their_names_tell_nothing_of_them() -> None:
    first = rendered(a_satellite(secrets={ECHO.id: {"PASSWORD": "abc"}}, report_token="mandate"))
    secret = sealed("algo-text-echo-", first)
    assert secret["immutable"] is True
    assert container(named("Deployment", "algo-text-echo-", first))["envFrom"] == [
        {"secretRef": {"name": secret["metadata"]["name"]}}
    ]
    variables = {one["name"]: one for one in container(first["Deployment", "execution-engine"])["env"]}
    reported = variables["CONSTELLATION_REPORT_TOKEN"]["valueFrom"]["secretKeyRef"]["name"]
    assert reported == named("Secret", "execution-engine-report-", first)["metadata"]["name"]
    second = rendered(a_satellite(secrets={ECHO.id: {"PASSWORD": "abd"}}))
    assert sealed("algo-text-echo-", second)["metadata"]["name"] != secret["metadata"]["name"]
    other = {
        one.key: one.body
        for one in objects.render(a_satellite(secrets={ECHO.id: {"PASSWORD": "abc"}}), SITE, Tokens("r", "another"))
    }
    assert sealed("algo-text-echo-", other)["metadata"]["name"] != secret["metadata"]["name"]
    for body in (body for key, body in first.items() if key[0] != "Secret"):
        text = json.dumps(body)
        assert not any(word in text for word in ("abc", TOKENS.replica, TOKENS.calls, "mandate"))
    assert "abc" not in repr(a_satellite(secrets={ECHO.id: {"PASSWORD": "abc"}}))


def test_no_algorithm_is_given_what_replicas_of_another_want_to_be_shown() -> None:
    found = rendered()
    tokens, read = {}, {}
    for (kind, name), body in found.items():
        if kind == "Deployment":
            read[name] = {
                one["valueFrom"]["secretKeyRef"]["name"]
                for one in container(body)["env"]
                if "secretKeyRef" in one.get("valueFrom", {})
            }
        elif kind == "Secret" and name.endswith("-token"):
            tokens[name] = base64.b64decode(body["data"]["replica-token"]).decode()
    gateways = read.pop("execution-engine")
    assert read == {name.removesuffix("-token"): {name} for name in tokens}
    assert (len(set(tokens.values())), gateways.isdisjoint(tokens)) == (2, True)
    assert tokens == {one.token_name: derived_token(TOKENS.replica, one.id) for one in objects.entries(a_satellite())}


def test_a_secret_by_a_name_of_the_pods_own_is_refused_in_words() -> None:
    secrets = {ECHO.id: {"PORT": "1", "REPLICA_TOKEN": "hidden", "KEY": "value"}}
    with pytest.raises(
        Unfit, match="has secrets by names of the pod's own: PORT, REPLICA_TOKEN; rename them"
    ) as told:
        rendered(a_satellite(secrets=secrets))
    assert "hidden" not in str(told.value)


def test_the_pods_own_variables_are_all_that_replicas_are_given() -> None:
    containers = [
        one.body["spec"]["template"]["spec"]["containers"][0]
        for one in objects.render(a_satellite(), SITE, Tokens("r", "c"))
        if one.body["kind"] == "Deployment"
    ]
    given = {v["name"] for one in containers if one["name"] == "algorithm" for v in one["env"]}
    assert given == pods.OWN_VARIABLES
    assert TOKENS.calls not in repr(TOKENS)


def test_pausing_replaces_no_pod_and_another_version_replaces_the_gateways() -> None:
    satellite = a_satellite()
    order = satellite.order.model_copy(update={"paused": True, "revision": 1})
    paused = dataclasses.replace(satellite, plan=satellite.plan.model_copy(update={"order": order}))
    assert rendered(paused) == rendered(satellite)
    later = satellite.plan.model_copy(update={"order": satellite.order.model_copy(update={"satellite_version": 2})})
    before, after = rendered(satellite), rendered(dataclasses.replace(satellite, plan=later))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert {kind for kind, _ in changed} == {"ConfigMap", "Deployment"}
    assert ("Deployment", "execution-engine") in changed
    assert len([key for key in changed if key[0] == "Deployment"]) == 1


def test_calls_come_in_over_the_ingress_and_may_take_their_time() -> None:
    ingress = rendered()["Ingress", "execution-engine"]
    rule = ingress["spec"]["rules"][0]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("edge.example.com", "/v1/algo/")
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "execution-engine", "port": {"name": "http"}}}
    assert int(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3000
    assert "tls" not in ingress["spec"]
    assert ("Ingress", "execution-engine") not in rendered(site=Site("sat"))
    alone = rendered(site=Site("sat", gateway_replicas=1))
    assert ("PodDisruptionBudget", "execution-engine") not in alone


def test_nobody_reaches_an_algorithm_but_gateways() -> None:
    found = {key[1]: body["spec"] for key, body in rendered().items() if key[0] == "NetworkPolicy"}
    denied = found["constellation-deny-all"]
    assert (denied["policyTypes"], denied.keys()) == (["Ingress", "Egress"], {"podSelector", "policyTypes"})
    (way,) = found["constellation-algorithms"]["ingress"]
    assert way["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    anywhere = found["constellation-network"]
    assert anywhere["podSelector"]["matchLabels"]["constellation.dev/network"] == "full"
    v4, v6, any_pod = anywhere["egress"][0]["to"]
    assert {"169.254.0.0/16", "168.63.129.16/32"} <= {*v4["ipBlock"]["except"]}
    assert "fd00:ec2::254/128" in v6["ipBlock"]["except"]
    assert any_pod == {"namespaceSelector": {}}, "blocks of addresses are not everywhere understood to hold pods"
    gateway = [rule["to"] for rule in found["execution-engine"]["egress"]]
    assert not any("ipBlock" in to and to["ipBlock"]["cidr"] == "0.0.0.0/0" for rule in gateway for to in rule)
    reporting = rendered(a_satellite(report_token="m"))["NetworkPolicy", "execution-engine"]["spec"]
    assert any("0.0.0.0/0" in json.dumps(rule) for rule in reporting["egress"])


def names(name: str, site: Site) -> list[tuple[set[tuple[str, int]], list[Manifest]]]:
    """Where a policy lets names be asked for: ports, and peers."""
    rules = rendered(site=site)["NetworkPolicy", name]["spec"]["egress"]
    found = [({(one["protocol"], one["port"]) for one in rule["ports"]}, rule["to"]) for rule in rules]
    return [one for one in found if ("UDP", 53) in one[0]]


@pytest.mark.parametrize("name", ["execution-engine", "constellation-algorithms"])
def test_names_are_asked_for_of_pods_and_of_the_servers_that_are_told(name: str) -> None:
    both = {("UDP", 53), ("TCP", 53)}
    of_pods, of_nodes = names(name, SITE)
    assert of_pods == (both | {("UDP", 5353), ("TCP", 5353)}, [{"namespaceSelector": {}}])
    assert of_nodes == (both, [{"ipBlock": {"cidr": "169.254.0.0/16"}}])
    _, told = names(name, dataclasses.replace(SITE, name_servers=("10.96.0.10/32",)))
    assert told == (both, [*of_nodes[1], {"ipBlock": {"cidr": "10.96.0.10/32"}}])


def test_gateways_learn_of_entries_last() -> None:
    made = objects.render(a_satellite(), SITE, TOKENS)
    assert [one.stage for one in made] == sorted(one.stage for one in made)
    stages = {one.key: one.stage for one in made}
    assert stages["Deployment", "execution-engine"] is Stage.GATEWAYS
    assert made[0].words == "ServiceAccount 'constellation-satellite'"


def test_what_cannot_be_is_said_in_words() -> None:
    satellite = a_satellite()
    with pytest.raises(Unfit, match="there is no image of joe/echo/0000"):
        rendered(dataclasses.replace(satellite, images={}))
    with pytest.raises(Unfit, match=r"lacks joe/echo/0{40}; render it anew"):
        rendered(dataclasses.replace(satellite, plan=satellites.plan(satellite.order)))
    with pytest.raises(Unfit, match=r"the plan of satellite 'edge' has \d+ bytes, and a cluster keeps at most"):
        rendered(dataclasses.replace(satellite, plan=satellites.plan(satellite.order, ECHO, LONER, keys=20_000)))
    with pytest.raises(Unfit, match="'Sat' is no name of a namespace"):
        Site("Sat")
