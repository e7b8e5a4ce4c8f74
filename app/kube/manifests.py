"""Builds what this service writes into the cluster from our own types. Pure: nothing here calls the API server."""

import json
from datetime import UTC, datetime
from typing import Any

from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.domain.names import job_name
from app.domain.request_context import RequestContext
from app.kube import labels
from app.kube.idempotency import idempotency_annotations
from schemas.definition import Variable
from schemas.merge import RunSpec
from schemas.security import SecurityContext


def format_time(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with microseconds (Kubernetes' MicroTime). Such texts sort by time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def build_job(
    spec: RunSpec,
    run_id: str,
    *,
    queued_at: datetime,
    call: str,
    path: str = "",
    query: str = "",
    idempotent: IdempotentRequest | None = None,
    context: RequestContext | None = None,
) -> Json:
    """Build the Job of a run. It is suspended: the run is queued once the Job is stored.

    Args:
        spec: what the run is made of.
        run_id: its id.
        queued_at: when the call was accepted, aware of its time zone.
        call: a mark that no other call has.
        path: the part of the call's path after the definition's name, decoded; empty: none.
        query: the call's raw query string; empty: none.
        idempotent: of the call's Idempotency-Key; `None`: it had none.
        context: where the call comes from; `None`: nobody knows.
    """
    context = context or RequestContext()
    own_labels = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: spec.definition}
    job: dict[str, Any] = {
        "suspend": True,
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": spec.backoff_limit,
        "template": {
            "metadata": _pod_metadata(spec, own_labels),
            "spec": _pod(spec, _container(spec, run_id, path, query, context)),
        },
    }
    if spec.timeout_seconds is not None:
        job["activeDeadlineSeconds"] = spec.timeout_seconds
    if spec.ttl_seconds_after_finished is not None:
        job["ttlSecondsAfterFinished"] = spec.ttl_seconds_after_finished
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(spec.definition, run_id),
            "labels": own_labels,
            "annotations": {
                labels.QUEUED_AT_ANNOTATION: format_time(queued_at),
                labels.DEPENDS_ON_ANNOTATION: json.dumps(spec.depends_on),
                labels.CALL_ANNOTATION: call,
                **(idempotency_annotations(idempotent) if idempotent else {}),
                **_pending_timeout(spec),
                **_context_annotations(context),
            },
        },
        "spec": job,
    }


def _context_annotations(context: RequestContext) -> dict[str, str]:
    found = {labels.REQUEST_ID_ANNOTATION: context.request_id} if context.request_id else {}
    return found | ({labels.TRACEPARENT_ANNOTATION: context.trace.traceparent} if context.trace else {})


def _pending_timeout(spec: RunSpec) -> Json:
    seconds = spec.pending_timeout_seconds
    return {} if seconds is None else {labels.PENDING_TIMEOUT_ANNOTATION: str(seconds)}


def _pod_metadata(spec: RunSpec, own_labels: Json) -> Json:
    """Build the pod's metadata. A pod of the namespace is a trusted caller, unless anybody may set its arguments."""
    if spec.visibility == "Public":
        return {"labels": own_labels, "annotations": {labels.DEFAULT_TRUST_ANNOTATION: labels.UNTRUSTED}}
    return {"labels": own_labels}


def _pod(spec: RunSpec, container: Json) -> Json:
    pod: Json = {
        "restartPolicy": spec.restart_policy,
        "automountServiceAccountToken": spec.service_account_name is not None,
        # The variables that Kubernetes would make of every Service of the namespace could be named SLIMFAAS_*, and
        # with some thousand Services no program can be started: the environment and the arguments have one bound.
        "enableServiceLinks": False,
        "securityContext": _pod_security(spec.security_context),
        "containers": [container],
    }
    if spec.service_account_name is not None:
        pod["serviceAccountName"] = spec.service_account_name
    return pod


def _pod_security(context: SecurityContext) -> Json:
    """Build the security context of the pod, which also holds for containers that webhooks add.

    A namespace that enforces "restricted" otherwise refuses `kubectl debug` and the sidecars of a service mesh.
    """
    profile = {"type": context.seccomp_profile.type, "localhostProfile": context.seccomp_profile.localhost_profile}
    given = {
        "runAsUser": context.run_as_user,
        "runAsGroup": context.run_as_group,
        "runAsNonRoot": context.run_as_non_root,
        "fsGroup": context.fs_group,
        "supplementalGroups": list(context.supplemental_groups) or None,
        "seccompProfile": _without_none(profile),
    }
    return _without_none(given)


def _container_security(context: SecurityContext) -> Json:
    capabilities = {"add": list(context.added_capabilities), "drop": list(context.dropped_capabilities)}
    given = {
        "allowPrivilegeEscalation": context.allow_privilege_escalation,
        "readOnlyRootFilesystem": context.read_only_root_filesystem,
        "capabilities": {part: names for part, names in capabilities.items() if names} or None,
    }
    return _without_none(given)


def _without_none(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if value is not None}


def _container(spec: RunSpec, run_id: str, path: str, query: str, context: RequestContext) -> Json:
    ours = [Variable("SLIMFAAS_JOB_NAME", spec.definition), Variable("SLIMFAAS_JOB_ID", run_id)]
    if path:
        ours.append(Variable("SLIMFAAS_JOB_PATH", path, literal=True))
    if query:
        ours.append(Variable("SLIMFAAS_JOB_QUERY", query, literal=True))
    ours += context.variables([variable.name for variable in spec.environments])
    container: Json = {
        "name": spec.definition,
        "image": spec.image,
        # Ours come first, so that a definition's own values can refer to them as $(SLIMFAAS_JOB_ID).
        "env": [_variable(variable) for variable in (*ours, *spec.environments)],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _container_security(spec.security_context),
    }
    if spec.command is not None:
        container["command"] = list(spec.command)
    if spec.args is not None:
        container["args"] = [escape(arg) if spec.literal_args else arg for arg in spec.args]
    amounts = {"requests": dict(spec.requests), "limits": dict(spec.limits)}
    if resources := {part: values for part, values in amounts.items() if values}:
        container["resources"] = resources
    return container


def _variable(variable: Variable) -> Json:
    if variable.source is not None:
        return {"name": variable.name, "valueFrom": dict(variable.source)}
    value = variable.value or ""
    return {"name": variable.name, "value": escape(value) if variable.literal else value}


def escape(text: str) -> str:
    """Write a text so that the kubelet's expansion of `$(NAME)` gives it back unchanged.

    Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return text.replace("$", "$$")


def unescape(text: str) -> str:
    """Undo `escape`. In a text that was not escaped, references `$(NAME)` stay as they are."""
    return text.replace("$$", "$")


def build_admission(resource_version: int) -> Json:
    """Build the merge patch that admits a run, provided that its resourceVersion is still this one."""
    return {"metadata": {"resourceVersion": str(resource_version)}, "spec": {"suspend": False}}


def build_fence(resource_version: int, mark: str) -> Json:
    """Build the merge patch that changes only the resourceVersion, so that an admission still on its way conflicts."""
    return {"metadata": {"resourceVersion": str(resource_version), "annotations": {labels.FENCE_ANNOTATION: mark}}}


def build_giving_up(resource_version: int, why: str) -> Json:
    """Build the merge patch that ends a run whose container does not start, provided that nothing has changed.

    Its deadline is over at once: the Job controller deletes its pods, and only then is it `Failed` and its slot free.

    Args:
        resource_version: of the run that was judged.
        why: for people; at most 1,024 characters are kept.
    """
    return {
        "metadata": {
            "resourceVersion": str(resource_version),
            "annotations": {labels.GAVE_UP_ANNOTATION: why[:1024]},
        },
        "spec": {"activeDeadlineSeconds": 1},
    }


def build_event(
    *, name: str, namespace: str, job: str, uid: str, reason: str, message: str, kind: str, at: datetime, reporter: str
) -> Json:
    """Build a core/v1 Event about a run.

    Args:
        name: of the Event itself.
        namespace: of the run.
        job: the run's name.
        uid: the run's uid.
        reason: CamelCase.
        message: for people; at most 1,024 characters are kept.
        kind: `Normal` or `Warning`.
        at: when, aware of its time zone.
        reporter: which instance of the dispatcher.
    """
    second = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": "batch/v1", "kind": "Job", "name": job, "namespace": namespace, "uid": uid},
        "reason": reason,
        "message": message[:1024],
        "type": kind,
        "count": 1,
        "firstTimestamp": second,
        "lastTimestamp": second,
        "source": {"component": labels.COMPONENT},
        "reportingComponent": labels.COMPONENT,
        "reportingInstance": reporter[:128],
    }
