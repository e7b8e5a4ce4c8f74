"""The attempts at a run: its pods, in small records, for a pod itself has 8 KiB and more."""

from dataclasses import dataclass

from app.cluster import keys
from app.cluster.client import Json
from app.cluster.records import read_time

RESULT_BYTES = 4096
"""The most of a termination message that is kept; the kubelet's own bound for one container."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ended.

    Attributes:
        exit_code: of its process.
        reason: the kubelet's word for it, such as `Error` or `OOMKilled`.
        result: its termination message, at most `RESULT_BYTES` of UTF-8.
        ended_at: microseconds since the epoch; `None`: nobody has said.
    """

    exit_code: int
    reason: str
    result: str
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod from going on.

    Attributes:
        reason: one CamelCase word.
        message: the kubelet's or the scheduler's own words; may be empty.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pod of a run.

    Attributes:
        owner: the uid of the Job that owns the pod.
        pod: its name.
        created_at: microseconds since the epoch; Kubernetes gives whole seconds.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        running: whether the run's container runs now.
        restarts: how often the kubelet has started that container again.
        trouble: why the container doesn't run yet, or why the pod failed as a whole; `None`: nothing known.
        ending: how that container ended last; `None`: it hasn't.
    """

    owner: str
    pod: str
    created_at: int
    phase: str
    running: bool
    restarts: int
    trouble: Trouble | None
    ending: Ending | None


_ATTEMPTS_KEPT = 32
"""Kubernetes waits up to six minutes between two attempts."""

_WITHIN_A_SECOND = {"Failed": 0, "Succeeded": 1}
"""Of pods made in the same second, one that failed was followed by the others."""


def sort_attempts(attempts: list[Attempt]) -> list[Attempt]:
    """Attempts from the first to the last; the same ones are always in the same order."""
    return sorted(attempts, key=lambda one: (one.created_at, _WITHIN_A_SECOND.get(one.phase, 2), one.pod))


def keep_last(attempts: list[Attempt]) -> list[Attempt]:
    """Forget the first attempts where there are very many: their results would fill the memory."""
    return attempts if len(attempts) <= _ATTEMPTS_KEPT else sort_attempts(attempts)[1:]


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
        trouble=_trouble(status, state),
        ending=None if ended is None else _ending(ended),
    )


def _container_status(metadata: Json, status: Json) -> Json:
    """The status of the run's own container, which bears the definition's name; others may have added more."""
    found: list[Json] = status.get("containerStatuses") or []
    name = (metadata.get("labels") or {}).get(keys.DEFINITION_LABEL)
    return next((one for one in found if one.get("name") == name), found[0] if found else {})


def _trouble(status: Json, state: Json) -> Trouble | None:
    if reason := status.get("reason"):  # of the pod as a whole: evicted, its node lost …
        return Trouble(str(reason), cut(status.get("message")))
    if (waiting := state.get("waiting")) and waiting.get("reason"):
        return Trouble(str(waiting["reason"]), cut(waiting.get("message")))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Trouble(str(condition.get("reason") or "Unschedulable"), cut(condition.get("message")))
    return None


def _ending(terminated: Json) -> Ending:
    return Ending(
        int(terminated.get("exitCode") or 0),
        str(terminated.get("reason") or ""),
        cut(terminated.get("message")),
        read_time(terminated.get("finishedAt")),
    )


def cut(text: str | None) -> str:
    """At most `RESULT_BYTES` of a text as UTF-8, cut between two characters."""
    return (text or "").encode("utf-8", "replace")[:RESULT_BYTES].decode("utf-8", "ignore")
