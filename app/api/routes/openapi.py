"""`/openapi.json` and `/docs`: the API's description, for programs and for people."""

import hashlib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Request, Response, current_app, request

from app.api.openapi.operations import Header, Operation, SuccessResponse, describe

if TYPE_CHECKING:
    from app.api.openapi.page import Page

_HEADERS = {
    "ETag": Header(text="Changes when the content does.", example='"5f1d7a84db00d2fc"'),
    "Cache-Control": Header(text="Caches must revalidate the content each time.", example="no-cache"),
}
_NOT_MODIFIED = SuccessResponse(status=304, text="The content still has the ETag in `If-None-Match`.", headers=_HEADERS)
_DOCUMENT = Operation(
    tag="Description",
    summary="Read the OpenAPI document",
    text="OpenAPI 3.1. It contains nothing about the definitions.",
    successes=(
        SuccessResponse(text="The document.", content_type="application/json", headers=_HEADERS),
        _NOT_MODIFIED,
    ),
)
_PAGE = Operation(
    tag="Description",
    summary="Read this page",
    text="The OpenAPI document as one HTML page, which loads nothing else. Its examples use the URL of the request.",
    successes=(SuccessResponse(text="The page.", content_type="text/html", headers=_HEADERS), _NOT_MODIFIED),
)

_SERVER_URL = re.compile(
    r"https?://(?:[a-z0-9_.-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[a-z0-9_.~-]+)*", re.IGNORECASE | re.ASCII
)
"""A URL without characters that are special to HTML or, within single quotes, to a shell."""

_DEFAULT_SERVER_URL = "http://localhost:5000"


def openapi_blueprint() -> Blueprint:
    """Build the routes. The document and the page are built at the first request and kept."""
    blueprint = Blueprint("description", __name__)

    @cache
    def document() -> bytes:
        return json.dumps(_build_document(), ensure_ascii=False).encode() + b"\n"

    @cache
    def page() -> "Page":
        from app.api.openapi.page import render

        return render(_build_document())

    @blueprint.get("/openapi.json")
    @describe(_DOCUMENT)
    def read_document() -> Response:
        return _respond(document(), "application/json")

    @blueprint.get("/docs")
    @describe(_PAGE)
    def read_page() -> Response:
        response = _respond(page().for_server(read_server_url(request)), "text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = page().policy
        return response

    return blueprint


def read_server_url(request: Request) -> str:
    """Return the URL at which the client reached this service, without a final slash.

    The Host header is the client's own text. Unless it is a plain host name or address, a default is returned.
    """
    url = request.root_url.rstrip("/")
    return url if _SERVER_URL.fullmatch(url) else _DEFAULT_SERVER_URL


def _build_document() -> dict[str, Any]:
    # Imported on demand: apispec and the generator need memory that most replicas can save.
    from app.api.openapi.document import build_document

    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # werkzeug types only the proxy
    return build_document(app)


def _respond(content: bytes, content_type: str) -> Response:
    response = Response(content, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(hashlib.sha256(content).hexdigest()[:16])
    response.make_conditional(request)
    return response
