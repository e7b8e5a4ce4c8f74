"""`/openapi.json` and `/docs`: what the API is, for programs and for people."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from flask import Blueprint, Flask, Response, current_app, request

from app.api.openapi.operations import Answer, Header, Operation, describe

_HEADERS = {
    "ETag": Header(text="Changes when the description does.", example='"5f1d7a84db00d2fc"'),
    "Cache-Control": Header(text="Caches ask each time whether it has changed.", example="no-cache"),
}
_UNCHANGED = Answer(status=304, text="It is still what `If-None-Match` names.", headers=_HEADERS)
_DOCUMENT = Operation(
    tag="Description",
    summary="This description, for programs",
    text="OpenAPI 3.1. It tells nothing of the definitions.",
    answers=(Answer(text="The description.", content_type="application/json", headers=_HEADERS), _UNCHANGED),
)
_PAGE = Operation(
    tag="Description",
    summary="This description, for people",
    text="One page of HTML, which loads nothing else.",
    answers=(Answer(text="The page.", content_type="text/html", headers=_HEADERS), _UNCHANGED),
)


class _Text(NamedTuple):
    content: bytes
    etag: str
    headers: dict[str, str]


def openapi_blueprint() -> Blueprint:
    """Build the routes. What they answer is made when it is first asked for, and kept."""
    blueprint = Blueprint("description", __name__)

    @cache
    def document() -> _Text:
        return _text(json.dumps(_describe(_application()), ensure_ascii=False).encode() + b"\n")

    @cache
    def page() -> _Text:
        from app.api.openapi.page import render

        rendered = render(_describe(_application()))
        return _text(rendered.html, {"Content-Security-Policy": rendered.policy})

    @blueprint.get("/openapi.json")
    @describe(_DOCUMENT)
    def read_document() -> Response:
        return _answer(document, "application/json")

    @blueprint.get("/docs")
    @describe(_PAGE)
    def read_page() -> Response:
        return _answer(page, "text/html; charset=utf-8")

    return blueprint


def _application() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return] # werkzeug types only the proxy


def _describe(app: Flask) -> dict[str, Any]:
    # Imported here, for it and apispec take memory that a service which nobody asks can do without.
    from app.api.openapi.document import build_document

    return build_document(app)


def _text(content: bytes, headers: dict[str, str] | None = None) -> _Text:
    return _Text(content, hashlib.sha256(content).hexdigest()[:16], headers or {})


def _answer(make: Callable[[], _Text], content_type: str) -> Response:
    text = make()
    response = Response(text.content, headers=text.headers, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(text.etag)
    response.make_conditional(request)
    return response
