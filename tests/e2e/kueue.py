"""Kueue's objects for tests: quotas, queues, priorities, Jobs, and the Workloads that Kueue makes of Jobs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from kubernetes import client

from tests.controlplane.kueue.process import API_GROUP, API_VERSION, GATE_ANNOTATION, MERGE_PATCH, QUEUE_LABEL
from tests.support.servers import Server
from tests.support.waiting import until

Json = dict[str, Any]

GATE = "slimfaas.dev/dispatcher"
"""The gate that the service sets and removes."""

PRIORITY_LABEL = f"{API_GROUP}/priority-class"

WITH_KUEUE = [
    pytest.mark.real_only("the embedded cluster has neither webhooks nor custom resources"),
    pytest.mark.xdist_group("kueue"),  # all in one xdist worker: a control plane can have one Kueue
]
"""The marks of all tests that use the fixtures `kueue` or `queues`."""


class Condition(NamedTuple):
    """A condition of a Workload, without its type and times."""

    status: str
    reason: str
    message: str


class Queues:
    """Kueue's objects in one namespace, which Kueue manages.

    Quotas and priorities belong to the cluster, so their names begin with the namespace. They are removed with Kueue.
    """

    def __init__(self, server: Server, namespace: str) -> None:
        self.namespace = namespace
        self._custom: Any = client.CustomObjectsApi(server.admin)
        self._batch: Any = client.BatchV1Api(server.admin)
        self._flavor = self._create("ResourceFlavor", f"{namespace}-flavor")

    def add_quota(
        self,
        name: str,
        quota: Mapping[str, int | str],
        *,
        cohort: str | None = None,
        preemption: Mapping[str, Any] | None = None,
    ) -> str:
        """Create a ClusterQueue, and return its full name.

        Args:
            name: the end of its name.
            quota: resource -> how much of it; the resource `pods` counts pods.
            cohort: the end of the name of the cohort with whose queues it shares its quota.
            preemption: its `spec.preemption`, such as `{"withinClusterQueue": "LowerPriority"}`.
        """
        spec: Json = {"namespaceSelector": {}, "resourceGroups": [self._resource_group(quota)]}
        if cohort is not None:
            spec["cohortName"] = f"{self.namespace}-{cohort}"
        if preemption is not None:
            spec["preemption"] = dict(preemption)
        return self._create("ClusterQueue", f"{self.namespace}-{name}", spec=spec)

    def change_quota(self, full_name: str, quota: Mapping[str, int | str]) -> None:
        """Replace the quota of a ClusterQueue; the resources must be the same."""
        patch = {"spec": {"resourceGroups": [self._resource_group(quota)]}}
        self._custom.patch_cluster_custom_object(API_GROUP, API_VERSION, "clusterqueues", full_name, patch)

    def add_queue(self, name: str, quota: str | Mapping[str, int | str]) -> None:
        """Create a LocalQueue.

        Args:
            name: its name. To `default`, Kueue assigns every Job of the namespace that names no queue.
            quota: the full name of its ClusterQueue, or the quota of a new one of the same name.
        """
        cluster_queue = quota if isinstance(quota, str) else self.add_quota(name, quota)
        self._create("LocalQueue", name, namespaced=True, spec={"clusterQueue": cluster_queue})

    def stop_queue(self, name: str, policy: str = "Hold") -> None:
        """Set a LocalQueue's stop policy: `Hold`, `HoldAndDrain`, which also evicts what runs, or `None`."""
        patch = {"spec": {"stopPolicy": policy}}
        arguments = (API_GROUP, API_VERSION, self.namespace, "localqueues", name)
        self._custom.patch_namespaced_custom_object(*arguments, patch)

    def add_priority(self, name: str, value: int) -> str:
        """Create a WorkloadPriorityClass, and return its full name."""
        return self._create("WorkloadPriorityClass", f"{self.namespace}-{name}", value=value)

    def add_job(
        self,
        name: str,
        queue: str | None,
        *,
        gate: str | None = None,
        priority: str | None = None,
        suspend: bool | None = None,
        requests: Mapping[str, str] | None = None,
    ) -> Any:
        """Create a Job of one pod that runs for ten minutes, and return it as it was stored.

        Args:
            name: its name.
            queue: its LocalQueue; `None`: it names none.
            gate: who holds back its admission; `None`: nobody.
            priority: the full name of its WorkloadPriorityClass.
            suspend: as in its spec.
            requests: resource -> how much of it the container requests.
        """
        labels = {QUEUE_LABEL: queue, PRIORITY_LABEL: priority}
        container = {"name": "main", "image": "busybox:1", "resources": {"requests": dict(requests or {})}}
        pod = {"restartPolicy": "Never", "containers": [container]}
        annotations = {"testnode/runs-for": "600s"}
        job = {
            "metadata": {
                "name": name,
                "labels": {key: value for key, value in labels.items() if value is not None},
                "annotations": {} if gate is None else {GATE_ANNOTATION: gate},
            },
            "spec": {
                "backoffLimit": 0,
                "suspend": suspend,
                "template": {"metadata": {"annotations": annotations}, "spec": pod},
            },
        }
        return self._batch.create_namespaced_job(self.namespace, job)

    def job(self, name: str) -> Any:
        """Return a Job."""
        return self._batch.read_namespaced_job(name, self.namespace)

    def patch_job(self, name: str, patch: Json) -> Any:
        """Change a Job with a merge patch."""
        return self._batch.patch_namespaced_job(name, self.namespace, patch, _content_type=MERGE_PATCH)

    def delete_job(self, name: str) -> None:
        """Delete a Job with its pods, without waiting until it is gone."""
        self._batch.delete_namespaced_job(name, self.namespace, propagation_policy="Background")

    def open_gate(self, name: str) -> None:
        """Remove the gate of a Job."""
        self.patch_job(name, {"metadata": {"annotations": {GATE_ANNOTATION: None}}})

    def workload(self, job: str) -> Json | None:
        """Return the Workload of a Job; `None`: there is none."""
        found = self._custom.list_namespaced_custom_object(API_GROUP, API_VERSION, self.namespace, "workloads")
        for workload in found["items"]:
            owners = workload["metadata"].get("ownerReferences", ())
            if any((owner["kind"], owner["name"]) == ("Job", job) for owner in owners):
                made: Json = workload
                return made
        return None

    def conditions(self, job: str) -> dict[str, Condition]:
        """Return the conditions of a Job's Workload by type; empty if there is no Workload."""
        found = (self.workload(job) or {}).get("status", {}).get("conditions", ())
        return {one["type"]: Condition(one["status"], one["reason"], one["message"]) for one in found}

    def wait_for(self, job: str, kind: str, text: str) -> Condition:
        """Wait until the reason or message of a condition of a Job's Workload contains a text; return the condition."""

        def found() -> Condition | None:
            condition = self.conditions(job).get(kind)
            return condition if condition is not None and text in f"{condition.reason}: {condition.message}" else None

        waited: Condition = until(found)
        return waited

    def wait_started(self, job: str) -> None:
        """Wait until a Job has an active pod."""
        until(lambda: self.job(job).status.active)

    def _resource_group(self, quota: Mapping[str, int | str]) -> Json:
        resources = [{"name": name, "nominalQuota": str(amount)} for name, amount in quota.items()]
        return {"coveredResources": list(quota), "flavors": [{"name": self._flavor, "resources": resources}]}

    def _create(self, kind: str, name: str, *, namespaced: bool = False, **fields: Any) -> str:
        body = {"apiVersion": f"{API_GROUP}/{API_VERSION}", "kind": kind, "metadata": {"name": name}, **fields}
        plural = f"{kind.lower()}es" if kind.endswith("s") else f"{kind.lower()}s"
        if namespaced:
            self._custom.create_namespaced_custom_object(API_GROUP, API_VERSION, self.namespace, plural, body)
        else:
            self._custom.create_cluster_custom_object(API_GROUP, API_VERSION, plural, body)
        return name
