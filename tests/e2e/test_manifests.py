"""The manifests in `k8s/` on a real control plane: taken without a word, and what its controllers make of them."""

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

pytestmark = [pytest.mark.real_only("it has neither admission plugins nor server-side apply"), needs_kubectl]

PRODUCTION = {"Deployment slimfaas": 2, "Deployment slimfaas-dispatcher": 2}

ENFORCE = "pod-security.kubernetes.io/enforce"

Settled = Callable[[str], dict[str, int]]
"""Waits until all workloads of a namespace are ready; how many pods each has, by its kind and name."""


def write_overlay(folder: Path, base: Path, namespace: str, **fields: Any) -> Path:
    """Write an overlay that puts an installation into a namespace."""
    folder.mkdir(exist_ok=True)
    overlay = {"namespace": namespace, "resources": [os.path.relpath(base, folder)], **fields}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), "utf-8")
    return folder


def apply(folder: Path, *options: str) -> list[str]:
    """Apply strictly what a folder has; the lines that say what became of it. No warning may come along."""
    done = kubectl("apply", "--kustomize", folder, "--validate=strict", *options, kubeconfig=os.environ["KUBECONFIG"])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def core(server: Server) -> Any:
    """Namespaces, Services and pods, as an administrator."""
    return client.CoreV1Api(server.admin)


@pytest.fixture
def namespace(core: Any) -> Iterator[str]:
    """The name of a namespace that is not there yet, and is gone at the end."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    core.delete_namespace(name)


@pytest.fixture
def settled(server: Server, core: Any) -> Settled:
    """Wait until every workload of a namespace has all the pods that it wants, ready; how many each has."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("a cluster of the caller's has no image of the service; the node that `make e2e` brings needs none")
    apps = client.AppsV1Api(server.admin)

    def look(namespace: str) -> dict[str, int] | None:
        kinds = {"Deployment": apps.list_namespaced_deployment, "StatefulSet": apps.list_namespaced_stateful_set}
        found = {f"{kind} {one.metadata.name}": one for kind, read in kinds.items() for one in read(namespace).items}
        ready = {name: one.status.ready_replicas or 0 for name, one in found.items()}
        wanted = {name: one.spec.replicas for name, one in found.items()}
        return ready if ready == wanted else None

    def wait(namespace: str) -> dict[str, int]:
        found: dict[str, int] = until(lambda: look(namespace))
        return found

    return wait


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_an_installation_is_taken_without_a_warning(namespace: str, tmp_path: Path, name: str) -> None:
    """Each object is new, and then there is nothing left to do."""
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace)
    lines = apply(overlay)
    assert lines
    assert all(line.endswith(" created") for line in lines)
    # A status that changes while kubectl looks counts as a difference, too.
    until(lambda: kubectl("diff", "--kustomize", overlay, kubeconfig=os.environ["KUBECONFIG"]).returncode == 0)


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_an_installation_is_taken_by_server_side_apply(namespace: str, tmp_path: Path, name: str) -> None:
    """Without a warning, too; and a dry run of it afterwards has nothing to say, either."""
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace)
    lines = apply(overlay, "--server-side")
    assert lines
    assert all(line.endswith(" serverside-applied") for line in lines)
    assert apply(overlay, "--server-side", "--dry-run=server") == [f"{line} (server dry run)" for line in lines]


def test_the_token_review_component_is_taken_without_a_warning(namespace: str, tmp_path: Path) -> None:
    """It is the cluster's, so that it is only tried here."""
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
def test_every_pod_comes_up_under_either_standard(
    core: Any, namespace: str, tmp_path: Path, settled: Settled, name: str, pods: dict[str, int], standard: str
) -> None:
    """As the manifests are, and in a namespace that enforces "restricted"; the autoscaler sees to production's two."""
    labels = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "slimfaas", "labels": {ENFORCE: standard}}}
    patch = {"target": {"kind": "Namespace"}, "patch": yaml.safe_dump(labels)}
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS[name], namespace, patches=[patch])
    apply(overlay)
    assert core.read_namespace(namespace).metadata.labels[ENFORCE] == standard
    until(lambda: settled(namespace) == pods)


def test_the_base_can_become_production(
    server: Server, core: Any, namespace: str, tmp_path: Path, settled: Settled
) -> None:
    """As the operations page has it: apply, delete the old. The controllers then find the pods that the manifests mean.

    The Service leads to those who serve HTTP, and each budget lets one pod of its own go.
    """
    overlay = write_overlay(tmp_path / "overlay", INSTALLATIONS["base"], namespace)
    apply(overlay)
    assert settled(namespace) == {"StatefulSet slimfaas": 1}
    apply(write_overlay(overlay, INSTALLATIONS["production"], namespace))
    until(lambda: settled(namespace).get("Deployment slimfaas-dispatcher") == 2)
    client.AppsV1Api(server.admin).delete_namespaced_stateful_set("slimfaas", namespace)
    until(lambda: settled(namespace) == PRODUCTION)
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


def test_the_node_of_a_single_replica_can_be_drained(
    core: Any, namespace: str, tmp_path: Path, settled: Settled
) -> None:
    """Its budget lets it go, and the StatefulSet makes it anew."""
    apply(write_overlay(tmp_path / "overlay", INSTALLATIONS["base"], namespace))
    assert settled(namespace) == {"StatefulSet slimfaas": 1}
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
    assert settled(namespace) == {"StatefulSet slimfaas": 1}
