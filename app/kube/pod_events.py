"""What keeps a run's pod from being created, or from starting, where only Events tell it.

The Job's status has neither a count nor a reason of pods that could not be created. The pod's status does not say why
its volumes are not mounted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.common.types import Json
from app.kube.errors import on_one_line
from app.kube.parsing import read_time

MAX_LENGTH = 1024
"""How many characters of the Event's message are kept. Anybody with the right to write Events may have written it."""

_PREFIX = re.compile(r"^(\(combined from similar events\): )?(Error creating: )?")

_LEFT_OUT = (
    # What all others use of the quota, and how large it is; the run's own amounts, which come before, stay.
    (re.compile(r"(exceeded quota: [^,]+, requested: \S+), used: \S+, limited: \S+"), r"\1"),
    # After the webhook's name: its address in the cluster, and what the network says.
    (re.compile(r'(failed calling webhook "[^"]*"):.*'), r"\1"),
    # The command on the node: its arguments are folders of the node, the server and its options.
    (re.compile(r" ?\bMounting command: .*?(?=\bOutput: |$)"), " "),
)
"""What no caller is told, with what stays of it. The texts are those of Kubernetes: `plugin/pkg/admission/
resourcequota/controller.go`, `staging/src/k8s.io/apiserver/pkg/util/webhook/error.go` and `staging/src/k8s.io/
mount-utils/mount_linux.go`."""

_MOUNT_REASONS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
"""Reasons of Events on a pod whose volumes are not there: `pkg/kubelet/events/event.go` of Kubernetes."""

_LATER_REASONS = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""Reasons of Events that the kubelet writes after it has mounted the volumes."""

_SUMMARY = "Unable to attach or mount volumes"
"""Begins the kubelet's own summary, which often comes last and says only which volumes are missing."""


@dataclass(frozen=True, slots=True)
class PodEvent:
    """An Event about a pod that is not there, or that does not start.

    Attributes:
        at: when it happened last, microseconds since the epoch.
        message: why, on one line of at most `MAX_LENGTH` characters, without what callers need not know.
    """

    at: int
    message: str


def find_last_refusal(events: Iterable[Json]) -> PodEvent | None:
    """Return what the newest of a Job's `FailedCreate` Events tells; `None`: there is none."""
    refusals = [PodEvent(_last_seen(event), _clean(event)) for event in events]
    return max(refusals, key=lambda refusal: refusal.at, default=None)


def find_mount_failure(events: Iterable[Json]) -> PodEvent | None:
    """Return why the volumes of a pod are not mounted.

    Args:
        events: all Events of the pod.

    Returns:
        What the newest of those Events tells, the kubelet's summary only if there is nothing else. `None`: there is no
        such Event, or a later one shows that the volumes are there.
    """
    failures: list[tuple[bool, PodEvent]] = []
    newest = later = 0
    for event in events:
        reason, at = event.get("reason"), _last_seen(event)
        if reason in _LATER_REASONS:
            later = max(later, at)
        elif reason in _MOUNT_REASONS:
            newest = max(newest, at)
            message = _clean(event)
            failures.append((not message.startswith(_SUMMARY), PodEvent(at, message)))
    if not failures or later > newest:
        return None
    return max(failures, key=lambda failure: (failure[0], failure[1].at))[1]


def _last_seen(event: Json) -> int:
    """Return when an Event happened last. Which fields have the time depends on the API that wrote it."""
    series: Json = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    found = [moment for moment in map(read_time, times) if moment is not None]
    return max(found, default=read_time(event["metadata"].get("creationTimestamp")) or 0)


def _clean(event: Json) -> str:
    text = _PREFIX.sub("", on_one_line(str(event.get("message") or "")[: 4 * MAX_LENGTH]))
    for pattern, kept in _LEFT_OUT:
        text = pattern.sub(kept, text)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
