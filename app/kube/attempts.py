"""Parsing of a run's pods into attempts."""

from collections.abc import Iterator, Sequence

from app.common.types import Json
from app.domain.attempt import (
    CONTAINER_FAILED,
    CREATING,
    INIT_CONTAINER_FAILED,
    INITIALIZING,
    RESULT_BYTES,
    SIDECAR_RUNNING,
    Attempt,
    Termination,
    WaitingReason,
)
from app.kube import labels
from app.kube.parsing import find_condition, read_reason, read_time
from app.kube.pod_containers import PodContainer, containers_of
from schemas.run_container import run_container


def read_attempt(pod: Json, container: str | None = None) -> Attempt:
    """Read a pod of one of our runs as an attempt of one of its containers.

    Args:
        pod: the pod.
        container: the container's name; `None`: the run's own.
    """
    metadata: Json = pod["metadata"]
    status: Json = pod.get("status") or {}
    created_at = read_time(metadata.get("creationTimestamp")) or 0
    name = container or _own_name(pod)
    containers = containers_of(pod)
    own = next((one for one in containers if one.name == name), None)
    others = [one for one in containers if one is not own]
    ended = own and (own.terminated or own.ended_before)
    over = own is not None and own.is_over
    return Attempt(
        owner=next((owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")), ""),
        pod=metadata["name"],
        container=name,
        created_at=created_at,
        phase=str(status.get("phase") or "Pending"),
        running=own is not None and own.is_running,
        restarts=0 if own is None else int(own.status.get("restartCount") or 0),
        waiting_reason=_why_it_goes_on(status, others) if over else _waiting_reason(status, own, containers),
        ending=_termination(ended) if ended else None,
        over=over,
        failure=_failure(status, own, others, containers) if status.get("phase") == "Failed" else None,
        other_failure=_find_other_failure(others),
        initializing=_is_initializing(containers),
        pending_since=_pending_since(created_at, containers),
        prepared=find_condition(pod, ("PodReadyToStartContainers",)) is not None,
    )


def _own_name(pod: Json) -> str:
    """Return the name of the run's own container; webhooks may have added others."""
    definition = str((pod["metadata"].get("labels") or {}).get(labels.DEFINITION_LABEL) or "")
    return str(run_container(pod, definition).get("name") or definition)


def _is_initializing(containers: Sequence[PodContainer]) -> bool:
    """Return whether an init container does the run's work now: it runs, or has failed and is restarted.

    A sidecar that does not get ready does no work.
    """
    return any(
        one.is_running
        or (one.obstacle is not None and one.ended_before is not None)
        or (one.has_failed and not one.is_over)
        for one in containers
        if one.is_init and not one.is_sidecar
    )


def _pending_since(created_at: int, containers: Sequence[PodContainer]) -> int:
    """Return when the last init container of a pod ended, or else when the pod was made.

    The node's clock gives the time of an end. If it is slow, the pod's own time counts.
    """
    initial = [one for one in containers if one.is_init and not one.is_sidecar]
    ends = [one.terminated.get("finishedAt") for one in initial if one.terminated is not None]
    return max([created_at, *(moment for end in ends if (moment := read_time(end)) is not None)])


def _why_it_goes_on(status: Json, others: Sequence[PodContainer]) -> WaitingReason | None:
    """Return why a pod goes on although the run's container has ended: its other regular containers have not.

    Kubernetes ends sidecars itself.
    """
    if reason := status.get("reason"):
        return WaitingReason(read_reason(reason), cut(status.get("message")))
    regular = [one for one in others if not one.is_init and one.terminated is None]
    for one in regular:
        if one.obstacle is not None:
            return _describe_obstacle(one, one.obstacle)
    running = sorted(one.name for one in regular if one.is_running)
    if not running:
        return None
    several = len(running) > 1
    names = f"containers {', '.join(running)}" if several else f"container {running[0]}"
    return WaitingReason(SIDECAR_RUNNING, cut(f"the {names} still {'run' if several else 'runs'}"))


def _failure(
    status: Json, own: PodContainer | None, others: Sequence[PodContainer], containers: Sequence[PodContainer]
) -> WaitingReason | None:
    """Return why a pod has failed, where the exit code of the run's container does not tell it.

    The container of an evicted pod has mostly ended with 137, and that of a preempted one with 143: it was killed.
    https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    """
    if reason := status.get("reason"):
        return WaitingReason(read_reason(reason), cut(status.get("message")))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return WaitingReason(
                read_reason(condition.get("reason")) or "DisruptionTarget", cut(condition.get("message"))
            )
    if own is None or own.terminated is None:
        return next(_init_containers_under_way(status, containers), None)
    return None if own.has_failed else _find_other_failure(others)


def _find_other_failure(others: Sequence[PodContainer]) -> WaitingReason | None:
    """Return how another container than the run's has failed, or what keeps it from running.

    How an init container keeps the pod from going on is part of what the run's container waits for. How a sidecar ends
    does not count for Kubernetes.
    """
    for one in others:
        if one.is_init and not one.is_sidecar:
            continue
        if one.obstacle is not None and one.obstacle.get("reason") != CREATING:
            return _describe_obstacle(one, one.obstacle)
        if one.has_failed and not one.is_sidecar and one.terminated is not None:
            told = f"the container {one.name} has ended with {_describe_end(one.terminated)}"
            return WaitingReason(CONTAINER_FAILED, cut(told))
    return None


def _waiting_reason(status: Json, own: PodContainer | None, containers: Sequence[PodContainer]) -> WaitingReason | None:
    if reason := status.get("reason"):  # of the whole pod: evicted, its node lost …
        return WaitingReason(read_reason(reason), cut(status.get("message")))
    if own is not None and own.obstacle is not None:
        return WaitingReason(read_reason(own.obstacle["reason"]), cut(own.obstacle.get("message")))
    if own is None or not own.is_running:
        found = next(_init_containers_under_way(status, containers), None)
        if found is not None:
            return found
    if own is not None and (waiting := own.state.get("waiting") or {}).get("reason"):
        return WaitingReason(read_reason(waiting["reason"]), cut(waiting.get("message")))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return WaitingReason(read_reason(condition.get("reason")) or "Unschedulable", cut(condition.get("message")))
    return None


def _init_containers_under_way(status: Json, containers: Sequence[PodContainer]) -> Iterator[WaitingReason]:
    """Yield what each init container is doing that has not ended well. The first one keeps the pod from going on.

    Once a sidecar has started, the next init container begins. Sidecars are killed when an init container has failed
    for good; how they end says nothing then.
    """
    initial = [one for one in containers if one.is_init]
    has_failed = status.get("phase") == "Failed" or any(one.has_failed and one.is_over for one in initial)
    for one in initial:
        if one.obstacle is not None:
            yield _describe_obstacle(one, one.obstacle)
        elif one.has_failed and one.terminated is not None:
            ended = _describe_end(one.terminated)
            if not one.is_sidecar:
                yield WaitingReason(INIT_CONTAINER_FAILED, cut(f"the init container {one.name} has ended with {ended}"))
            elif not has_failed:
                told = f"the sidecar {one.name} is restarted; it has ended with {ended}"
                yield WaitingReason(INITIALIZING, cut(told))
        elif one.is_running and not one.is_sidecar:
            yield WaitingReason(INITIALIZING, cut(f"the init container {one.name} has not ended yet"))
        elif one.is_running and not one.status.get("started"):
            yield WaitingReason(INITIALIZING, cut(f"the sidecar {one.name} has not started yet"))


def _describe_obstacle(container: PodContainer, waiting: Json) -> WaitingReason:
    """Return why a container waits that is not the run's own, with its name and how it ended before."""
    parts = [f"the {container.kind} {container.name}: {waiting.get('message') or waiting['reason']}"]
    if before := container.ended_before:
        parts.append(f"it has ended with {_describe_end(before)}")
    return WaitingReason(read_reason(waiting["reason"]), cut("; ".join(parts)))


def _describe_end(terminated: Json) -> str:
    reason = read_reason(terminated.get("reason"))
    told = f"exit code {terminated.get('exitCode')}"
    told += f" ({reason})" if reason not in ("", "Error", "Completed") else ""
    return f"{told}: {message}" if (message := str(terminated.get("message") or "").strip()) else told


def _termination(terminated: Json) -> Termination:
    return Termination(
        int(terminated.get("exitCode") or 0),
        read_reason(terminated.get("reason")),
        cut(terminated.get("message")),
        read_time(terminated.get("finishedAt")),
    )


def cut(text: str | None) -> str:
    """Cut a text to at most `RESULT_BYTES` of UTF-8, between two characters."""
    return (text or "").encode("utf-8", "replace")[:RESULT_BYTES].decode("utf-8", "ignore")
