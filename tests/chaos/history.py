"""What etcd has stored of a namespace, one record a revision: of runs, their pods, what they depend on, the Lease.

A record is read from the bytes under a key, by this module's own reading of Kubernetes' API and of the names that
`app/kube/labels.py` promises; it shares no code with the service.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

MARK_VARIABLE = "CHAOS_CALL"
"""Which variable of a run's container holds the mark of the call that it comes from."""

_ENDS = ("Complete", "Failed")
_LEASE = "slimfaas-jobs-dispatcher"

_Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One revision of an object.

    Attributes:
        revision: etcd's, which is the object's resourceVersion; all objects share one count.
        seen_at: `time.monotonic()` when the watcher had it.
        name: of the object.
        gone: it was deleted, and nothing else is known of it.
    """

    revision: int
    seen_at: float
    name: str
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class RunVersion(Version):
    """Of a Job.

    Attributes:
        uid: another one is another Job, of the same name.
        mark: of the call; empty where there is none.
        depends_on: names from its annotation.
        clock_off_seconds: how far the clock of the replica that accepted it is from the API server's.
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
        """It holds a slot: neither suspended nor ended."""
        return not (self.gone or self.suspended or self.end)


@dataclass(frozen=True, kw_only=True)
class PodVersion(Version):
    """Of a pod.

    Attributes:
        run: the name of its Job.
        alive: it has neither succeeded nor failed; also while it is being deleted.
    """

    run: str = ""
    definition: str = ""
    alive: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkloadVersion(Version):
    """Of a Deployment: whether it is ready by design, and not by the dispatcher's word for it."""

    ready: bool = False


@dataclass(frozen=True, kw_only=True)
class LeaseVersion(Version):
    """Of the dispatcher's Lease: who holds it; empty: nobody."""

    holder: str = ""


def read_version(key: str, value: bytes | None, *, namespace: str, revision: int, seen_at: float) -> Version | None:
    """Read what was stored under a key.

    Args:
        key: `/registry/<kind>/<namespace>/<name>`.
        value: the object as JSON; `None`: it was deleted.
        namespace: all others are passed over.
        revision: of the store.
        seen_at: see `Version`.

    Returns:
        `None` where it is of no interest.
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
        "suspended": bool(spec.get("suspend")),
        "end": next((one["type"] for one in conditions if one["type"] in _ENDS and one["status"] == "True"), ""),
    }


def _seconds_between(time: str | None, other: str | None) -> float:
    """By how much a time is later than another one; 0 where one is missing."""
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
    return {"holder": lease["spec"].get("holderIdentity") or ""}


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
