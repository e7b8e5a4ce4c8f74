"""A container's environment variables, command and args, computed from the pod as a kubelet does.

See https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#environment-variables and, for the
precedence of the sources, `kubelet_pods.go`: first `envFrom`, then `env` in its order; each entry may refer to earlier
ones.
"""

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from devcluster.kinds import CONFIG_MAP, SECRET, Kind
from devcluster.node.expansion import expand
from devcluster.objects import Object

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as in most images

Find = Callable[[Kind, str, str], Object | None]  # kind, namespace, name -> the object, None when it does not exist

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.+)'\]")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


class ConfigError(Exception):
    """The pod is invalid: CreateContainerConfigError, with the kubelet's message."""


@dataclass(frozen=True)
class Host:
    """The node's properties that a pod can refer to."""

    ip: str
    allocatable: Mapping[str, str]  # resource name -> quantity
    service_variables: Mapping[str, str]  # KUBERNETES_SERVICE_HOST and the like


@dataclass(frozen=True)
class Invocation:
    """The program to execute; `argv` is empty when neither image nor container has a command."""

    argv: list[str]
    variables: dict[str, str]


def resolve(pod: Object, container: Object, entrypoint: list[str], find: Find, host: Host) -> Invocation:
    """Return a container's command line and environment; nothing comes from this process's own environment.

    Raises:
        ConfigError: a required Secret, ConfigMap or key does not exist, or a field is not supported.
    """
    declared = _Variables(pod, container, find, host).declared()
    base = {"PATH": PATH, "HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"]}
    variables = {**base, **host.service_variables, **declared}
    # References resolve only to variables of the pod and the services; PATH and HOSTNAME belong to the image.
    known = {**host.service_variables, **declared}
    command = [expand(word, known) for word in container.get("command") or ()]
    args = [expand(word, known) for word in container.get("args") or ()]
    return Invocation((command or entrypoint) + args, variables)


class _Variables:
    def __init__(self, pod: Object, container: Object, find: Find, host: Host) -> None:
        self._pod = pod
        self._container = container
        self._namespace: str = pod["metadata"]["namespace"]
        self._find = find
        self._host = host

    def declared(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in self._container.get("envFrom") or ():
            found.update(self._from_source(source))
        for entry in self._container.get("env") or ():
            if entry.get("value"):
                found[entry["name"]] = expand(entry["value"], {**self._host.service_variables, **found})
                continue
            value = self._value_from(entry["valueFrom"]) if entry.get("valueFrom") else ""
            if value is not None:
                found[entry["name"]] = value
        return found

    def _from_source(self, source: Object) -> dict[str, str]:
        prefix = source.get("prefix") or ""
        secret = source.get("secretRef")
        data = self._data(SECRET, secret) if secret else self._data(CONFIG_MAP, source["configMapRef"])
        return {prefix + key: value for key, value in (data or {}).items()}

    def _value_from(self, source: Object) -> str | None:
        """Return the value of an entry; None when its source is optional and missing."""
        if source.get("fieldRef"):
            return self._field(source["fieldRef"]["fieldPath"])
        if source.get("resourceFieldRef"):
            return self._resource(source["resourceFieldRef"])
        for kind, reference in ((SECRET, source.get("secretKeyRef")), (CONFIG_MAP, source.get("configMapKeyRef"))):
            if reference:
                return self._key(kind, reference)
        raise ConfigError(f"unsupported source of an environment variable: {', '.join(source) or 'none'}")

    def _key(self, kind: Kind, reference: Object) -> str | None:
        data = self._data(kind, reference)
        if data is None:
            return None
        key = reference["key"]
        if key not in data and not reference.get("optional"):
            raise ConfigError(f"couldn't find key {key} in {kind.kind} {self._namespace}/{reference['name']}")
        return data.get(key)

    def _data(self, kind: Kind, reference: Object) -> dict[str, str] | None:
        obj = self._find(kind, self._namespace, reference["name"])
        if obj is None:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{kind.singular} "{reference["name"]}" not found')
        data: dict[str, str] = obj.get("data") or {}
        if kind is CONFIG_MAP:
            return data
        # Secrets may contain any bytes, and so may environment variables.
        return {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in data.items()}

    def _field(self, path: str) -> str:
        metadata, spec, status = self._pod["metadata"], self._pod["spec"], self._pod.get("status") or {}
        if subscript := _SUBSCRIPT.fullmatch(path):
            mapping: Object = metadata.get(subscript[1].removeprefix("metadata.")) or {}
            return str(mapping.get(subscript[2], ""))
        values = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "status.hostIP": self._host.ip,
            "status.hostIPs": self._host.ip,
            "status.podIP": status.get("podIP", ""),
            "status.podIPs": status.get("podIP", ""),
        }
        if path not in values:
            raise ConfigError(f"unsupported fieldPath: {path}")
        return str(values[path])

    def _resource(self, reference: Object) -> str:
        side, _, name = reference["resource"].partition(".")
        container = self._container_named(reference.get("containerName"))
        amounts: Object = (container.get("resources") or {}).get(side) or {}
        amount = amounts.get(name, self._host.allocatable.get(name, "0") if side == "limits" else "0")
        divisor = quantity(reference.get("divisor") or "1") or Fraction(1)
        if name == "cpu":
            return str(math.ceil(quantity(amount) / divisor))
        return str(math.ceil(Fraction(math.ceil(quantity(amount)), math.ceil(divisor))))

    def _container_named(self, name: str | None) -> Object:
        if not name:
            return self._container
        spec: Object = self._pod["spec"]
        for container in (*spec["containers"], *(spec.get("initContainers") or ())):
            if container["name"] == name:
                found: Object = container
                return found
        raise ConfigError(f"container {name} not found")


def quantity(text: str | float) -> Fraction:
    """Return the exact number of a quantity such as `400m` or `1Gi`.

    Raises:
        ConfigError: it is not a quantity.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ConfigError(f"not a quantity: {text!r}")
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return number * Fraction(f"1e{exponent}")
