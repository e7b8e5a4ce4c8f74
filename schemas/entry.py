"""The response to `GET /`: where the service describes itself."""

from marshmallow import Schema, fields


class EntrySchema(Schema):
    """The paths at which the service describes itself."""

    docs = fields.String(data_key="Docs", metadata={"description": "The page with every operation, for people."})
    openapi = fields.String(data_key="OpenApi", metadata={"description": "The OpenAPI document, for programs."})
    status = fields.String(data_key="Status", metadata={"description": "The definitions, with their slots and queues."})
    ui = fields.String(
        data_key="Ui",
        metadata={"description": "The page for people, unless `SLIMFAAS_UI=off`.", "optional": True},
    )
