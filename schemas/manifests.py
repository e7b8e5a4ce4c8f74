"""Job configurations in files: JSON, or Kubernetes manifests with ConfigMaps and CronJobs."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.cronjobs import JOB_ANNOTATION, claims_definition
from schemas.faults import Fault, Refused

CONFIGMAP_KEYS = ("SLIMFAAS_JOBS_CONFIGURATION", "SlimFaas__JobsConfiguration")
"""The keys of ConfigMaps that hold a configuration; also the names of the environment variables that do."""

_TOP = "Configurations"
"""The top-level field of every configuration."""


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration or a CronJob with a definition in a file.

    Attributes:
        place: the ConfigMap and its key, or the CronJob, for people; empty if the file itself is the configuration.
        document: the JSON; empty for a CronJob.
        namespace: the object's namespace; `None`: it names none.
        line: the line of the file, from 1, at which the JSON begins; `None`: unknown.
        is_verbatim: whether the lines of the JSON are those of the file from there on.
        cronjob: the CronJob; `None`: it is a configuration.
    """

    place: str
    document: str
    namespace: str | None = None
    line: int | None = None
    is_verbatim: bool = False
    cronjob: Mapping[str, Any] | None = None


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
    """Find every configuration in a file, and every CronJob that is meant to be a definition.

    Args:
        text: the content of the file: a JSON configuration, or manifests in YAML or JSON, several documents allowed.
        keys: the keys of ConfigMaps that hold a configuration.
        ignore_unrelated: the file may be anything. One that is no manifest is a configuration only if it has
            `Configurations`, and one that mentions neither that nor a key nor the annotation is not parsed.

    Raises:
        Refused: the file is neither JSON nor YAML.
    """
    if ignore_unrelated and not any(word in text for word in (_TOP, JOB_ANNOTATION, *keys)):
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
    return [
        found
        for kind, manifest in _find_objects(documents)
        for found in (_in_config_map(manifest, keys) if kind == "ConfigMap" else _in_cronjob(manifest))
    ]


def find_manifest_line(manifest: Mapping[str, Any], pointer: str) -> int | None:
    """Return the line of a part of a manifest, or of the nearest enclosing part that exists.

    Args:
        manifest: of `Found`.
        pointer: the part, as a JSON pointer (RFC 6901).

    Returns:
        The line of the file, from 1; `None`: the file is JSON.
    """
    value: Any = manifest
    line = _line_of(manifest)
    for escaped in pointer.split("/")[1:]:
        step = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and step in value:
            line = _line_of(next(key for key in value if key == step)) or line
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
            line = _line_of(value) or line
        else:
            break
    return line


def _line_of(value: object) -> int | None:
    """Return the line of a text, or of the first key of an object; `None`: unknown."""
    first = next(iter(value), None) if isinstance(value, dict) else value
    return first.line if isinstance(first, _Text) else None


def _load(text: str) -> list[Any]:
    try:
        return [json.loads(text)]  # YAML is not quite a superset: no tabs, no lone surrogates
    except ValueError:
        return list(yaml.load_all(text, Loader=_Loader))


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} at line {mark.line + 1}" if mark else str(problem)


_LISTS = {"List": None, "ConfigMapList": "ConfigMap", "CronJobList": "CronJob"}
"""The kind that items without one have, by the kind of the list: those of a typed list may omit theirs."""


def _find_objects(documents: Sequence[Any]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Return the ConfigMaps and CronJobs among the documents, and in lists among them, with their kind.

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
        if kind in ("ConfigMap", "CronJob"):
            yield kind, document
        elif isinstance(kind, str) and kind in _LISTS and isinstance(items, list):
            pending += [(item, _LISTS[kind]) for item in reversed(items)]


def _in_cronjob(cronjob: dict[Any, Any]) -> Iterator[Found]:
    if claims_definition(cronjob):
        name, namespace = _names(cronjob)
        yield Found(f"CronJob {name}", "", namespace, line=_line_of(cronjob), cronjob=cronjob)


def _names(manifest: dict[Any, Any]) -> tuple[str, str | None]:
    """Return the name of an object for people, and its namespace."""
    metadata = manifest.get("metadata") if isinstance(manifest.get("metadata"), dict) else {}
    name = "/".join(_plain(metadata[key]) for key in ("namespace", "name") if metadata and key in metadata)
    namespace = _plain(metadata["namespace"]) if metadata and metadata.get("namespace") else None
    return name or "(without a name)", namespace


def _in_config_map(config_map: dict[Any, Any], keys: Sequence[str]) -> Iterator[Found]:
    name, namespace = _names(config_map)
    for part, read in (("data", _read_text), ("binaryData", _read_base64)):
        values = config_map.get(part)
        for key in dict.fromkeys(keys):
            if isinstance(values, dict) and key in values:
                place, value = f"ConfigMap {name}, {key}", values[key]
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
