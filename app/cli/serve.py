"""`slimfaas-jobs serve`: the service under gunicorn, in this process."""

import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication  # type: ignore[import-untyped] # gunicorn has no annotations

from app.server.listen import every_address


def serve(bind: Sequence[str], port: int | None, workers: int | None) -> int:
    """Serve until a signal; returns the exit code.

    Args:
        bind: addresses to listen on; empty: every address.
        port: on every address; `None`: that of the settings. Not together with `bind`.
        workers: how many processes serve; `None`: that of the settings.
    """
    addresses = [*bind, *([] if port is None else every_address(port))]
    options = [f"--bind={address}" for address in addresses]
    options += [] if workers is None else [f"--workers={workers}"]
    _Service(options).run()
    return 0


class _Service(WSGIApplication):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn with our configuration, from any folder.

    Args:
        options: as on gunicorn's command line.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._options = options
        super().__init__(prog="slimfaas-jobs serve")

    def load_config(self) -> None:
        """Read the configuration. gunicorn reads its options from the command line, which has none of them here."""
        given = sys.argv
        sys.argv = [given[0], "--config=python:app.server.gunicorn_conf", *self._options, "app.factory:create_app()"]
        try:
            super().load_config()
        finally:
            sys.argv = given

    def chdir(self) -> None:
        """Stay in this folder, and import nothing from it: it may have modules of our names."""

    def load(self) -> Any:
        """Build the application."""
        from app.factory import create_app

        return create_app()
