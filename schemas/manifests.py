"""Finding job configurations in files: raw JSON, or Kubernetes manifests with ConfigMaps."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.faults import Fault, Refused

CONFIGMAP_KEYS = ("SLIMFAAS_JOBS_CONFIGURATION", "SlimFaas__JobsConfiguration")
"""The keys of a ConfigMap that hold a configuration; also the environment variables that do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration in a file.

    Attributes:
        place: the ConfigMap and its key, for people; empty where the file itself is the configuration.
        document: the JSON.
    """

    place: str
    document: str


def find_configurations(text: str) -> list[Found]:
    """Find every configuration in a file.

    Args:
        text: the file: a JSON configuration, or manifests in YAML or JSON, several documents allowed.

    Raises:
        Refused: the file is neither JSON nor YAML.
    """
    try:
        documents = _load(text)
    # PyYAML lets the last two through for a tagged value that the tag doesn't fit, as in `!!int ""`.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError) as error:
        if text.lstrip().startswith("{"):
            return [Found("", text)]  # meant as JSON: its own reader says what is wrong
        raise Refused([Fault("", f"neither JSON nor YAML: {_where(error)}")]) from error
    if len(documents) == 1 and isinstance(documents[0], dict) and "kind" not in documents[0]:
        return [Found("", text)]
    return [found for document in documents for found in _in_object(document)]


def _load(text: str) -> list[Any]:
    try:
        return [json.loads(text)]  # which YAML is said to include, but for tabs and halves of surrogate pairs
    except ValueError:
        return list(yaml.safe_load_all(text))


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} at line {mark.line + 1}" if mark else str(problem)


def _in_object(document: Any) -> Iterator[Found]:
    if not isinstance(document, dict):
        return
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _in_object(item)
    if document.get("kind") == "ConfigMap" and isinstance(document.get("data"), dict):
        metadata = document.get("metadata") if isinstance(document.get("metadata"), dict) else {}
        name = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata and key in metadata)
        for key in CONFIGMAP_KEYS:
            if key in document["data"]:
                value = document["data"][key]
                yield Found(f"ConfigMap {name or '(without a name)'}, {key}", value if isinstance(value, str) else "")
