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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


class BuildUnavailable(Exception):
    """Go cannot do what is needed of it; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class GoModule:
    """A Go module that pins programs.

    Attributes:
        folder: contains its go.mod and go.sum.
        cache: the name of the folder for its programs in this project's cache.
    """

    folder: Path
    cache: str

    def version_of(self, module: str) -> str:
        """Return the version of a module that go.mod requires, such as `v1.37.2`.

        Raises:
            BuildUnavailable: there is no Go, or go.mod does not require it.
        """
        return self._go("list", "-m", "-f", "{{.Version}}", module).strip()

    def source_of(self, module: str) -> Path:
        """Return the folder with the source of a module that go.mod requires, and download it if necessary.

        Raises:
            BuildUnavailable: there is no Go, or it cannot find the module.
        """
        self._go("mod", "download", module)
        return Path(self._go("list", "-m", "-f", "{{.Dir}}", module).strip())

    def build(self, packages: Mapping[str, str], what: str, variables: Mapping[str, str]) -> Path:
        """Return the folder of the module's programs, built unless they exist already.

        Concurrent callers wait for the build. The folder is outside of the checkout, and appears only when it is
        complete. Its name changes with go.mod, go.sum and Go's version.

        Args:
            packages: program -> its Go package.
            what: what is built, for the message to the user.
            variables: the Go variables that the linker sets.

        Raises:
            BuildUnavailable: there is no Go, or the build fails.
        """
        folder = self._cache_folder()
        programs = folder / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not programs.is_dir():
                print(f"building {what} into {programs}: this takes some minutes, once", file=sys.stderr)
                started = time.monotonic()
                self._build(programs, packages, variables)
                print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)
        return programs

    def _build(self, programs: Path, packages: Mapping[str, str], variables: Mapping[str, str]) -> None:
        """Build in a folder beside the final one, and rename it at the end."""
        linker_flags = " ".join(["-s", "-w", *(f"-X={name}={value}" for name, value in variables.items())])
        with tempfile.TemporaryDirectory(dir=programs.parent, prefix="build-") as work:
            built = Path(work) / "bin"
            options = ["-trimpath", "-buildvcs=false", f"-ldflags={linker_flags}", f"-o={built}/"]
            self._go("build", *options, *packages.values())
            for program, package in packages.items():
                # go names a program after its package's folder, without the suffix of a major version
                (built / re.sub(r"/v\d+$", "", package).rpartition("/")[2]).rename(built / program)
            built.rename(programs)

    def _cache_folder(self) -> Path:
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.folder / name).read_bytes())
        digest.update(self._go("env", "GOVERSION", "GOOS", "GOARCH").encode())
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return caches / "slimfaas-jobs" / self.cache / digest.hexdigest()[:16]

    def _go(self, *arguments: str) -> str:
        if shutil.which("go") is None:
            raise BuildUnavailable("there is no Go on PATH")
        environment = {**os.environ, "CGO_ENABLED": "0"}
        done = subprocess.run(
            ["go", *arguments], cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise BuildUnavailable(f"go {arguments[0]} failed, see its output above")
        return done.stdout


_MODULE = GoModule(Path(__file__).resolve().parent, "controlplane")


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

    Raises:
        ControlPlaneUnavailable: as `find_programs`.
    """
    if shutil.which("go") is None:
        raise ControlPlaneUnavailable(
            "no control plane: put Go on PATH to build one, or set KUBEBUILDER_ASSETS to a folder with "
            + ", ".join(_PACKAGES)
        )
    try:
        version = _MODULE.version_of(_KUBERNETES)
        return _MODULE.build(_PACKAGES, f"Kubernetes {version}, etcd and kwok", _version_variables(version))
    except BuildUnavailable as error:
        raise ControlPlaneUnavailable(f"no control plane: {error}") from error


def _version_variables(version: str) -> dict[str, str]:
    """Return what hack/lib/version.sh of Kubernetes sets; without it every program reports v0.0.0-master."""
    major, minor = version.removeprefix("v").split(".")[:2]
    return {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
    }


if __name__ == "__main__":
    try:
        print(build_programs())
    except ControlPlaneUnavailable as error:
        sys.exit(str(error))
