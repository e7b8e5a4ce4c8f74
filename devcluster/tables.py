"""Objects as the tables that `kubectl get` prints; the API server chooses the columns.

The columns and cells follow `k8s.io/kubernetes/pkg/printers/internalversion`; see
https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from devcluster.durations import shorten_duration
from devcluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    EVENT,
    JOB,
    LEASE,
    NAMESPACE,
    NODE,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Kind,
)
from devcluster.objects import Object, metadata_of, parse_time
from devcluster.pod_columns import pod_cells

IncludeObject = Literal["None", "Metadata", "Object"]

_WIDE = 1  # the priority of columns that only `-o wide` shows


def _columns(*names: str) -> list[Object]:
    """Return column definitions; a leading `+` marks a wide column, and `:type` one that has no strings."""
    parts = [name.lstrip("+").partition(":") for name in names]
    return [
        {
            "name": title,
            "type": type_ or "string",
            "format": "name" if title == "Name" else "",
            "description": "",
            "priority": _WIDE if name.startswith("+") else 0,
        }
        for name, (title, _, type_) in zip(names, parts, strict=True)
    ]


_COLUMNS: dict[Kind, list[Object]] = {
    POD: _columns("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node",
                  "+Readiness Gates"),
    JOB: _columns("Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"),
    CRON_JOB: _columns("Name", "Schedule", "Timezone", "Suspend:boolean", "Active:integer", "Last Schedule", "Age",
                       "+Containers", "+Images", "+Selector"),
    DEPLOYMENT: _columns("Name", "Ready", "Up-to-date", "Available", "Age", "+Containers", "+Images", "+Selector"),
    STATEFUL_SET: _columns("Name", "Ready", "Age", "+Containers", "+Images"),
    EVENT: _columns("Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen",
                    "+Count", "+Name"),
    LEASE: _columns("Name", "Holder", "Age"),
    CONFIG_MAP: _columns("Name", "Data", "Age"),
    SECRET: _columns("Name", "Type", "Data", "Age"),
    SERVICE: _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"),
    SERVICE_ACCOUNT: _columns("Name", "Age"),
    ROLE: _columns("Name", "Created At"),
    CLUSTER_ROLE: _columns("Name", "Created At"),
    ROLE_BINDING: _columns("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"),
    CLUSTER_ROLE_BINDING: _columns("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"),
    NAMESPACE: _columns("Name", "Status", "Age"),
    NODE: _columns("Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image",
                   "+Kernel-Version", "+Container-Runtime"),
}  # fmt: skip


def build_table(
    kind: Kind,
    objects: Iterable[Object],
    metadata: Object,
    include: IncludeObject = "Metadata",
    *,
    moment: datetime | None = None,
    with_columns: bool = True,
) -> Object:
    """Make a `meta.k8s.io/v1` Table; ages are relative to `moment`, None is now."""
    at = moment or datetime.now(UTC)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": _COLUMNS[kind] if with_columns else [],
        "rows": [_row(kind, obj, include, at) for obj in objects],
    }


def partial_metadata(obj: Object) -> Object:
    """Return the object reduced to its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata_of(obj)}


def _row(kind: Kind, obj: Object, include: IncludeObject, at: datetime) -> Object:
    row: Object = {"cells": _CELLS[kind](obj, at)}
    if include == "Metadata":
        row["object"] = partial_metadata(obj)
    elif include == "Object":
        row["object"] = obj
    return row


def _since(time: str | None, at: datetime) -> str:
    return "<unknown>" if not time else shorten_duration((at - parse_time(time)).total_seconds())


def _age(obj: Object, at: datetime) -> str:
    return _since(metadata_of(obj).get("creationTimestamp"), at)


def _name(obj: Object) -> str:
    return str(metadata_of(obj).get("name", ""))


def _containers(obj: Object) -> tuple[str, str]:
    """Return the names and images of the containers of an object with a pod template."""
    containers = obj["spec"]["template"].get("spec", {}).get("containers") or ()
    return ",".join(one["name"] for one in containers), ",".join(one.get("image", "") for one in containers)


def _selector(selector: Object | None) -> str:
    if selector is None:
        return "<none>"
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        values = f"({','.join(sorted(term.get('values') or ()))})"
        shown = {"Exists": term["key"], "DoesNotExist": f"!{term['key']}"}
        terms.append(shown.get(term["operator"], f"{term['key']} {term['operator'].lower()} {values}"))
    return ",".join(terms) or "<none>"


def _has_condition(obj: Object, name: str) -> bool:
    conditions = obj.get("status", {}).get("conditions") or ()
    return any(condition["type"] == name and condition["status"] == "True" for condition in conditions)


def _job_cells(job: Object, at: datetime) -> list[Any]:
    spec, status = job["spec"], job.get("status", {})
    succeeded, parallelism = status.get("succeeded", 0), spec.get("parallelism", 0)
    if "completions" in spec:
        completions = f"{succeeded}/{spec['completions']}"
    else:
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    started, completed = status.get("startTime"), status.get("completionTime")
    duration = _since(started, parse_time(completed) if completed else at) if started else ""
    return [_name(job), _job_status(job), completions, duration, _age(job, at), *_containers(job),
            _selector(spec.get("selector"))]  # fmt: skip


def _job_status(job: Object) -> str:
    for condition in ("Complete", "Failed"):
        if _has_condition(job, condition):
            return condition
    if metadata_of(job).get("deletionTimestamp"):
        return "Terminating"
    if _has_condition(job, "Suspended"):
        return "Suspended"
    for condition in ("FailureTarget", "SuccessCriteriaMet"):
        if _has_condition(job, condition):
            return condition
    return "Running"


def _cron_job_cells(cron_job: Object, at: datetime) -> list[Any]:
    spec, status, template = cron_job["spec"], cron_job.get("status", {}), cron_job["spec"]["jobTemplate"]
    last = _since(status["lastScheduleTime"], at) if status.get("lastScheduleTime") else "<none>"
    suspend = "True" if spec["suspend"] else "False"
    return [_name(cron_job), spec["schedule"], spec.get("timeZone", "<none>"), suspend, len(status.get("active") or ()),
            last, _age(cron_job, at), *_containers(template), _selector(template["spec"].get("selector"))]  # fmt: skip


def _ready(obj: Object) -> str:
    return f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 0)}"


def _deployment_cells(deployment: Object, at: datetime) -> list[Any]:
    status = deployment.get("status", {})
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [_name(deployment), _ready(deployment), *counts, _age(deployment, at), *_containers(deployment),
            _selector(deployment["spec"]["selector"])]  # fmt: skip


def _event_cells(event: Object, at: datetime) -> list[Any]:
    about, series, source = event["involvedObject"], event.get("series"), event.get("source") or {}
    first = _since(event.get("firstTimestamp") or event.get("eventTime"), at)
    last = _since(event["lastTimestamp"], at) if event.get("lastTimestamp") else first
    count = event.get("count") or 1
    if series:
        last, count = _since(series["lastObservedTime"], at), series["count"]
    target = "/".join(filter(None, (about.get("kind", "").lower(), about.get("name"))))
    component = source.get("component") or event.get("reportingComponent", "")
    host = source.get("host") or ("" if source.get("component") else event.get("reportingInstance", ""))
    return [last, event.get("type", ""), event.get("reason", ""), target, about.get("fieldPath", ""),
            f"{component}, {host}" if host else component, event.get("message", "").strip(), first, count,
            _name(event)]  # fmt: skip


def _node_cells(node: Object, at: datetime) -> list[Any]:
    info = node.get("status", {}).get("nodeInfo", {})
    ready = [one["status"] for one in node.get("status", {}).get("conditions") or () if one["type"] == "Ready"]
    state = "Unknown" if not ready else "Ready" if ready[-1] == "True" else "NotReady"
    if node.get("spec", {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = sorted(key.removeprefix(prefix) for key in metadata_of(node).get("labels") or () if key.startswith(prefix))
    addresses = {one["type"]: one["address"] for one in node.get("status", {}).get("addresses") or ()}
    kernel = info.get("kernelVersion") or "<unknown>"
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [_name(node), state, ",".join(roles) or "<none>", _age(node, at), info.get("kubeletVersion", ""),
            addresses.get("InternalIP", "<none>"), addresses.get("ExternalIP", "<none>"),
            info.get("osImage") or "<unknown>", kernel, info.get("containerRuntimeVersion") or "<unknown>"]  # fmt: skip


def _service_cells(service: Object, at: datetime) -> list[Any]:
    spec = service["spec"]
    ports = [
        f"{one['port']}{':' + str(one['nodePort']) if one.get('nodePort') else ''}/{one.get('protocol', 'TCP')}"
        for one in spec.get("ports") or ()
    ]
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items()))
    return [_name(service), spec.get("type", ""), spec.get("clusterIP") or "<none>",
            ",".join(spec.get("externalIPs") or ()) or "<none>", ",".join(ports) or "<none>", _age(service, at),
            selector or "<none>"]  # fmt: skip


def _binding_cells(binding: Object, at: datetime) -> list[Any]:
    role = binding["roleRef"]
    named = {
        kind: ", ".join(
            f"{one['namespace']}/{one['name']}" if one.get("namespace") else one["name"]
            for one in binding.get("subjects") or ()
            if one["kind"] == kind
        )
        for kind in ("User", "Group", "ServiceAccount")
    }
    return [_name(binding), f"{role['kind']}/{role['name']}", _age(binding, at), *named.values()]


def _data_count(obj: Object) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


_CELLS: dict[Kind, Callable[[Object, datetime], list[Any]]] = {
    POD: lambda obj, at: [_name(obj), *pod_cells(obj, at)],
    JOB: _job_cells,
    CRON_JOB: _cron_job_cells,
    DEPLOYMENT: _deployment_cells,
    STATEFUL_SET: lambda obj, at: [_name(obj), _ready(obj), _age(obj, at), *_containers(obj)],
    EVENT: _event_cells,
    LEASE: lambda obj, at: [_name(obj), obj.get("spec", {}).get("holderIdentity", ""), _age(obj, at)],
    CONFIG_MAP: lambda obj, at: [_name(obj), _data_count(obj), _age(obj, at)],
    SECRET: lambda obj, at: [_name(obj), obj.get("type", ""), _data_count(obj), _age(obj, at)],
    SERVICE: _service_cells,
    SERVICE_ACCOUNT: lambda obj, at: [_name(obj), _age(obj, at)],
    ROLE: lambda obj, _at: [_name(obj), metadata_of(obj).get("creationTimestamp", "")],
    CLUSTER_ROLE: lambda obj, _at: [_name(obj), metadata_of(obj).get("creationTimestamp", "")],
    ROLE_BINDING: _binding_cells,
    CLUSTER_ROLE_BINDING: _binding_cells,
    NAMESPACE: lambda obj, at: [_name(obj), obj.get("status", {}).get("phase", ""), _age(obj, at)],
    NODE: _node_cells,
}
