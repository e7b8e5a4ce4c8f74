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


class CronJobsStateSchema(Schema):
    """The state of the definitions from CronJobs. Anyone may read it, so it contains no names."""

    status = fields.String(
        data_key="Status",
        validate=validate.OneOf(("Current", "Refused", "Unreadable", "Reading", "Off")),
        metadata={
            "description": "`Refused`: the newest version of some CronJob has faults, which an Event on it and the log "
            "name, or the configuration has a definition of its name. `Unreadable`: the service may not read CronJobs. "
            "`Reading`: they have not been read yet. `Off`: `SLIMFAAS_CRONJOB_DEFINITIONS` is `off`."
        },
    )
    definitions = fields.Integer(
        data_key="Definitions", metadata={"description": "How many definitions from CronJobs are in force."}
    )
    refused = fields.Integer(
        data_key="Refused", metadata={"description": "Of how many CronJobs the newest version is not in force."}
    )


class ReadySchema(Schema):
    """The response to `GET /ready`."""

    status = fields.Constant("Ready", data_key="Status", metadata={"description": "Always this; else it is a problem."})
    dispatcher = fields.String(
        data_key="Dispatcher",
        validate=validate.OneOf(("leading", "following", "off")),
        metadata={"description": "The state of the dispatcher in the process that responds."},
    )
    configuration = fields.Nested(ConfigurationStateSchema, data_key="Configuration")
    cronjobs = fields.Nested(CronJobsStateSchema, data_key="CronJobs")
    refused_templates = fields.Integer(
        data_key="RefusedTemplates",
        metadata={
            "description": "How many definitions have a template that the API server does not accept. They can start "
            "no run, and the log names them and the fields; the other definitions are not concerned."
        },
    )
    ignored_kueue_gates = fields.Integer(
        data_key="IgnoredKueueGates",
        metadata={
            "description": "How many runs Kueue has started before they were admitted, since the process that responds "
            "was started. More than 0: Kueue is older than 0.19, or its feature AdmissionGatedBy is off."
        },
    )
