"""The manifests in `k8s/` on a real control plane: applied without warnings, and their pods become ready."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.integration.dispatching import until
from tests.support.kustomize import INSTALLATIONS, K8S, kubectl, needs_kubectl
from tests.support.servers import Server

pytestmark = [
    pytest.mark.real_only("the embedded cluster has neither admission plugins nor server-side apply"),
    needs_kubectl,
]

PRODUCTION = {"Deployment slimfaas": 2, "Deployment slimfaas-dispatcher": 2}

ENFORCE = "pod-security.kubernetes.io/enforce"

AwaitReady = Callable[[str], dict[str, int]]
"""Waits until all workloads of a namespace are ready; returns the number of pods by kind and name."""


def write_overlay(folder: Path, base: Path, namespace: str, **fields: Any) -> Path:
    """Write an overlay that puts an installation into a namespace."""
    folder.mkdir(exist_ok=True)
    overlay = {"namespace": namespace, "resources": [os.path.relpath(base, folder)], **fields}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), "utf-8")
    return folder


def apply(folder: Path, *options: str) -> list[str]:
    """Apply a folder with strict validation, and return kubectl's lines; a warning fails the test."""
    done = kubectl("apply", "--kustomize", folder, "--validate=strict", *options, kubeconfig=os.environ["KUBECONFIG"])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def core(server: Server) -> Any:
    """Provide an administrator's client for the core API."""
    return client.CoreV1Api(server.admin)


@pytest.fixture
def namespace(core: Any) -> Iterator[str]:
    """Provide the name of a namespace that does not exist yet; it is deleted at the end."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    core.delete_namespace(name)


@pytest.fixture
def await_ready(server: Server, core: Any) -> AwaitReady:
    """Provide a function that waits until all workloads of a namespace are ready, and returns their numbers of pods."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("needs a node that runs the service without its image: the one that `make e2e` starts")
    apps = client.AppsV1Api(server.admin)

    def count_if_ready(namespace: str) -> dict[str, int] | None:
        kinds = {"Deployment": apps.list_namespaced_deployment, "StatefulSet": apps.list_namespaced_stateful_set}
        found = {f"{kind} {one.metadata.name}": one for kind, read in kinds.items() for one in read(namespace).items}
        ready = {name: one.status.ready_replicas or 0 for name, one in found.items()}
        wanted = {name: one.spec.replicas for name, one in found.items()}
        return ready if ready == wanted else None

    def wait(namespace: str) -> dict[str, int]:
        found: dict[str, int] = until(lambda: count_if_ready(namespace))
        return found

    return wait


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_installation__is_applied_without_a_warning(namespace: str, tmp_path: Path, name: str) -> None:
    """Every object is created, and afterwards `kubectl diff` finds no difference."""
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace)
    lines = apply(overlay)
    assert lines
    assert all(line.endswith(" created") for line in lines)
    # A status that changes meanwhile counts as a difference, too.
    until(lambda: kubectl("diff", "--kustomize", overlay, kubeconfig=os.environ["KUBECONFIG"]).returncode == 0)


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_installation__is_applied_server_side_without_a_warning(namespace: str, tmp_path: Path, name: str) -> None:
    """A dry run afterwards gives no warning either."""
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace)
    lines = apply(overlay, "--server-side")
    assert lines
    assert all(line.endswith(" serverside-applied") for line in lines)
    assert apply(overlay, "--server-side", "--dry-run=server") == [f"{line} (server dry run)" for line in lines]


def test_token_review_component__is_applied_without_a_warning(namespace: str, tmp_path: Path) -> None:
    """Only as a dry run, because its objects are cluster-wide."""
    component = os.path.relpath(K8S / "components" / "token-review", tmp_path / "overlay")
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS["production"], namespace)
    apply(overlay)
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS["production"], namespace, components=[component])
    lines = apply(overlay, "--dry-run=server")
    assert sum("slimfaas-token-review" in line for line in lines) == 2
    built = kubectl("kustomize", overlay)
    (binding,) = [one for one in yaml.safe_load_all(built.stdout) if one["kind"] == "ClusterRoleBinding"]
    assert [subject["namespace"] for subject in binding["subjects"]] == [namespace]


@pytest.mark.parametrize(
    ("name", "pods"),
    [
        ("base", {"StatefulSet slimfaas": 1}),
        ("demo", {"StatefulSet slimfaas": 1, "Deployment fibonacci1": 1}),
        ("production", PRODUCTION),
    ],
)
@pytest.mark.parametrize("standard", ["baseline", "restricted"])
def test_installation__its_pods_become_ready_under_each_pod_security_standard(
    core: Any, namespace: str, tmp_path: Path, await_ready: AwaitReady, name: str, pods: dict[str, int], standard: str
) -> None:
    """In production the autoscaler sets the number of web replicas."""
    labels = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "slimfaas", "labels": {ENFORCE: standard}}}
    patch = {"target": {"kind": "Namespace"}, "patch": yaml.safe_dump(labels)}
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace, patches=[patch])
    apply(overlay)
    assert core.read_namespace(namespace).metadata.labels[ENFORCE] == standard
    until(lambda: await_ready(namespace) == pods)


def test_base__can_be_upgraded_to_production(
    server: Server, core: Any, namespace: str, tmp_path: Path, await_ready: AwaitReady
) -> None:
    """By the steps of the operations page: apply production, then delete the old StatefulSet.

    Afterwards the Service selects the web pods, and each disruption budget permits the eviction of one pod.
    """
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS["base"], namespace)
    apply(overlay)
    assert await_ready(namespace) == {"StatefulSet slimfaas": 1}
    apply(write_overlay(overlay, INSTALLATIONS["production"], namespace))
    until(lambda: await_ready(namespace).get("Deployment slimfaas-dispatcher") == 2)
    client.AppsV1Api(server.admin).delete_namespaced_stateful_set("slimfaas", namespace)
    until(lambda: await_ready(namespace) == PRODUCTION)
    until(lambda: len(core.list_namespaced_pod(namespace).items) == 4)
    slices, policies = client.DiscoveryV1Api(server.admin), client.PolicyV1Api(server.admin)
    serving = {pod.metadata.name for pod in core.list_namespaced_pod(namespace, label_selector="app=slimfaas").items}

    def behind_the_service() -> set[str]:
        selector = "kubernetes.io/service-name=slimfaas"
        found = slices.list_namespaced_endpoint_slice(namespace, label_selector=selector).items
        return {end.target_ref.name for one in found for end in one.endpoints or () if end.conditions.ready}

    def budgets() -> dict[str, tuple[int, int]]:
        found = policies.list_namespaced_pod_disruption_budget(namespace).items
        return {one.metadata.name: (one.status.expected_pods, one.status.disruptions_allowed) for one in found}

    until(lambda: behind_the_service() == serving)
    until(lambda: budgets() == {"slimfaas": (2, 1), "slimfaas-dispatcher": (2, 1)})


def test_base__its_node_can_be_drained(core: Any, namespace: str, tmp_path: Path, await_ready: AwaitReady) -> None:
    """The disruption budget permits the eviction, and the StatefulSet recreates the pod."""
    apply(write_overlay(tmp_path / "overlay", INSTALLATIONS["base"], namespace))
    assert await_ready(namespace) == {"StatefulSet slimfaas": 1}
    uid = core.read_namespaced_pod("slimfaas-0", namespace).metadata.uid

    def evict() -> bool:
        try:
            core.create_namespaced_pod_eviction("slimfaas-0", namespace, {"metadata": {"name": "slimfaas-0"}})
        except client.ApiException as error:
            if error.status != 429:  # until the budget has counted the pod
                raise
            return False
        return True

    until(evict)
    until(lambda: uid not in {pod.metadata.uid for pod in core.list_namespaced_pod(namespace).items})
    assert await_ready(namespace) == {"StatefulSet slimfaas": 1}
