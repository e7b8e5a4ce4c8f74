"""`GET /`, and paths with one slash too many: what a person types first."""

from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import HTTPException

from app.api.openapi.operations import Header, Operation, SuccessResponse, describe
from app.api.responses import json_response
from schemas.entry import EntrySchema

_EXAMPLE = {"docs": "/docs", "openapi": "/openapi.json", "status": "/jobs/status", "ui": "/ui"}
_READ = Operation(
    tag="Description",
    summary="Find the description",
    text="The paths at which the service describes itself. A browser, which prefers HTML, is sent to `/ui`, or to "
    "`/docs` if `SLIMFAAS_UI=off`.",
    successes=(
        SuccessResponse(text="The paths.", schema=EntrySchema, example=_EXAMPLE),
        SuccessResponse(
            status=302,
            text="The client prefers HTML.",
            content_type="text/plain",
            example="see /ui\n",
            headers={"Location": Header(text="The path of the page.", example="/ui")},
        ),
    ),
)


class TrailingSlashError(HTTPException):
    """The path has a final slash, and without it it is known.

    Args:
        path: the path without it, as callers see it.
    """

    code = 308

    def __init__(self, path: str) -> None:
        super().__init__(f"the path has a slash at its end: use {path}")
        self._path = path

    def get_headers(self, *arguments: Any) -> list[tuple[str, str]]:
        """Return the headers, with the path and the query to use."""
        query = request.query_string.decode("ascii")
        return [*super().get_headers(*arguments), ("Location", self._path + (f"?{query}" if query else ""))]


def entry_blueprint(*, ui: bool) -> Blueprint:
    """Build the route.

    Args:
        ui: whether there is a page at `/ui`.
    """
    blueprint = Blueprint("entry", __name__)
    schema = EntrySchema()
    page = "/ui" if ui else "/docs"
    paths = _EXAMPLE if ui else {name: path for name, path in _EXAMPLE.items() if name != "ui"}

    @blueprint.get("/")
    @describe(_READ)
    def read() -> Response:
        root = request.script_root
        if request.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html":
            response = Response(
                f"see {page}\n", 302, {"Location": root + page}, content_type="text/plain; charset=utf-8"
            )
        else:
            response = json_response(schema.dump({name: root + path for name, path in paths.items()}))
        response.vary.add("Accept")
        return response

    blueprint.before_app_request(_check_trailing_slash)
    return blueprint


def _check_trailing_slash() -> None:
    """Send the caller of an unknown path to the one without a final slash, if that is known for this method.

    Raises:
        TrailingSlashError: it is.
    """
    path = request.path.removesuffix("/")
    if request.routing_exception is None or path == request.path:
        return
    adapter = current_app.create_url_adapter(request)
    if adapter is not None and adapter.test(path, request.method):
        raise TrailingSlashError(request.script_root + quote(path))
