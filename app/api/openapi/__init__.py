"""The API's description: an OpenAPI 3.1 document and an HTML page, generated from routes, metadata and schemas.

Routes import `operations`, `parameters`, `examples` and `error_examples`, which hold plain data. `document`, `fields`
and `page` are imported only when the description is first requested: docs/adr/0007-openapi.md.
"""
