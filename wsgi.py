"""The WSGI application, for `gunicorn wsgi:app` in this folder. Elsewhere, `slimfaas-jobs serve` starts the service.

The configuration of gunicorn belongs to the service: it starts the dispatcher and the other threads of each worker.
"""

import sys

if "app.server.gunicorn_conf" not in sys.modules:
    sys.stderr.write(
        "gunicorn is not started with the service's configuration, so no run would ever begin: "
        "start `slimfaas-jobs serve`, or `gunicorn --config python:app.server.gunicorn_conf wsgi:app`\n"
    )
    sys.exit(3)  # what a worker of gunicorn ends with so that the others end, too

from app.factory import create_app

app = create_app()
