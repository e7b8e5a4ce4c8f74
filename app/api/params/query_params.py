"""What the query string of a call says.

A parameter that isn't known is refused, like a field that isn't: a misspelt filter would otherwise be no filter.
"""

from urllib.parse import urlencode

from flask import Request
from werkzeug.exceptions import BadRequest

from app.runs.pagination import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    ListQuery,
    NotAContinuationError,
    RunPage,
    read_continuation,
    write_continuation,
)
from schemas.faults import printable, unknown_field
from schemas.run import Status


def check_parameters(request: Request, *known: str) -> None:
    """Refuse parameters that a route doesn't know.

    Raises:
        BadRequest: there are some; it names the first.
    """
    for name in request.args:
        if name not in known:
            words = unknown_field(name, known).replace("field", "query parameter", 1)
            raise BadRequest(f"{printable(name)[:64]}: {words}")


def read_list_query(request: Request) -> ListQuery:
    """Read which runs a caller wants to see.

    Raises:
        BadRequest: a parameter isn't known, or its value can't be.
    """
    check_parameters(request, "limit", "continue", "status")
    limit, before = read_integer(request, "limit", least=1, most=MAX_LIMIT), read_single(request, "continue")
    return ListQuery(
        limit=DEFAULT_LIMIT if limit is None else limit,
        before=None if before is None else _read_continuation(before),
        statuses=frozenset(map(_read_status, request.args.getlist("status"))),
    )


def read_single(request: Request, name: str) -> str | None:
    """The value of a parameter that can be given once; `None`: it isn't given.

    Raises:
        BadRequest: it is given more than once.
    """
    values = request.args.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name}: given more than once")
    return values[0] if values else None


def read_integer(request: Request, name: str, *, least: int, most: int) -> int | None:
    """The value of a parameter that is a number within bounds; `None`: it isn't given.

    Raises:
        BadRequest: it is given more than once, or is no such number.
    """
    text = read_single(request, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise BadRequest(f"{name}: not a number from {least} to {most}")
    return int(text)


def read_switch(request: Request, name: str) -> bool:
    """Whether a parameter is `true`; one that isn't given is not.

    Raises:
        BadRequest: it is given more than once, or is neither `true` nor `false`.
    """
    text = read_single(request, name)
    if text not in (None, "true", "false"):
        raise BadRequest(f"{name}: neither true nor false")
    return text == "true"


def link_to_next(request: Request, page: RunPage) -> dict[str, str]:
    """The header that leads to the next page (RFC 8288), with the same limit and filter; none after the last page."""
    if page.next is None:
        return {}
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "continue"]
    query = urlencode([*kept, ("continue", write_continuation(page.next))])
    return {"Link": f'<{request.path}?{query}>; rel="next"'}


def check_means_queued(request: Request) -> None:
    """Refuse a call that would delete runs but doesn't say exactly that it means the queued ones.

    Raises:
        BadRequest: it doesn't.
    """
    check_parameters(request, "status")
    if set(request.args.getlist("status")) != {Status.QUEUED.value}:
        raise BadRequest("only queued runs can be deleted together: say ?status=Queued; name any other run by its id")


def _read_continuation(text: str) -> tuple[int, str]:
    try:
        return read_continuation(text)
    except NotAContinuationError as error:
        raise BadRequest("continue: not a continuation; take it from the Link header of the page before") from error


def _read_status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError as error:
        raise BadRequest(f"status: not one of {', '.join(Status)}") from error
