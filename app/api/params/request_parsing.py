"""Reads the body, the headers and the URL of a request exactly as sent; refuses what cannot be read exactly."""

import re

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # gunicorn has no annotations
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge

from app.common.http_limits import MAX_CHUNKS, TooManyChunksError
from app.domain.request_context import RequestContext
from app.telemetry.logs import request_id
from app.telemetry.spans import current_context
from app.telemetry.trace_context import read_trace_context

MAX_BODY_BYTES = 64 * 1024
"""The largest body that a request may have."""

_INCOMPLETE = "the body is incomplete or malformed"

_MAX_KEY_LENGTH = 255

# No commas: the values of a header that was sent twice are joined by one.
_RAW_KEY = re.compile(r"[!#-+\--\[\]-~]+", re.ASCII)
_QUOTED_KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"', re.ASCII)


def read_body(request: Request) -> bytes:
    """Read the whole body.

    Werkzeug alone would truncate a chunked body at the limit, and accept one that ended too early.

    Raises:
        RequestEntityTooLarge: the body is larger than `MAX_BODY_BYTES`.
        BadRequest: the body ended early, the client stopped sending, or the chunks are malformed or too many.
    """
    request.max_content_length = MAX_BODY_BYTES + 1  # one more byte tells a body at the limit from a larger one
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise _too_large() from error
    except TooManyChunksError as error:
        raise BadRequest(f"the body has more than {MAX_CHUNKS} chunks") from error
    except (ClientDisconnected, ParseException) as error:
        raise BadRequest(_INCOMPLETE) from error
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    if len(body) < (request.content_length or 0):
        raise BadRequest(_INCOMPLETE)
    return body


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"the body is larger than {MAX_BODY_BYTES // 1024} KiB")


def read_key(request: Request) -> str | None:
    """Return the Idempotency-Key; `None` if there is none.

    The draft asks for a quoted string (RFC 8941, section 3.3.3); most clients send no quotes. Both give the same key.

    Raises:
        BadRequest: the header is not one valid key.
    """
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    text = text.strip(" \t")
    if quoted := _QUOTED_KEY.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = text if _RAW_KEY.fullmatch(text) else ""
    if not 1 <= len(key) <= _MAX_KEY_LENGTH:
        raise BadRequest(
            f"Idempotency-Key: must be one key of 1 to {_MAX_KEY_LENGTH} visible ASCII characters, quoted or not"
        )
    return key


def read_dry_run(request: Request) -> bool:
    """Return whether the query has `dryRun=true`.

    Raises:
        BadRequest: the parameter is misspelt, repeated or has another value. Guessing could start an unwanted run.
    """
    given = [(name, value) for name, values in request.args.lists() if name.lower() == "dryrun" for value in values]
    match given:
        case []:
            return False
        case [("dryRun", "true" | "false" as value)]:
            return value == "true"
        case _:
            raise BadRequest("dryRun: give it once, as dryRun=true or dryRun=false")


def read_request_context(request: Request) -> RequestContext:
    """Return what the run keeps of the request: its id and its trace context."""
    headers = request.headers
    sent_trace = read_trace_context(headers.get("traceparent"), headers.get("tracestate"))
    # If this service records spans, the parent of the run is our span, not the caller's.
    return RequestContext(request_id.get(), current_context() or sent_trace)


def check_target(request: Request) -> None:
    """Refuse a request target whose path or query the run would not receive exactly as sent.

    The run receives the path decoded, so an encoded slash would look like any other slash.

    Raises:
        BadRequest: the target has a NUL, bytes that are not UTF-8, an encoded slash or a fragment.
    """
    target: str = request.environ.get("RAW_URI", "")  # set by gunicorn: the target as in the request line
    path: str = request.environ["PATH_INFO"]  # decoded; each byte is one Latin-1 character (PEP 3333)
    if "#" in target:
        raise BadRequest("the URL has a fragment (#), which a request must not contain")
    if "%2f" in target.partition("?")[0].lower():
        raise BadRequest("the path has an encoded slash (%2F), which decoding would turn into a plain slash")
    if "\0" in path or not _is_utf8(path.encode("latin-1")) or not request.query_string.isascii():
        raise BadRequest("the URL has a NUL or bytes that are not UTF-8")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
