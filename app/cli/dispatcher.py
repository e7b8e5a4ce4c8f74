"""`slimfaas-jobs dispatcher`: the dispatcher as a process of its own."""

import signal
import sys

from app.kube.credentials import ClusterSettingsError
from app.runtime import build_runtime
from app.server.probe_server import ProbeServer
from app.settings import Settings, SettingsError
from app.telemetry.logs import set_up_logs
from schemas.faults import Refused

_ENDS = (signal.SIGTERM, signal.SIGINT)


def dispatch() -> int:
    """Dispatch until the process is told to end; returns its exit code."""
    # Waited for, not handled: a handler runs between any two steps of this thread, where it may not touch a lock. Every
    # thread begins with what is blocked here; and process 1 of a container would miss a signal sent before.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        settings = Settings.from_environment()
        set_up_logs(settings.log_format, settings.log_level)
        runtime = build_runtime(settings)
    except Refused as refusal:
        print("the job configuration is faulty:", *refusal.faults, sep="\n", file=sys.stderr)
        return 1
    except (SettingsError, ClusterSettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    if runtime.dispatcher is None:
        print("SLIMFAAS_DISPATCHER is off: there is nothing to do", file=sys.stderr)
        return 1
    from app.factory import create_probe_app  # loads Flask: only a process that serves pays for it

    try:
        probes = ProbeServer(create_probe_app(runtime), runtime.settings.port)
    except OSError as error:
        print(f"PORT={runtime.settings.port} can't be had for probes and metrics: {error.strerror}", file=sys.stderr)
        return 1
    runtime.start(serves=False)
    signal.sigwait(_ENDS)
    runtime.stop()
    probes.close()
    return 0
