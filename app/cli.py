"""`slimfaas-jobs dispatcher`: the dispatcher as a process of its own."""

import logging
import signal
import sys

from app.cluster.client import ClusterSettingsError
from app.service import build_service
from app.settings import Settings, SettingsError
from schemas.faults import Refused

_ENDS = (signal.SIGTERM, signal.SIGINT)


def dispatch() -> int:
    """Dispatch until the process is told to end; returns its exit code."""
    # Waited for, not handled: a handler runs between any two steps of this thread, where it may not touch a lock. Every
    # thread begins with what is blocked here; and process 1 of a container would miss a signal sent before.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        service = build_service(Settings.from_environment())
    except Refused as refusal:
        print("the job configuration is faulty:", *refusal.faults, sep="\n", file=sys.stderr)
        return 1
    except (SettingsError, ClusterSettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    if service.dispatcher is None:
        print("SLIMFAAS_DISPATCHER is off: there is nothing to do", file=sys.stderr)
        return 1
    service.start(serves=False)
    signal.sigwait(_ENDS)
    service.stop()
    return 0
