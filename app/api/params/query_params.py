"""Reads query parameters. An unknown parameter is refused, because a misspelt filter would filter nothing."""

from urllib.parse import urlencode

from flask import Request
from werkzeug.exceptions import BadRequest

from app.kube.parsing import read_time
from app.runs.pagination import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    ListQuery,
    NotAContinuationError,
    QueueKey,
    read_continuation,
    write_continuation,
)
from schemas.faults import printable, unknown_field
from schemas.run import Notification, Status

LISTED_NOTIFICATIONS = [state.value for state in Notification if state is not Notification.NONE]
"""The states of notifications by which runs can be listed."""


def check_parameters(request: Request, *known: str) -> None:
    """Refuse query parameters that the route does not know.

    Raises:
        BadRequest: there is an unknown parameter; the message names the first one.
    """
    for name in request.args:
        if name not in known:
            message = unknown_field(name, known).replace("field", "query parameter", 1)
            raise BadRequest(f"{printable(name)[:64]}: {message}")


def read_list_query(request: Request) -> ListQuery:
    """Read which runs to list.

    Raises:
        BadRequest: a parameter is unknown or has an invalid value.
    """
    check_parameters(request, "limit", "continue", "status", "notification", "finishedSince")
    limit, before = read_integer(request, "limit", least=1, most=MAX_LIMIT), read_single(request, "continue")
    return ListQuery(
        limit=DEFAULT_LIMIT if limit is None else limit,
        before=None if before is None else _read_continuation(before),
        statuses=frozenset(map(_read_status, request.args.getlist("status"))),
        notifications=frozenset(map(_read_notification, request.args.getlist("notification"))),
        finished_since=_read_moment(request, "finishedSince"),
    )


def read_single(request: Request, name: str) -> str | None:
    """Return the value of a parameter that may be given once; `None` if it is absent.

    Raises:
        BadRequest: the parameter is given more than once.
    """
    values = request.args.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name}: given more than once")
    return values[0] if values else None


def read_integer(request: Request, name: str, *, least: int, most: int) -> int | None:
    """Return the value of an integer parameter; `None` if it is absent.

    Raises:
        BadRequest: the parameter is given more than once, is not an integer, or is out of bounds.
    """
    text = read_single(request, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise BadRequest(f"{name}: must be a number from {least} to {most}")
    return int(text)


def read_boolean(request: Request, name: str) -> bool:
    """Return the value of a boolean parameter; `False` if it is absent.

    Raises:
        BadRequest: the parameter is given more than once, or is neither `true` nor `false`.
    """
    text = read_single(request, name)
    if text not in (None, "true", "false"):
        raise BadRequest(f"{name}: must be true or false")
    return text == "true"


def next_page_header(request: Request, following: QueueKey | None) -> dict[str, str]:
    """Return the `Link` header (RFC 8288) to the next page, which keeps limit and filter.

    Args:
        request: for a page.
        following: where the next page begins; `None`: there is none, and so no header.
    """
    if following is None:
        return {}
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "continue"]
    query = urlencode([*kept, ("continue", write_continuation(following))])
    return {"Link": f'<{request.script_root}{request.path}?{query}>; rel="next"'}


def check_only_queued(request: Request) -> None:
    """Refuse a request to delete many runs unless its query is exactly `status=Queued`.

    Raises:
        BadRequest: the query says anything else.
    """
    check_parameters(request, "status")
    if set(request.args.getlist("status")) != {Status.QUEUED.value}:
        raise BadRequest("only queued runs can be deleted together: add ?status=Queued, or delete one run by its id")


def _read_continuation(text: str) -> tuple[int, str]:
    try:
        return read_continuation(text)
    except NotAContinuationError as error:
        raise BadRequest("continue: invalid; take it from the Link header of the previous page") from error


def _read_moment(request: Request, name: str) -> int | None:
    """Return a time in microseconds since the epoch; `None` if the parameter is absent."""
    text = read_single(request, name)
    moment = read_time(text)
    if moment is None and text is not None:
        raise BadRequest(f"{name}: must be a time such as 2026-01-31T13:00:00Z (RFC 3339, with a time zone)")
    return moment


def _read_notification(text: str) -> Notification:
    if text not in LISTED_NOTIFICATIONS:
        raise BadRequest(f"notification: must be one of {', '.join(LISTED_NOTIFICATIONS)}")
    return Notification(text)


def _read_status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError as error:
        raise BadRequest(f"status: must be one of {', '.join(Status)}") from error
