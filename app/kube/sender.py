"""Sends requests to the API server, each with the current credential, over a pool of connections."""

import http.client
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3

from app.kube.api_server import ApiServer, make_pools
from app.kube.authentication import Credential, CredentialError, CredentialSource
from app.kube.connections import pools_for
from app.kube.tls import TlsMaterial, make_context

_Urlopen = Callable[..., urllib3.BaseHTTPResponse]


class Sender:
    """Sends requests to one API server. Safe to share between threads; connects when it first sends.

    Args:
        server: the API server.
        connections: how many connections are kept open at most.
        source: the source of credentials.
        headers: the headers of every request.

    Raises:
        HTTPError: the proxy cannot be used.
    """

    def __init__(
        self,
        server: ApiServer,
        *,
        connections: int,
        source: CredentialSource,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        self._server = server
        self._connections = connections
        self._source = source
        self._base = urlsplit(server.url).path.rstrip("/")
        self._common_headers = urllib3.HTTPHeaderDict(headers)
        self._headers: tuple[str | None, urllib3.HTTPHeaderDict] = (None, self._common_headers)
        self._connect(None)  # so that a proxy that can't be used stops the start
        self._urlopen: tuple[TlsMaterial, _Urlopen] | None = None

    def _connect(self, context: ssl.SSLContext | None) -> _Urlopen:
        """Make a pool of connections with this TLS context; return the function that sends requests over it."""
        pools = make_pools(self._server, connections=self._connections, context=context)
        pools.pool_classes_by_scheme = dict(pools_for(pools))
        if pools.proxy is not None and urlsplit(self._server.url).scheme == "http":
            self._base = self._server.url  # a proxy for http:// expects complete URLs
        urlopen: _Urlopen = pools.connection_from_url(self._server.url).urlopen
        return urlopen

    def _urlopen_with(self, tls: TlsMaterial) -> _Urlopen:
        """Return the function that sends requests over connections with these certificates.

        When the certificates change, a new pool is made: an API server checks the certificate only when a connection is
        opened. The old connections are closed when no request uses them any more.
        """
        known = self._urlopen
        if known is None or known[0] != tls:
            has_tls = self._server.url.startswith("https:")
            context = make_context(tls, verify=self._server.verify) if has_tls else None
            self._urlopen = known = tls, self._connect(context)
        return known[1]

    def _headers_with(self, authorization: str | None) -> urllib3.HTTPHeaderDict:
        """Return the headers of every request, with this `Authorization` header."""
        known = self._headers
        if authorization != known[0]:
            headers = self._common_headers.copy()
            if authorization is not None:
                headers["Authorization"] = authorization
            self._headers = known = authorization, headers
        return known[1]

    def send(
        self, method: str, path: str, headers: Mapping[str, str], *, credential_until: float, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a request with the current credential. After a 401, send it once more with a renewed credential.

        The API server does not carry out a request that it answers with 401, so any request may be sent again.

        Args:
            method: the HTTP method.
            path: the path of the URL, with its query.
            headers: the headers of this request only.
            credential_until: until when to wait for a credential (`time.monotonic()`).
            options: the options of `urlopen` (`app.kube.connections`).

        Raises:
            CertificateError: a certificate cannot be used.
            CredentialError: no valid credential is available.
            HTTPError: an error of urllib3. Nothing has been sent unless `progress` says so.
        """
        credential = self._source.get(credential_until - time.monotonic())
        response = self._send(method, path, headers, credential, **options)
        if response.status != 401 or not self._source.renew(credential, credential_until - time.monotonic()):
            return response
        response.close()
        credential = self._source.get(credential_until - time.monotonic())
        return self._send(method, path, headers, credential, **options)

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], credential: Credential, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        options["progress"].began = False
        urlopen = self._urlopen_with(credential.tls)
        all_headers = self._headers_with(credential.authorization)
        if headers:
            all_headers = all_headers.copy()
            all_headers.update(headers)
        # A proxy for http:// gets complete URLs, whose host is not the proxy's.
        options.update(redirect=False, preload_content=False, assert_same_host=False)
        try:
            return urlopen(method, self._base + path, headers=all_headers, **options)
        except (http.client.HTTPException, ValueError) as error:
            if isinstance(error, urllib3.exceptions.HTTPError) or options["progress"].began:
                raise
            # The library's message quotes the invalid header, which may be a token.
            raise CredentialError(
                "a header of the request, perhaps the token, contains characters that must not be sent"
            ) from None
