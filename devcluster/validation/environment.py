"""Rules for a container's environment variables and ports."""

import re
from collections.abc import Callable, Sequence

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.validation.fields import check_all, duplicate, invalid, not_supported, required
from devcluster.validation.names import (
    config_key_errors,
    dns_subdomain_errors,
    environment_name_errors,
    label_key_errors,
    port_name_errors,
)

_FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
# Fields that the downward API supports, but not for environment variables.
_OTHER_FIELD_PATHS = ("metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName",
                      "status.phase")  # fmt: skip
_RESOURCES = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
              "requests.memory")  # fmt: skip
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_SAME_PORT = "must match `containerPort` when `hostNetwork` is true"
_SUBSCRIPT = re.compile(r"(.*)\['(.*)'\]")
_PORT_MAX = 65535

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def check_environment(variables: Sequence[Object], path: str) -> list[Cause]:
    """Check an `env` list."""
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        place, name = f"{path}[{index}]", variable.get("name", "")
        causes += (
            check_all(f"{place}.name", name, environment_name_errors(name)) if name else [required(f"{place}.name")]
        )
        if "valueFrom" in variable:
            causes += _check_source(variable, f"{place}.valueFrom")
    return causes


def _check_source(variable: Object, path: str) -> list[Cause]:
    source = variable["valueFrom"]
    checks: dict[str, Callable[[Object, str], list[Cause]]] = {
        "fieldRef": _check_field_ref,
        "resourceFieldRef": _check_resource_ref,
        "configMapKeyRef": _check_key_ref,
        "secretKeyRef": _check_key_ref,
    }
    causes: list[Cause] = []
    for name in source.keys() & checks.keys():
        causes += checks[name](source[name], f"{path}.{name}")
    given = sum(name in source for name in _SOURCES)
    if not given:
        *listed, last = (f"`{name}`" for name in _SOURCES)
        causes.append(invalid(path, "", f"must specify one of: {', '.join(listed)} or {last}"))
    elif variable.get("value"):
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif given > 1:
        causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _check_field_ref(ref: Object, path: str) -> list[Cause]:
    field = ref.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    subscripted = _SUBSCRIPT.fullmatch(field)
    if subscripted:
        base, key = subscripted.groups()
        if base == "metadata.annotations":
            return check_all(path, key.lower(), label_key_errors(key.lower()))
        if base == "metadata.labels":
            return check_all(path, key, label_key_errors(key))
        detail = f"error converting fieldPath: field label does not support subscript: {field}"
        return [invalid(f"{path}.fieldPath", field, detail)]
    if field in _FIELD_PATHS:
        return []
    if field in _OTHER_FIELD_PATHS:
        return [not_supported(f"{path}.fieldPath", field, _FIELD_PATHS)]
    detail = f"error converting fieldPath: field label not supported: {field}"
    return [invalid(f"{path}.fieldPath", field, detail)]


def _check_resource_ref(ref: Object, path: str) -> list[Cause]:
    resource = ref.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    if resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        return [not_supported(f"{path}.resource", resource, _RESOURCES)]
    return []


def _check_key_ref(ref: Object, path: str) -> list[Cause]:
    name, key = ref.get("name", ""), ref.get("key", "")
    causes = check_all(f"{path}.name", name, dns_subdomain_errors(name))
    if not key:
        return [*causes, required(f"{path}.key")]
    return causes + check_all(f"{path}.key", key, config_key_errors(key))


def check_environment_sources(sources: Sequence[Object], path: str) -> list[Cause]:
    """Check an `envFrom` list."""
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        place, prefix = f"{path}[{index}]", source.get("prefix", "")
        if prefix:
            causes += check_all(f"{place}.prefix", prefix, environment_name_errors(prefix))
        given = [name for name in ("configMapRef", "secretRef") if name in source]
        for name in given:
            target = source[name].get("name", "")
            if not target:
                causes.append(required(f"{place}.{name}.name"))
            else:
                causes += check_all(f"{place}.{name}.name", target, dns_subdomain_errors(target))
        if not given:
            causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def check_ports(ports: Sequence[Object], path: str) -> list[Cause]:
    """Check the `ports` list of a container."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        place, name = f"{path}[{index}]", port.get("name", "")
        if name:
            errors = port_name_errors(name)
            causes += check_all(f"{place}.name", name, errors)
            if not errors and name in names:
                causes.append(duplicate(f"{place}.name", name))
            names.add(name)
        number = port.get("containerPort", 0)
        field = f"{place}.containerPort"
        causes += _check_port_number(number, field) if number else [required(field)]
        if port.get("hostPort"):
            causes += _check_port_number(port["hostPort"], f"{place}.hostPort")
        if port.get("protocol") not in _PROTOCOLS:
            causes.append(not_supported(f"{place}.protocol", port.get("protocol", ""), _PROTOCOLS))
    return causes


def check_host_ports(ports: Sequence[Object], path: str) -> list[Cause]:
    """Check the `ports` list of a container on the host's network: hostPort must equal containerPort."""
    return [
        invalid(f"{path}[{index}].hostPort", port.get("hostPort", 0), _SAME_PORT)
        for index, port in enumerate(ports)
        if port.get("hostPort", 0) != port.get("containerPort", 0)
    ]


def check_service_ports(ports: Sequence[Object], path: str) -> list[Cause]:
    """Check the `ports` list of a Service."""
    causes: list[Cause] = []
    for index, port in enumerate(ports):
        place = f"{path}[{index}]"
        if len(ports) > 1 and not port.get("name"):
            causes.append(required(f"{place}.name"))
        causes += _check_port_number(port.get("port", 0), f"{place}.port")
        target = port.get("targetPort")
        if isinstance(target, str):
            causes += check_all(f"{place}.targetPort", target, port_name_errors(target))
        else:
            causes += _check_port_number(target or 0, f"{place}.targetPort")
        if port["protocol"] not in _PROTOCOLS:
            causes.append(not_supported(f"{place}.protocol", port["protocol"], _PROTOCOLS))
    return causes


def _check_port_number(number: int, path: str) -> list[Cause]:
    if 1 <= number <= _PORT_MAX:
        return []
    return [invalid(path, number, f"must be between 1 and {_PORT_MAX}, inclusive")]
