"""Calls to the API server through the official client's transport.

The client's `ApiClient` knows kubeconfigs, tokens that change, TLS and connection reuse. Its generated methods and
models stay unimported: they would build an object per field of every Job (docs/adr/0002-raw-json.md gives the cost).
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

from app.common.types import Json
from app.kube.api_call_metrics import ApiCall
from app.kube.cancel_token import POOLS, CancelToken, set_cancel_token
from app.kube.clock import ServerClock
from app.kube.deadlines import set_liveness_check, set_read_deadline
from app.kube.errors import OversizeError, UnavailableError, UnreachableError, error_of, warnings_in

CONNECT_SECONDS = 2.0
READ_SECONDS = 4.0
CALL_SECONDS = CONNECT_SECONDS + READ_SECONDS
"""The longest that one call can take, however slowly its answer comes: after it the caller knows no more, and the
kernel gives the bytes up, too."""

CALLS = 32
"""The most calls at the same time."""

PIECE_BYTES = 16 * 1024
"""The most of a stream that is held in memory at once."""

MERGE_PATCH = "application/merge-patch+json"

# What the transport raises before it has sent anything; an unknown host name is one of them.
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class ApiTransport:
    """One API server, and one namespace on it. Safe to share between threads; connects when first called.

    Attributes:
        namespace: where all our objects live.
        clock: its own, as its answers tell.
    """

    def __init__(self, configuration: Configuration, namespace: str, *, connections: int = CALLS) -> None:
        # Whether a call is repeated is decided by those who know what repeating it means.
        configuration.retries = False
        configuration.connection_pool_maxsize = connections
        configuration.socket_options = tcp_keepalive_socket_options()
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # A request that can't be delivered is given up by the kernel when its caller gives it up.
            timeout = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CALL_SECONDS * 1000))
            configuration.socket_options.append(timeout)
        self._client = ApiClient(configuration)
        self._client.user_agent = "slimfaas-jobs"
        self._client.rest_client.pool_manager.pool_classes_by_scheme = POOLS
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
        """Make one call and read its answer.

        Args:
            method: the HTTP method.
            path: from `/api` or `/apis` on; the caller has made it of parts that need no quoting.
            query: parameters to be quoted.
            body: to be sent as JSON.
            content_type: of the body; patches have types of their own.
            whole_seconds: how long it may take in all.
            most_bytes: how long its answer may be; `None`: as long as it likes.
            warnings: what the API server warns of is added here; `None`: nobody wants to know.

        Raises:
            OversizeError: the answer is longer than that. It has not been read to its end.
            ClusterError: the API server did not do it, or nobody can say whether it did.
        """
        set_read_deadline(whole_seconds)
        with self._open(method, path, query, body, content_type, READ_SECONDS) as response:
            text = response.read(None if most_bytes is None else most_bytes + 1)
            if most_bytes is not None and len(text) > most_bytes:
                raise OversizeError(f"the API server's answer has more than {most_bytes} bytes")
            try:
                answer: Json = json.loads(text)
            except ValueError as error:
                raise UnavailableError("the API server's answer was cut off or is no JSON") from error
            if not isinstance(answer, dict):
                raise UnavailableError("the answer is not the API server's")
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
            silence_seconds: how long the connection may bring nothing at all before it counts as dead; `None`: for
                ever, where the kernel gets answers to its keepalive probes.
            whole_seconds: how long it may go on in all, whatever it brings; `None`: for ever.
            ask: called after so much silence, each time; what it raises ends the stream. Not together with
                `whole_seconds`.
            ask_seconds: see `ask`.
            cancel_token: what else may end it; such a stream has its connection for itself.

        Raises:
            ClusterError: also while the stream is read, and when it is interrupted.
        """
        if ask is None:
            set_read_deadline(whole_seconds)
        else:
            set_liveness_check(ask, ask_seconds)
        with self._open("GET", path, query, None, "application/json", silence_seconds, cancel_token) as response:
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
        cancel_token: CancelToken | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        if cancel_token is not None:
            headers["Connection"] = "close"  # never back in the pool: it may be shut down at any time
        set_cancel_token(cancel_token)
        response: urllib3.BaseHTTPResponse | None = None
        api_call = ApiCall(method, path, query or {})
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=(CONNECT_SECONDS, read_seconds)).response
            assert response is not None
            succeeded = 200 <= response.status <= 299
            self.clock.note(response.headers.get("Date") if succeeded else None)  # else it may be a proxy's
            api_call.answered(response.status)
            if not succeeded:
                raise error_of(response.status, response.data, response.headers.get("Retry-After"))
            yield response
        except _NOT_CONNECTED as error:
            api_call.unreachable()
            raise UnreachableError(f"no connection to the API server: {type(error).__name__}") from error
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(f"the API server can't be reached: {type(error).__name__}") from error
        except ApiException as error:  # the client's own word for a failed TLS handshake
            raise UnavailableError("no TLS connection to the API server") from error
        except (ConfigException, OSError) as error:  # it reads a pod's token anew while the kubelet replaces it
            raise UnavailableError(f"the API server can't be asked: {type(error).__name__}") from error
        finally:
            api_call.ended()
            if cancel_token is not None:
                cancel_token.attach(None)
            if response is not None:
                # A connection whose answer was read to its end is back in the pool by now; any other is closed.
                response.close()


class Stream:
    """The body of a response that goes on for as long as both sides like."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def lines(self) -> Iterator[bytes]:
        """Each line as it arrives, without its end; ends when the API server ends the response."""
        rest = b""
        for chunk in self._response.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, in pieces of at most `PIECE_BYTES`."""
        return self._response.stream(amt=PIECE_BYTES)

    @property
    def status(self) -> int:
        """The HTTP status of the response, which is no error."""
        return self._response.status

    def close(self) -> None:
        """End the stream from another thread: whoever waits for a line sees its end at once."""
        with suppress(ValueError, RuntimeError, OSError):  # it has ended already
            self._response.shutdown()
