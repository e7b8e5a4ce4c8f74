"""The effect of a DELETE on an object: finalizers, grace periods and the marks for the garbage collector.

The functions are pure. They follow `k8s.io/apiserver/pkg/registry` (rest/delete.go, generic/registry/store.go); the
store carries out their decisions. See https://kubernetes.io/docs/concepts/architecture/garbage-collection/.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from devcluster.errors import precondition_failed
from devcluster.kinds import POD, Kind
from devcluster.objects import Object, clone, metadata_of, parse_time, to_time

Propagation = Literal["Background", "Foreground", "Orphan"]

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
_FINALIZERS: dict[Propagation, str] = {"Orphan": ORPHAN_FINALIZER, "Foreground": FOREGROUND_FINALIZER}


@dataclass(frozen=True)
class DeleteOptions:
    """The parts of `metav1.DeleteOptions` that matter here; None means not given."""

    propagation: Propagation | None = None
    grace_period_seconds: int | None = None
    uid: str | None = None  # precondition
    resource_version: str | None = None  # precondition


@dataclass(frozen=True)
class Deletion:
    """A decision: store `marked` first (None: no change); then remove the object if `remove`, else wait."""

    marked: Object | None
    remove: bool


def plan_deletion(kind: Kind, obj: Object, options: DeleteOptions, moment: datetime) -> Deletion:
    """Decide what deleting `obj` at `moment` does.

    Raises:
        ApiError: 409, a precondition failed.
    """
    _check_preconditions(kind, obj, options)
    metadata = metadata_of(obj)
    if kind is POD:
        grace_seconds = _grace_seconds(obj, options)
        if grace_seconds is not None:
            return _plan_graceful(obj, options, grace_seconds, moment)
        if metadata.get("deletionGracePeriodSeconds"):
            return Deletion(None, remove=False)  # already being deleted, and the grace period gets no shorter
    finalizers = _finalizers(kind, metadata, options)
    if not finalizers:
        return Deletion(None, remove=True)
    marked = clone(obj)
    _mark(marked, moment, 0)
    marked["metadata"]["finalizers"] = finalizers
    return Deletion(None if marked == obj else marked, remove=False)


def is_released(obj: Object) -> bool:
    """Return whether an object that is being deleted can be removed now."""
    metadata = metadata_of(obj)
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )


def _check_preconditions(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    metadata = metadata_of(obj)
    if options.uid is not None and options.uid != metadata["uid"]:
        raise precondition_failed(
            kind,
            metadata["name"],
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated",
        )
    version = options.resource_version
    if version is not None and version != metadata["resourceVersion"]:
        raise precondition_failed(
            kind,
            metadata["name"],
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified",
        )


def _grace_seconds(pod: Object, options: DeleteOptions) -> int | None:
    """Return the grace period to set; None when the pod is already being deleted and the period gets no shorter."""
    metadata = metadata_of(pod)
    asked = options.grace_period_seconds
    if metadata.get("deletionTimestamp"):
        current = metadata.get("deletionGracePeriodSeconds") or 0
        return asked if asked is not None and asked < current else None
    spec, status = pod.get("spec", {}), pod.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0  # no container runs on a node
    period = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 0)
    return int(period) if period >= 0 else 1


def _plan_graceful(pod: Object, options: DeleteOptions, grace_seconds: int, moment: datetime) -> Deletion:
    marked = clone(pod)
    metadata = marked["metadata"]
    finalizers = _finalizers(POD, metadata, options)
    started = metadata.get("deletionTimestamp")
    if started:
        begun = parse_time(started) - timedelta(seconds=metadata["deletionGracePeriodSeconds"])
        due = begun + timedelta(seconds=grace_seconds)
        if due < moment:
            due, grace_seconds = moment, min(grace_seconds, 1)
        metadata["deletionTimestamp"] = to_time(due)
        metadata["deletionGracePeriodSeconds"] = grace_seconds
    else:
        _mark(marked, moment, grace_seconds)
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    return Deletion(marked, remove=not finalizers and grace_seconds == 0)


def _mark(obj: Object, moment: datetime, grace_seconds: int) -> None:
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = to_time(moment + timedelta(seconds=grace_seconds))
        if "generation" in metadata:
            metadata["generation"] += 1
    elif parse_time(metadata["deletionTimestamp"]) > moment:
        metadata["deletionTimestamp"] = to_time(moment)
    metadata["deletionGracePeriodSeconds"] = grace_seconds


def _finalizers(kind: Kind, metadata: Object, options: DeleteOptions) -> list[str]:
    """Return the object's finalizers, with the garbage collector's own added or removed as the policy requires."""
    present: list[str] = metadata.get("finalizers") or []
    policy: str | None = options.propagation
    if policy is None:
        chosen = [name for name in present if name in _FINALIZERS.values()]
        added = chosen[:1] or [name for key, name in _FINALIZERS.items() if key == kind.default_propagation]
    else:
        added = [name for key, name in _FINALIZERS.items() if key == policy]
    return [name for name in present if name not in _FINALIZERS.values()] + added
