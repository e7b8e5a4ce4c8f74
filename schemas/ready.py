"""The response of the readiness probe."""

from marshmallow import Schema, fields, validate


class ConfigurationStateSchema(Schema):
    """The state of the configuration. Anyone may read it, so it contains no names."""

    status = fields.String(
        data_key="Status",
        validate=validate.OneOf(("Current", "Refused")),
        metadata={
            "description": "`Refused`: the newest configuration has faults, which the log names, and an earlier one "
            "stays in force."
        },
    )
    load_timestamp = fields.Integer(
        data_key="LoadTimestamp",
        metadata={"description": "When the configuration in force was loaded, in Unix milliseconds."},
    )
    faults = fields.Integer(data_key="Faults", metadata={"description": "How many faults the refused one has."})


class ReadySchema(Schema):
    """The response to `GET /ready`."""

    status = fields.Constant("Ready", data_key="Status", metadata={"description": "Always this; else it is a problem."})
    dispatcher = fields.String(
        data_key="Dispatcher",
        validate=validate.OneOf(("leading", "following", "off")),
        metadata={"description": "The state of the dispatcher in the process that responds."},
    )
    configuration = fields.Nested(ConfigurationStateSchema, data_key="Configuration")
