"""The objects that the cases begin with."""

import copy
from typing import Any

from tests.parity.sides import Json
from tests.parity.steps import change

NOBODY = "example.com/nobody"
"""Manages Jobs in the cases that are about requests: no controller touches them."""

CONTAINER = "spec.template.spec.containers.0"
POD_SPEC = "spec.template.spec"


def changed(manifest: Json, *changes: tuple[str, Any]) -> Json:
    """A copy with fields set, or taken out with `...`."""
    manifest = copy.deepcopy(manifest)
    for path, value in changes:
        change(manifest, path, value)
    return manifest


def job(*changes: tuple[str, Any]) -> Json:
    """A suspended Job that no controller touches."""
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


def pod(*changes: tuple[str, Any]) -> Json:
    """A pod that no scheduler takes."""
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
    """A Deployment or StatefulSet without replicas."""
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
    """An Event on a Job, as the dispatcher writes them."""
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
    """A Lease."""
    return {"metadata": {"name": "$NAME"}, "spec": spec}


def named(name: str = "$NAME", **fields: Any) -> Json:
    """A ConfigMap, a Secret or a Namespace, by what it holds; its label `case` says whose it is."""
    return {"metadata": {"name": name, "labels": {"case": "$NAME"}}, **fields}
