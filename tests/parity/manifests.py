"""The objects with which the cases start."""

import copy
from typing import Any

from tests.parity.sides import Json
from tests.parity.steps import change

NOBODY = "example.com/nobody"
"""The `managedBy` of Jobs in the cases about requests, so that no controller changes them."""

CONTAINER = "spec.template.spec.containers.0"
POD_SPEC = "spec.template.spec"


def changed(manifest: Json, *changes: tuple[str, Any]) -> Json:
    """Return a copy with fields set; `...` removes a field."""
    manifest = copy.deepcopy(manifest)
    for path, value in changes:
        change(manifest, path, value)
    return manifest


def job(*changes: tuple[str, Any]) -> Json:
    """Return a suspended Job that no controller changes."""
    return changed(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "$NAME"},
            "spec": {
                "suspend": True,
                "managedBy": NOBODY,
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "main", "image": "busybox:1", "args": ["true"]}],
                    }
                },
            },
        },
        *changes,
    )


def cron_job(*changes: tuple[str, Any]) -> Json:
    """Return a suspended CronJob, so that no controller changes it."""
    return changed(
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "$NAME"},
            "spec": {
                "schedule": "0 0 * * *",
                "suspend": True,
                "jobTemplate": {
                    "spec": {
                        "template": {
                            "spec": {
                                "restartPolicy": "Never",
                                "containers": [{"name": "main", "image": "busybox:1", "args": ["true"]}],
                            }
                        }
                    }
                },
            },
        },
        *changes,
    )


def pod(*changes: tuple[str, Any]) -> Json:
    """Return a pod that no scheduler binds."""
    return changed(
        {
            "metadata": {"name": "$NAME"},
            "spec": {
                "schedulerName": "nobody",
                "automountServiceAccountToken": False,
                "containers": [{"name": "main", "image": "busybox:1"}],
            },
        },
        *changes,
    )


def workload(*changes: tuple[str, Any]) -> Json:
    """Return a Deployment or StatefulSet without replicas."""
    labels = {"app": "$NAME"}
    return changed(
        {
            "metadata": {"name": "$NAME"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
                },
            },
        },
        *changes,
    )


def event(*changes: tuple[str, Any]) -> Json:
    """Return an Event about a Job, as the dispatcher writes it."""
    about = {"apiVersion": "batch/v1", "kind": "Job", "name": "$NAME", "namespace": "$NS"}
    return changed(
        {
            "metadata": {"name": "$NAME"},
            "involvedObject": about,
            "reason": "Waiting",
            "message": "waits for a slot",
            "type": "Normal",
        },
        *changes,
    )


def lease(**spec: Any) -> Json:
    """Return a Lease."""
    return {"metadata": {"name": "$NAME"}, "spec": spec}


def named(name: str = "$NAME", **fields: Any) -> Json:
    """Return a ConfigMap, Secret or Namespace with these fields; its label `case` names its case."""
    return {"metadata": {"name": name, "labels": {"case": "$NAME"}}, **fields}
