"""Pods that wait for their volumes, and the Events of a kubelet that can't mount them. No node has such a pod."""

from datetime import UTC, datetime
from typing import Any

from app.kube import labels

Json = dict[str, Any]

NO_SECRET = 'MountVolume.SetUp failed for volume "data" : secret "data" not found'


def make_stuck_pod(core: Any, namespace: str, job: Json, definition: str) -> str:
    """Create the pod of a Job as it is while its kubelet mounts its volumes; returns its name.

    Args:
        core: the API. Its generated types make every field optional, and reject manifests that its methods accept.
        namespace: of the Job.
        job: `name` and `uid`.
        definition: of the run.
    """
    owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True, **job}
    name = f"{job['name']}-pod"
    pod = {
        "metadata": {
            "name": name,
            "labels": {"batch.kubernetes.io/job-name": job["name"], labels.DEFINITION_LABEL: definition},
            "ownerReferences": [owner],
        },
        "spec": {
            "schedulerName": "nobody",
            "restartPolicy": "Never",
            "containers": [{"name": definition, "image": "busybox:1"}],
        },
    }
    core.create_namespaced_pod(namespace, pod)
    waiting = {
        "name": definition, "image": "busybox:1", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }  # fmt: skip
    core.patch_namespaced_pod_status(name, namespace, {"status": {"phase": "Pending", "containerStatuses": [waiting]}})
    return name


def write_mount_event(
    core: Any, namespace: str, pod: str, message: str = NO_SECRET, reason: str = "FailedMount"
) -> None:
    """Write an Event as a kubelet does for a pod whose volumes it can't mount."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = core.read_namespaced_pod(pod, namespace)
    event: Json = {
        "metadata": {"generateName": f"{pod}."},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": pod,
            "uid": found.metadata.uid,
        },
        "reason": reason,
        "type": "Warning",
        "message": message,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": "kubelet", "host": "testnode"},
    }
    core.create_namespaced_event(namespace, event)
