"""The credentials for the API server, and how they are renewed while the process runs.

There are three kinds: fixed credentials, credentials in files that may be replaced, and credentials that a program or
the client library provides. The last kind may take long to get. So a separate thread gets it, and a call waits for it
no longer than the call's own deadline.
"""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.kube.tls import TlsMaterial

FILE_SECONDS = 60.0
"""How long a file is used before it is read again. Kubernetes asks for at most a minute for a ServiceAccount's token:
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens"""

_RETRY_SECONDS = 2.0
"""After a failure, how long to wait before the program is run again."""

_REFUSED_SECONDS = 10.0
"""The shortest time between two runs of the program when the API server refuses its credentials."""

_EARLY_SECONDS = 60.0
"""A credential is renewed this long before it expires, or at half of its lifetime if that is later."""

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")


class CredentialError(Exception):
    """No valid credential is available. The message says why, and quotes no credential."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential of one request.

    Attributes:
        authorization: the value of the `Authorization` header; `None`: the request has no such header.
        tls: the certificates for the connection.
    """

    authorization: str | None = field(default=None, repr=False)
    tls: TlsMaterial = field(default_factory=TlsMaterial)


class CredentialSource(Protocol):
    """Where credentials come from. Safe to share between threads."""

    def get(self, seconds: float) -> Credential:
        """Return the current credential.

        Args:
            seconds: how long to wait for it at most.

        Raises:
            CredentialError: no valid credential is available.
        """

    def renew(self, refused: Credential, seconds: float) -> bool:
        """Renew a credential that the API server has refused; return whether a different one is available now."""


@dataclass(frozen=True, slots=True)
class FixedCredential:
    """A credential that never changes."""

    credential: Credential

    def get(self, seconds: float) -> Credential:
        """Return the credential."""
        return self.credential

    def renew(self, refused: Credential, seconds: float) -> bool:
        """Return `False`: a fixed credential can't be renewed."""
        return False


class FileCredential:
    """A credential in files, which are read again after a minute.

    While the files cannot be read, for example because they are being replaced, the last credential is used.

    Args:
        read: reads the files.
        clock: returns monotonic seconds.

    Raises:
        CredentialError: the files cannot be read.
    """

    def __init__(self, read: Callable[[], Credential], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._current = read()
        self._read_at = clock()

    def get(self, seconds: float) -> Credential:
        """See `CredentialSource`."""
        if self._clock() - self._read_at >= FILE_SECONDS:
            self.renew(self._current, seconds)
        return self._current

    def renew(self, refused: Credential, seconds: float) -> bool:
        """See `CredentialSource`."""
        self._read_at = self._clock()
        try:
            found = self._read()
        except CredentialError:
            return False
        if found != self._current:  # if they are equal, keep the object, because its connections stay open
            self._current = found
        return self._current != refused


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a program or of the client library.

    Attributes:
        credential: the new credential.
        expires_at: when the credential expires, in Unix seconds; `None`: the result does not say.
    """

    credential: Credential
    expires_at: float | None = None


class RequestedCredential:
    """A credential from a program or from the client library. A separate thread gets it.

    Args:
        ask: gets a new credential. It has a time limit of its own.
        clock: returns Unix seconds.
    """

    def __init__(self, ask: Callable[[], Answer], *, clock: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Answer | None = None
        self._renew_at = float("-inf")
        self._asked_at = float("-inf")
        self._failed: CredentialError | None = None
        self._request: Future[None] | None = None

    def get(self, seconds: float) -> Credential:
        """See `CredentialSource`. A credential that expires soon is still used while the next one is requested."""
        with self._lock:
            now = self._clock()
            if self._known is not None and now < self._renew_at:
                return self._known.credential
            request = self._begin(now)
            if self._known is not None and not _has_expired(self._known, now):
                return self._known.credential
        self._wait(request, seconds)
        with self._lock:
            if self._known is None or _has_expired(self._known, self._clock()):
                raise CredentialError("the credential has expired and could not be renewed")
            return self._known.credential

    def renew(self, refused: Credential, seconds: float) -> bool:
        """See `CredentialSource`."""
        with self._lock:
            if self._known is not None and self._known.credential != refused:
                return True
            now = self._clock()
            if self._request is None and now - self._asked_at < _REFUSED_SECONDS:
                return False
            request = self._begin(now)
        self._wait(request, seconds)
        with self._lock:
            return self._known is not None and self._known.credential != refused

    def _begin(self, now: float) -> Future[None]:
        """Request a credential, unless a request is running or has just failed. The caller holds the lock."""
        if self._request is None:
            request: Future[None] = Future()
            self._request = request
            if self._failed is not None and now - self._asked_at < _RETRY_SECONDS:
                self._request = None
                request.set_exception(self._failed)
                return request
            self._asked_at = now
            # A daemon thread: a program that hangs must not keep the process from ending.
            threading.Thread(target=self._run, args=(request,), name="credentials", daemon=True).start()
        return self._request

    def _run(self, request: Future[None]) -> None:
        try:
            answer = self._ask()
        except CredentialError as error:
            failure = error
        except Exception as error:  # the client library's: its message may quote a token
            failure = CredentialError(f"the client library can't renew the credential: {type(error).__name__}")
        else:
            with self._lock:
                self._known, self._request, self._failed = answer, None, None
                self._renew_at = _renewal_time(answer, self._clock())
            request.set_result(None)
            return
        with self._lock:
            self._request, self._failed, self._asked_at = None, failure, self._clock()
        request.set_exception(failure)

    @staticmethod
    def _wait(request: Future[None], seconds: float) -> None:
        try:
            request.result(max(0.0, seconds))
        except TimeoutError:
            raise CredentialError("the credential was not available in time") from None


def _has_expired(answer: Answer, now: float) -> bool:
    return answer.expires_at is not None and now >= answer.expires_at


def _renewal_time(answer: Answer, now: float) -> float:
    if answer.expires_at is None:
        return float("inf")
    return now + max(answer.expires_at - now - _EARLY_SECONDS, (answer.expires_at - now) / 2)


def read_token(path: Path) -> str:
    """Read the file of a token, and return the value of the `Authorization` header.

    Raises:
        CredentialError: the file cannot be read, or its content is not a token.
    """
    return bearer(read_file(path).decode("utf-8", "replace"), f"the token in {path}")


def bearer(token: str, what: str) -> str:
    """Return the value of the `Authorization` header for a token. White space around the token is removed.

    Args:
        token: the token.
        what: the name of the token for the error message.

    Raises:
        CredentialError: the token is empty or has characters that a header must not contain.
    """
    return check_header(f"Bearer {token.strip()}", what)


def check_header(value: str, what: str) -> str:
    """Return the value of a header if it is valid.

    Args:
        value: the value.
        what: the name of the value for the error message, which does not quote the value.

    Raises:
        CredentialError: the value is empty or has characters that a header must not contain.
    """
    if _HEADER_VALUE.fullmatch(value) is None:
        raise CredentialError(f"{what} is empty or contains characters that an HTTP header must not contain")
    return value


def read_file(path: Path) -> bytes:
    """Read a file that contains a credential or a certificate.

    Raises:
        CredentialError: the file cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}") from error
    if not content.strip():
        raise CredentialError(f"{path} is empty")
    return content
