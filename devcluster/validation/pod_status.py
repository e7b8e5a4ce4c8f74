"""Rules and defaults for the pod status that a node, or an administrator in its place, writes.

Follows `ValidatePodStatusUpdate` and the conversions of `k8s.io/kubernetes/pkg/apis/core`.
"""

import ipaddress
from collections.abc import Mapping, Sequence

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.restarts import restarts_after
from devcluster.validation.fields import forbidden, invalid

_CONTAINER_LISTS = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
_STATE_TIMES = {"running": ("startedAt",), "terminated": ("startedAt", "finishedAt")}


def default_pod_status(pod: Object) -> None:
    """Normalize a pod's status in place, as the server does; `podIP` takes precedence over `podIPs`."""
    status = pod.setdefault("status", {})
    address, addresses = status.get("podIP"), status.get("podIPs")
    if addresses and not address:
        status["podIP"] = addresses[0].get("ip", "")
    elif address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    for condition in status.get("conditions") or ():
        for field in ("lastProbeTime", "lastTransitionTime"):
            condition.setdefault(field, None)
    for name in _CONTAINER_LISTS.values():
        for container in status.get(name) or ():
            for state in (container.setdefault("state", {}), container.setdefault("lastState", {})):
                _default_times(state)


def _default_times(state: Object) -> None:
    for name, fields in _STATE_TIMES.items():
        for field in fields if name in state else ():
            state[name].setdefault(field, None)


def check_pod_status(new: Object, old: Object) -> list[Cause]:
    """Check a pod's new status: its addresses must be valid, and ended containers must stay ended."""
    status, before = new.get("status") or {}, old.get("status") or {}
    causes = []
    for name in ("podIPs", "hostIPs"):
        causes += _check_addresses([one.get("ip", "") for one in status.get(name) or ()], f"status.{name}")
    for field, name in _CONTAINER_LISTS.items():
        specs = {one["name"]: one for one in old["spec"].get(field) or ()}
        policy = old["spec"]["restartPolicy"]
        causes += _check_ends(status.get(name) or (), before.get(name) or (), specs, policy, f"status.{name}")
    return causes


def _check_addresses(addresses: Sequence[str], path: str) -> list[Cause]:
    """Check that each address is valid, with at most one per IP family."""
    causes, versions = [], []
    for index, address in enumerate(addresses):
        try:
            versions.append(ipaddress.ip_address(address).version)
        except ValueError:
            detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            causes.append(invalid(f"{path}[{index}]", address, detail))
    if not causes and len(set(versions)) < len(versions):
        detail = "may specify no more than one IP for each IP family"
        causes.append(invalid(path, list(addresses), detail))
    return causes


def _check_ends(
    new: Sequence[Object], old: Sequence[Object], specs: Mapping[str, Object], policy: str, path: str
) -> list[Cause]:
    """Check that an ended container runs again only if its restartPolicy, or else the pod's, allows it."""
    causes: list[Cause] = []
    states = {container["name"]: container.get("state") or {} for container in new}
    for index, container in enumerate(old):
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or "terminated" in states.get(container["name"], {"terminated": {}}):
            continue
        spec = specs.get(container["name"])
        if spec is None or not restarts_after(spec, ended["exitCode"], policy):
            causes.append(forbidden(f"{path}[{index}].state", "may not be transitioned to non-terminated state"))
    return causes
