"""Definitions from the cluster: a suspended CronJob with the annotation `SlimFaas/Job: "true"`, as SlimFaas reads it.

Its `jobTemplate` is the definition's `JobTemplate`, and its other annotations are fields of the configuration. So the
configuration's own parser checks it. Anyone who may write CronJobs in the namespace has written it: nothing of it is
used before its size is known.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from schemas.configuration import parse_value
from schemas.definition import Definition, lower_name
from schemas.documents import NotJson, parse
from schemas.faults import Fault, Refused, pointer_to, unknown_field

_PREFIX = "SlimFaas/"

JOB_ANNOTATION = f"{_PREFIX}Job"
"""On CronJobs: whether one is a definition. `true` in any case, else `false`."""

SCHEDULES_ANNOTATION = f"{_PREFIX}Schedules"
"""On such CronJobs: a JSON list of schedules, as `Schedules` of the configuration has it for a definition."""

_FIELDS = {
    f"{_PREFIX}JobImagesWhitelist": "ImagesWhitelist",
    f"{_PREFIX}DefaultVisibility": "Visibility",
    f"{_PREFIX}NumberParallelJob": "NumberParallelJob",
    f"{_PREFIX}DependsOn": "DependsOn",
    f"{_PREFIX}Queue": "Queue",
    f"{_PREFIX}Priority": "Priority",
    f"{_PREFIX}PrioritiesWhitelist": "PrioritiesWhitelist",
}
"""The configuration's field by annotation."""

_KNOWN = (JOB_ANNOTATION, *_FIELDS, SCHEDULES_ANNOTATION)

_TEMPLATE = "JobTemplate"

_TEMPLATE_PATH = ("spec", "jobTemplate")

_VISIBILITIES = {"public": "Public", "private": "Private"}

MAX_SIZE_BYTES = 128 * 1024
"""The largest definition of a CronJob, as `measure` counts it: ten times a long one with two containers."""

_VALUE_BYTES = 64
"""What a value takes in memory besides its text: an empty object has 64 bytes in CPython."""

_SCHEDULE_BYTES = 1024
"""What a schedule takes in memory besides its text."""

_MAX_DEPTH = 60
"""The deepest nesting; a Job's has about 20 levels."""


def claims_definition(cronjob: object) -> bool:
    """Return whether a CronJob is meant to be a definition, faulty or not."""
    value = _annotations(cronjob).get(JOB_ANNOTATION)
    return value is not None and not (isinstance(value, str) and value.strip().lower() == "false")


def parse_cronjob(cronjob: Mapping[str, Any]) -> Definition:
    """Make a definition of a CronJob that claims to be one.

    Args:
        cronjob: a `batch/v1` CronJob, from an API server or a manifest.

    Raises:
        Refused: it has faults; the pointers are those of the CronJob.
    """
    name, entry, faults = _read_entry(cronjob)
    configuration: dict[str, Any] = {"Configurations": {name: entry}}
    schedules, more_faults = _read_schedules(_annotations(cronjob).get(SCHEDULES_ANNOTATION))
    faults += more_faults
    if schedules:
        configuration["Schedules"] = {name: schedules}
    # As text and back: a value that no JSON document can hold, such as a NUL character, is found by its parser.
    value, ambiguous = parse(json.dumps(configuration))
    definitions: list[Definition] = []
    try:
        definitions += parse_value(share_texts(value), ambiguous).values()
    except Refused as refusal:
        faults += [Fault(cronjob_pointer(fault.pointer, name), fault.message) for fault in refusal.faults]
    if faults:
        raise Refused(sorted(set(faults)))
    (definition,) = definitions
    return replace(definition, source="CronJob")


def share_texts(value: Any) -> Any:
    """Copy a JSON value so that equal texts are one object in the whole process: CronJobs have most keys in common."""
    if isinstance(value, dict):
        return {sys.intern(key): share_texts(item) for key, item in value.items()}
    if isinstance(value, str):
        return sys.intern(value)
    return [share_texts(item) for item in value] if isinstance(value, list) else value


def definition_content(cronjob: Mapping[str, Any]) -> tuple[str, int]:
    """Return everything of a CronJob that its definition depends on.

    Returns:
        A text that differs if any of it does, and its size as `measure` counts it.

    Raises:
        Refused: it is larger than `MAX_SIZE_BYTES`, or not JSON.
    """
    spec = _object_in(cronjob, "spec")
    annotations = {key: value for key, value in _annotations(cronjob).items() if str(key).startswith(_PREFIX)}
    content = [annotations, spec.get("suspend"), spec.get("jobTemplate")]
    size_bytes = measure(content)
    schedules, _ = _read_schedules(annotations.get(SCHEDULES_ANNOTATION))
    if isinstance(schedules, list):
        size_bytes += measure(schedules) + _SCHEDULE_BYTES * len(schedules)
    if size_bytes > MAX_SIZE_BYTES:
        raise Refused([_too_large(MAX_SIZE_BYTES)])
    return json.dumps(content, sort_keys=True, default=str), size_bytes


def cronjob_pointer(pointer: str, name: str) -> str:
    """Return the part of a CronJob that a pointer into the configuration means.

    Args:
        pointer: as in the faults of `schemas.configuration`.
        name: the definition's.
    """
    schedules = pointer_to("Schedules", name)
    if pointer == schedules or pointer.startswith(f"{schedules}/"):
        return _annotation_pointer(SCHEDULES_ANNOTATION) + pointer.removeprefix(schedules)
    path = pointer_to("Configurations", name)
    if pointer == path:
        return pointer_to("metadata", "name")
    if not pointer.startswith(f"{path}/"):
        return pointer
    field, *rest = pointer[len(path) + 1 :].split("/")
    if field == _TEMPLATE:
        return "/".join(("", *_TEMPLATE_PATH, *rest))
    for annotation, its_field in _FIELDS.items():
        if field == its_field:
            return _annotation_pointer(annotation)
    return pointer_to(*_TEMPLATE_PATH)


def measure(value: object, most_bytes: int = MAX_SIZE_BYTES) -> int:
    """Return about how many bytes a JSON value takes in memory.

    Stops at the limit: with YAML's aliases, a short text can be a very large value.

    Raises:
        Refused: it is larger than that, nested too deep, or not JSON.
    """
    size_bytes = 0
    pending: list[tuple[object, int]] = [(value, 0)]
    while pending:
        current, depth = pending.pop()
        size_bytes += _VALUE_BYTES
        if isinstance(current, str):
            size_bytes += len(current.encode("utf-8", "surrogatepass"))
        elif isinstance(current, Mapping):
            pending += [(item, depth + 1) for pair in current.items() for item in pair]
        elif isinstance(current, list):
            pending += [(item, depth + 1) for item in current]
        elif current is not None and not isinstance(current, bool | int | float):
            raise Refused([Fault("", f"has a {type(current).__name__}, which JSON does not have; put it in quotes")])
        if size_bytes > most_bytes:
            raise Refused([_too_large(most_bytes)])
        if depth > _MAX_DEPTH:
            raise Refused([Fault("", f"nested deeper than {_MAX_DEPTH} levels")])
    return size_bytes


def _too_large(most_bytes: int) -> Fault:
    return Fault("", f"larger than {most_bytes} bytes, which a definition from a CronJob may have")


def _read_entry(cronjob: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[Fault]]:
    """Return the definition's name, and its entry as the configuration would have it, with the faults found so far.

    Raises:
        Refused: it is too large to look at.
    """
    definition_content(cronjob)
    spec, annotations = _object_in(cronjob, "spec"), _annotations(cronjob)
    name = _object_in(cronjob, "metadata").get("name")
    faults = list(_annotation_faults(annotations))
    if isinstance(name, str) and name != lower_name(name):
        faults.append(Fault(pointer_to("metadata", "name"), "must be in lower case"))
    if spec.get("suspend") is not True:
        faults.append(
            Fault(
                pointer_to("spec", "suspend"),
                "must be true: otherwise Kubernetes starts Jobs by the CronJob's clock, beside the queue and its slots",
            )
        )
    entry = {_TEMPLATE: spec["jobTemplate"]} if spec.get("jobTemplate") is not None else {}
    for annotation, field in _FIELDS.items():
        value = annotations.get(annotation)
        if isinstance(value, str) and value.strip():
            entry[field] = _read_annotation(field, value.strip())
    return name if isinstance(name, str) else "", entry, faults


def _read_annotation(field: str, text: str) -> object:
    """Return the value that the configuration has for an annotation. What it can't have is left to its parser."""
    match field:
        case "Visibility":
            return _VISIBILITIES.get(text.lower(), text)
        case "NumberParallelJob":
            return int(text) if re.fullmatch("[0-9]{1,10}", text) else text
        case "Queue" | "Priority":
            return text
        case _:
            return [item for part in text.split(",") if (item := part.strip())]


def _annotation_faults(annotations: Mapping[str, Any]) -> Iterator[Fault]:
    for annotation, value in annotations.items():
        if not isinstance(annotation, str) or not annotation.startswith(_PREFIX):
            continue
        pointer = _annotation_pointer(annotation)
        if annotation not in _KNOWN:
            yield Fault(pointer, unknown_field(annotation, _KNOWN).replace("field", "annotation"))
        elif not isinstance(value, str):
            yield Fault(pointer, "must be a string; put it in quotes")
        elif annotation == JOB_ANNOTATION and value.strip().lower() not in ("true", "false"):
            yield Fault(pointer, 'must be "true" or "false"')


def _read_schedules(text: object) -> tuple[Any, list[Fault]]:
    """Return what the annotation for schedules says, and what makes it ambiguous. `None`: nothing, or no JSON."""
    if not isinstance(text, str) or not text.strip():
        return None, []
    pointer = _annotation_pointer(SCHEDULES_ANNOTATION)
    try:
        value, faults = parse(text)
    except NotJson as error:
        return None, [Fault(pointer, f"not JSON: {error}")]
    return value, [Fault(pointer + fault.pointer, fault.message) for fault in faults]


def _annotation_pointer(annotation: str) -> str:
    return pointer_to("metadata", "annotations", annotation)


def _annotations(cronjob: object) -> Mapping[str, Any]:
    return _object_in(_object_in(cronjob, "metadata"), "annotations")


def _object_in(value: object, field: str) -> Mapping[str, Any]:
    inner = value.get(field) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
