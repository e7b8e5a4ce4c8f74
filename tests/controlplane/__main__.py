"""Starts a control plane, prints the administrator's kubeconfig file, and keeps it until it is interrupted."""

import signal
import sys

from tests.controlplane.build import ControlPlaneUnavailable
from tests.controlplane.plane import ControlPlane

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with ControlPlane() as plane:
        print(plane.admin_kubeconfig, flush=True)
        signal.pause()
except KeyboardInterrupt:
    pass
except ControlPlaneUnavailable as error:
    sys.exit(str(error))
