"""Run a program in an image's tree as a container runtime would: read-only, as the image's user, as process 1.

It uses mount and PID namespaces, `chroot`, and a control group where one is available; the network is the machine's.
Requires root.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import requests

from tests.image.base import ENVIRONMENT
from tests.image.build import ROOT
from tests.image.dockerfile import Stage
from tests.support.cgroups import ControlGroup

_DEADLINE_SECONDS = 30.0
_DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}

SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount"
"""The folder of the ServiceAccount's token in a pod."""


def find_missing_requirement() -> str:
    """Return what this machine lacks to build images and run containers; empty if it lacks nothing."""
    if os.geteuid() != 0:
        return "only root may create namespaces and use chroot"
    lacking = [tool for tool in ("unshare", "chroot", "mount", "ldd") if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    works = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if works.returncode == 0 else "namespaces are not permitted here"


class Container:
    """A program in an image's tree; a context manager that starts it and kills it at the end.

    Args:
        tree: the image's files.
        image: the last stage of its Dockerfile.
        log: the file for its output.
        environment: the pod's variables.
        command: replaces the image's entrypoint.
        mounts: read-only mounts: folders of this machine by mount point.
        cgroup: the control group to run in.
    """

    def __init__(
        self,
        tree: Path,
        image: Stage,
        log: Path,
        *,
        environment: Mapping[str, str],
        command: Sequence[str] = (),
        mounts: Mapping[str, Path] | None = None,
        cgroup: ControlGroup | None = None,
    ) -> None:
        self._tree = tree
        self._image = image
        self._log = log
        self._environment = {**ENVIRONMENT, **image.environment, **environment}
        self._command = list(command or image.entrypoint)
        self._mounts = dict(mounts or {})
        self._cgroup = cgroup
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Container":
        for target in self._mounts:
            (self._tree / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        program = ["chroot", f"--userspec={self._image.user}", "--groups=", str(self._tree), *self._command]
        launch = [sys.executable, "-m", "tests.image.launch"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, "sh", "-c", self._script(), "sh", *variables, *program],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self.running:
            os.kill(self.process_id, signal.SIGKILL)
        self._process.wait()

    def _script(self) -> str:
        """Return the shell script that sets up the mounts and then executes the program as process 1."""
        tree = self._tree
        lines = ["set -e", f"mount --bind '{tree}' '{tree}'", f"mount -t proc proc '{tree}/proc'"]
        lines += [f"mount -t tmpfs -o mode=755 tmpfs '{tree}/dev'", f"mkdir '{tree}/dev/shm'"]
        lines += [f"mount -t tmpfs -o size=64m,mode=1777 shm '{tree}/dev/shm'"]
        lines += [f"mknod -m 666 '{tree}/dev/{name}' c 1 {number}" for name, number in _DEVICES.items()]
        for target, source in self._mounts.items():
            lines += [f"mount --bind '{source}' '{tree}{target}'", f"mount -o remount,bind,ro '{tree}{target}'"]
        lines += [f"mount -o remount,bind,ro '{tree}'"]
        # 0 means the writing process itself.
        lines += [f"echo 0 > '{folder}/cgroup.procs'" for folder in (self._cgroup.folders if self._cgroup else ())]
        return "\n".join([*lines, 'exec env -i "$@"'])

    @property
    def process_id(self) -> int:
        """The PID of the container's process 1 on this machine."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    @property
    def running(self) -> bool:
        """Whether the program is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_text(self) -> str:
        """Its output so far."""
        return self._log.read_text("utf-8", errors="replace")

    def terminate(self) -> int:
        """Stop it with SIGTERM, as Kubernetes does, and return its exit code."""
        os.kill(self.process_id, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        assert self._process is not None
        return self._process.wait(_DEADLINE_SECONDS)

    def await_ok(self, url: str) -> None:
        """Wait until a GET of a URL returns 200.

        Raises:
            AssertionError: the container has ended, or the wait timed out.
        """
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            assert self.running, f"the container has ended:\n{self.log_text}"
            assert time.monotonic() < deadline, f"{url} does not return 200:\n{self.log_text}"
            try:
                if requests.get(url, timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
