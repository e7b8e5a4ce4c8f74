"""What a run's program can read or reach because of its template, which its callers must not."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.definition import Variable

_REFERENCE = re.compile(r"\$\(([^()]+)\)")

_HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")


def find_secrets(pod: Mapping[str, Any], index: int) -> Iterator[str]:
    """Yield what counts as secret in a pod, in words that follow "runs hold".

    An empty folder (`emptyDir`) counts only together with other containers, which may have filled it.

    Args:
        pod: the pod's `spec`.
        index: the position of the run's container.
    """
    for volume in pod.get("volumes") or ():
        if "emptyDir" not in volume:
            yield f"the volume {volume['name']}"
    container = pod["containers"][index]
    for source in container.get("envFrom") or ():
        yield "the variables of " + " and ".join(f"{key} {_name(value)}" for key, value in sorted(source.items()))
    if pod.get("imagePullSecrets"):
        yield "the credentials of a registry"
    others = [*(pod.get("initContainers") or ()), *pod["containers"][:index], *pod["containers"][index + 1 :]]
    for other in others:
        yield f"what the container {other['name']} gives them"
    if pod.get("automountServiceAccountToken"):
        yield "the token of a ServiceAccount"
    if any(pod.get(name) for name in _HOST_NAMESPACES):
        yield "what the node shares with them"


def _name(reference: object) -> object:
    return reference.get("name", "") if isinstance(reference, dict) else reference


def find_fixed_variables(container: Mapping[str, Any], variables: Iterable[Variable]) -> frozenset[str]:
    """Return the variables, in upper case, that decide which folder of a volume is mounted (`subPathExpr`).

    Args:
        container: the run's container.
        variables: all variables of the definition. Their values may refer to others.
    """
    values = {variable.name: variable.value or "" for variable in variables}
    texts = [str(mount.get("subPathExpr", "")) for mount in container.get("volumeMounts") or ()]
    found: set[str] = set()
    while texts:
        for name in _REFERENCE.findall(texts.pop()):
            if name not in found:
                found.add(name)
                texts.append(values.get(name, ""))
    return frozenset(name.upper() for name in found)
