"""The manifests in `k8s/`, as kubectl makes them of their parts."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).resolve().parent.parent / "k8s"

INSTALLATIONS = {"base": K8S / "base", **{folder.name: folder for folder in sorted((K8S / "overlays").iterdir())}}
"""What can be applied as it is, by its name."""

Manifest = dict[str, Any]

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl, which makes manifests of k8s/, is not on the PATH")


def kubectl(*arguments: str | Path, kubeconfig: Path | str = os.devnull) -> subprocess.CompletedProcess[str]:
    """Run kubectl to its end, whatever that is."""
    assert KUBECTL is not None
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(
        [KUBECTL, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def build(folder: Path) -> list[Manifest]:
    """The objects that `kubectl apply -k` would apply."""
    built = kubectl("kustomize", folder)
    assert (built.returncode, built.stderr) == (0, "")
    return list(yaml.safe_load_all(built.stdout))
