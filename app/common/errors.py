"""The errors that callers can meet: each says what it means to the caller, without knowing HTTP.

`app.api.problems` maps every `ErrorKind` to one HTTP status. So an error is declared in one place, next to the code
that raises it, and no list of all errors has to be kept.
"""

from enum import Enum, auto

from schemas.faults import Fault

RETRY_SECONDS = 2
"""When a caller may try again where nothing better is known."""


class ErrorKind(Enum):
    """What kind of failure an error is."""

    INVALID = auto()
    """The request cannot be carried out as given."""
    UNAUTHENTICATED = auto()
    """The request carries a token that is not valid."""
    FORBIDDEN = auto()
    """The caller may not do this."""
    NOT_FOUND = auto()
    """What the request names does not exist, or is hidden from the caller."""
    CONFLICT = auto()
    """The request does not fit the present state."""
    TOO_MANY = auto()
    """A limit is reached; the same request may succeed later."""
    UNAVAILABLE = auto()
    """The service cannot do this now; the same request may succeed later."""


class ServiceError(Exception):
    """An error that a caller can meet.

    Attributes:
        kind: what kind of failure it is.
    """

    kind: ErrorKind

    @property
    def reason(self) -> str:
        """One word for logs and metrics, from a bounded set: the name of the class, without `Error`."""
        return type(self).__name__.removesuffix("Error")

    @property
    def detail(self) -> str:
        """What is wrong, for the caller. The exception's own message is for the log."""
        raise NotImplementedError

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the request's body, where it has any."""
        return ()

    @property
    def retry_seconds(self) -> int:
        """When the caller may try again; only for `TOO_MANY` and `UNAVAILABLE`."""
        return RETRY_SECONDS
