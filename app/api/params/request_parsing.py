"""Reads the body and the headers of a request exactly as sent; refuses what cannot be read exactly."""

import re
from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped] # gunicorn has no annotations
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType

from app.common.http_limits import MAX_BODY_BYTES, MAX_CHUNKS, TooManyChunksError
from app.domain.request_context import RequestContext
from app.telemetry.logs import request_id
from app.telemetry.spans import current_context
from app.telemetry.trace_context import read_trace_context

_SMALL_BODY_BYTES = 8 * 1024
"""A body of at most this size takes less than the thread that reads it."""

_INCOMPLETE = "the body is incomplete or malformed"

_MAX_KEY_LENGTH = 255

# No commas: the values of a header that was sent twice are joined by one.
_RAW_KEY = re.compile(r"[!#-+\--\[\]-~]+", re.ASCII)
_QUOTED_KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"', re.ASCII)


class EncodedBodyError(UnsupportedMediaType):
    """The body has a content coding, such as gzip. Decoding it could take any amount of memory."""

    description = "the body has a Content-Encoding: send it without one, as plain JSON"

    def get_headers(self, *arguments: Any) -> list[tuple[str, str]]:
        """Return the headers, with the codings that are supported (RFC 9110, section 15.5.16)."""
        return [*super().get_headers(*arguments), ("Accept-Encoding", "identity")]


def large_body_size(request: Request) -> int:
    """Return how many bytes a large body may have, as far as the headers tell; 0: it is small, or will be refused."""
    size = request.content_length
    if size is None:
        size = MAX_BODY_BYTES if request.headers.get("Transfer-Encoding") else 0
    return size if _SMALL_BODY_BYTES < size <= MAX_BODY_BYTES else 0


def read_body(request: Request) -> bytes:
    """Read the whole body.

    Werkzeug alone would truncate a chunked body at the limit, and accept one that ended too early.

    Raises:
        EncodedBodyError: the body is compressed, or encoded in another way.
        RequestEntityTooLarge: the body is larger than `MAX_BODY_BYTES`.
        BadRequest: the body ended early, the client stopped sending, or the chunks are malformed or too many.
    """
    codings = request.headers.get("Content-Encoding", "").split(",")
    if any(coding.strip(" \t").lower() not in ("", "identity") for coding in codings):
        raise EncodedBodyError
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
