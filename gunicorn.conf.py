"""The configuration for `gunicorn wsgi:app` in this folder: gunicorn reads a file of this name by itself."""

from app.server.gunicorn_conf import *  # noqa: F403 - each name is a setting
