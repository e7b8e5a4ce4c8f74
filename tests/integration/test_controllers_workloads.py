"""Deployments and StatefulSets: the dependencies of runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Apis, Eventually, Manifest, Model

pytestmark = OF_THE_EMBEDDED_CLUSTER

MakeWorkload = Callable[..., Manifest]


@pytest.fixture
def make_workload() -> MakeWorkload:
    """Return a function that makes the manifest of a Deployment or StatefulSet."""

    def make(
        kind: str,
        name: str,
        replicas: int = 1,
        probe: Manifest | None = None,
        env: list[Manifest] | None = None,
        **spec: Any,
    ) -> Manifest:
        container: Manifest = {"name": "main", "image": "busybox:1", "args": ["sleep", "60"], "env": env or []}
        if probe:
            container["readinessProbe"] = probe
        labels = {"app": name}
        pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
                **({"serviceName": name} if kind == "StatefulSet" else {}),
                **spec,
            },
        }

    return make


def condition(workload: Any, type_: str) -> tuple[str, str] | None:
    found = next((found for found in workload.status.conditions or [] if found.type == type_), None)
    return (found.status, found.reason) if found else None


def pod_names(apis: Apis) -> list[str]:
    return sorted(pod.metadata.name for pod in apis.pods() if not pod.metadata.deletion_timestamp)


class TestDeployment:
    """Deployments."""

    def test_deployment__is_available_once_its_pods_are_ready(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually, tmp_path: Path
    ) -> None:
        """The condition Available."""
        up = tmp_path / "up"
        probe = {"exec": {"command": ["test", "-e", str(up)]}}
        apis.apps.create_namespaced_deployment(apis.namespace, make_workload("Deployment", "web", 2, probe))

        def read() -> Model:
            return apis.apps.read_namespaced_deployment("web", apis.namespace)

        early = eventually(lambda: (found := read()).status.replicas == 2 and found)
        assert condition(early, "Available") == ("False", "MinimumReplicasUnavailable")
        assert early.status.ready_replicas is None
        assert early.status.unavailable_replicas == 2
        up.touch()
        ready = eventually(lambda: (found := read()).status.available_replicas == 2 and found)
        assert condition(ready, "Available") == ("True", "MinimumReplicasAvailable")
        assert condition(ready, "Progressing") == ("True", "NewReplicaSetAvailable")
        assert (ready.status.ready_replicas, ready.status.updated_replicas) == (2, 2)
        assert ready.status.observed_generation == ready.metadata.generation == 1

    def test_deployment__scaled_to_zero_is_available_without_ready_pods(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """As in Kubernetes, zero of zero replicas count as available, so readiness must use the counts."""
        apis.apps.create_namespaced_deployment(apis.namespace, make_workload("Deployment", "zero"))

        def read() -> Model:
            return apis.apps.read_namespaced_deployment("zero", apis.namespace)

        eventually(lambda: read().status.ready_replicas == 1)
        scale = {"spec": {"replicas": 0}}
        apis.apps.patch_namespaced_deployment("zero", apis.namespace, scale)
        scaled = eventually(lambda: (found := read()).status.observed_generation == 2 and found)
        scaled = eventually(lambda: (found := read()).status.replicas is None and found)
        assert scaled.status.ready_replicas is None
        assert scaled.status.available_replicas is None
        assert condition(scaled, "Available") == ("True", "MinimumReplicasAvailable")
        eventually(lambda: not apis.pods())

    def test_deployment__is_available_only_after_min_ready_seconds(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """AvailableReplicas lags behind readyReplicas."""
        manifest = make_workload("Deployment", "ripe", minReadySeconds=500)
        apis.apps.create_namespaced_deployment(apis.namespace, manifest)

        def read() -> Model:
            return apis.apps.read_namespaced_deployment("ripe", apis.namespace)

        ready = eventually(lambda: (found := read()).status.ready_replicas == 1 and found)
        assert ready.status.available_replicas is None
        apis.apps.patch_namespaced_deployment("ripe", apis.namespace, {"spec": {"minReadySeconds": 1}})
        eventually(lambda: read().status.available_replicas == 1)

    def test_deployment__new_template_replaces_the_pods(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """A changed template rolls out; the old pods go."""
        apis.apps.create_namespaced_deployment(apis.namespace, make_workload("Deployment", "rolled"))
        [old] = eventually(lambda: pod_names(apis))
        changed = make_workload("Deployment", "rolled", env=[{"name": "VERSION", "value": "2"}])
        apis.apps.replace_namespaced_deployment("rolled", apis.namespace, changed)
        eventually(lambda: (names := pod_names(apis)) and old not in names)
        done = eventually(
            lambda: (
                (found := apis.apps.read_namespaced_deployment("rolled", apis.namespace)).status.replicas == 1
                and found.status.available_replicas == 1
                and found
            )
        )
        assert done.status.updated_replicas == 1
        [pod] = [pod for pod in apis.pods() if not pod.metadata.deletion_timestamp]
        assert pod.spec.containers[0].env[0].value == "2"

    def test_deployment__replaces_a_deleted_pod(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """Replicas is a promise."""
        apis.apps.create_namespaced_deployment(apis.namespace, make_workload("Deployment", "kept"))
        [old] = eventually(lambda: pod_names(apis))
        apis.core.delete_namespaced_pod(old, apis.namespace)
        eventually(lambda: (names := pod_names(apis)) and old not in names)

    def test_deployment__deletion_deletes_its_pods(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """The garbage collector deletes them."""
        apis.apps.create_namespaced_deployment(apis.namespace, make_workload("Deployment", "short"))
        eventually(lambda: pod_names(apis))
        apis.apps.delete_namespaced_deployment("short", apis.namespace)
        eventually(lambda: not apis.pods())


class TestStatefulSet:
    """StatefulSets."""

    def test_stateful_set__creates_pods_in_order_of_readiness(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """OrderedReady, the default."""
        probe = {"exec": {"command": ["sh", "-c", "sleep 0.2"]}}
        apis.apps.create_namespaced_stateful_set(apis.namespace, make_workload("StatefulSet", "db", 2, probe))
        eventually(lambda: pod_names(apis) == ["db-0", "db-1"])
        first, second = (apis.pod(name) for name in ("db-0", "db-1"))
        ready = next(found for found in first.status.conditions if found.type == "Ready")
        assert ready.last_transition_time <= second.metadata.creation_timestamp
        status = eventually(
            lambda: (
                (found := apis.apps.read_namespaced_stateful_set("db", apis.namespace).status).ready_replicas == 2
                and found
            )
        )
        assert (status.replicas, status.available_replicas, status.updated_replicas) == (2, 2, 2)
        assert status.current_revision == status.update_revision
        assert second.metadata.labels["apps.kubernetes.io/pod-index"] == "1"

    def test_stateful_set__scale_down_deletes_the_highest_ordinal_first(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """Ordinals are given up from the top."""
        manifest = make_workload("StatefulSet", "down", 3, podManagementPolicy="Parallel")
        apis.apps.create_namespaced_stateful_set(apis.namespace, manifest)
        eventually(lambda: pod_names(apis) == ["down-0", "down-1", "down-2"])
        apis.apps.patch_namespaced_stateful_set("down", apis.namespace, {"spec": {"replicas": 1}})
        eventually(lambda: pod_names(apis) == ["down-0"])

    def test_stateful_set__new_template_replaces_the_pods_under_their_names(
        self, apis: Apis, make_workload: MakeWorkload, eventually: Eventually
    ) -> None:
        """Names stay, pods don't."""
        apis.apps.create_namespaced_stateful_set(apis.namespace, make_workload("StatefulSet", "same", 2))

        def uids() -> dict[str, str]:
            return {pod.metadata.name: pod.metadata.uid for pod in apis.pods()}

        eventually(lambda: apis.apps.read_namespaced_stateful_set("same", apis.namespace).status.ready_replicas == 2)
        old = uids()
        changed = make_workload("StatefulSet", "same", 2, env=[{"name": "VERSION", "value": "2"}])
        apis.apps.replace_namespaced_stateful_set("same", apis.namespace, changed)
        eventually(lambda: (new := uids()).keys() == old.keys() and not set(new.values()) & set(old.values()))
        eventually(lambda: apis.apps.read_namespaced_stateful_set("same", apis.namespace).status.updated_replicas == 2)
