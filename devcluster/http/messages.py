"""HTTP requests and responses as data, between the sockets and the API."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any

from devcluster import errors
from devcluster.errors import Cause
from devcluster.validation.fields import invalid, not_supported

JSON = "application/json"
MAX_BODY_BYTES = 3 * 1024 * 1024  # kube-apiserver's limit


@dataclass(frozen=True)
class Request:
    """One request; `query` has the last value of each parameter, because the API server uses single values."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes = b""
    server_address: str = "127.0.0.1"  # the server's address of this connection

    @property
    def content_type(self) -> str:
        """The body's media type without parameters; JSON when the header is missing."""
        value: str = self.headers.get("Content-Type", "")
        return value.partition(";")[0].strip().lower() or JSON

    def flag(self, name: str) -> bool:
        """Return a boolean parameter; False when it is missing, `false` or `0`."""
        return self.query.get(name, "0").lower() not in ("0", "false")

    def number(self, name: str) -> int | None:
        """Return an integer parameter; None when it is missing or empty.

        Raises:
            ApiError: 400, it is not an integer.
        """
        value = self.query.get(name)
        if not value:
            return None
        if not re.fullmatch("[+-]?[0-9]+", value):
            raise errors.bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        return int(value)

    def dry_run(self, options: str) -> bool:
        """Return whether the request is a dry run; `options` names the operation's options in errors.

        Raises:
            ApiError: 422, the value is not `All`.
        """
        return check_dry_run(options, [self.query["dryRun"]] if self.query.get("dryRun") else [])

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            ValueError: it is not JSON, or nested too deeply.
        """
        try:
            return json.loads(self.body, parse_constant=_refuse_constant)
        except RecursionError:
            raise ValueError(f"invalid character '{chr(self.body[0])}' exceeded max depth") from None
        except json.JSONDecodeError as error:
            raise ValueError(_describe(error)) from None


def check_dry_run(options: str, values: Sequence[str]) -> bool:
    """Return whether the values of `dryRun` ask for a dry run.

    Raises:
        ApiError: 422, a value is not `All`.
    """
    if any(value != "All" for value in values):
        raise errors.invalid_options(options, [not_supported("dryRun", values, ["All"])])
    return bool(values)


_JSON_ERRORS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
}


def _describe(error: json.JSONDecodeError) -> str:
    """Return a JSON error in the API server's words."""
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected end of JSON input"
    return f"invalid character '{error.doc[error.pos]}' {_JSON_ERRORS.get(error.msg, 'in string literal')}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


@dataclass(frozen=True)
class Response:
    """A complete response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stream:
    """A response sent in pieces until `chunks` ends; `close`, called from any thread, makes it end soon."""

    chunks: Iterator[bytes]
    close: Callable[[], None]
    content_type: str = JSON


def encode(value: Any) -> bytes:
    """Encode JSON as compactly as the API server does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(status: int, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a response with a JSON body."""
    return Response(status, encode(value) + b"\n", headers=headers)


def error_response(error: errors.ApiError) -> Response:
    """Return an error response: a `metav1.Status`, or plain text for paths outside of the API."""
    if error.status == 404 and not error.reason:
        return Response(error.status, f"{error.message}\n".encode(), "text/plain; charset=utf-8")
    retry = (error.details or {}).get("retryAfterSeconds")
    headers = (("Retry-After", str(retry)),) if retry else ()
    return json_response(error.status, error.to_status(), headers)


def version_cause(value: str) -> Cause:
    """Return the cause for a resourceVersion that is not a number."""
    return invalid("resourceVersion", value, f'strconv.ParseUint: parsing "{value}": invalid syntax')
