"""Finds the control plane's programs: in `KUBEBUILDER_ASSETS`, in the cache, or by a build with Go.

`python -m tests.controlplane.build` prints the folder that contains them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_MODULE = Path(__file__).resolve().parent
_KUBERNETES = "k8s.io/kubernetes"
_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": f"{_KUBERNETES}/cmd/kube-apiserver",
    "kube-controller-manager": f"{_KUBERNETES}/cmd/kube-controller-manager",
    "kube-scheduler": f"{_KUBERNETES}/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
"""Program -> its Go package."""


class ControlPlaneUnavailable(Exception):
    """The programs neither exist nor can be built; the message is one line that says what is missing."""


def find_programs() -> dict[str, Path]:
    """Return the path of every program of the control plane by name, and build the missing ones.

    Programs in `KUBEBUILDER_ASSETS`, the folder that controller-runtime's envtest uses, take precedence
    (https://book.kubebuilder.io/reference/envtest). envtest has no controller manager, scheduler or kwok; those are
    then built.

    Raises:
        ControlPlaneUnavailable: a program is missing, and there is no Go to build it, or the build fails.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found = {name: Path(assets) / name for name in _PACKAGES} if assets else {}
    found = {name: program for name, program in found.items() if program.is_file()}
    if len(found) < len(_PACKAGES):
        built = build_programs()
        found = {name: found.get(name, built / name) for name in _PACKAGES}
    return found


def build_programs() -> Path:
    """Return the folder of the programs, built from this folder's go.mod unless they exist already.

    Concurrent callers wait for the build. The folder is outside of the checkout, and appears only when it is complete.

    Raises:
        ControlPlaneUnavailable: as `find_programs`.
    """
    if shutil.which("go") is None:
        raise ControlPlaneUnavailable(
            "no control plane: put Go on PATH to build one, or set KUBEBUILDER_ASSETS to a folder with "
            + ", ".join(_PACKAGES)
        )
    folder = _cache_folder()
    programs = folder / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not programs.is_dir():
            _build(programs)
    return programs


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((_MODULE / name).read_bytes())
    digest.update(_go("env", "GOVERSION", "GOOS", "GOARCH").encode())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "slimfaas-jobs" / "controlplane" / digest.hexdigest()[:16]


def _build(programs: Path) -> None:
    """Build in a folder beside the final one, and rename it at the end."""
    version = _required_version(_KUBERNETES)
    print(
        f"building Kubernetes {version}, etcd and kwok into {programs}: this takes some minutes, once", file=sys.stderr
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=programs.parent, prefix="build-") as work:
        built = Path(work) / "bin"
        _go(
            "build",
            "-trimpath",
            "-buildvcs=false",
            f"-ldflags={_linker_flags(version)}",
            f"-o={built}/",
            *_PACKAGES.values(),
        )
        (built / "server").rename(built / "etcd")  # go names a program after its package's folder
        built.rename(programs)
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _linker_flags(version: str) -> str:
    """Return what hack/lib/version.sh of Kubernetes sets; without it every program reports v0.0.0-master."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
    }
    return " ".join(["-s", "-w", *(f"-X={name}={value}" for name, value in values.items())])


def _required_version(module: str) -> str:
    """Return the version of a module that go.mod requires, such as `v1.37.2`."""
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)$", (_MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ControlPlaneUnavailable(f"no control plane: {_MODULE / 'go.mod'} does not require {module}")
    return found[1]


def _go(*arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(
        ["go", *arguments], cwd=_MODULE, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ControlPlaneUnavailable(f"no control plane: go {arguments[0]} failed, see its output above")
    return done.stdout


if __name__ == "__main__":
    try:
        print(build_programs())
    except ControlPlaneUnavailable as error:
        sys.exit(str(error))
