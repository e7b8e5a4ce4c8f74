"""A problem document: the shape of every error (https://www.rfc-editor.org/rfc/rfc9457)."""

from typing import Any

from marshmallow import Schema, fields, post_dump


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
