"""The manifests in `k8s/`, as `kubectl kustomize` builds them, without a cluster."""

import json
import os
import runpy
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from app.settings import Settings
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
    """All objects of one installation."""
    return build(INSTALLATIONS[request.param])


def violations_of_restricted(spec: Mapping[str, Any]) -> Iterator[str]:
    """Where a pod violates the Pod Security Standard "restricted", for the fields that our manifests use.

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


def test_pods__meet_the_restricted_standard(installation: list[Manifest]) -> None:
    for workload in of_kind(installation, *WORKLOADS):
        assert list(violations_of_restricted(pod_spec(workload))) == [], workload["metadata"]["name"]
        assert container(workload)["securityContext"]["readOnlyRootFilesystem"] is True


def test_pods__have_a_high_user_and_group(installation: list[Manifest]) -> None:
    """It is the image's, and policies that look only at manifests see it, too."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    for workload in our_workloads(installation):
        context = pod_spec(workload)["securityContext"]
        assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
        assert min(context["runAsUser"], context["runAsGroup"]) > 10_000


def test_production__bounds_the_ephemeral_storage() -> None:
    for workload in our_workloads(build(INSTALLATIONS["production"])):
        resources = container(workload)["resources"]
        assert resources["requests"]["ephemeral-storage"] == "64Mi"
        assert resources["limits"]["ephemeral-storage"] == "1Gi"


def test_restricted_check__finds_each_missing_part() -> None:
    """So the test above can fail."""
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


def test_objects__are_in_one_namespace_that_enforces_baseline(installation: list[Manifest]) -> None:
    (namespace,) = of_kind(installation, "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["name"] == "slimfaas"
    placed = {one["metadata"]["namespace"] for one in installation if one["kind"] != "Namespace"}
    assert placed == {namespace["metadata"]["name"]}


def test_objects__have_the_recommended_labels(installation: list[Manifest]) -> None:
    """A run's dependencies do not belong to the service."""
    others = {one["metadata"]["name"] for one in installation if not is_ours(one["metadata"].get("labels", {}))}
    assert others <= {"fibonacci1"}


def test_selectors__match_only_the_pods_of_their_workload(installation: list[Manifest]) -> None:
    for workload in of_kind(installation, *WORKLOADS):
        name = workload["metadata"]["name"]
        assert selected(installation, workload["spec"]["selector"]["matchLabels"]) == {name}


def test_service__selects_only_pods_that_serve_http(installation: list[Manifest]) -> None:
    """Not the stand-alone dispatcher."""
    service = named(installation, "Service", "slimfaas")
    assert service["spec"]["ports"] == [{"name": "http", "port": 5000}]
    (name,) = selected(installation, service["spec"]["selector"])
    (server,) = [workload for workload in our_workloads(installation) if workload["metadata"]["name"] == name]
    assert "command" not in container(server)
    assert {port["containerPort"] for port in container(server)["ports"]} == {5000, 8081}


def test_network_policy__selects_only_the_services_pods(installation: list[Manifest]) -> None:
    """Neither the runs nor their dependencies."""
    (policy,) = of_kind(installation, "NetworkPolicy")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert selected(installation, labels) == {one["metadata"]["name"] for one in our_workloads(installation)}
    assert not labels_of_a_run().items() >= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [5000]


def test_disruption_budgets__allow_drains(installation: list[Manifest]) -> None:
    """One budget per pod: with two, evictions fail."""
    budgets = of_kind(installation, "PodDisruptionBudget")
    covered = [name for budget in budgets for name in selected(installation, budget["spec"]["selector"]["matchLabels"])]
    assert sorted(covered) == sorted(one["metadata"]["name"] for one in our_workloads(installation))
    assert {budget["spec"]["maxUnavailable"] for budget in budgets} == {1}
    assert not any(labels_of_a_run().items() >= one["spec"]["selector"]["matchLabels"].items() for one in budgets)


def test_autoscaler__is_the_only_one_to_set_replicas() -> None:
    """`kubectl apply` would reset a number in the Deployment."""
    production = build(INSTALLATIONS["production"])
    (scaler,) = of_kind(production, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    workload = named(production, target["kind"], target["name"])
    assert "replicas" not in workload["spec"]
    assert "cpu" in container(workload)["resources"]["requests"]
    assert scaler["spec"]["minReplicas"] >= 2


def test_production__has_two_dispatchers_outside_of_the_web_pods() -> None:
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


def test_configuration_file__is_mounted_as_a_whole_volume() -> None:
    """A subPath mount never changes."""
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


def test_grace_period__covers_pre_stop_and_graceful_timeout(
    installation: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMFAAS_JOBS_CONFIGURATION", "{}")
    graceful_seconds = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["graceful_timeout"]
    for workload in our_workloads(installation):
        pause = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pause > 0 or "command" in container(workload)
        assert pause + graceful_seconds < pod_spec(workload)["terminationGracePeriodSeconds"]


def test_probes__use_health_for_liveness_and_ready_for_readiness(installation: list[Manifest]) -> None:
    """Liveness must not depend on the API server."""
    for workload in our_workloads(installation):
        paths = {kind: container(workload)[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {kind: probe["path"] for kind, probe in paths.items()} == {
            "startup": "/health",
            "liveness": "/health",
            "readiness": "/ready",
        }
        assert {probe["port"] for probe in paths.values()} == {8081}
        assert {"name": "SLIMFAAS_PROBE_PORT", "value": "8081"} in container(workload)["env"]


def test_key_secret__is_offered_but_not_needed(installation: list[Manifest]) -> None:
    """Every pod that serves HTTP takes it from the same Secret, so all replicas know the same keys."""
    serving = [
        one
        for one in installation
        if one["kind"] in ("StatefulSet", "Deployment") and one["metadata"]["name"] == "slimfaas"
    ]
    assert serving
    for workload in serving:
        [key_secret] = [one for one in container(workload)["env"] if one["name"] == "SLIMFAAS_KEY_SECRET"]
        reference = {"name": "slimfaas-keys", "key": "key-secret", "optional": True}
        assert key_secret["valueFrom"] == {"secretKeyRef": reference}


def test_accounts__have_exactly_one_role(installation: list[Manifest]) -> None:
    accounts = {one["metadata"]["name"] for one in of_kind(installation, "ServiceAccount")}
    assert {pod_spec(one)["serviceAccountName"] for one in our_workloads(installation)} == accounts
    bound = {
        binding["subjects"][0]["name"]: named(installation, "Role", binding["roleRef"]["name"])["metadata"]["name"]
        for binding in of_kind(installation, "RoleBinding")
    }
    assert bound == {account: account for account in accounts}
    assert {one["metadata"]["name"] for one in of_kind(installation, "Role")} == accounts
    assert of_kind(installation, "ClusterRole", "ClusterRoleBinding") == []


def test_production_roles__add_up_to_the_base_role() -> None:
    (whole,) = of_kind(build(INSTALLATIONS["base"]), "Role")
    parts = of_kind(build(INSTALLATIONS["production"]), "Role")
    assert set.union(*map(rights_in, parts)) == rights_in(whole)
    for part in parts:
        assert rights_in(part) < rights_in(whole)


def test_production__names_an_image_of_this_version() -> None:
    """Or a digest."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    base, production = (our_workloads(build(INSTALLATIONS[name])) for name in ("base", "production"))
    assert {container(one)["image"] for one in base} == {"slimfaas-jobs:latest"}
    (image,) = {container(one)["image"] for one in production}
    assert image.endswith(f"/slimfaas-jobs:{setup['metadata']['version']}")


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_rbac_authorization__sets_up_the_account_that_serves_http(name: str, tmp_path: Path) -> None:
    """The setting, and a binding of the standard ClusterRole; the example Roles are not part of it."""
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "jobs",
        "resources": [os.path.relpath(INSTALLATIONS[name], tmp_path)],
        "components": [os.path.relpath(K8S / "components" / "rbac-authorization", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), "utf-8")
    objects = build(tmp_path)
    (binding,) = [one for one in objects if one["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == "system:auth-delegator"
    (server,) = selected(objects, named(objects, "Service", "slimfaas")["spec"]["selector"])
    (workload,) = [one for one in our_workloads(objects) if one["metadata"]["name"] == server]
    (subject,) = binding["subjects"]
    assert (subject["namespace"], subject["name"]) == ("jobs", pod_spec(workload)["serviceAccountName"])
    assert {"name": "SLIMFAAS_AUTHORIZATION", "value": "rbac"} in container(workload)["env"]
    assert not any(one["metadata"]["name"] in ("start-fibonacci", "see-all-runs", "operate") for one in objects)


def test_token_review__is_bound_to_the_account_that_serves_http() -> None:
    _, binding = yaml.safe_load_all((K8S / "components/token-review/rbac.yaml").read_text("utf-8"))
    (account,) = [subject["name"] for subject in binding["subjects"]]
    for folder in INSTALLATIONS.values():
        objects = build(folder)
        (server,) = selected(objects, named(objects, "Service", "slimfaas")["spec"]["selector"])
        (workload,) = [one for one in our_workloads(objects) if one["metadata"]["name"] == server]
        assert pod_spec(workload)["serviceAccountName"] == account


@pytest.mark.parametrize(
    ("name", "kind", "workload"),
    [("base", "StatefulSet", "slimfaas"), ("production", "Deployment", "slimfaas-dispatcher")],
)
def test_notifications__mount_the_signing_secret_where_the_dispatcher_reads_it(
    tmp_path: Path, name: str, kind: str, workload: str
) -> None:
    """The other part of production, which delivers nothing, does not get it."""
    component = os.path.relpath(K8S / "components" / "notifications", tmp_path)
    resources = [os.path.relpath(INSTALLATIONS[name], tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": resources, "components": [component]}))
    built = build(tmp_path)
    mounting = [
        (one["kind"], one["metadata"]["name"], mount["mountPath"])
        for one in of_kind(built, *WORKLOADS)
        for mount in container(one).get("volumeMounts", ())
        if mount["name"] == "notify-secrets"
    ]
    folder = Settings(configuration="").notify_secrets_folder / "slimfaas-notifications"
    assert mounting == [(kind, workload, str(folder))]
    (volume,) = [one for one in pod_spec(named(built, kind, workload))["volumes"] if one["name"] == "notify-secrets"]
    assert volume["secret"] == {"secretName": "slimfaas-notifications", "optional": True}
    assert named(built, "NetworkPolicy", "slimfaas-notifications")["spec"]["policyTypes"] == ["Egress"]
