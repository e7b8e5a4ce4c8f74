"""How gunicorn runs the service; GUNICORN_CMD_ARGS and gunicorn's own variables override what stands here."""

import fcntl
import gc
import glob
import itertools
import logging
import os
import re
import shutil
import socket
import struct
import sys
import tempfile
from contextlib import suppress

from gunicorn.config import Config

_SHARED_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - writable in every container


def _count_workers():
    """How many workers there will be: as gunicorn itself reads it, of which it says nothing to this file."""
    config = Config()
    parser = config.parser()
    given = [parser.parse_known_args(arguments)[0].workers for arguments in (None, config.get_cmd_args_from_env())]
    return next((int(workers) for workers in given if workers is not None), config.workers)


_METRICS_FOLDERS = "slimfaas-jobs-metrics."
_METRICS_FOLDER = f"{_METRICS_FOLDERS}{os.getpid()}."  # on a reload, this file is read again by the same process


def _lock_folder(path):
    """Lock a folder of our own for as long as this process, or one that it forks, lives, however it ends.

    A process's number in its name would tell less: another container may have the same, and a restarted one has.

    Raises:
        OSError: another one has locked it, it is gone, or it is no folder of ours.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(path)  # noqa: PTH116 - who had locked it before may have removed it
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_metrics_folder():
    """Make a folder that nobody else uses, and remove those of services that were killed."""
    parent = _SHARED_MEMORY or tempfile.gettempdir()
    for left in glob.glob(os.path.join(parent, f"{_METRICS_FOLDERS}*")):  # noqa: PTH118, PTH207
        with suppress(OSError):
            lock = _lock_folder(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    while True:
        folder = tempfile.mkdtemp(prefix=_METRICS_FOLDER, dir=parent)
        try:
            _lock_folder(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another one that starts took it for left behind
        except OSError:
            pass  # where nothing can be locked nobody removes it, either
        return folder


# Before anything of the service is imported: its metrics are made for one process or for several (app/observability).
if _count_workers() > 1 and _METRICS_FOLDER not in os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""):
    try:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = _make_metrics_folder()
    except OSError as error:
        raise SystemExit(f"several workers need a folder to share their metrics: {error}") from error

from app.server.gunicorn_worker import Logger, Worker  # noqa: E402
from app.server.request_lanes import SHORT_REQUEST_THREADS  # noqa: E402
from app.settings import Settings, SettingsError  # noqa: E402
from app.telemetry import metrics  # noqa: E402 - see above
from app.telemetry.logs import set_up_logs, start_log_writer  # noqa: E402

_SILENCE_SECONDS = 4
"""How long a client may send nothing in the middle of a request."""

_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""When and how often (seconds, seconds, times) the kernel asks a silent client whether it is there."""

_STUCK_SECONDS = 15
"""How long a client may take nothing of an answer; shorter than the graceful timeout."""

try:
    _settings = Settings.from_environment()
except SettingsError as error:
    raise SystemExit(str(error)) from error
bind = [f"0.0.0.0:{_settings.port}"]
# A call spends its time waiting for the API server: threads of one process share what was imported, workers don't.
worker_class = Worker
logger_class = Logger
# Waits and logs have threads of their own (app/runs/limits/long_requests.py); so have probes, requests that start runs,
# and all others (app/server/request_lanes.py). gunicorn makes a thread when it needs one.
threads = SHORT_REQUEST_THREADS + _settings.max_streams
worker_connections = threads + 1000  # the rest may be kept alive between two calls
# Loaded once, before the workers are forked, so that they share the memory; faults end the process before it listens.
preload_app = True
# Nothing outside steers the process but its signals.
control_socket_disable = True
timeout = 30
graceful_timeout = 20
keepalive = 15
worker_tmp_dir = _SHARED_MEMORY  # gunicorn's heartbeat file
# The caller's address is the connection's own: no header is believed (docs/security.md).
forwarded_allow_ips = ""
limit_request_line = 4094
limit_request_fields = 64

# Here for what is said before gunicorn's logger is there, and by gunicorn once more, which has handlers of its own.
logconfig_dict = set_up_logs(_settings.log_format, _settings.log_level)
_MALFORMED = re.compile(r"(Invalid request from ip=\S*: [A-Za-z -]*).*", re.DOTALL)


def _mend_record(record):
    """Keep out of the log what is no error of ours, and what malformed requests hold: it may be a token."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        return False  # a client has been silent for too long; its trace tells nothing
    if found := _MALFORMED.fullmatch(record.getMessage()):
        record.msg, record.args = found[1].rstrip(), ()
    return True


logging.getLogger("gunicorn.error").addFilter(_mend_record)


def on_starting(server):
    """Refuse to start where gunicorn would let somebody else say what a call's address or headers are."""
    opened = [
        name
        for name, is_open in {
            "forwarded_allow_ips": bool(server.cfg.forwarded_allow_ips),
            "proxy_protocol": server.cfg.proxy_protocol not in (False, "off"),
            "protocol": server.cfg.protocol != "http",  # uwsgi's has no difference between - and _, either
            "header_map": server.cfg.header_map == "dangerous",  # X_Forwarded_For would count as X-Forwarded-For
        }.items()
        if is_open
    ]
    if opened:
        raise SystemExit(
            f"gunicorn's {', '.join(opened)} must stay as gunicorn.conf.py has it: callers could forge addresses; "
            "SLIMFAAS_TRUSTED_PROXIES says whose forwarding headers are believed (docs/security.md)"
        )


def when_ready(server):
    """Have the workers share what was loaded, and bound how long silent clients hold threads."""
    metrics.forget_worker(0)  # this process counts nothing: its zero must not be the oldest of all configurations
    # The collector writes to every object that it looks at, and a page that is written to is shared no longer.
    gc.collect()
    gc.freeze()
    # Accepted connections inherit their listener's options.
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _SILENCE_SECONDS, 0))
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _STUCK_SECONDS, 0))
        # A client that vanished without a word is noticed after half a minute, also while there is nothing to send.
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # macOS has other names for some
                listener.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENCE_SECONDS)


def pre_fork(server, worker):
    """Give the worker a number that no living one has."""
    taken = {other.metrics_number for other in server.WORKERS.values()}
    worker.metrics_number = next(number for number in itertools.count(1) if number not in taken)


def post_fork(_server, worker):
    """Have the worker count for itself."""
    metrics.become_worker(worker.metrics_number)


def child_exit(_server, worker):
    """Drop what only the living can say, for a worker that has died, however it did."""
    metrics.forget_worker(worker.metrics_number)


def on_exit(_server):
    """Leave no files behind."""
    if metrics.SHARED_FOLDER is not None:
        shutil.rmtree(metrics.SHARED_FOLDER, ignore_errors=True)


def post_worker_init(worker):
    """Start what runs beside the calls, and let streams and the dispatcher end as soon as the worker is to."""
    runtime = worker.wsgi.extensions["slimfaas-jobs"]
    runtime.long_requests.stopping = lambda: not worker.alive
    worker.on_drain = runtime.begin_shutdown
    start_log_writer()
    runtime.start(serves=True)


def worker_exit(_server, worker):
    """Stop what runs beside the calls; the dispatcher gives the lease back."""
    ending = sys.exc_info()[1]
    try:
        wsgi = getattr(worker, "wsgi", None)
        if wsgi is not None:
            wsgi.extensions["slimfaas-jobs"].stop()
    except Exception:
        worker.log.exception("what runs beside the calls could not be stopped")
    finally:  # also where a second signal has broken in
        if isinstance(ending, SystemExit) and ending.code in (None, 0):
            _end_process()


def _end_process():
    """End at once, with everything written.

    An interpreter that tidies up writes to every object that there is: two that shared them would need twice the
    memory, and be killed for it in the middle.
    """
    try:
        logging.shutdown()
        sys.stdout.flush()
    finally:
        os._exit(0)
