"""`/ui`: the page on which people start, follow and cancel runs. It uses the API like any other client."""

from pathlib import Path

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from app.api import ui
from app.api.openapi.operations import Header, Operation, SuccessResponse, describe
from app.api.openapi.parameters import NOT_MODIFIED, REVALIDATED
from app.api.responses import revalidated_response

_FOLDER = Path(str(ui.__file__)).parent
_PAGE = "index.html"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only files of this service, nothing inline, no other connection, no frame around the page, and no text as HTML."""

_SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_READ_PAGE = Operation(
    tag="Page",
    summary="Read the page for people",
    text="It shows definitions and runs, starts and cancels runs, and follows logs. It loads nothing from elsewhere, "
    "and contains nothing about the definitions: it asks this API. `SLIMFAAS_UI=off` turns it off.",
    successes=(
        SuccessResponse(
            text="The page.",
            content_type="text/html",
            headers={
                **REVALIDATED,
                "Content-Security-Policy": Header(text="What the page may load.", example=_POLICY),
            },
        ),
        NOT_MODIFIED,
    ),
)
_READ_FILE = Operation(
    tag="Page",
    summary="Read a file of the page",
    text="A script, the style sheet or the icon.",
    successes=(
        SuccessResponse(text="The file.", content_type="text/javascript", headers=REVALIDATED),
        NOT_MODIFIED,
    ),
    errors=(NotFound("there is no such file"),),
)


def ui_blueprint() -> Blueprint:
    """Build the routes. A file is read when it is requested, and not kept."""
    blueprint = Blueprint("ui", __name__)
    files = {path.name: _TYPES[path.suffix] for path in _FOLDER.iterdir() if path.suffix in _TYPES}

    @blueprint.get("/ui")
    @describe(_READ_PAGE)
    def read_page() -> Response:
        return _respond(_PAGE, "text/html; charset=utf-8")

    @blueprint.get("/ui/<file>")
    @describe(_READ_FILE)
    def read_file(file: str) -> Response:
        if file not in files:
            raise NotFound("there is no such file")
        return _respond(file, files[file])

    return blueprint


def _respond(name: str, content_type: str) -> Response:
    response = revalidated_response((_FOLDER / name).read_bytes(), content_type)
    response.headers.update(_SECURITY_HEADERS)
    return response
