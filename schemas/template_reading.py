"""Reading of a definition that has a `JobTemplate`: both places become one, or their disagreement is a fault."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.definition import RESERVED_PREFIX, Variable, build_variable, lower_name, variable_name
from schemas.faults import Fault, pointer_to
from schemas.images import is_image
from schemas.quantities import NotAQuantity, parse_amount, parse_limit, parse_quantity
from schemas.run_container import DEFAULT_CONTAINER_ANNOTATION, run_container
from schemas.security import build_security_context, container_security, pod_security
from schemas.template import POD, Template
from schemas.template_defaults import complete
from schemas.template_rules import ownership_faults
from schemas.template_secrets import find_fixed_variables, find_secrets

_Path = tuple[str | int, ...]

_JOB_FIELDS: dict[str, _Path] = {
    "BackoffLimit": ("spec", "backoffLimit"),
    "TimeoutSeconds": ("spec", "activeDeadlineSeconds"),
    "TtlSecondsAfterFinished": ("spec", "ttlSecondsAfterFinished"),
    "RestartPolicy": (*POD, "restartPolicy"),
    "ServiceAccountName": (*POD, "serviceAccountName"),
}
"""Fields of a definition, and their places in a template."""

_CONTAINER_FIELDS = {"Image": "image", "Command": "command", "Args": "args"}
"""Fields of a definition, and their keys in the run's container."""


_CHOSEN_BY_CALLERS = frozenset({"SLIMFAAS_JOB_PATH", "SLIMFAAS_JOB_QUERY", "TRACEPARENT", "TRACESTATE"})
"""Variables that the service sets to what a request says."""


@dataclass
class Reading:
    """A definition with a template, read.

    Attributes:
        entry: the definition's fields from both places, in the form of a definition without a template.
        variables: the variables of the run's container, before those of `entry`.
        template: the Job of its runs; `None`: there are faults.
        faults: what is wrong, also between the two places.
    """

    entry: dict[str, Any]
    variables: tuple[Variable, ...] = ()
    template: Template | None = None
    faults: list[Fault] = field(default_factory=list)


def read_template(path: _Path, name: str, given: Mapping[str, Any]) -> Reading:
    """Read a definition with a template.

    Args:
        path: of the definition, for the pointers of faults.
        name: of the definition.
        given: the definition, which the JSON Schema has accepted. Its template is without fields that are null, and
            becomes part of the result.
    """
    given = {key: value for key, value in given.items() if value is not None}
    reading = Reading({key: value for key, value in given.items() if key != "JobTemplate"})
    job = given["JobTemplate"]
    inside = (*path, "JobTemplate")
    reading.faults += ownership_faults(inside, job)
    pod_template = job["spec"]["template"]
    pod = pod_template["spec"]
    reading.faults += _annotation_faults(inside, pod_template)
    container = run_container(pod_template, lower_name(name))
    index = next(number for number, one in enumerate(pod["containers"]) if one is container)
    if "serviceAccount" in pod:  # the deprecated name, which Kubernetes writes beside the other one
        pod.setdefault("serviceAccountName", pod["serviceAccount"])
    if pod.get("serviceAccountName") == "":  # as charts write it; to Kubernetes it is the same as none
        del pod["serviceAccountName"]
    place = (*inside, *POD, "containers", index)
    for key, steps in _JOB_FIELDS.items():
        _take(reading, path, key, (*inside, *steps), _at(job, steps))
    for key, inner in _CONTAINER_FIELDS.items():
        _take(reading, path, key, (*place, inner), container.get(inner) or None)
    reading.faults += _image_faults(path, place, container, given)
    _take_resources(reading, path, place, container.get("resources") or {})
    _take_variables(reading, path, place, container.get("env") or ())
    _apply_security(reading, path, inside, index, job)
    if "podFailurePolicy" in job["spec"] and reading.entry.get("RestartPolicy", "Never") != "Never":
        pointer = pointer_to(*inside, "spec", "podFailurePolicy")
        reading.faults.append(Fault(pointer, "needs the restart policy Never"))
    variables = reading.variables + tuple(map(build_variable, reading.entry.get("Environments", ())))
    fixed = find_fixed_variables(container, variables)
    if chosen := fixed & _CHOSEN_BY_CALLERS:
        names = ", ".join(sorted(chosen))
        reading.faults.append(
            Fault(pointer_to(*place, "volumeMounts"), f"callers choose {names}, so no subPathExpr may refer to it")
        )
    if not reading.faults:
        complete(job, index, reading.entry.get("ServiceAccountName"))
        reading.template = Template(
            job=job,
            index=index,
            said_beside=frozenset(given) - {"JobTemplate"},
            variables=len(reading.variables),
            secrets=tuple(find_secrets(pod, index)),
            fixed_variables=fixed,
            names_variables_in_full=bool(container.get("envFrom")),
        )
    return reading


def _annotation_faults(path: _Path, pod_template: Mapping[str, Any]) -> Iterator[Fault]:
    annotations = (pod_template.get("metadata") or {}).get("annotations") or {}
    names = [container["name"] for container in pod_template["spec"]["containers"]]
    if annotations.get(DEFAULT_CONTAINER_ANNOTATION, names[0]) not in names:
        pointer = pointer_to(*path, "spec", "template", "metadata", "annotations", DEFAULT_CONTAINER_ANNOTATION)
        yield Fault(pointer, "names no container of the template")


def without_nulls(value: Any) -> Any:
    """Copy a JSON value into plain dicts and lists, without fields that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _at(value: Any, steps: _Path) -> Any:
    for step in steps:
        value = value.get(step)
    return value


def _take(reading: Reading, path: _Path, key: str, place: _Path, value: Any) -> None:
    """Take a value of the template over as a field of the definition, or find that both differ."""
    if value is None:
        return
    if key in reading.entry and reading.entry[key] != value:
        reading.faults.append(_disagreement((*path, key), place))
    else:
        reading.entry[key] = value


def _disagreement(beside: _Path, place: _Path) -> Fault:
    return Fault(pointer_to(*beside), f"differs from {pointer_to(*place)}; say it in one of the two places only")


def _image_faults(path: _Path, place: _Path, container: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Fault]:
    image = container.get("image")
    if image and not is_image(image):
        yield Fault(pointer_to(*place, "image"), "not an image reference; write it like registry/repository:tag")
    if not image and "Image" not in given:
        message = f"required, but missing; {pointer_to(*path, 'Image')} may say it instead"
        yield Fault(pointer_to(*place, "image"), message)


def _take_resources(reading: Reading, path: _Path, place: _Path, resources: Mapping[str, Any]) -> None:
    """Merge the amounts of both places, resource by resource."""
    given = reading.entry.get("Resources") or {}
    merged: dict[str, dict[str, str]] = {}
    read: dict[str, dict[str, int]] = {}
    for key, inner in (("Requests", "requests"), ("Limits", "limits")):
        merged[key], read[key] = dict(given.get(key) or {}), {}
        for resource, amount in (resources.get(inner) or {}).items():
            text, where = str(amount), (*place, "resources", inner, resource)
            try:
                read[key][resource] = parse_limit(resource, text) if key == "Limits" else parse_amount(resource, text)
            except NotAQuantity as error:
                reading.faults.append(Fault(pointer_to(*where), str(error)))
                continue
            if resource in merged[key]:
                if not _is_amount(merged[key][resource], read[key][resource]):
                    reading.faults.append(_disagreement((*path, "Resources", key, resource), where))
            else:
                merged[key][resource] = text
    for resource in merged["Requests"].keys() & merged["Limits"].keys():
        if resource not in read["Requests"] and resource not in read["Limits"]:
            continue  # the definition says both, so its own check finds it
        if _exceeds(merged["Requests"][resource], merged["Limits"][resource]):
            inside = resource in read["Requests"]
            where = (*place, "resources", "requests") if inside else (*path, "Resources", "Requests")
            reading.faults.append(Fault(pointer_to(*where, resource), "larger than the limit of the same resource"))
    if any(merged.values()):
        reading.entry["Resources"] = merged


def _is_amount(text: str, amount: int) -> bool:
    try:
        return parse_quantity(text) == amount
    except NotAQuantity:  # the definition's own check reports it
        return True


def _exceeds(text: str, bound: str) -> bool:
    try:
        return parse_quantity(text) > parse_quantity(bound)
    except NotAQuantity:
        return False


def _take_variables(reading: Reading, path: _Path, place: _Path, variables: Any) -> None:
    """Take the container's variables, and leave out of the definition's those that say the same."""
    taken: dict[str, Variable] = {}
    for index, entry in enumerate(variables):
        pointer = pointer_to(*place, "env", index)
        name, source = entry["name"], entry.get("valueFrom")
        if name.startswith(RESERVED_PREFIX):
            reading.faults.append(Fault(pointer, f"names that begin with {RESERVED_PREFIX} are set by the service"))
        elif name in taken:
            # The message omits the name: someone who wrote NAME=value has put a value into it.
            reading.faults.append(Fault(pointer, "named twice"))
        elif source and entry.get("value"):
            reading.faults.append(Fault(pointer, "has both value and valueFrom"))
        else:
            taken[name] = Variable(name, source=source) if source else Variable(name, value=entry.get("value", ""))
    beside = []
    for index, entry in enumerate(reading.entry.get("Environments") or ()):
        name = variable_name(entry)
        if name not in taken:
            beside.append(entry)
        elif build_variable(entry) != taken[name]:
            at = next(number for number, one in enumerate(variables) if one["name"] == name)
            reading.faults.append(_disagreement((*path, "Environments", index), (*place, "env", at)))
    reading.variables = tuple(taken.values())
    if "Environments" in reading.entry:
        reading.entry["Environments"] = beside


_SECURITY_FIELDS = {
    "RunAsUser": "runAsUser",
    "RunAsGroup": "runAsGroup",
    "RunAsNonRoot": "runAsNonRoot",
    "FsGroup": "fsGroup",
    "SupplementalGroups": "supplementalGroups",
    "SeccompProfile": "seccompProfile",
    "ReadOnlyRootFilesystem": "readOnlyRootFilesystem",
    "AllowPrivilegeEscalation": "allowPrivilegeEscalation",
    "Capabilities": "capabilities",
}
"""The fields of a definition's security context, and their names in Kubernetes."""


def _apply_security(reading: Reading, path: _Path, inside: _Path, index: int, job: Any) -> None:
    """Write the definition's security settings into the template, or find that both differ."""
    entry = reading.entry.get("SecurityContext") or {}
    if not entry:
        return
    context, pod = build_security_context(entry), job["spec"]["template"]["spec"]
    container = pod["containers"][index]
    for_pod, for_container = pod_security(context), container_security(context)
    levels = (
        (pod, (*inside, *POD, "securityContext")),
        (container, (*inside, *POD, "containers", index, "securityContext")),
    )
    for key in entry:
        name = _SECURITY_FIELDS[key]
        value = for_pod.get(name, for_container.get(name))
        if value is None:  # an empty list or object
            continue
        said = [
            (*place, name)
            for holder, place in levels
            if (holder.get("securityContext") or {}).get(name, value) != value
        ]
        reading.faults += [_disagreement((*path, "SecurityContext", key), place) for place in said]
        holder = pod if name in for_pod else container
        holder["securityContext"] = {**(holder.get("securityContext") or {}), name: value}
