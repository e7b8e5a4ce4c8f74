"""A problem document: the shape of every error (https://www.rfc-editor.org/rfc/rfc9457)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields, post_dump

from schemas.faults import Fault

CONTENT_TYPE = "application/problem+json"

# RFC 9110's names, which Python has only from 3.13 on.
_TITLES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


def title_of(status: HTTPStatus) -> str:
    """Return a status in words."""
    return _TITLES.get(status, status.phrase)


class FaultSchema(Schema):
    """One thing that is wrong with a request's body."""

    pointer = fields.String(metadata={"description": "Where: a JSON Pointer into the body, or into the run."})
    message = fields.String(metadata={"description": "What is wrong there."})


class ProblemSchema(Schema):
    """The body of every answer that isn't a success."""

    type = fields.Constant("about:blank", metadata={"description": "The status says all that programs need."})
    title = fields.String(metadata={"description": "The status in words."})
    status = fields.Integer(metadata={"description": "The HTTP status."})
    detail = fields.String(metadata={"description": "What is wrong with this call, for people."})
    errors = fields.List(
        fields.Nested(FaultSchema),
        metadata={"description": "Every fault of the body; absent where none was at fault.", "optional": True},
    )

    @post_dump
    def leave_out_nothing(self, document: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave `errors` out where there are none."""
        return {key: value for key, value in document.items() if key != "errors" or value}


_SCHEMA = ProblemSchema()


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document.

    Attributes:
        status: the HTTP status.
        detail: what is wrong with this call, for people.
        errors: each fault of the request's body.
        headers: what the answer carries besides its content type.
    """

    status: HTTPStatus
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in words."""
        return title_of(self.status)

    def document(self) -> dict[str, Any]:
        """Return the document as JSON; `errors` only where there are any."""
        document: dict[str, Any] = _SCHEMA.dump(self)
        return document
