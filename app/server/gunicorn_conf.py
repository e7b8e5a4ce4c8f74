"""gunicorn's configuration: `slimfaas-jobs serve` uses it, and `gunicorn --config python:app.server.gunicorn_conf`.

`GUNICORN_CMD_ARGS` and gunicorn's own variables override what is set here.
"""

import gc
import itertools
import logging
import os
import re
import shutil
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn.config import Config  # type: ignore[import-untyped] # gunicorn has no annotations

_SHARED_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - writable in every container

_METRICS_FOLDER = Path(_SHARED_MEMORY or tempfile.gettempdir(), f"slimfaas-jobs-metrics-{os.getpid()}")
"""Where several workers share their metrics (docs/adr/0012-observability.md)."""


def _count_workers() -> int:
    """Return how many workers gunicorn will start; it does not tell this file, so parse its options as it does."""
    config = Config()
    parser = config.parser()
    given = [parser.parse_known_args(arguments)[0].workers for arguments in (None, config.get_cmd_args_from_env())]
    return next((int(workers) for workers in given if workers is not None), config.workers)


def _share_metrics() -> None:
    """Have prometheus_client keep all values in files that the workers share.

    A service that was killed leaves its folder behind. In a container the next one has the same process id, and
    replaces that folder here.
    """
    shutil.rmtree(_METRICS_FOLDER, ignore_errors=True)
    try:
        _METRICS_FOLDER.mkdir(0o700)
    except OSError as error:
        raise SystemExit(
            f"cannot make the folder in which several workers share their metrics: {error}; "
            "make /dev/shm writable, or start one worker"
        ) from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_METRICS_FOLDER)


# prometheus_client reads the variable when it is imported, so this comes before every import of the service's modules.
# On a reload (SIGHUP) the same process reads this file again, and the folder stays.
if _count_workers() > 1 and os.environ.get("PROMETHEUS_MULTIPROC_DIR") != str(_METRICS_FOLDER):
    _share_metrics()

from app.server.allocator import keep_one_small_heap  # noqa: E402
from app.server.gunicorn_worker import Logger, Worker  # noqa: E402
from app.server.listen import every_address  # noqa: E402
from app.server.probe_server import ProbePaths, ProbeServer  # noqa: E402
from app.server.request_intake import SILENCE_SECONDS  # noqa: E402
from app.server.request_lanes import SHORT_REQUEST_THREADS  # noqa: E402
from app.settings import Settings, SettingsError  # noqa: E402
from app.telemetry import metrics  # noqa: E402
from app.telemetry.logs import set_up_logs, start_log_writer  # noqa: E402

keep_one_small_heap()

_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""When the kernel probes a silent client: after seconds, every seconds, and how many times before it gives up."""

_STUCK_SECONDS = 15
"""How long a client may read nothing of its response; shorter than the graceful timeout."""

_SOCKET_BUFFERS = {socket.SO_RCVBUF: 4 * 1024, socket.SO_SNDBUF: 16 * 1024}
"""What the kernel may hold of a request that nobody has read yet, and of a response that the client does not read. The
kernel doubles it for its own overhead, and counts it as the pod's memory (control groups of version 2). By default it
would grow to some MiB per connection."""

try:
    _settings = Settings.from_environment()
except SettingsError as error:
    raise SystemExit(str(error)) from error
bind = [
    address for port in (_settings.port, _settings.probe_port) if port is not None for address in every_address(port)
]
# A request spends its time waiting for the API server. Threads share the imported modules; workers do not.
worker_class = Worker
logger_class = Logger
# Long requests have threads of their own (app/runs/limits/long_requests.py), and so have probes, requests that start
# runs, and all others (app/server/request_lanes.py). gunicorn creates a thread when it needs one.
threads = SHORT_REQUEST_THREADS + _settings.max_streams
worker_connections = threads + 500  # the others are idle keep-alive connections, or wait for a thread
# Load the application once, before the fork: the workers share its memory, and faults stop the start before it listens.
preload_app = True
# Signals are the only way to control the process.
control_socket_disable = True
timeout = 30
graceful_timeout = 20
keepalive = 15
worker_tmp_dir = _SHARED_MEMORY  # gunicorn's heartbeat file
# The caller's address is that of the connection: gunicorn believes no header (docs/security.md).
forwarded_allow_ips = ""
limit_request_line = 4094
limit_request_fields = 64

# Set up here for lines that are logged before gunicorn's logger exists. gunicorn applies the same configuration again.
logconfig_dict = set_up_logs(_settings.log_format, _settings.log_level)
_MALFORMED = re.compile(r"(Invalid request from ip=\S*: [A-Za-z -]*).*", re.DOTALL)


def _filter_record(record: logging.LogRecord) -> bool:
    """Drop the traces of clients that timed out, and cut the content of malformed requests, which may be a token."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        return False
    if found := _MALFORMED.fullmatch(record.getMessage()):
        record.msg, record.args = found[1].rstrip(), ()
    return True


logging.getLogger("gunicorn.error").addFilter(_filter_record)


def on_starting(server: Any) -> None:
    """Refuse to start with options that let a client forge its address or headers, or with another worker."""
    if not issubclass(server.worker_class, Worker):
        raise SystemExit(
            "remove the gunicorn option that sets worker_class: another worker than the service's own would not limit "
            "requests as docs/security.md says"
        )
    unsafe = [
        name
        for name, is_unsafe in {
            "forwarded_allow_ips": bool(server.cfg.forwarded_allow_ips),
            "proxy_protocol": server.cfg.proxy_protocol not in (False, "off"),
            "protocol": server.cfg.protocol != "http",  # uwsgi's does not distinguish - from _ in header names
            "header_map": server.cfg.header_map == "dangerous",  # reads X_Forwarded_For as X-Forwarded-For
        }.items()
        if is_unsafe
    ]
    if unsafe:
        raise SystemExit(
            f"remove the gunicorn options that set {', '.join(unsafe)}: with them clients could forge their addresses; "
            "name trusted proxies in SLIMFAAS_TRUSTED_PROXIES instead (docs/security.md)"
        )
    probe_port = _settings.probe_port
    if probe_port is not None and all(address[1] != probe_port for address in server.cfg.address):
        raise SystemExit(
            "no listener for SLIMFAAS_PROBE_PORT: the option --bind replaces all listeners; "
            f"add --bind {every_address(probe_port)[-1]}, or remove the variable"
        )


def when_ready(server: Any) -> None:
    """Have the workers share the loaded memory, and limit how long silent clients hold threads."""
    metrics.forget_worker(0)  # the master serves nothing: its 0 must not count as the oldest configuration
    # The garbage collector writes to every object that it visits, and a page that is written to is no longer shared.
    gc.collect()
    gc.freeze()
    # Accepted connections inherit the listener's options.
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(SILENCE_SECONDS), 0))
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _STUCK_SECONDS, 0))
        for buffer, size_bytes in _SOCKET_BUFFERS.items():
            listener.sock.setsockopt(socket.SOL_SOCKET, buffer, size_bytes)
        # Detect a client that vanished within half a minute, also while there is nothing to send.
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # macOS lacks some
                listener.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(SILENCE_SECONDS))


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest number that no living worker has, so that it continues a dead worker's files."""
    taken = {other.metrics_number for other in server.WORKERS.values()}
    worker.metrics_number = next(number for number in itertools.count(1) if number not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Have the worker write to its own metrics files."""
    metrics.become_worker(worker.metrics_number)


def child_exit(_server: Any, worker: Any) -> None:
    """Drop the gauges of a worker that has ended, for any reason."""
    metrics.forget_worker(worker.metrics_number)


def on_exit(_server: Any) -> None:
    """Remove the shared metrics."""
    shutil.rmtree(_METRICS_FOLDER, ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """Start the background threads, and stop long requests and the dispatcher as soon as the worker begins to stop."""
    runtime = worker.wsgi.extensions["slimfaas-jobs"]
    runtime.long_requests.stopping = lambda: not worker.alive
    worker.on_drain = runtime.begin_shutdown
    start_log_writer()
    runtime.start(serves=True)
    # gunicorn has bound the port of the probes, but does not serve it.
    probes = [listener for listener in worker.sockets if listener.getsockname()[1] == _settings.probe_port]
    worker.sockets = [listener for listener in worker.sockets if listener not in probes]
    worker.probe_servers = [ProbeServer(ProbePaths(worker.wsgi), listener.sock) for listener in probes]


def worker_exit(_server: Any, worker: Any) -> None:
    """Stop the background threads; the dispatcher releases its Lease."""
    ending = sys.exc_info()[1]
    try:
        wsgi = getattr(worker, "wsgi", None)
        if wsgi is not None:
            wsgi.extensions["slimfaas-jobs"].stop()
    except Exception:
        worker.log.exception("cannot stop the background threads; the worker ends anyway")
    finally:  # also after a second signal
        if isinstance(ending, SystemExit) and ending.code in (None, 0):
            _end_process()


def _end_process() -> None:
    """Flush the logs and end at once, without the interpreter's finalization.

    Finalization writes to every object, which copies all memory that is shared with the master: the pod would exceed
    its memory limit and be killed.
    """
    try:
        logging.shutdown()
        sys.stdout.flush()
    finally:
        os._exit(0)
