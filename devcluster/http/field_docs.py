"""The fields of the served kinds, with descriptions, as JSON Schemas; `kubectl explain` prints them.

They come from the models of the official Kubernetes client, as in `devcluster.validation.schema`.
"""

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from devcluster.kinds import Kind
from devcluster.validation.schema import find_model

_REFERENCE = "#/components/schemas/{model}"


def describe_fields(kinds: Sequence[Kind]) -> dict[str, Any]:
    """Return the schemas of kinds, and of the objects in their fields, by name."""
    models = {find_model(kind): kind for kind in kinds}
    names, document = models_json_schema(
        [(model, "validation") for model in models], by_alias=True, ref_template=_REFERENCE
    )
    schemas: dict[str, Any] = {name: _as_kubernetes(schema) for name, schema in document["$defs"].items()}
    for model, kind in models.items():
        name = names[model, "validation"]["$ref"].rpartition("/")[2]
        schemas[name]["x-kubernetes-group-version-kind"] = [
            {"group": kind.group, "version": kind.version, "kind": kind.kind}
        ]
    return schemas


def _as_kubernetes(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a model's schema as Kubernetes writes it: without titles, and optional fields without `null`."""
    kept = {name: value for name, value in schema.items() if name in ("type", "description", "required", "format")}
    kept |= {name: value for name, value in schema.items() if name in ("$ref", "enum")}
    if "description" in kept:  # what follows is about the client's Python
        kept["description"] = kept["description"].partition("\n\nAttributes:\n")[0]
    if "properties" in schema:
        kept["properties"] = {name: _as_kubernetes(field) for name, field in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            kept[name] = _as_kubernetes(schema[name])
    options = [_as_kubernetes(one) for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(options) == 1:
        [option] = options
        # As in Kubernetes' own document: the description of the field stands beside the reference.
        kept = {**kept, "allOf": [option]} if "$ref" in option else {**option, **kept}
    return kept
