"""The API's description: OpenAPI 3.1 and a page for people, made of the routes, their metadata and the schemas.

What is imported with the routes (`operations`, `faults`, `parameters`) is plain data. What makes a document of it
(`document`, `fields`, `page`) is imported when somebody asks for one: docs/adr/0007-openapi.md.
"""
