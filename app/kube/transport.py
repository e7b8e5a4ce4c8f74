"""Calls to the API server through the official client's connections, with JSON in and out.

The client's REST layer keeps the connections, directly or through proxies (`app.kube.api_server`). Its generated
methods and models stay unimported: they would build an object per field of every Job (docs/adr/0002-raw-json.md gives
the cost). Its layers between a call and the connection pool are left out as well: what they work out anew for each call
is worked out once here (docs/performance.md gives the cost).
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from app.common.types import Json
from app.kube.account_uid import read_account_uid
from app.kube.api_call_metrics import ApiCall
from app.kube.api_server import ApiServer
from app.kube.authentication import Credential, CredentialError, CredentialSource, FixedCredential
from app.kube.call_timeouts import CALL_SECONDS, CONNECT_SECONDS, READ_SECONDS
from app.kube.cancel_token import CancelToken
from app.kube.clock import ServerClock
from app.kube.connections import Progress
from app.kube.deadlines import ReadDeadline
from app.kube.errors import OversizeError, UnavailableError, UnreachableError, error_of, warnings_in
from app.kube.sender import Sender
from app.kube.tls import CertificateError

CALLS = 32
"""The most calls at the same time."""

PIECE_BYTES = 16 * 1024
"""The most of a stream that is held in memory at once."""

MERGE_PATCH = "application/merge-patch+json"

_ASK_SECONDS = 0.05
"""How often `ask` of a call is called."""


class ApiTransport:
    """One API server, and one namespace on it. Safe to share between threads; connects when first called.

    Attributes:
        namespace: where all our objects live.
        host: the name or address of the API server.
        clock: the API server's, as its responses tell.
    """

    def __init__(
        self,
        server: ApiServer,
        namespace: str,
        *,
        connections: int = CALLS,
        source: CredentialSource | None = None,
        impersonation: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._source = source or FixedCredential(Credential())
        self._sender = Sender(
            server,
            connections=connections,
            source=self._source,
            headers=[("Accept", "application/json"), ("User-Agent", "slimfaas-jobs"), *impersonation],
        )
        self.clock = ServerClock()
        self.namespace = namespace
        self.host = urlsplit(server.url).hostname or ""

    def account_uid(self) -> str:
        """Return the uid of our ServiceAccount; empty: our credential is of another kind. No call is made.

        Raises:
            UnavailableError: there is no credential now.
        """
        try:
            return read_account_uid(self._source.get(CALL_SECONDS).authorization)
        except CredentialError as error:
            raise UnavailableError(f"no credential for the API server: {error}") from error

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
        ask: Callable[[], None] | None = None,
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
            ask: called again and again while the API server is silent; what it raises ends the call.

        Raises:
            OversizeError: the response is longer than that. It has not been read to its end.
            ClusterError: the API server did not carry the call out, or it is not known whether it did.
        """
        read_deadline = ReadDeadline.after(whole_seconds)
        if ask is not None:
            read_deadline = replace(read_deadline, ask=ask, ask_seconds=_ASK_SECONDS)
        with self._open(method, path, query, body, content_type, READ_SECONDS, read_deadline) as response:
            text = response.read(None if most_bytes is None else most_bytes + 1)
            if most_bytes is not None and len(text) > most_bytes:
                raise OversizeError(f"the API server's response has more than {most_bytes} bytes")
            try:
                answer: Json = json.loads(text)
            except ValueError as error:
                raise UnavailableError("the API server's response was cut off or is not JSON") from error
            if not isinstance(answer, dict):
                raise UnavailableError("the response is not from a Kubernetes API server")
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
        progress = Progress()
        headers = {} if body is None else {"Content-Type": content_type}
        if cancel_token is not None:
            headers["Connection"] = "close"  # never back in the pool: it may be shut down at any time
        send = partial(
            self._sender.send,
            method,
            f"{path}?{urlencode(query, quote_via=quote)}" if query else path,
            headers,
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
            progress=progress,
            read_deadline=read_deadline,
            cancel_token=cancel_token,
        )
        try:
            with _translate_errors(progress, api_call):
                response = send(credential_until=min(read_deadline.at, time.monotonic() + CALL_SECONDS))
                succeeded = 200 <= response.status <= 299
                self.clock.note(response.headers.get("Date") if succeeded else None)  # else it may be a proxy's
                api_call.answered(response.status)
                if not succeeded:
                    raise error_of(response.status, response.data, response.headers.get("Retry-After"))
                yield response
        finally:
            api_call.ended()
            if cancel_token is not None:
                cancel_token.attach(None)
            if response is not None:
                # A connection whose response was read to its end is back in the pool by now; any other is closed.
                response.close()


@contextmanager
def _translate_errors(progress: Progress, api_call: ApiCall) -> Iterator[None]:
    """Turn the errors of a call into a ClusterError: only a request whose sending has begun may be carried out."""
    try:
        yield
    except (CredentialError, CertificateError) as error:
        api_call.unreachable()
        raise UnreachableError(f"cannot connect to the API server: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        if progress.began:
            raise UnavailableError(f"the API server can't be reached: {type(error).__name__}") from error
        api_call.unreachable()
        raise UnreachableError(f"no connection to the API server: {_reason_of(error)}") from error


def _reason_of(error: BaseException) -> str:
    """Return why there is no connection; of a TLS error, what is wrong with the certificate."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "verify_message", None) or getattr(inner, "reason", None)
    return f"{type(error).__name__}, {reason}" if isinstance(reason, str) else type(error).__name__


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
