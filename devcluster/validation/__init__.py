"""Defaults and validation for every kind, as in a real API server.

The steps are those of the registry strategies of `k8s.io/kubernetes`: an object is completed (defaults, fields that the
server owns), then checked. All functions are pure, except that they complete the given object in place.
"""

from collections.abc import Callable
from dataclasses import dataclass

from devcluster.errors import Cause
from devcluster.kinds import (
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    EVENT,
    JOB,
    LEASE,
    NAMESPACE,
    POD,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from devcluster.objects import Object
from devcluster.validation import cron_jobs, job_status, jobs, pod_status, pods, records, workloads
from devcluster.validation.metadata import check_metadata, check_metadata_update


def _nothing(_obj: Object) -> None:
    """Do nothing: the kind has no such step."""


def _no_causes(_obj: Object) -> list[Cause]:
    return []


def _no_update_causes(_new: Object, _old: Object) -> list[Cause]:
    return []


@dataclass(frozen=True)
class _Rules:
    """The steps of one kind.

    `default` runs on every write, `default_status` on every write of the status, and `prepare` on creation, after name
    and uid are set.
    """

    default: Callable[[Object], None] = _nothing
    prepare: Callable[[Object], None] = _nothing
    check: Callable[[Object], list[Cause]] = _no_causes
    check_update: Callable[[Object, Object], list[Cause]] = _no_update_causes
    default_status: Callable[[Object], None] = _nothing
    check_status: Callable[[Object, Object], list[Cause]] = _no_update_causes


def _config_map_update(new: Object, old: Object) -> list[Cause]:
    return [*records.check_config_map(new), *records.check_immutable_data(new, old)]


_RULES: dict[Kind, _Rules] = {
    JOB: _Rules(jobs.default_job, jobs.generate_selector, jobs.check_job, jobs.check_job_update,
                job_status.default_job_status, job_status.check_job_status),
    CRON_JOB: _Rules(cron_jobs.default_cron_job, check=cron_jobs.check_cron_job,
                     check_update=cron_jobs.check_cron_job_update),
    POD: _Rules(pods.default_pod, pods.begin_pod, pods.check_pod, pods.check_pod_update,
                pods.complete_status, pod_status.check_pod_status),
    DEPLOYMENT: _Rules(workloads.default_deployment, check=workloads.check_deployment,
                       check_update=workloads.check_deployment_update, check_status=workloads.check_workload_status),
    STATEFUL_SET: _Rules(workloads.default_stateful_set, workloads.begin_stateful_set, workloads.check_stateful_set,
                         workloads.check_stateful_set_update, check_status=workloads.check_workload_status),
    CONFIG_MAP: _Rules(check=records.check_config_map, check_update=_config_map_update),
    SECRET: _Rules(records.default_secret, check=records.check_secret, check_update=records.check_secret_update),
    SERVICE: _Rules(records.default_service, records.begin_service, records.check_service,
                    lambda new, _old: records.check_service(new)),
    NAMESPACE: _Rules(records.default_namespace, records.begin_namespace),
    LEASE: _Rules(records.default_lease, check=records.check_lease,
                  check_update=lambda new, _old: records.check_lease(new)),
    ROLE_BINDING: _Rules(records.default_binding),
    CLUSTER_ROLE_BINDING: _Rules(records.default_binding),
    EVENT: _Rules(records.default_event, check=records.check_event,
                  check_update=lambda new, _old: records.check_event(new)),
}  # fmt: skip
_NO_RULES = _Rules()


def complete_new(kind: Kind, obj: Object) -> None:
    """Complete a new object in place: defaults, its first generation, an empty status."""
    rules = _RULES.get(kind, _NO_RULES)
    rules.default(obj)
    if "status" in kind.subresources and kind.has_generation:
        obj["status"] = {}
    if kind.has_generation:
        obj["metadata"]["generation"] = 1
    rules.prepare(obj)


def settle_new(kind: Kind, obj: Object) -> None:
    """Add, in place, the fields that a real server adds to a valid new object when it reads it back."""
    if kind is JOB:
        jobs.default_labels(obj)


def warn_of_new(kind: Kind, obj: Object) -> list[str]:
    """Return warnings about a new object: valid, but possibly not what its author intends."""
    name = obj["metadata"].get("name", "")
    if kind in (JOB, CRON_JOB) and "." in name:
        return [_DOTTED_NAME]
    return []


_DOTTED_NAME = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
    "a DNS label is recommended: [must not contain dots]"
)


def check_new(kind: Kind, obj: Object) -> list[Cause]:
    """Check a new, completed object; return the causes of a refusal."""
    return check_metadata(kind, obj) + _RULES.get(kind, _NO_RULES).check(obj)


def complete_update(kind: Kind, new: Object, old: Object, subresource: str | None) -> None:
    """Complete an object's new state in place, and restore what this endpoint cannot change.

    `subresource="status"` changes the status alone (and metadata), "binding" a pod's node, None everything else.
    """
    rules, metadata, previous = _RULES.get(kind, _NO_RULES), new["metadata"], old["metadata"]
    if subresource == "status":
        for field in old.keys() | new.keys():
            if field not in ("status", "metadata"):
                _keep(new, old, field)
        if kind is POD:
            _keep(metadata, previous, "ownerReferences")
        rules.default_status(new)
    else:
        if "status" in kind.subresources:
            _keep(new, old, "status")
        rules.default(new)
    for field in ("creationTimestamp", "generation"):
        _keep(metadata, previous, field)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if field in previous:
            metadata[field] = previous[field]
    if subresource is None and kind.has_generation and new.get("spec") != old.get("spec"):
        metadata["generation"] = previous.get("generation", 0) + 1
    metadata.pop("managedFields", None)


def _keep(new: Object, old: Object, field: str) -> None:
    new.pop(field, None)
    if field in old:
        new[field] = old[field]


def check_update(kind: Kind, new: Object, old: Object, subresource: str | None) -> list[Cause]:
    """Check an object's new, completed state; return the causes of a refusal."""
    rules = _RULES.get(kind, _NO_RULES)
    if subresource == "binding":  # a binding may set spec.nodeName, an update may not
        own = []
    else:
        own = rules.check_status(new, old) if subresource == "status" else rules.check_update(new, old)
    return check_metadata_update(new, old) + own
