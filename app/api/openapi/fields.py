"""Converts marshmallow schemas to JSON Schema: apispec's conversion plus what only our schemas know."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from app.runs.cancel import EmptyResult
from schemas.definition import Variable
from schemas.definition_status import (
    DefinitionScheduleSchema,
    DefinitionScheduleView,
    DefinitionSchema,
    DefinitionView,
    DependencySchema,
    DependencyView,
    RunningJobSchema,
    RunningJobView,
)
from schemas.definition_view import RequestBoundsSchema, RequestBoundsView
from schemas.request import Request, RequestSchema, ResourcesSchema, VariableSchema
from schemas.run import AcceptedSchema, EmptiedSchema, Resources, RunSchema, RunView
from schemas.run import ResourcesSchema as RunResourcesSchema
from schemas.schedule_change import ScheduleChangeSchema
from schemas.schedule_view import CreatedSchedule, CreatedScheduleSchema, ScheduleView, ScheduleViewSchema
from schemas.schedules import Schedule, ScheduleSchema

_DESCRIBED_BY: dict[type[Schema], type] = {
    RequestSchema: Request,
    ScheduleSchema: Schedule,
    ResourcesSchema: Request,
    VariableSchema: Variable,
    AcceptedSchema: RunView,
    RunSchema: RunView,
    RunResourcesSchema: Resources,
    EmptiedSchema: EmptyResult,
    DefinitionSchema: DefinitionView,
    DependencySchema: DependencyView,
    RunningJobSchema: RunningJobView,
    DefinitionScheduleSchema: DefinitionScheduleView,
    RequestBoundsSchema: RequestBoundsView,
    ScheduleViewSchema: ScheduleView,
    CreatedScheduleSchema: CreatedSchedule,
}
"""The class whose docstring describes the fields of a schema that have no description in their metadata."""


def make_plugin() -> MarshmallowPlugin:
    """Build apispec's marshmallow plugin with our converter."""
    return _Plugin(schema_name_resolver=_component_name)


class _Converter(OpenAPIConverter):
    """apispec's converter, which also adds the `json_schema` of our fields and the descriptions."""

    def field2property(self, field: fields.Field[Any]) -> dict[str, Any]:
        """Convert one field."""
        converted: dict[str, Any] = super().field2property(field)
        if isinstance(field, fields.Constant):
            converted = {"const": field.constant} | {k: v for k, v in converted.items() if k == "description"}
        return {**getattr(field, "json_schema", {}), **converted}

    def schema2jsonschema(self, schema: Schema | type[Schema]) -> dict[str, Any]:
        """Convert one schema.

        A request may have no unknown keys. A response has every key except those whose metadata says `optional`, and
        clients must accept new keys.
        """
        instance = schema() if isinstance(schema, type) else schema
        cls = type(instance)
        converted: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call] # untyped in apispec
        described: dict[str, str] = {}
        for described_schema in (base for base in reversed(cls.__mro__) if base in _DESCRIBED_BY):
            described |= _attributes(_DESCRIBED_BY[described_schema])
        for name, field in instance.fields.items():
            key = field.data_key or name
            if name in described:
                converted["properties"][key].setdefault("description", described[name])
        converted["description"] = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if not _is_request(cls):
            del converted["additionalProperties"]
            optional = [name for name, field in instance.fields.items() if field.metadata.get("optional")]
            converted["required"] = [f.data_key or name for name, f in instance.fields.items() if name not in optional]
        return converted


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def _is_request(schema: type[Schema]) -> bool:
    return schema.__module__ == RequestSchema.__module__ or issubclass(schema, ScheduleSchema | ScheduleChangeSchema)


def _component_name(schema: Schema | type[Schema]) -> str:
    """Return the schema's component name, which is unique even if two modules use one class name."""
    cls = schema if isinstance(schema, type) else type(schema)
    name = cls.__name__.removesuffix("Schema")
    return name if not _is_request(cls) or name.startswith("Request") else f"Request{name}"


def _attributes(cls: type) -> Mapping[str, str]:
    """Return the section `Attributes:` of a Google-style docstring, as sentences by name."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    return {name: _sentence(" ".join(text.split())) for name, text in entries}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
