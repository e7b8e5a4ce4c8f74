"""What a call carries besides its route, exactly as it was sent; what can't be had exactly is refused."""

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
"""The largest body that a call may have."""

_MAX_KEY = 255

# A comma would be what two headers look like once they are joined.
_RAW_KEY = re.compile(r"[!#-+\--\[\]-~]+", re.ASCII)
_QUOTED_KEY = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"', re.ASCII)


def read_body(request: Request) -> bytes:
    """Read the whole body.

    Werkzeug alone would cut a chunked body off at the bound, and take one that ended too early for a whole one.

    Raises:
        RequestEntityTooLarge: it is larger than `MAX_BODY_BYTES`.
        BadRequest: it ended, or the caller fell silent, before its end; or its chunks are too many, or
            can't be told apart.
    """
    request.max_content_length = MAX_BODY_BYTES + 1  # the one byte more shows that there is more
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise _too_large() from error
    except TooManyChunksError as error:
        raise BadRequest(f"the body comes in more than {MAX_CHUNKS} chunks") from error
    except (ClientDisconnected, ParseException) as error:
        raise BadRequest("the body can't be read to its end") from error
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    if len(body) < (request.content_length or 0):
        raise BadRequest("the body can't be read to its end")
    return body


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"the body is larger than {MAX_BODY_BYTES // 1024} KiB")


def read_key(request: Request) -> str | None:
    """Read the Idempotency-Key; `None`: there is none.

    The draft wants a string in quotes (RFC 8941, section 3.3.3), most callers send it without: both are one key.

    Raises:
        BadRequest: it is no such key.
    """
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    text = text.strip(" \t")
    if quoted := _QUOTED_KEY.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = text if _RAW_KEY.fullmatch(text) else ""
    if not 1 <= len(key) <= _MAX_KEY:
        raise BadRequest(f"Idempotency-Key: not one key of 1 to {_MAX_KEY} visible ASCII characters, quoted or not")
    return key


def read_dry_run(request: Request) -> bool:
    """Read whether nothing is to be stored, `?dryRun=true`.

    Raises:
        BadRequest: it says something else, or nearly says it: better no answer than a run that nobody wanted.
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
    """Read what the run is to keep of the call: its id, and its place in a trace."""
    headers = request.headers
    caller = read_trace_context(headers.get("traceparent"), headers.get("tracestate"))
    return RequestContext(
        request_id.get(), current_context() or caller
    )  # where spans are made, ours is the one before the run


def check_target(request: Request) -> None:
    """Refuse a path or a query of which a run would see anything else than was sent.

    The path reaches the run decoded: an encoded slash would become a slash like any other.

    Raises:
        BadRequest: it holds a NUL, bytes that aren't UTF-8, an encoded slash or a fragment.
    """
    target: str = request.environ.get("RAW_URI", "")  # gunicorn's: the request line's own, before it is taken apart
    path: str = request.environ["PATH_INFO"]  # decoded, its bytes written as Latin-1 (PEP 3333)
    if "#" in target:
        raise BadRequest("the URL has a fragment, which is no part of a request")
    if "%2f" in target.partition("?")[0].lower():
        raise BadRequest("the path has an encoded slash (%2F), which can't be told from a slash once it is decoded")
    if "\0" in path or not _is_utf8(path.encode("latin-1")) or not request.query_string.isascii():
        raise BadRequest("the URL has a NUL, or bytes that are not UTF-8")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
