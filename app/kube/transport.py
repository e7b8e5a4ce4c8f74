"""Calls to the API server through the official client's transport.

The client's `ApiClient` reads kubeconfigs, refreshes tokens, verifies TLS and keeps connections. Its generated methods
and models stay unimported: they would build an object per field of every Job (docs/adr/0002-raw-json.md gives the
cost). Its layers between a call and the connection pool are left out as well: what they work out anew for each call is
worked out once here (docs/performance.md gives the cost).
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

from app.common.types import Json
from app.kube.api_call_metrics import ApiCall
from app.kube.call_timeouts import CALL_SECONDS, CONNECT_SECONDS, READ_SECONDS
from app.kube.cancel_token import CancelToken
from app.kube.clock import ServerClock
from app.kube.connections import POOLS
from app.kube.deadlines import ReadDeadline
from app.kube.errors import OversizeError, UnavailableError, UnreachableError, error_of, warnings_in

CALLS = 32
"""The most calls at the same time."""

PIECE_BYTES = 16 * 1024
"""The most of a stream that is held in memory at once."""

MERGE_PATCH = "application/merge-patch+json"

_TOKEN_SECONDS = 1.0
"""How long a token is used before the client is asked for it again. The client refreshes tokens well before they
expire; each time that it is asked, it looks for proxies in the whole environment."""

# Raised before anything is sent; an unknown host name is one of them.
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class ApiTransport:
    """One API server, and one namespace on it. Safe to share between threads; connects when first called.

    Attributes:
        namespace: where all our objects live.
        clock: the API server's, as its responses tell.
    """

    def __init__(self, configuration: Configuration, namespace: str, *, connections: int = CALLS) -> None:
        # Whether a call is repeated is decided by callers who know what repeating it means.
        configuration.retries = False
        configuration.connection_pool_maxsize = connections
        configuration.socket_options = tcp_keepalive_socket_options()
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # The kernel gives up a request that can't be delivered when its caller does.
            timeout = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CALL_SECONDS * 1000))
            configuration.socket_options.append(timeout)
        client = ApiClient(configuration)
        client.user_agent = "slimfaas-jobs"
        pools = client.rest_client.pool_manager
        pools.pool_classes_by_scheme = POOLS
        url = urlsplit(configuration.host)
        self._urlopen: Callable[..., urllib3.BaseHTTPResponse]
        if pools.proxy is not None and url.scheme == "http":  # such a proxy is sent whole URLs
            self._urlopen, self._base = pools.urlopen, configuration.host
        else:
            self._urlopen = pools.connection_from_url(configuration.host).urlopen
            self._base = url.path.rstrip("/")
        self._headers = {"Accept": "application/json", **client.default_headers}
        self._headers_until = float("-inf")
        self._configuration = configuration
        self.clock = ServerClock()
        self.namespace = namespace

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        whole_seconds: float = CALL_SECONDS,
        most_bytes: int | None = None,
        warnings: list[str] | None = None,
    ) -> Json:
        """Make one call and read its response.

        Args:
            method: the HTTP method.
            path: begins with `/api` or `/apis`, and needs no quoting.
            query: parameters, which are quoted.
            body: is sent as JSON.
            content_type: of the body; patches have types of their own.
            whole_seconds: how long the call may take in all.
            most_bytes: how long the response may be; `None`: without a limit.
            warnings: the API server's warnings are added here; `None`: they are dropped.

        Raises:
            OversizeError: the response is longer than that. It has not been read to its end.
            ClusterError: the API server did not carry the call out, or it is not known whether it did.
        """
        read_deadline = ReadDeadline.after(whole_seconds)
        with self._open(method, path, query, body, content_type, READ_SECONDS, read_deadline) as response:
            text = response.read(None if most_bytes is None else most_bytes + 1)
            if most_bytes is not None and len(text) > most_bytes:
                raise OversizeError(f"the API server's response has more than {most_bytes} bytes")
            try:
                answer: Json = json.loads(text)
            except ValueError as error:
                raise UnavailableError("the API server's response was cut off or is not JSON") from error
            if not isinstance(answer, dict):
                raise UnavailableError("the response is not the API server's")
            if warnings is not None:
                warnings += warnings_in(response.headers.getlist("Warning"))
            return answer

    @contextmanager
    def stream(
        self,
        path: str,
        query: Mapping[str, str | int],
        *,
        silence_seconds: float | None,
        whole_seconds: float | None = None,
        ask: Callable[[], None] | None = None,
        ask_seconds: float = float("inf"),
        cancel_token: CancelToken | None = None,
    ) -> Iterator["Stream"]:
        """Open a watch or a log.

        Args:
            path: of the collection, or of the log.
            query: parameters.
            silence_seconds: how long the connection may be silent before it counts as dead; `None`: without a limit, as
                long as the kernel's keepalive probes are answered.
            whole_seconds: how long the stream may last in all; `None`: without a limit.
            ask: called after so much silence, each time; what it raises ends the stream. Not together with
                `whole_seconds`.
            ask_seconds: see `ask`.
            cancel_token: also ends the stream, which then has a connection of its own.

        Raises:
            ClusterError: also while the stream is read, and when it is cancelled.
        """
        read_deadline = (
            ReadDeadline.after(whole_seconds) if ask is None else ReadDeadline(ask_seconds=ask_seconds, ask=ask)
        )
        with self._open(
            "GET", path, query, None, "application/json", silence_seconds, read_deadline, cancel_token
        ) as response:
            yield Stream(response)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: Json | None,
        content_type: str,
        read_seconds: float | None,
        read_deadline: ReadDeadline,
        cancel_token: CancelToken | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        response: urllib3.BaseHTTPResponse | None = None
        api_call = ApiCall(method, path, query or {})
        try:
            headers = self._headers_now()
            if body is not None:
                headers = {**headers, "Content-Type": content_type}
            if cancel_token is not None:
                headers = {**headers, "Connection": "close"}  # never back in the pool: it may be shut down at any time
            response = self._urlopen(
                method,
                f"{self._base}{path}?{urlencode(query, quote_via=quote)}" if query else self._base + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                redirect=False,
                preload_content=False,
                read_deadline=read_deadline,
                cancel_token=cancel_token,
            )
            succeeded = 200 <= response.status <= 299
            self.clock.note(response.headers.get("Date") if succeeded else None)  # else it may be a proxy's
            api_call.answered(response.status)
            if not succeeded:
                raise error_of(response.status, response.data, response.headers.get("Retry-After"))
            yield response
        except _NOT_CONNECTED as error:
            api_call.unreachable()
            raise UnreachableError(f"no connection to the API server: {type(error).__name__}") from error
        except urllib3.exceptions.SSLError as error:
            raise UnavailableError("no TLS connection to the API server") from error
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(f"the API server can't be reached: {type(error).__name__}") from error
        except (ConfigException, OSError) as error:  # the client reads a pod's token while the kubelet replaces it
            raise UnavailableError(f"the API server can't be asked: {type(error).__name__}") from error
        finally:
            api_call.ended()
            if cancel_token is not None:
                cancel_token.attach(None)
            if response is not None:
                # A connection whose response was read to its end is back in the pool by now; any other is closed.
                response.close()

    def _headers_now(self) -> Mapping[str, str]:
        """Return the headers of every request, with the token as it is now."""
        now = time.monotonic()
        if now > self._headers_until:
            token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
            if token is not None:
                self._headers = {**self._headers, "authorization": token}
            self._headers_until = now + _TOKEN_SECONDS
        return self._headers


class Stream:
    """The body of a response that lasts for as long as both sides like."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Yield each line as it arrives, without its end, until the API server ends the response."""
        rest = b""
        for chunk in self._response.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in pieces of at most `PIECE_BYTES`."""
        return self._response.stream(amt=PIECE_BYTES)

    @property
    def status(self) -> int:
        """The HTTP status of the response, which is no error."""
        return self._response.status

    def close(self) -> None:
        """End the stream from another thread; the thread that reads it sees its end at once."""
        with suppress(ValueError, RuntimeError, OSError):  # it has ended already
            self._response.shutdown()
