"""`slimfaas-jobs dispatcher`: the dispatcher in a process of its own."""

import signal
import sys

from app.kube.credentials import ClusterSettingsError
from app.runtime import build_runtime
from app.server.probe_server import ProbeServer
from app.settings import Settings, SettingsError
from app.telemetry.logs import set_up_logs
from schemas.faults import Refused

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def dispatch() -> int:
    """Dispatch until SIGTERM or SIGINT; returns the exit code."""
    # Block the signals and wait for them below. A handler interrupts this thread anywhere, so it must not take a lock.
    # Block them first: all threads inherit the mask, and the first process of a container ignores unhandled signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
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
        print("SLIMFAAS_DISPATCHER is off: set it to on, or do not start this command", file=sys.stderr)
        return 1
    from app.factory import create_probe_app  # imports Flask, which other commands do without

    try:
        probes = ProbeServer(create_probe_app(runtime), runtime.settings.port)
    except OSError as error:
        port = runtime.settings.port
        print(f"cannot serve probes and metrics on port {port} (set PORT): {error.strerror}", file=sys.stderr)
        return 1
    runtime.start(serves=False)
    signal.sigwait(_STOP_SIGNALS)
    runtime.stop()
    probes.close()
    return 0
