"""Marshmallow schemas as JSON Schema: apispec's conversion, and what it can't know of ours."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from app.runs.cancel import EmptyResult
from app.runs.submit import Accepted
from schemas.definition import Variable
from schemas.definition_status import DefinitionSchema, DefinitionView, DependencySchema, DependencyView
from schemas.request import Request, RequestSchema, ResourcesSchema, VariableSchema
from schemas.run import AcceptedSchema, EmptiedSchema, Resources, RunSchema, RunView
from schemas.run import ResourcesSchema as RunResourcesSchema

_DESCRIBED_BY: dict[type[Schema], type] = {
    RequestSchema: Request,
    ResourcesSchema: Request,
    VariableSchema: Variable,
    AcceptedSchema: Accepted,
    RunSchema: RunView,
    RunResourcesSchema: Resources,
    EmptiedSchema: EmptyResult,
    DefinitionSchema: DefinitionView,
    DependencySchema: DependencyView,
}
"""The class whose docstring describes the fields of a schema, where their metadata doesn't."""


def plugin() -> MarshmallowPlugin:
    """The plugin of apispec, with our converter."""
    return _Plugin(schema_name_resolver=_name)


class _Converter(OpenAPIConverter):
    """apispec's converter; it adds what a field or a schema says of itself in `json_schema`, and the descriptions."""

    def field2property(self, field: fields.Field[Any]) -> dict[str, Any]:
        """Convert one field."""
        converted: dict[str, Any] = super().field2property(field)
        if isinstance(field, fields.Constant):
            converted = {"const": field.constant} | {k: v for k, v in converted.items() if k == "description"}
        return {**getattr(field, "json_schema", {}), **converted}

    def schema2jsonschema(self, schema: Schema | type[Schema]) -> dict[str, Any]:
        """Convert one schema.

        What a caller sends may have no other keys. What is answered has every key, but for those whose metadata says
        `optional`; clients must bear new ones.
        """
        instance = schema() if isinstance(schema, type) else schema
        cls = type(instance)
        converted: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call] # apispec's
        described = _attributes(_DESCRIBED_BY[cls]) if cls in _DESCRIBED_BY else {}
        for name, field in instance.fields.items():
            key = field.data_key or name
            if name in described:
                converted["properties"][key].setdefault("description", described[name])
        converted["description"] = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if not _is_sent(cls):
            del converted["additionalProperties"]
            optional = [name for name, field in instance.fields.items() if field.metadata.get("optional")]
            converted["required"] = [f.data_key or name for name, f in instance.fields.items() if name not in optional]
        for alias, key in getattr(cls, "aliases", {}).items():
            _add_alias(converted, alias, key)
        return converted


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def _add_alias(schema: dict[str, Any], alias: str, key: str) -> None:
    """Let a required key be written in another way, too; one of both."""
    schema["properties"][alias] = schema["properties"][key] | {"description": f"The same as `{key}`."}
    schema["required"].remove(key)
    if not schema["required"]:
        del schema["required"]
    schema.setdefault("allOf", []).append({"oneOf": [{"required": [key]}, {"required": [alias]}]})


def _is_sent(schema: type[Schema]) -> bool:
    return schema.__module__ == RequestSchema.__module__


def _name(schema: Schema | type[Schema]) -> str:
    """The name among the components; two modules may use one name."""
    cls = schema if isinstance(schema, type) else type(schema)
    name = cls.__name__.removesuffix("Schema")
    return name if not _is_sent(cls) or name.startswith("Request") else f"Request{name}"


def _attributes(cls: type) -> Mapping[str, str]:
    """The section `Attributes:` of a Google-style docstring, as sentences."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    return {name: _sentence(" ".join(text.split())) for name, text in entries}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
