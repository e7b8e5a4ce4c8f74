"""`/openapi.json` and `/docs`: the API's description, for programs and for people."""

import json
import re
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Request, Response, current_app, request

from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.api.openapi.parameters import NOT_MODIFIED, REVALIDATED
from app.api.responses import revalidated_response

if TYPE_CHECKING:
    from app.api.openapi.page import Page

_DOCUMENT = Operation(
    tag="Description",
    summary="Read the OpenAPI document",
    text="OpenAPI 3.1. It contains nothing about the definitions.",
    successes=(
        SuccessResponse(text="The document.", content_type="application/json", headers=REVALIDATED),
        NOT_MODIFIED,
    ),
)
_PAGE = Operation(
    tag="Description",
    summary="Read this page",
    text="The OpenAPI document as one HTML page, which loads nothing else. Its examples use the URL of the request.",
    successes=(SuccessResponse(text="The page.", content_type="text/html", headers=REVALIDATED), NOT_MODIFIED),
)

_SERVER_URL = re.compile(
    r"https?://(?:[a-z0-9_.-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[a-z0-9_.~-]+)*", re.IGNORECASE | re.ASCII
)
"""A URL without characters that are special to HTML or, within single quotes, to a shell."""

_PREFIX = b"@PATH-PREFIX@"
"""Stands for the path of the API in the built document, because each client may reach the service at another one."""

_DEFAULT_SERVER_URL = "http://localhost:5000"


def openapi_blueprint() -> Blueprint:
    """Build the routes. The document and the page are built at the first request and kept.

    One thread at a time builds: each would take several MiB for it, and `cache` alone would let all begin.
    """
    blueprint, building = Blueprint("description", __name__), Lock()

    @cache
    def document() -> bytes:
        described = {**_build_document(), "servers": [{"url": _PREFIX.decode()}]}
        return json.dumps(described, ensure_ascii=False).encode() + b"\n"

    @lru_cache(maxsize=1)
    def document_below(prefix: str) -> bytes:
        """Return the document for a path prefix; the same bytes for all clients that are still reading them."""
        return document().replace(_PREFIX, prefix.encode() or b"/")

    @cache
    def page() -> "Page":
        from app.api.openapi.page import render

        return render(_build_document())

    @lru_cache(maxsize=1)
    def page_at(url: str) -> bytes:
        """Return the page for a server; see `document_below`."""
        return page().for_server(url)

    @blueprint.get("/openapi.json")
    @describe(_DOCUMENT)
    def read_document() -> Response:
        with building:
            content = document_below(request.script_root)
        return revalidated_response(content, "application/json")

    @blueprint.get("/docs")
    @describe(_PAGE)
    def read_page() -> Response:
        with building:
            content, policy = page_at(read_server_url(request)), page().policy
        response = revalidated_response(content, "text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = policy
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
