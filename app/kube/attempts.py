"""Parsing of a run's pods into attempts."""

from app.common.types import Json
from app.domain.attempt import RESULT_BYTES, Attempt, Termination, WaitingReason
from app.kube import labels
from app.kube.parsing import read_time


def read_attempt(pod: Json) -> Attempt:
    """Read a pod of one of our runs."""
    metadata: Json = pod["metadata"]
    status: Json = pod.get("status") or {}
    container = _container_status(metadata, status)
    state: Json = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    return Attempt(
        owner=next((owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")), ""),
        pod=metadata["name"],
        created_at=read_time(metadata.get("creationTimestamp")) or 0,
        phase=str(status.get("phase") or "Pending"),
        running="running" in state,
        restarts=int(container.get("restartCount") or 0),
        trouble=_waiting_reason(status, state),
        ending=None if ended is None else _termination(ended),
    )


def _container_status(metadata: Json, status: Json) -> Json:
    """Return the status of the run's own container, named as the definition; webhooks may have added others."""
    found: list[Json] = status.get("containerStatuses") or []
    name = (metadata.get("labels") or {}).get(labels.DEFINITION_LABEL)
    return next((one for one in found if one.get("name") == name), found[0] if found else {})


def _waiting_reason(status: Json, state: Json) -> WaitingReason | None:
    if reason := status.get("reason"):  # of the whole pod: evicted, its node lost …
        return WaitingReason(str(reason), cut(status.get("message")))
    if (waiting := state.get("waiting")) and waiting.get("reason"):
        return WaitingReason(str(waiting["reason"]), cut(waiting.get("message")))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return WaitingReason(str(condition.get("reason") or "Unschedulable"), cut(condition.get("message")))
    return None


def _termination(terminated: Json) -> Termination:
    return Termination(
        int(terminated.get("exitCode") or 0),
        str(terminated.get("reason") or ""),
        cut(terminated.get("message")),
        read_time(terminated.get("finishedAt")),
    )


def cut(text: str | None) -> str:
    """Cut a text to at most `RESULT_BYTES` of UTF-8, between two characters."""
    return (text or "").encode("utf-8", "replace")[:RESULT_BYTES].decode("utf-8", "ignore")
