"""Problem documents: the body of every error response (https://www.rfc-editor.org/rfc/rfc9457)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields, post_dump

from schemas.faults import Fault

CONTENT_TYPE = "application/problem+json"

# RFC 9110's names, which Python has since 3.13.
_TITLES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


def title_of(status: HTTPStatus) -> str:
    """Return the reason phrase of a status."""
    return _TITLES.get(status, status.phrase)


class FaultSchema(Schema):
    """A fault of a request's body."""

    pointer = fields.String(metadata={"description": "The faulty part: a JSON pointer into the body, or into the run."})
    message = fields.String(metadata={"description": "What is wrong."})


class ProblemSchema(Schema):
    """The body of every error response."""

    type = fields.Constant("about:blank", metadata={"description": "Programs need nothing but the status."})
    title = fields.String(metadata={"description": "The reason phrase of the status."})
    status = fields.Integer(metadata={"description": "The HTTP status."})
    detail = fields.String(metadata={"description": "What is wrong with this request, for people."})
    errors = fields.List(
        fields.Nested(FaultSchema),
        metadata={"description": "Every fault of the body; absent if the body has no faults.", "optional": True},
    )

    @post_dump
    def omit_empty_errors(self, document: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Omit `errors` if there are none."""
        return {key: value for key, value in document.items() if key != "errors" or value}


_SCHEMA = ProblemSchema()


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document.

    Attributes:
        status: the HTTP status.
        detail: what is wrong with this request, for people.
        errors: the faults of the request's body.
        headers: the headers of the response, besides its content type.
    """

    status: HTTPStatus
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The reason phrase of the status."""
        return title_of(self.status)

    def document(self) -> dict[str, Any]:
        """Return the document as a JSON object."""
        document: dict[str, Any] = _SCHEMA.dump(self)
        return document
