"""`slimfaas-jobs dispatcher`: the dispatcher in a process of its own."""

import signal
import sys

from app.kube.credentials import ClusterSettingsError
from app.runtime import build_runtime
from app.server.allocator import keep_one_small_heap
from app.server.listen import listen
from app.server.probe_server import ProbePaths, ProbeServer
from app.settings import Settings, SettingsError
from app.telemetry.logs import set_up_logs
from schemas.faults import Refused

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def dispatch() -> int:
    """Dispatch until SIGTERM or SIGINT; returns the exit code."""
    # Block the signals and wait for them below. A handler interrupts this thread anywhere, so it must not take a lock.
    # Block them first: all threads inherit the mask, and the first process of a container ignores unhandled signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    keep_one_small_heap()
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

    app, servers = create_probe_app(runtime), []
    for what, variable, port, served in (
        ("probes and metrics", "PORT", settings.port, app),
        ("probes", "SLIMFAAS_PROBE_PORT", settings.probe_port, ProbePaths(app)),
    ):
        if port is not None:
            try:
                servers.append(ProbeServer(served, listen(port)))
            except OSError as error:
                print(f"cannot serve {what} on port {port} (set {variable}): {error.strerror}", file=sys.stderr)
                return 1
    runtime.start(serves=False)
    signal.sigwait(_STOP_SIGNALS)
    runtime.stop()
    for server in servers:
        server.close()
    return 0
