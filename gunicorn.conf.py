"""How gunicorn runs the service; GUNICORN_CMD_ARGS and gunicorn's own variables override what stands here."""

import logging
import os

from app.settings import read_port

bind = [f"0.0.0.0:{read_port()}"]
# A call spends its time waiting for the API server: threads of one process share what was imported, workers don't.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
threads = 16
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
