"""Versions of a namespace's objects in etcd, one record per revision: runs, pods, Deployments, the Lease.

This module parses the stored JSON itself, by Kubernetes' API and the names that `app/kube/labels.py` promises. It
shares no code with the service.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MARK_VARIABLE = "CHAOS_CALL"
"""The variable of a run's container that holds the mark of the run's call."""

_ENDS = ("Complete", "Failed")
_LEASE = "slimfaas-jobs-dispatcher"

INTENT_ANNOTATION = "slimfaas.dev/intent"
"""The annotation of the Lease in which a leader writes what it is about to admit."""

NOBODY = "nobody"
"""The holder of a Lease that was edited by hand: no dispatcher."""

_Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One revision of an object.

    Attributes:
        revision: etcd's revision, the object's resourceVersion; one counter for all objects.
        seen_at: `time.monotonic()` when the watcher received it.
        name: the object's name.
        gone: the object was deleted; the other fields are empty.
    """

    revision: int
    seen_at: float
    name: str
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class RunVersion(Version):
    """A version of a run's Job.

    Attributes:
        uid: distinguishes Jobs that had the same name one after the other.
        mark: the call's mark; empty where there is none.
        depends_on: the names in its annotation.
        clock_off_seconds: the clock of the replica that accepted it, minus the API server's clock.
        end: `Complete`, `Failed`, or empty.
    """

    uid: str = ""
    definition: str = ""
    mark: str = ""
    depends_on: tuple[str, ...] = ()
    clock_off_seconds: float = 0.0
    suspended: bool = False
    end: str = ""

    @property
    def active(self) -> bool:
        """Whether it holds a slot: neither suspended nor ended."""
        return not (self.gone or self.suspended or self.end)


@dataclass(frozen=True, kw_only=True)
class PodVersion(Version):
    """A version of a pod.

    Attributes:
        run: the name of its Job.
        alive: neither succeeded nor failed; a terminating pod is alive.
    """

    run: str = ""
    definition: str = ""
    alive: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkloadVersion(Version):
    """A version of a Deployment, and whether it is ready by the documented rule."""

    ready: bool = False


@dataclass(frozen=True, kw_only=True)
class LeaseVersion(Version):
    """A version of the dispatcher's Lease.

    Attributes:
        holder: its holder; empty for none.
        intent: the text of its annotation; empty where there is none.
    """

    holder: str = ""
    intent: str = ""


@dataclass(frozen=True)
class Branch:
    """Everything that was stored up to a restore of etcd, or up to the end.

    After a restore the revisions are counted on from that of the snapshot. So every branch begins with what the
    snapshot had, and the last one is what etcd holds in the end.

    Attributes:
        versions: in the order of their revisions.
        ended_at: `time.monotonic()` when a restore took its end back; infinite for the last branch.
    """

    versions: tuple[Version, ...]
    ended_at: float = math.inf


def read_version(key: str, value: bytes | None, *, namespace: str, revision: int, seen_at: float) -> Version | None:
    """Parse the value of a key.

    Args:
        key: `/registry/<kind>/<namespace>/<name>`.
        value: the object as JSON; `None` for a deletion.
        namespace: the namespace to record.
        revision: etcd's revision.
        seen_at: see `Version`.

    Returns:
        `None` for objects that are not recorded.
    """
    parts = key.split("/")
    if len(parts) != 5 or parts[3] != namespace or parts[2] not in _READERS:
        return None
    kind, name = _READERS[parts[2]], parts[4]
    if kind is LeaseVersion and name != _LEASE:
        return None
    base: _Json = {"revision": revision, "seen_at": seen_at, "name": name}
    if value is None:
        return kind(**base, gone=True)
    return kind(**base, **_FIELDS[kind](json.loads(value)))


def _run_fields(job: _Json) -> _Json:
    metadata, spec = job["metadata"], job["spec"]
    conditions = (job.get("status") or {}).get("conditions") or ()
    variables = spec["template"]["spec"]["containers"][0].get("env") or ()
    annotations = metadata.get("annotations") or {}
    return {
        "uid": metadata["uid"],
        "definition": (metadata.get("labels") or {}).get("slimfaas.dev/job", ""),
        "mark": next((one.get("value", "") for one in variables if one["name"] == MARK_VARIABLE), ""),
        "depends_on": tuple(json.loads(annotations.get("slimfaas.dev/depends-on", "[]"))),
        "clock_off_seconds": _seconds_between(
            annotations.get("slimfaas.dev/queued-at"), metadata.get("creationTimestamp")
        ),
        # A run that was ended in the queue is not suspended, but can have no pod.
        "suspended": bool(spec.get("suspend")) or spec.get("parallelism") == 0,
        "end": next((one["type"] for one in conditions if one["type"] in _ENDS and one["status"] == "True"), ""),
    }


def _seconds_between(time: str | None, other: str | None) -> float:
    """Return the first time minus the second; 0 where one is missing."""
    if time is None or other is None:
        return 0.0
    return (datetime.fromisoformat(time) - datetime.fromisoformat(other)).total_seconds()


def _pod_fields(pod: _Json) -> _Json:
    labels = pod["metadata"].get("labels") or {}
    return {
        "run": labels.get("batch.kubernetes.io/job-name", ""),
        "definition": labels.get("slimfaas.dev/job", ""),
        "alive": (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"),
    }


def _workload_fields(workload: _Json) -> _Json:
    metadata, status = workload["metadata"], workload.get("status") or {}
    current = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    available = any(one["type"] == "Available" and one["status"] == "True" for one in status.get("conditions") or ())
    ready = current and available and status.get("readyReplicas", 0) >= 1 and "deletionTimestamp" not in metadata
    return {"ready": ready}


def _lease_fields(lease: _Json) -> _Json:
    annotations = lease["metadata"].get("annotations") or {}
    return {
        "holder": (lease.get("spec") or {}).get("holderIdentity") or "",
        "intent": annotations.get(INTENT_ANNOTATION, ""),
    }


_READERS: dict[str, type[Version]] = {
    "jobs": RunVersion,
    "pods": PodVersion,
    "deployments": WorkloadVersion,
    "leases": LeaseVersion,
}
_FIELDS = {
    RunVersion: _run_fields,
    PodVersion: _pod_fields,
    WorkloadVersion: _workload_fields,
    LeaseVersion: _lease_fields,
}
