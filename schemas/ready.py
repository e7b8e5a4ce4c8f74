"""What the readiness probe is told."""

from marshmallow import Schema, fields, validate


class ConfigurationStateSchema(Schema):
    """How the configuration in force stands to what is configured; who asks need not be trusted, so no names."""

    status = fields.String(
        data_key="Status",
        validate=validate.OneOf(("Current", "Refused")),
        metadata={
            "description": "`Refused`: what is configured now has faults, which the log names, and an earlier "
            "configuration stays in force."
        },
    )
    load_timestamp = fields.Integer(
        data_key="LoadTimestamp",
        metadata={"description": "When the one in force was loaded, in Unix milliseconds."},
    )
    faults = fields.Integer(data_key="Faults", metadata={"description": "How many faults the refused one has."})


class ReadySchema(Schema):
    """The answer to `GET /ready`."""

    status = fields.Constant("Ready", data_key="Status", metadata={"description": "Always this; else it is a problem."})
    dispatcher = fields.String(
        data_key="Dispatcher",
        validate=validate.OneOf(("leading", "following", "off")),
        metadata={"description": "What the dispatcher in the process that answers does."},
    )
    configuration = fields.Nested(ConfigurationStateSchema, data_key="Configuration")
