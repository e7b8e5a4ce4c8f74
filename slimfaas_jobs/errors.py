"""What can go wrong with a call of the service."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slimfaas_jobs.models import Run


class JobsError(Exception):
    """Base of all errors of this package; the message is for people."""


class RequestError(JobsError):
    """The service answered with an error.

    Attributes:
        status: the HTTP status.
        detail: what is wrong, for people.
        faults: the faulty parts of the request, each as a JSON pointer and a message.
        retry_after_seconds: when to try again, as the service says; `None`: it does not say.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Sequence[tuple[str, str]] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return "\n".join([self.detail, *(f"  {pointer}: {message}" for pointer, message in self.faults)])


class NotFoundError(RequestError):
    """There is no such definition, run, attempt or address (404)."""


class RefusedError(RequestError):
    """The service refuses the request (any other 4xx, or a redirection): sending it again changes nothing.

    The exception is 429, a full queue: it was repeated for as long as retries are permitted.
    """


class UnavailableError(RequestError):
    """The service, or a proxy before it, cannot answer now (5xx)."""


class UnreachableError(JobsError):
    """There was no answer: no connection, or it broke.

    Attributes:
        retryable: whether the same request may succeed later. A certificate that is not trusted stays so.
        sent: whether the service may have got the request.
    """

    def __init__(self, message: str, *, retryable: bool = True, sent: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.sent = sent


class InvalidResponseError(JobsError):
    """The response is none of SlimFaas Jobs: the URL leads to another service, or a proxy has changed it."""


class TokenError(JobsError):
    """The token cannot be read. The message never contains it."""


class _RunError(JobsError):
    def __init__(self, message: str, run: "Run | None" = None) -> None:
        super().__init__(message)
        self.run = run


class WaitTimeoutError(_RunError):
    """The time to wait is over, and the run goes on.

    Attributes:
        run: its last known state; `None`: unknown.
    """


class RunDeletedError(_RunError):
    """The run was deleted before it ended: it was cancelled.

    Attributes:
        run: its last known state; `None`: unknown.
    """
