"""The columns of a pod in a table, with its state as one word, as `kubectl get pods` shows it.

Follows `printPod` of `k8s.io/kubernetes/pkg/printers/internalversion`.
"""

from collections.abc import Sequence, Set
from datetime import datetime
from typing import Any

from devcluster.durations import shorten_duration
from devcluster.objects import Object, metadata_of, parse_time


def pod_cells(pod: Object, at: datetime) -> list[Any]:
    """Return the cells after the name: ready, status, restarts, age, and the wide columns."""
    status, spec = pod.get("status", {}), pod.get("spec", {})
    statuses: Sequence[Object] = status.get("containerStatuses") or ()
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    initial: Sequence[Object] = status.get("initContainerStatuses") or ()
    lasting = [*(one for one in initial if one["name"] in sidecars), *statuses]
    initializing = _initializing(pod, sidecars)
    ready = sum(bool(one.get("ready") and one.get("state", {}).get("running")) for one in lasting)
    created = metadata_of(pod).get("creationTimestamp")
    gates = spec.get("readinessGates") or ()
    met = [one["type"] for one in status.get("conditions") or () if one["status"] == "True"]
    return [
        f"{ready}/{len(spec.get('containers') or ()) + len(sidecars)}",
        _state(pod, statuses, initializing),
        _restarts(initial if initializing else lasting, at),
        shorten_duration((at - parse_time(created)).total_seconds()) if created else "<unknown>",
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        f"{sum(gate['conditionType'] in met for gate in gates)}/{len(gates)}" if gates else "<none>",
    ]


def _state(pod: Object, statuses: Sequence[Object], initializing: str | None) -> str:
    status = pod.get("status", {})
    reason = status.get("reason") or status.get("phase", "")
    reason = initializing or _containers_state(statuses, reason, status.get("conditions") or ())
    if metadata_of(pod).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(reason)


def _initializing(pod: Object, sidecars: Set[str]) -> str | None:
    """Return the state of the first unfinished init container; None when all are done."""
    status = pod.get("status", {})
    if any(one["type"] == "Initialized" and one["status"] == "True" for one in status.get("conditions") or ()):
        return None
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        if one["name"] in sidecars and one.get("started"):
            continue
        state = one.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended and ended["exitCode"] == 0:
            continue
        if ended:
            return f"Init:{_termination(ended)}"
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(pod['spec'].get('initContainers') or ())}"
    return None


def _containers_state(statuses: Sequence[Object], phase: str, conditions: Sequence[Object]) -> str:
    reason, failure, running = phase, "", False
    for one in reversed(statuses):
        state = one.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended:
            reason = _termination(ended)
            failure = reason if ended["exitCode"] else failure
        elif one.get("ready") and state.get("running"):
            running = True
    if reason != "Completed":
        return reason
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    if running and ready:
        return "Running"
    return failure or ("NotReady" if running else reason)


def _termination(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended['exitCode']}"


def _restarts(statuses: Sequence[Object], at: datetime) -> str:
    restarts = sum(one.get("restartCount", 0) for one in statuses)
    ends = [
        last["finishedAt"]
        for one in statuses
        if (last := one.get("lastState", {}).get("terminated")) and last.get("finishedAt")
    ]
    if not restarts or not ends:
        return str(restarts)
    return f"{restarts} ({shorten_duration((at - parse_time(max(ends))).total_seconds())} ago)"
