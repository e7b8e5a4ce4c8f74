"""Job configurations in files: JSON, or Kubernetes manifests with ConfigMaps."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.faults import Fault, Refused

CONFIGMAP_KEYS = ("SLIMFAAS_JOBS_CONFIGURATION", "SlimFaas__JobsConfiguration")
"""The keys of ConfigMaps that hold a configuration; also the names of the environment variables that do."""

_TOP = "Configurations"
"""The top-level field of every configuration."""


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration in a file.

    Attributes:
        place: the ConfigMap and its key, for people; empty if the file itself is the configuration.
        document: the JSON.
        namespace: the ConfigMap's namespace; `None`: it names none.
        line: the line of the file, from 1, at which the JSON begins; `None`: unknown.
        is_verbatim: whether the lines of the JSON are those of the file from there on.
    """

    place: str
    document: str
    namespace: str | None = None
    line: int | None = None
    is_verbatim: bool = False


class _Text(str):
    """A string of a YAML file with its position."""

    line: int | None = None
    is_verbatim = False


class _Loader(yaml.SafeLoader):
    """A YAML loader of plain types whose strings have positions."""


def _construct_text(loader: _Loader, node: yaml.ScalarNode) -> _Text:
    text = _Text(loader.construct_scalar(node))
    text.is_verbatim = node.style == "|"  # the text of a literal block begins in the line after the `|`
    text.line = node.start_mark.line + (2 if text.is_verbatim else 1)
    return text


_Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)


def find_configurations(
    text: str, keys: Sequence[str] = CONFIGMAP_KEYS, *, ignore_unrelated: bool = False
) -> list[Found]:
    """Find every configuration in a file.

    Args:
        text: the content of the file: a JSON configuration, or manifests in YAML or JSON, several documents allowed.
        keys: the keys of ConfigMaps that hold a configuration.
        ignore_unrelated: the file may be anything. One that is no manifest is a configuration only if it has
            `Configurations`, and one that mentions neither that nor a key is not parsed.

    Raises:
        Refused: the file is neither JSON nor YAML.
    """
    if ignore_unrelated and not any(word in text for word in (_TOP, *keys)):
        return []
    try:
        documents = _load(text)
    # PyYAML raises the last two for a value that does not fit its tag, as in `!!int ""`.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError) as error:
        if text.lstrip().startswith("{") and not text.lstrip().startswith("{{"):
            return [Found("", text, line=1, is_verbatim=True)]  # meant as JSON: its parser reports the fault
        raise Refused([Fault("", f"neither JSON nor YAML: {_where(error)}")]) from error
    if len(documents) == 1 and isinstance(documents[0], dict) and "kind" not in documents[0]:
        is_unrelated = ignore_unrelated and not isinstance(documents[0].get(_TOP), dict)
        return [] if is_unrelated else [Found("", text, line=1, is_verbatim=True)]
    return [found for config_map in _config_maps(documents) for found in _in_config_map(config_map, keys)]


def _load(text: str) -> list[Any]:
    try:
        return [json.loads(text)]  # YAML is not quite a superset: no tabs, no lone surrogates
    except ValueError:
        return list(yaml.load_all(text, Loader=_Loader))


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} at line {mark.line + 1}" if mark else str(problem)


def _config_maps(documents: Sequence[Any]) -> Iterator[dict[Any, Any]]:
    """Return the ConfigMaps among the documents, and in lists among them.

    Each object is visited once: with YAML's aliases a list can contain another many times, or itself.
    """
    pending: list[tuple[Any, str | None]] = [(document, None) for document in reversed(documents)]
    seen: set[int] = set()
    while pending:
        document, default_kind = pending.pop()
        if not isinstance(document, dict) or id(document) in seen:
            continue
        seen.add(id(document))
        kind, items = document.get("kind", default_kind), document.get("items")
        if kind == "ConfigMap":
            yield document
        elif kind in ("List", "ConfigMapList") and isinstance(items, list):
            # The items of a typed list may omit their kind.
            pending += [(item, "ConfigMap" if kind == "ConfigMapList" else None) for item in reversed(items)]


def _in_config_map(config_map: dict[Any, Any], keys: Sequence[str]) -> Iterator[Found]:
    metadata = config_map.get("metadata") if isinstance(config_map.get("metadata"), dict) else {}
    name = "/".join(_plain(metadata[key]) for key in ("namespace", "name") if metadata and key in metadata)
    namespace = _plain(metadata["namespace"]) if metadata and metadata.get("namespace") else None
    for part, read in (("data", _read_text), ("binaryData", _read_base64)):
        values = config_map.get(part)
        for key in dict.fromkeys(keys):
            if isinstance(values, dict) and key in values:
                place, value = f"ConfigMap {name or '(without a name)'}, {key}", values[key]
                is_text = isinstance(value, _Text) and part == "data"
                yield Found(
                    place,
                    read(value),
                    namespace,
                    line=getattr(value, "line", None),
                    is_verbatim=is_text and value.is_verbatim,
                )


def _plain(value: object) -> str:
    """Return a name as text, and `?` for anything else: with aliases its text could be very large."""
    return str(value) if isinstance(value, str | int) else "?"


def _read_text(value: object) -> str:
    return str(value) if isinstance(value, str) else ""


def _read_base64(value: object) -> str:
    try:
        return base64.b64decode("".join(_read_text(value).split()), validate=True).decode("utf-8")
    except ValueError:  # reported as malformed JSON
        return ""
