"""Starts a control plane and runs a command against it, or keeps it until interrupted.

`python -m tests.controlplane pytest --server real` sets KUBECONFIG for the command and returns its exit code. If
KUBECONFIG is set already, the command runs against that cluster and nothing is started. Without a command, it prints
the path of the administrator's kubeconfig.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.controlplane.build import ControlPlaneUnavailable
from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane
from tests.support.proxies import keep_loopback_direct


def main(command: Sequence[str]) -> int:
    """Run the command, or wait for an interrupt; return the exit code."""
    keep_loopback_direct()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _environment(keep=not command) as environment:
            if command:
                return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
            print(environment["KUBECONFIG"], flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 130 if command else 0
    except ControlPlaneUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _environment(*, keep: bool) -> Iterator[dict[str, str]]:
    """Yield the environment with which the command finds its cluster.

    `keep` starts a new one even if KUBECONFIG is set.
    """
    if os.environ.get("KUBECONFIG") and not keep:
        print(f"using the cluster of KUBECONFIG={os.environ['KUBECONFIG']}", flush=True)
        yield {}
        return
    with ControlPlane() as plane:
        yield {"KUBECONFIG": str(plane.admin_kubeconfig), AUDIT_LOG_VARIABLE: str(plane.audit_log)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
