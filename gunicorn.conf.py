"""How gunicorn runs the service; GUNICORN_CMD_ARGS and gunicorn's own variables override what stands here."""

import logging
import os
import socket
import struct
import time
from contextlib import suppress

from gunicorn.workers.gthread import ThreadWorker

from app.services.gate import CALLS_AT_ONCE
from app.settings import Settings, SettingsError

_SILENCE_SECONDS = 4
"""How long a client may send nothing in the middle of a request."""

_LINGER_SECONDS = 1.0
"""How long a client may leave a connection open that has been ended."""


class Worker(ThreadWorker):
    """gunicorn's threaded worker, but for where it waits for clients to close an ended connection.

    gunicorn 26 and 27 do that in the one loop that accepts connections: a client that doesn't close would stop the
    service for two seconds, and fifteen of them have the worker killed as hung. Here the connection's thread waits.
    """

    def handle(self, conn):
        """Serve a request; true, or a mark of gunicorn's own, where the connection is to be used again."""
        goes_on = super().handle(conn)
        if not goes_on:
            with suppress(OSError):  # the client, or gunicorn, was quicker
                conn.sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + _LINGER_SECONDS
                while (left_seconds := deadline - time.monotonic()) > 0:
                    conn.sock.settimeout(left_seconds)
                    if not conn.sock.recv(65536):
                        break
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)  # so that gunicorn finds nothing to wait for
        return goes_on


try:
    bind = [f"0.0.0.0:{Settings.from_environment().port}"]
except SettingsError as error:
    raise SystemExit(str(error)) from error
# A call spends its time waiting for the API server: threads of one process share what was imported, workers don't.
worker_class = Worker
# Some are left for the probes when all calls wait for the API server (app/services/gate.py).
threads = CALLS_AT_ONCE + 8
# Loaded once, before the workers are forked, so that they share the memory; faults end the process before it listens.
preload_app = True
# Nothing outside steers the process but its signals.
control_socket_disable = True
timeout = 30
graceful_timeout = 20
keepalive = 15
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 - gunicorn's heartbeat file
# The caller's address is the connection's own: no header is believed (docs/security.md).
forwarded_allow_ips = ""
limit_request_line = 4094
limit_request_fields = 64

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
# A client that has been silent for too long is no error of ours, and its trace tells nothing.
logging.getLogger("gunicorn.error").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
)


def on_starting(server):
    """Refuse to start where gunicorn would let somebody else say what a call's address or headers are."""
    opened = [
        name
        for name, is_open in {
            "forwarded_allow_ips": bool(server.cfg.forwarded_allow_ips),
            "proxy_protocol": server.cfg.proxy_protocol not in (False, "off"),
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
    """Bound how long silent clients hold threads; accepted connections inherit their listener's options."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _SILENCE_SECONDS, 0))
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENCE_SECONDS)


def post_worker_init(worker):
    """Start the dispatcher in the worker: threads don't survive the fork."""
    dispatcher = worker.wsgi.extensions["slimfaas-jobs"].dispatcher
    if dispatcher is not None:
        dispatcher.start()


def worker_exit(_server, worker):
    """Stop the dispatcher, which gives the lease back."""
    wsgi = getattr(worker, "wsgi", None)
    dispatcher = wsgi.extensions["slimfaas-jobs"].dispatcher if wsgi is not None else None
    if dispatcher is not None:
        dispatcher.stop()
