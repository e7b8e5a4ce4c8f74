"""Puts the URL that its caller has used into each request, where a proxy has changed it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from werkzeug.datastructures import EnvironHeaders

from app.auth.addresses import Network, is_in, read_address
from app.auth.forwarded_url import URL_HEADERS, read_forwarded_url

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SENT_HOST = "slimfaas.sent_host"
"""The key of the WSGI environment with the `Host` header as it was sent; absent if there was none."""


class PublicUrlMiddleware:
    """WSGI middleware that sets the scheme, the host and `SCRIPT_NAME` of each request to those that its caller used.

    Args:
        app: the application to wrap.
        proxies: the networks of the trusted proxies, whose headers are believed.
        prefix: the path that a proxy removes from each URL, without a final slash; empty: none, or the one that a
            trusted proxy names in its headers.
    """

    def __init__(self, app: "WSGIApplication", proxies: Sequence[Network], prefix: str) -> None:
        self._app = app
        self._proxies = proxies
        self._prefix = prefix

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        if "HTTP_HOST" in environ:
            environ[SENT_HOST] = environ["HTTP_HOST"]
        prefix = self._prefix
        address = read_address(environ.get("REMOTE_ADDR"))
        if address is not None and is_in(address, self._proxies):
            headers = EnvironHeaders(environ)
            url = read_forwarded_url({name: headers[name] for name in URL_HEADERS if name in headers})
            environ["wsgi.url_scheme"] = url.scheme or environ["wsgi.url_scheme"]
            if url.host is not None:
                environ["HTTP_HOST"] = url.host
            prefix = prefix or url.prefix or ""
        environ["SCRIPT_NAME"] = prefix
        environ["PATH_INFO"] = environ["PATH_INFO"] or "/"  # of a URL in the request line without a path
        return self._app(environ, start_response)
