"""Finding job configurations in files: raw JSON, or Kubernetes manifests with ConfigMaps."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.faults import Fault, Refused

CONFIGMAP_KEYS = ("SLIMFAAS_JOBS_CONFIGURATION", "SlimFaas__JobsConfiguration")
"""The keys of a ConfigMap that hold a configuration; also the environment variables that do."""

_TOP = "Configurations"
"""The field that every configuration has."""


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration in a file.

    Attributes:
        place: the ConfigMap and its key, for people; empty where the file itself is the configuration.
        document: the JSON.
        namespace: that the ConfigMap names; `None`: none.
        line: of the file, from 1, where the JSON begins; `None`: not known.
        is_verbatim: whether the JSON has the file's own lines from there on.
    """

    place: str
    document: str
    namespace: str | None = None
    line: int | None = None
    is_verbatim: bool = False


class _Text(str):
    """A text of a YAML file that remembers where it was."""

    line: int | None = None
    is_verbatim = False


class _Loader(yaml.SafeLoader):
    """YAML's plain types, with places."""


def _construct_text(loader: _Loader, node: yaml.ScalarNode) -> _Text:
    text = _Text(loader.construct_scalar(node))
    text.is_verbatim = node.style == "|"  # the text of a literal block begins in the line after its mark
    text.line = node.start_mark.line + (2 if text.is_verbatim else 1)
    return text


_Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)


def find_configurations(text: str, keys: Sequence[str] = CONFIGMAP_KEYS, *, any_sort: bool = False) -> list[Found]:
    """Find every configuration in a file.

    Args:
        text: the file: a JSON configuration, or manifests in YAML or JSON, several documents allowed.
        keys: of ConfigMaps, that hold a configuration.
        any_sort: the file may be of any sort, so that one without a manifest is a configuration only if it has
            `Configurations`, and one that mentions neither that nor a key isn't even read.

    Raises:
        Refused: the file is neither JSON nor YAML.
    """
    if any_sort and not any(word in text for word in (_TOP, *keys)):
        return []
    try:
        documents = _load(text)
    # PyYAML lets the last two through for a tagged value that the tag doesn't fit, as in `!!int ""`.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError) as error:
        if text.lstrip().startswith("{") and not text.lstrip().startswith("{{"):
            return [Found("", text, line=1, is_verbatim=True)]  # meant as JSON: its own reader says what is wrong
        raise Refused([Fault("", f"neither JSON nor YAML: {_where(error)}")]) from error
    if len(documents) == 1 and isinstance(documents[0], dict) and "kind" not in documents[0]:
        is_other = any_sort and not isinstance(documents[0].get(_TOP), dict)
        return [] if is_other else [Found("", text, line=1, is_verbatim=True)]
    return [found for config_map in _config_maps(documents) for found in _in_config_map(config_map, keys)]


def _load(text: str) -> list[Any]:
    try:
        return [json.loads(text)]  # which YAML is said to include, but for tabs and halves of surrogate pairs
    except ValueError:
        return list(yaml.load_all(text, Loader=_Loader))


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} at line {mark.line + 1}" if mark else str(problem)


def _config_maps(documents: Sequence[Any]) -> Iterator[dict[Any, Any]]:
    """Those of documents, and of the lists in them.

    Each is looked at once: by YAML's aliases a list can hold one other many times, or itself.
    """
    pending: list[tuple[Any, str | None]] = [(document, None) for document in reversed(documents)]
    seen: set[int] = set()
    while pending:
        document, usual_kind = pending.pop()
        if not isinstance(document, dict) or id(document) in seen:
            continue
        seen.add(id(document))
        kind, items = document.get("kind", usual_kind), document.get("items")
        if kind == "ConfigMap":
            yield document
        elif kind in ("List", "ConfigMapList") and isinstance(items, list):
            # What is in a typed list may leave its kind out.
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
    """A value that should be a name; of anything larger, which aliases can make very large, only that it is none."""
    return str(value) if isinstance(value, str | int) else "?"


def _read_text(value: object) -> str:
    return str(value) if isinstance(value, str) else ""


def _read_base64(value: object) -> str:
    try:
        return base64.b64decode("".join(_read_text(value).split()), validate=True).decode("utf-8")
    except ValueError:  # what it isn't, is no JSON either
        return ""
