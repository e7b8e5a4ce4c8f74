"""The manifests in `k8s/`, built with `kubectl kustomize`."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.domain.names import new_id
from app.kube.manifests import build_job
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import Request
from tests.support.waiting import DEADLINE_SECONDS

K8S = Path(__file__).resolve().parents[2] / "k8s"

INSTALLATIONS = {"base": K8S / "base", **{folder.name: folder for folder in sorted((K8S / "overlays").iterdir())}}
"""Every folder that can be applied as it is, by name."""

Manifest = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet")
OURS = {"app.kubernetes.io/name": "slimfaas-jobs", "app.kubernetes.io/part-of": "slimfaas"}
"""The labels of the service's own objects."""

Right = tuple[str, str, str, str]
"""API group, resource (with subresource), verb, and object name (`*`: any)."""

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl, which makes manifests of k8s/, is not on the PATH")


def kubectl(*arguments: str | Path, kubeconfig: Path | str = os.devnull) -> subprocess.CompletedProcess[str]:
    """Run kubectl; a failure does not raise."""
    assert KUBECTL is not None
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(
        [KUBECTL, *arguments], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False, env=environment
    )


def build(folder: Path) -> list[Manifest]:
    """Return the objects that `kubectl apply -k` would apply."""
    return list(yaml.safe_load_all(_render(folder)))


@cache
def _render(folder: Path) -> str:
    built = kubectl("kustomize", folder)
    assert (built.returncode, built.stderr) == (0, "")
    return built.stdout


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the object with this kind and name."""
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pod_labels(workload: Manifest) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def pod_spec(workload: Manifest) -> dict[str, Any]:
    """Return the spec of a workload's pods."""
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def container(workload: Manifest) -> dict[str, Any]:
    """Return the only container of a workload's pods."""
    (found,) = pod_spec(workload)["containers"]
    return dict(found)


def is_ours(labels: Mapping[str, str]) -> bool:
    """Return whether an object with these labels belongs to the service itself."""
    return labels.items() >= OURS.items()


def our_workloads(objects: list[Manifest]) -> list[Manifest]:
    """Return the service's own workloads."""
    found = [workload for workload in of_kind(objects, *WORKLOADS) if is_ours(pod_labels(workload))]
    assert found
    return found


def selected(objects: list[Manifest], match_labels: Mapping[str, str]) -> set[str]:
    """Return the names of the workloads whose pods a selector matches."""
    assert match_labels, "an empty selector matches every pod of the namespace, including the pods of runs"
    return {
        workload["metadata"]["name"]
        for workload in of_kind(objects, *WORKLOADS)
        if pod_labels(workload).items() >= match_labels.items()
    }


def labels_of_a_run() -> dict[str, str]:
    """Return the labels of a run's pods."""
    job = build_job(
        merge(Definition("job", "busybox:1"), Request()), new_id(), queued_at=datetime.now(UTC), call="test"
    )
    found: dict[str, str] = job["spec"]["template"]["metadata"]["labels"]
    return found


def rights_in(role: Manifest) -> set[Right]:
    """Return the single rights that a Role or ClusterRole grants."""
    return {
        right
        for rule in role["rules"]
        for right in itertools.product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", ["*"])
        )
    }
