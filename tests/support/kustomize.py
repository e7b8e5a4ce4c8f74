"""The manifests in `k8s/`, as kubectl makes them of their parts."""

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
"""What can be applied as it is, by its name."""

Manifest = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet")
OURS = {"app.kubernetes.io/name": "slimfaas-jobs", "app.kubernetes.io/part-of": "slimfaas"}
"""The labels of all that belongs to the service itself."""

Right = tuple[str, str, str, str]
"""API group, resource (with its subresource), verb, and the one object's name; `*`: any."""

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl, which makes manifests of k8s/, is not on the PATH")


def kubectl(*arguments: str | Path, kubeconfig: Path | str = os.devnull) -> subprocess.CompletedProcess[str]:
    """Run kubectl to its end, whatever that is."""
    assert KUBECTL is not None
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(
        [KUBECTL, *arguments], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False, env=environment
    )


def build(folder: Path) -> list[Manifest]:
    """The objects that `kubectl apply -k` would apply."""
    return list(yaml.safe_load_all(_render(folder)))


@cache
def _render(folder: Path) -> str:
    built = kubectl("kustomize", folder)
    assert (built.returncode, built.stderr) == (0, "")
    return built.stdout


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of this kind and name."""
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pod_labels(workload: Manifest) -> dict[str, str]:
    """The labels that a workload's pods get."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def pod_spec(workload: Manifest) -> dict[str, Any]:
    """What a workload's pods are."""
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def container(workload: Manifest) -> dict[str, Any]:
    """The one container of a workload's pods."""
    (found,) = pod_spec(workload)["containers"]
    return dict(found)


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether what has these labels belongs to the service itself."""
    return labels.items() >= OURS.items()


def our_workloads(objects: list[Manifest]) -> list[Manifest]:
    """The workloads that are the service."""
    found = [workload for workload in of_kind(objects, *WORKLOADS) if is_ours(pod_labels(workload))]
    assert found
    return found


def selected(objects: list[Manifest], match_labels: Mapping[str, str]) -> set[str]:
    """The names of the workloads whose pods a selector picks."""
    assert match_labels, "an empty selector picks every pod of the namespace, those of runs included"
    return {
        workload["metadata"]["name"]
        for workload in of_kind(objects, *WORKLOADS)
        if pod_labels(workload).items() >= match_labels.items()
    }


def labels_of_a_run() -> dict[str, str]:
    """The labels that the pods of a run get."""
    job = build_job(
        merge(Definition("job", "busybox:1"), Request()), new_id(), queued_at=datetime.now(UTC), call="test"
    )
    found: dict[str, str] = job["spec"]["template"]["metadata"]["labels"]
    return found


def rights_in(role: Manifest) -> set[Right]:
    """What a Role or ClusterRole grants, one by one."""
    return {
        right
        for rule in role["rules"]
        for right in itertools.product(
            rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", ["*"])
        )
    }
