"""Pod helpers of the controllers: reading a pod's state, and making a pod from a template."""

from datetime import datetime, timedelta

from devcluster.controllers.conditions import find_condition, is_true
from devcluster.controllers.metadata import controller_reference, has_finalizer
from devcluster.kinds import POD, Kind
from devcluster.objects import Object, clone, parse_time

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"


def phase(pod: Object) -> str:
    """Return the pod's phase; Pending when it has none."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_terminal(pod: Object) -> bool:
    """Return whether the pod has succeeded or failed, so that its containers never run again."""
    return phase(pod) in ("Succeeded", "Failed")


def is_deleting(pod: Object) -> bool:
    """Return whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Return whether the pod runs or will run, and is not being deleted."""
    return not is_terminal(pod) and not is_deleting(pod)


def is_ready(pod: Object) -> bool:
    """Return whether the pod's condition Ready is True."""
    return is_true(pod.get("status") or {}, "Ready")


def is_tracked(pod: Object) -> bool:
    """Return whether the pod belongs to a Job and is not counted yet."""
    return has_finalizer(pod, TRACKING_FINALIZER)


def available_in_seconds(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """Return the seconds until the pod counts as available: 0 when it does, None when it is not ready."""
    ready = find_condition(pod.get("status") or {}, "Ready")
    if ready is None or ready["status"] != "True":
        return None
    since = parse_time(ready["lastTransitionTime"])
    return max(0.0, min_ready_seconds - (now - since).total_seconds()) if min_ready_seconds else 0.0


def removal_rank(pod: Object) -> tuple[bool, bool, bool]:
    """Return the sort key for deleting surplus pods: those that have progressed least come first."""
    return bool(pod["spec"].get("nodeName")), phase(pod) == "Running", is_ready(pod)


def finish_time(pod: Object) -> datetime:
    """Return when a terminated pod finished, as exactly as its status tells."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    initial = pod["spec"].get("initContainers") or ()
    sidecars = {container["name"] for container in initial if container.get("restartPolicy") == "Always"}
    containers = [
        *(status.get("containerStatuses") or ()),
        *(one for one in status.get("initContainerStatuses") or () if one["name"] in sidecars),
    ]
    states = [(container.get("state") or {}).get("terminated") or {} for container in containers]
    ends = [state["finishedAt"] for state in states if state.get("finishedAt")]
    if ends and len(ends) == len(states):
        return max(parse_time(end) for end in ends)
    ready = find_condition(status, "Ready")
    if ready and ready["status"] == "False" and (since := ready.get("lastTransitionTime")):
        return parse_time(since)
    if metadata.get("deletionTimestamp"):
        grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        return parse_time(metadata["deletionTimestamp"]) - grace
    return parse_time(metadata["creationTimestamp"])


def make_pod(owner_kind: Kind, owner: Object, template: Object, name: str = "") -> Object:
    """Make a pod from a controller's template; without `name`, its name is generated from the owner's."""
    metadata = clone(template.get("metadata") or {})
    metadata.pop("name", None)
    metadata["namespace"] = owner["metadata"]["namespace"]
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = owner["metadata"]["name"] + "-"
    metadata["ownerReferences"] = [controller_reference(owner_kind, owner)]
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": metadata, "spec": clone(template["spec"])}
