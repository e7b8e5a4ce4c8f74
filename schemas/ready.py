"""What the readiness probe is told."""

from marshmallow import Schema, fields, validate


class ReadySchema(Schema):
    """The answer to `GET /ready`."""

    status = fields.Constant("Ready", data_key="Status", metadata={"description": "Always this; else it is a problem."})
    dispatcher = fields.String(
        data_key="Dispatcher",
        validate=validate.OneOf(("leading", "following", "off")),
        metadata={"description": "What the dispatcher in the process that answers does."},
    )
