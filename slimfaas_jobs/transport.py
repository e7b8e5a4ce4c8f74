"""HTTP: one connection per request, so that no request meets a connection that has been closed meanwhile."""

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from slimfaas_jobs.errors import InvalidResponseError, UnreachableError

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest response that is read as a whole; a page of runs has at most 512 KiB."""

_CONNECT_SECONDS = 15.0
_PIECE_BYTES = 64 * 1024
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A log may be silent for hours: the kernel finds out whether the other side is still there."""


class Response:
    """A response whose body has not been read yet; a context.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, connection: http.client.HTTPConnection, url: str) -> None:
        self._connection = connection
        self._socket: socket.socket = connection.sock  # the connection forgets it if the response is the last one
        self._response = connection.getresponse()
        self._url = url
        self._end: float | None = None
        self._silence_seconds: float | None = None
        self.status = self._response.status

    def header(self, name: str) -> str:
        """Return a header; empty: there is none."""
        return self._response.getheader(name) or ""

    def read(self) -> bytes:
        """Return the body.

        Raises:
            UnreachableError: the connection broke.
            InvalidResponseError: the body is too large.
        """
        body = b"".join(self.pieces(MAX_BODY_BYTES))
        if len(body) > MAX_BODY_BYTES:
            raise InvalidResponseError(f"the response is larger than {MAX_BODY_BYTES} bytes")
        return body

    def pieces(self, most: int | None = None) -> Iterator[bytes]:
        """Yield the body as it arrives, up to about `most` bytes.

        Raises:
            UnreachableError: the connection broke, so that the body is not complete.
        """
        total = 0
        try:
            while piece := self._read_piece():
                yield piece
                total += len(piece)
                if most is not None and total > most:
                    return
            if self._response.length:  # read1 does not notice the early end of a body with a length
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(f"the connection to {self._url} broke: {_describe(error)}") from error

    def limit(self, silence_seconds: float, end: float | None) -> None:
        """Let the connection break when nothing arrives for a time, or at a time of the monotonic clock."""
        self._silence_seconds, self._end = silence_seconds, end

    def _read_piece(self) -> bytes:
        if self._silence_seconds is not None:
            left = self._silence_seconds if self._end is None else self._end - time.monotonic()
            self._socket.settimeout(max(0.01, min(self._silence_seconds, left)))
        return self._response.read1(_PIECE_BYTES)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transport:
    """Sends requests to one service, through the proxy of the environment if there is one.

    Redirections are not followed: a token must not reach another host.

    Args:
        url: the service's, with the prefix of its paths if there is one.
        ca_file: certificates of authorities to trust, in PEM; `None`: the system's.

    Raises:
        ValueError: the URL is invalid; `OSError`: the file cannot be read.
    """

    def __init__(self, url: str, *, ca_file: str | None = None) -> None:
        parts = _check_url(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._parts = parts
        self._prefix = parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None

    def open(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None, silence_seconds: float
    ) -> Response:
        """Send a request, and return the response as soon as its header has arrived.

        Args:
            method: the HTTP method.
            target: the path, with its query.
            headers: further headers.
            body: the body; `None`: none.
            silence_seconds: how long nothing may arrive.

        Raises:
            UnreachableError: there is no response.
        """
        connection, before, proxy_headers = self._connection()
        sent = False
        try:
            connection.connect()
            _keep_alive(connection.sock)
            connection.sock.settimeout(silence_seconds)
            sent = True
            connection.request(method, before + self._prefix + target, body=body, headers={**headers, **proxy_headers})
            return Response(connection, self.url)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            certificate = isinstance(error, ssl.SSLCertVerificationError)
            what = "no answer from" if sent else "cannot connect to"
            raise UnreachableError(
                f"{what} {self.url}: {_describe(error)}", retryable=not certificate, sent=sent
            ) from error
        except BaseException:
            connection.close()
            raise

    def _connection(self) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """Return an unconnected connection, what stands before the path of its requests, and headers for a proxy."""
        host, port = str(self._parts.hostname), self._parts.port
        proxy = self._proxy(host)
        if proxy is None:
            if self._tls is None:
                return http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS), "", {}
            return http.client.HTTPSConnection(host, port, timeout=_CONNECT_SECONDS, context=self._tls), "", {}
        at = (str(proxy.hostname), proxy.port)
        if self._tls is None:
            connection = http.client.HTTPConnection(*at, timeout=_CONNECT_SECONDS)
            return connection, f"http://{self._parts.netloc}", _proxy_headers(proxy)
        tunnel = http.client.HTTPSConnection(*at, timeout=_CONNECT_SECONDS, context=self._tls)
        tunnel.set_tunnel(host, port or 443, _proxy_headers(proxy))
        return tunnel, "", {}

    def _proxy(self, host: str) -> SplitResult | None:
        address = getproxies().get(self._parts.scheme)
        if not address or proxy_bypass(host):
            return None
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        if proxy.scheme != "http" or not proxy.hostname:
            raise UnreachableError(
                f"the proxy of the environment for {self._parts.scheme} is not one of HTTP", retryable=False, sent=False
            )
        return proxy


def _check_url(url: str) -> SplitResult:
    """Split a URL. A message does not repeat one that may have a password in it."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise ValueError("the server must be a URL such as http://slimfaas:5000")
    if parts.username is not None or parts.query or parts.fragment or " " in url or not url.isascii():
        raise ValueError("the server's URL must have no user, password, query, fragment or blank")
    return parts


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if option := getattr(socket, name, None):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _describe(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "it ended too early"
    if isinstance(error, TimeoutError):
        return "nothing arrived in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
