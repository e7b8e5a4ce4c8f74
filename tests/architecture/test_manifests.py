"""The manifests in `k8s/` mean what they say: read as kubectl makes them, without a cluster."""

import json
import runpy
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.support.kustomize import (
    INSTALLATIONS,
    K8S,
    WORKLOADS,
    Manifest,
    build,
    container,
    is_ours,
    labels_of_a_run,
    named,
    needs_kubectl,
    of_kind,
    our_workloads,
    pod_spec,
    rights_in,
    selected,
)

pytestmark = needs_kubectl

ROOT = K8S.parent


@pytest.fixture(scope="module", params=INSTALLATIONS)
def installation(request: pytest.FixtureRequest) -> list[Manifest]:
    """Everything that one of them applies."""
    return build(INSTALLATIONS[request.param])


def violations_of_restricted(spec: Mapping[str, Any]) -> Iterator[str]:
    """Where a pod leaves the Pod Security Standard "restricted", as far as our manifests go.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    known = {
        "automountServiceAccountToken",
        "containers",
        "enableServiceLinks",
        "securityContext",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "topologySpreadConstraints",
        "volumes",
    }
    yield from (f"{field}: not known to this check" for field in spec.keys() - known)
    for volume in spec.get("volumes", ()):
        if not volume.keys() - {"name"} <= {"configMap", "emptyDir", "projected", "secret", "downwardAPI"}:
            yield f"volume {volume['name']}"
    for one in spec["containers"]:
        context = {**spec.get("securityContext", {}), **one.get("securityContext", {})}
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield "may be root"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield "may become privileged"
        capabilities = context.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            yield "capabilities"
        if any("hostPort" in port for port in one.get("ports", ())):
            yield "hostPort"


def test_every_pod_is_within_restricted(installation: list[Manifest]) -> None:
    """Those of the service, and what the demo brings along."""
    for workload in of_kind(installation, *WORKLOADS):
        assert list(violations_of_restricted(pod_spec(workload))) == [], workload["metadata"]["name"]
        assert container(workload)["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_check_of_restricted_finds_what_is_missing() -> None:
    """Each part that is taken away is missed: the test above can fail."""
    (workload,) = our_workloads(build(INSTALLATIONS["base"]))
    for field in ("runAsNonRoot", "seccompProfile"):
        spec = json.loads(json.dumps(pod_spec(workload)))
        del spec["securityContext"][field]
        assert list(violations_of_restricted(spec)), field
    for field in ("allowPrivilegeEscalation", "capabilities"):
        spec = json.loads(json.dumps(pod_spec(workload)))
        del spec["containers"][0]["securityContext"][field]
        assert list(violations_of_restricted(spec)), field
    assert list(violations_of_restricted({**pod_spec(workload), "hostNetwork": True}))


def test_everything_is_in_one_namespace_that_runs_can_live_in(installation: list[Manifest]) -> None:
    """The namespace comes along, and enforces no more than every definition keeps to."""
    (namespace,) = of_kind(installation, "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["name"] == "slimfaas"
    placed = {one["metadata"]["namespace"] for one in installation if one["kind"] != "Namespace"}
    assert placed == {namespace["metadata"]["name"]}


def test_our_objects_carry_the_recommended_labels(installation: list[Manifest]) -> None:
    """All that is installed for the service can be listed by one label; what a run depends on is not the service's."""
    others = {one["metadata"]["name"] for one in installation if not is_ours(one["metadata"].get("labels", {}))}
    assert others <= {"fibonacci1"}


def test_selectors_pick_the_pods_of_their_own_template(installation: list[Manifest]) -> None:
    """A workload owns what it makes, and no two workloads lay hands on each other's pods."""
    for workload in of_kind(installation, *WORKLOADS):
        name = workload["metadata"]["name"]
        assert selected(installation, workload["spec"]["selector"]["matchLabels"]) == {name}


def test_the_service_leads_to_those_who_serve_http(installation: list[Manifest]) -> None:
    """The seed's Service, and no dispatcher behind it: that one knows no jobs."""
    service = named(installation, "Service", "slimfaas")
    assert service["spec"]["ports"] == [{"name": "http", "port": 5000}]
    (name,) = selected(installation, service["spec"]["selector"])
    (server,) = [workload for workload in our_workloads(installation) if workload["metadata"]["name"] == name]
    assert "command" not in container(server)
    assert {port["containerPort"] for port in container(server)["ports"]} == {5000}


def test_the_network_policy_is_about_our_pods_alone(installation: list[Manifest]) -> None:
    """It neither cuts off what runs depend on, nor the runs."""
    (policy,) = of_kind(installation, "NetworkPolicy")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert selected(installation, labels) == {one["metadata"]["name"] for one in our_workloads(installation)}
    assert not labels_of_a_run().items() >= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [5000]


def test_each_workload_has_a_budget_that_lets_nodes_be_drained(installation: list[Manifest]) -> None:
    """One budget each: two for one pod make its eviction fail. And never all of them at once, never none."""
    budgets = of_kind(installation, "PodDisruptionBudget")
    covered = [name for budget in budgets for name in selected(installation, budget["spec"]["selector"]["matchLabels"])]
    assert sorted(covered) == sorted(one["metadata"]["name"] for one in our_workloads(installation))
    assert {budget["spec"]["maxUnavailable"] for budget in budgets} == {1}
    assert not any(labels_of_a_run().items() >= one["spec"]["selector"]["matchLabels"].items() for one in budgets)


def test_the_autoscaler_alone_says_how_many_there_are() -> None:
    """Its target exists, asks for processor time, and has no number that `kubectl apply` would put back."""
    production = build(INSTALLATIONS["production"])
    (scaler,) = of_kind(production, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    workload = named(production, target["kind"], target["name"])
    assert "replicas" not in workload["spec"]
    assert "cpu" in container(workload)["resources"]["requests"]
    assert scaler["spec"]["minReplicas"] >= 2


def test_production_has_two_dispatchers_and_no_other() -> None:
    """Whoever serves HTTP there doesn't dispatch, and who dispatches isn't told not to."""
    production = build(INSTALLATIONS["production"])
    api, dispatcher = (named(production, "Deployment", name) for name in ("slimfaas", "slimfaas-dispatcher"))
    assert {"name": "SLIMFAAS_DISPATCHER", "value": "off"} in container(api)["env"]
    assert container(dispatcher)["command"] == ["slimfaas-jobs", "dispatcher"]
    assert not any(variable["name"] == "SLIMFAAS_DISPATCHER" for variable in container(dispatcher)["env"])
    assert dispatcher["spec"]["replicas"] == 2
    for workload in (api, dispatcher):
        assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        for constraint in pod_spec(workload)["topologySpreadConstraints"]:
            name = workload["metadata"]["name"]
            assert selected(production, constraint["labelSelector"]["matchLabels"]) == {name}


def test_a_file_with_the_configuration_is_mounted_where_it_is_looked_for() -> None:
    """As a whole volume: what is mounted by subPath never changes."""
    production = build(INSTALLATIONS["production"])
    for workload in our_workloads(production):
        (file,) = [one["value"] for one in container(workload)["env"] if one["name"].endswith("_CONFIGURATION_FILE")]
        (mount,) = container(workload)["volumeMounts"]
        assert "subPath" not in mount
        assert str(PurePosixPath(file).parent) == mount["mountPath"]
        (volume,) = pod_spec(workload)["volumes"]
        (item,) = volume["configMap"]["items"]
        assert item["path"] == PurePosixPath(file).name
        assert item["key"] in named(production, "ConfigMap", volume["configMap"]["name"])["data"]


def test_pods_are_given_the_time_that_they_need_to_end(
    installation: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PreStop's pause, and then gunicorn's own patience with the calls under way; the dispatcher stops within it."""
    monkeypatch.setenv("SLIMFAAS_JOBS_CONFIGURATION", "{}")
    graceful_seconds = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["graceful_timeout"]
    for workload in our_workloads(installation):
        pause = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pause > 0 or "command" in container(workload)
        assert pause + graceful_seconds < pod_spec(workload)["terminationGracePeriodSeconds"]


def test_probes_ask_what_they_are_for(installation: list[Manifest]) -> None:
    """Liveness must not depend on the API server, readiness must."""
    for workload in our_workloads(installation):
        paths = {kind: container(workload)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {kind: probe["path"] for kind, probe in paths.items()} == {
            "startup": "/health",
            "liveness": "/health",
            "readiness": "/ready",
        }
        assert {probe["port"] for probe in paths.values()} == {5000}


def test_accounts_are_bound_to_roles_that_exist(installation: list[Manifest]) -> None:
    """Each workload has an account, each account one Role, and there is no other right."""
    accounts = {one["metadata"]["name"] for one in of_kind(installation, "ServiceAccount")}
    assert {pod_spec(one)["serviceAccountName"] for one in our_workloads(installation)} == accounts
    bound = {
        binding["subjects"][0]["name"]: named(installation, "Role", binding["roleRef"]["name"])["metadata"]["name"]
        for binding in of_kind(installation, "RoleBinding")
    }
    assert bound == {account: account for account in accounts}
    assert {one["metadata"]["name"] for one in of_kind(installation, "Role")} == accounts
    assert of_kind(installation, "ClusterRole", "ClusterRoleBinding") == []


def test_the_rights_of_both_parts_are_those_of_the_whole() -> None:
    """The two Roles of production share out what one account has in the base."""
    (whole,) = of_kind(build(INSTALLATIONS["base"]), "Role")
    parts = of_kind(build(INSTALLATIONS["production"]), "Role")
    assert set.union(*map(rights_in, parts)) == rights_in(whole)
    for part in parts:
        assert rights_in(part) < rights_in(whole)


def test_production_names_an_image_of_this_version() -> None:
    """The base's is what `make image` builds; production's is of a version, or of a digest."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    base, production = (our_workloads(build(INSTALLATIONS[name])) for name in ("base", "production"))
    assert {container(one)["image"] for one in base} == {"slimfaas-jobs:latest"}
    (image,) = {container(one)["image"] for one in production}
    assert image.endswith(f"/slimfaas-jobs:{setup['metadata']['version']}")


def test_the_token_review_component_serves_every_installation() -> None:
    """It is bound to the account of whoever serves HTTP."""
    _, binding = yaml.safe_load_all((K8S / "components/token-review/rbac.yaml").read_text("utf-8"))
    (account,) = [subject["name"] for subject in binding["subjects"]]
    for folder in INSTALLATIONS.values():
        objects = build(folder)
        (server,) = selected(objects, named(objects, "Service", "slimfaas")["spec"]["selector"])
        (workload,) = [one for one in our_workloads(objects) if one["metadata"]["name"] == server]
        assert pod_spec(workload)["serviceAccountName"] == account
