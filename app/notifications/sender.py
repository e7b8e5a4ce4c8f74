"""Sends a notification: one POST over a connection of its own, with one deadline once the receiver's name is resolved.

The name of the receiver is resolved once. The connection goes to an address that has been checked, and no redirect is
followed. So nothing can lead a request elsewhere.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from app.kube.deadlines import ReadDeadline, Response
from app.notifications.address_rules import Address, Network, find_refusal
from app.notifications.event import EventRequest
from app.notifications.signature import SecretError, build_signature_headers, read_secrets
from schemas.notify import Notify

DELIVERY_SECONDS = 10.0
"""How long a receiver may take, from the connection to the head of its response."""

_CONNECT_SECONDS = 3.0
_MOST_ADDRESSES = 4
_MOST_SECRET_BYTES = 4096
_MOST_HEAD_BYTES = 32 * 1024
"""The longest head of a response. http.client alone would keep 6 MiB of it."""

LONGEST_RETRY_SECONDS = 3600
"""The longest `Retry-After` that is obeyed."""


class DeliveryError(Exception):
    """A receiver has not accepted a notification.

    Attributes:
        status: of its response; `None`: there was none.
        retry_after_seconds: how long it asks to be left alone.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_seconds: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """What the settings say about sending.

    Attributes:
        allowed_networks: may be sent to, whatever they are.
        secrets_folder: has a folder for each mounted Secret.
        ca_file: PEM certificates of authorities that are trusted besides the system's; `None`: there are none.
        seconds: how long a receiver may take.
    """

    allowed_networks: tuple[Network, ...] = ()
    secrets_folder: Path
    ca_file: Path | None = None
    seconds: float = DELIVERY_SECONDS


class NotificationSender:
    """Sends notifications. Safe to share between threads.

    Args:
        settings: see `SenderSettings`.
        api_host: the host name or address of the API server.
        wall_clock: seconds since the epoch, for signatures.
    """

    def __init__(self, settings: SenderSettings, api_host: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._api_host = api_host
        self._wall_clock = wall_clock
        self._context: tuple[float, ssl.SSLContext] | None = None

    def send(self, notify: Notify, request: EventRequest) -> None:
        """Send an event to its receiver.

        Raises:
            DeliveryError: the receiver has not answered with 2xx. It may have got the event all the same.
        """
        try:
            secrets = self._read_secrets(notify)
        except SecretError as error:
            raise DeliveryError(str(error)) from error
        signature = build_signature_headers(request.id, int(self._wall_clock()), request.body, secrets)
        try:
            status, retry_after = self._post(notify.url, {**request.headers, **signature}, request.body)
        except TimeoutError as error:
            raise DeliveryError(f"it has not answered within {self._settings.seconds:.0f} s") from error
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"its certificate is not trusted: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"it can't be reached: {_describe(error)}") from error
        if not 200 <= status <= 299:
            raise DeliveryError(f"it has answered {status}", status, _read_retry_after(retry_after, self._wall_clock()))

    def _read_secrets(self, notify: Notify) -> Sequence[bytes]:
        """Read the signing secrets now: a Secret may have been replaced since.

        Raises:
            SecretError: they can't be read. Nothing is sent without its signature.
        """
        if notify.secret is None:
            return ()
        name, key = notify.secret
        try:
            with (self._settings.secrets_folder / name / key).open("rb") as file:
                content = file.read(_MOST_SECRET_BYTES + 1)
        except OSError as error:
            raise SecretError(f"the signing secret {name}/{key} is not mounted: {error.strerror}") from error
        if len(content) > _MOST_SECRET_BYTES:
            raise SecretError(f"the signing secret {name}/{key} has more than {_MOST_SECRET_BYTES} bytes")
        return read_secrets(content.decode("ascii", "replace"))

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        """Make the request; return the status and the `Retry-After` of the response, whose body is not read."""
        parts = urlsplit(url)
        host, is_tls = (parts.hostname or "").removesuffix("."), parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        addresses = self._resolve(host, port)
        deadline = time.monotonic() + self._settings.seconds
        connection = http.client.HTTPConnection(host, port)
        connection.auto_open = 0  # it would resolve the name again
        connection.response_class = partial(_BoundedResponse, read_deadline=ReadDeadline(at=deadline))  # type: ignore[assignment] # makes one
        try:
            sock = _connect(addresses, deadline)
            connection.sock = sock
            if is_tls:
                sock.settimeout(_left(deadline))
                connection.sock = sock = self._tls_context().wrap_socket(sock, server_hostname=host)
            sock.settimeout(_left(deadline))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            sent = {**headers, "Host": parts.netloc, "User-Agent": "slimfaas-jobs", "Connection": "close"}
            connection.request("POST", target, body, sent)
            with closing(connection.getresponse()) as response:
                return response.status, response.headers.get("Retry-After")
        finally:
            connection.close()

    def _resolve(self, host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
        """Return the addresses of the receiver that may be sent to, each with its family.

        Raises:
            DeliveryError: none may.
            OSError: the name can't be resolved.
        """
        found = _look_up(host, port)
        api_server = {_read_address(address) for _, address in _look_up_quietly(self._api_host)}
        refusals = []
        permitted = []
        for family, address in found:
            refusal = find_refusal(_read_address(address), self._settings.allowed_networks, api_server)
            if refusal:
                refusals.append(refusal)
            else:
                permitted.append((family, address))
        if not permitted:
            why = refusals[0] if refusals else "no address"
            raise DeliveryError(f"{host} has {why}, which SLIMFAAS_NOTIFY_ALLOWED_NETWORKS does not name")
        return permitted[:_MOST_ADDRESSES]

    def _tls_context(self) -> ssl.SSLContext:
        """Return the context, made anew when the file of authorities has changed."""
        file = self._settings.ca_file
        try:
            changed_at = 0.0 if file is None else file.stat().st_mtime
            made = self._context
            if made is None or made[0] != changed_at:
                context = ssl.create_default_context()
                if file is not None:
                    context.load_verify_locations(file)
                self._context = made = (changed_at, context)
        except OSError as error:  # OpenSSL's errors, too
            raise DeliveryError(f"SLIMFAAS_NOTIFY_CA_FILE can't be used: {_describe(error)}") from error
        return made[1]


class _BoundedResponse(Response):
    """A response whose head is not longer than `_MOST_HEAD_BYTES`, its informational responses (1xx) included."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = cast(io.BufferedReader, _BoundedReader(self.fp))


class _BoundedReader:
    """The file of a response, as far as `http.client` reads a head from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._left_bytes = _MOST_HEAD_BYTES

    def readline(self, most_bytes: int) -> bytes:
        """Read a line of the head.

        Raises:
            DeliveryError: the head is too long.
        """
        line = self._file.readline(min(most_bytes, self._left_bytes + 1))
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise DeliveryError(f"its response has a head of more than {_MOST_HEAD_BYTES} bytes")
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _look_up(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _look_up_quietly(host: str) -> list[tuple[int, tuple[object, ...]]]:
    try:
        return _look_up(host, 443) if host else []
    except OSError:
        return []


def _read_address(address: tuple[object, ...]) -> Address:
    return ip_address(str(address[0]))


def _connect(addresses: Sequence[tuple[int, tuple[object, ...]]], deadline: float) -> socket.socket:
    """Connect to the first address that answers."""
    last: OSError = TimeoutError("timed out")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(min(_CONNECT_SECONDS, _left(deadline)))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            last = error
    raise last


def _left(deadline: float) -> float:
    """Return how many seconds are left.

    Raises:
        TimeoutError: none are.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _read_retry_after(text: str | None, now: float) -> int:
    """Return how many seconds a `Retry-After` asks for: a number, or a date. What can't be read asks for none."""
    if text is None or len(text) > 64:
        return 0
    if text.isascii() and text.isdigit():
        return min(int(text), LONGEST_RETRY_SECONDS)
    try:
        seconds = int(parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0
    return max(0, min(seconds, LONGEST_RETRY_SECONDS))


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
