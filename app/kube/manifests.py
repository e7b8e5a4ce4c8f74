"""Builds what this service writes into the cluster from our own types. Pure: nothing here calls the API server."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.domain.names import cronjob_name, job_name
from app.domain.request_context import RequestContext
from app.kube import labels
from app.kube.idempotency import idempotency_annotations
from app.kube.parsing import read_ttl_seconds
from schemas.definition import Variable
from schemas.merge import RunSpec
from schemas.notify import DEFAULT_MAX_UNDELIVERED
from schemas.run import Notification
from schemas.run_container import DEFAULT_CONTAINER_ANNOTATION
from schemas.schedules import Schedule
from schemas.security import container_security, pod_security

Origin = Literal["configuration", "http"]
"""Where a schedule was asked for: the values of `labels.SCHEDULE_ORIGIN_LABEL`."""


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
    name = job_name(spec.definition, run_id)
    ours = [Variable(_ID_VARIABLE, run_id)]
    if path:
        ours.append(Variable("SLIMFAAS_JOB_PATH", path, literal=True))
    if query:
        ours.append(Variable("SLIMFAAS_JOB_QUERY", query, literal=True))
    ours += context.variables([variable.name for variable in spec.environments])
    template = _build_template(spec, name, ours)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            "annotations": {
                **template["metadata"]["annotations"],
                labels.QUEUED_AT_ANNOTATION: format_time(queued_at),
                labels.CALL_ANNOTATION: call,
                **(idempotency_annotations(idempotent) if idempotent else {}),
                **_context_annotations(context),
            },
        },
        "spec": template["spec"],
    }


_ID_VARIABLE = "SLIMFAAS_JOB_ID"


def build_cronjob(spec: RunSpec, schedule: Schedule, schedule_id: str, *, origin: Origin, started_by: str = "") -> Json:
    """Build the CronJob of a schedule, whose Jobs are queued runs.

    Kubernetes names the Jobs, so a run's id is the name of its Job, and the time of its creation orders the queue.

    Args:
        spec: what each run is made of: the schedule, merged into its definition.
        schedule: when the runs are made.
        schedule_id: the schedule's id.
        origin: where the schedule was asked for.
        started_by: see `RequestContext`; the runs are this user's.
    """
    name = cronjob_name(spec.definition, schedule_id)
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{labels.JOB_NAME_LABEL}']"}}
    template = _build_template(spec, name, [Variable(_ID_VARIABLE, source=source)])
    template["metadata"]["labels"][labels.SCHEDULE_LABEL] = schedule_id
    template["metadata"]["annotations"] |= _context_annotations(RequestContext(started_by=started_by))
    kept = max(DEFAULT_MAX_UNDELIVERED, spec.max_undelivered) if spec.notifies else RUNS_KEPT_WITHOUT_TTL
    if spec.ttl_seconds_after_finished is not None:
        kept = _UNLIMITED
    deadline = schedule.starting_deadline_seconds
    own_labels = {
        labels.MANAGED_BY_LABEL: labels.MANAGED_BY,
        labels.DEFINITION_LABEL: spec.definition,
        labels.SCHEDULE_LABEL: schedule_id,
        labels.SCHEDULE_ORIGIN_LABEL: origin,
    }
    body: Json = {
        "schedule": schedule.cron,
        "timeZone": schedule.time_zone,
        "concurrencyPolicy": schedule.concurrency_policy or "Allow",
        "suspend": bool(schedule.suspend),
        "successfulJobsHistoryLimit": kept,
        "failedJobsHistoryLimit": kept,
        **({} if deadline is None else {"startingDeadlineSeconds": deadline}),
        "jobTemplate": template,
    }
    pause = "unset" if schedule.suspend is None else "true" if schedule.suspend else "false"
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": name,
            "labels": own_labels,
            "annotations": {
                labels.SCHEDULE_ANNOTATION: schedule.text,
                labels.SCHEDULE_APPLIED_ANNOTATION: f"{digest_cronjob(body, own_labels, schedule.text)}/{pause}",
                **_context_annotations(RequestContext(started_by=started_by)),
            },
        },
        "spec": body,
    }


def digest_cronjob(spec: Json, *more: object) -> str:
    """Return a digest of the specification of a CronJob, except whether it is suspended, and of other values."""
    rest = {field: value for field, value in spec.items() if field != "suspend"}
    return sha256(json.dumps([rest, *more], sort_keys=True).encode()).hexdigest()[:32]


RUNS_KEPT_WITHOUT_TTL = 10
"""How many succeeded runs of a schedule are kept, and how many failed ones, if the definition sets no TTL. With
notifications they are more: the CronJob controller deletes also those whose end is not told yet."""

_UNLIMITED = 2**31 - 1
"""A history limit under which only `ttlSecondsAfterFinished` deletes runs."""


def _build_template(spec: RunSpec, name: str, ours: Sequence[Variable]) -> Json:
    """Build the part of a Job that is the same whoever makes it, as a JobTemplateSpec.

    Args:
        spec: what the run is made of.
        name: of the Job or of the CronJob.
        ours: the variables that the service sets besides the definition's name.
    """
    template = spec.template.job if spec.template else _NO_TEMPLATE
    own_labels = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: spec.definition}
    metadata = template.get("metadata") or {}
    job: dict[str, Any] = {
        **template["spec"],
        "suspend": True,
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": spec.backoff_limit,
        "template": {
            "metadata": _pod_metadata(spec, name, template["spec"]["template"].get("metadata") or {}, own_labels),
            "spec": _pod(spec, _container(spec, ours)),
        },
    }
    if spec.timeout_seconds is not None:
        job["activeDeadlineSeconds"] = spec.timeout_seconds
    if spec.notifies:
        job.pop("ttlSecondsAfterFinished", None)  # nothing deletes the run before its end has been told
    elif spec.ttl_seconds_after_finished is not None:
        job["ttlSecondsAfterFinished"] = spec.ttl_seconds_after_finished
    if _takes_failure_policy(job, spec):
        job["podFailurePolicy"] = _IGNORE_DISRUPTIONS
    return {
        "metadata": {
            "labels": {**(metadata.get("labels") or {}), **own_labels, **_kueue_labels(spec)},
            "annotations": {
                **(metadata.get("annotations") or {}),
                labels.GATE_ANNOTATION: labels.GATE,  # Kueue may take a run without a Queue, too
                labels.DEPENDS_ON_ANNOTATION: json.dumps(spec.depends_on),
                **_annotations_for_slimfaas(spec),
                **_timeouts(spec),
                **_notification(spec),
            },
        },
        "spec": job,
    }


def _kueue_labels(spec: RunSpec) -> dict[str, str]:
    values = {labels.LOCAL_QUEUE_LABEL: spec.queue, labels.PRIORITY_LABEL: spec.priority}
    return {label: value for label, value in values.items() if value is not None}


_IGNORE_DISRUPTIONS: Json = {
    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
}
"""Pods that Kubernetes ended, because of a drained node or a preemption, use up no retry:
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy"""


def _takes_failure_policy(job: Json, spec: RunSpec) -> bool:
    """Return whether a run gets the default policy: it has none, and says nothing that the API server excludes then."""
    return (
        "podFailurePolicy" not in job
        and spec.restart_policy == "Never"
        and job.get("podReplacementPolicy", "Failed") == "Failed"
    )


def _is_told_to_slimfaas(spec: RunSpec) -> bool:
    """Return whether a SlimFaas in the namespace may take the run for one of its own.

    SlimFaas looks at all Jobs that exist, finished ones included. A run that is kept would keep its dependencies from
    being scaled to zero, and the address of its pod trusted, after another pod has got it.
    Source: https://github.com/SlimPlanet/SlimFaas, SlimJobsWorker.cs and FunctionEndpointsHelpers.cs of 0.81.
    """
    return spec.ttl_seconds_after_finished is not None


def _annotations_for_slimfaas(spec: RunSpec) -> dict[str, str]:
    if not spec.depends_on or not _is_told_to_slimfaas(spec):
        return {}
    return {labels.SLIMFAAS_DEPENDS_ON_ANNOTATION: ",".join(spec.depends_on)}


def _context_annotations(context: RequestContext) -> dict[str, str]:
    found = {labels.REQUEST_ID_ANNOTATION: context.request_id} if context.request_id else {}
    found |= {labels.STARTED_BY_ANNOTATION: context.started_by} if context.started_by else {}
    return found | ({labels.TRACEPARENT_ANNOTATION: context.trace.traceparent} if context.trace else {})


def _timeouts(spec: RunSpec) -> Json:
    timeouts = {
        labels.PENDING_TIMEOUT_ANNOTATION: spec.pending_timeout_seconds,
        labels.QUEUE_TIMEOUT_ANNOTATION: spec.queue_timeout_seconds,
    }
    return {annotation: str(seconds) for annotation, seconds in timeouts.items() if seconds is not None}


def _notification(spec: RunSpec) -> Json:
    if not spec.notifies:
        return {}
    ttl_seconds = spec.ttl_seconds_after_finished
    kept = {} if ttl_seconds is None else {labels.TTL_ANNOTATION: str(ttl_seconds)}
    return {labels.NOTIFICATION_ANNOTATION: Notification.UNDELIVERED.value, **kept}


_NO_TEMPLATE: Mapping[str, Any] = {"spec": {"template": {}}}


def _pod_metadata(spec: RunSpec, job: str, metadata: Json, own_labels: Json) -> Json:
    """Build the pod's metadata.

    The pod says which container is the run's own: webhooks may add others, and some of them set that annotation where
    it is missing. A pod of the namespace is a trusted caller, unless anybody may set its arguments. SlimFaas ignores
    that annotation on the pods of Jobs, so only private definitions' pods get its label.
    """
    container = spec.template.container["name"] if spec.template else spec.definition
    annotations = {**(metadata.get("annotations") or {}), DEFAULT_CONTAINER_ANNOTATION: container}
    if spec.visibility == "Public":
        annotations[labels.DEFAULT_TRUST_ANNOTATION] = labels.UNTRUSTED
    elif _is_told_to_slimfaas(spec):
        own_labels = {**own_labels, labels.SLIMFAAS_JOB_NAME_LABEL: job}
    return {"labels": {**(metadata.get("labels") or {}), **own_labels}, "annotations": annotations}


def _pod(spec: RunSpec, container: Json) -> Json:
    if (template := spec.template) is not None:
        containers = [*template.pod["containers"]]
        containers[template.index] = container
        return {**template.pod, "restartPolicy": spec.restart_policy, "containers": containers}
    pod: Json = {
        "restartPolicy": spec.restart_policy,
        "automountServiceAccountToken": spec.service_account_name is not None,
        # The variables that Kubernetes would make of every Service of the namespace could be named SLIMFAAS_JOB_*,
        # and with some thousand Services no program can be started: the environment and the arguments have one bound.
        "enableServiceLinks": False,
        "securityContext": pod_security(spec.security_context),
        "containers": [container],
    }
    if spec.service_account_name is not None:
        pod["serviceAccountName"] = spec.service_account_name
    return pod


def _container(spec: RunSpec, ours: Sequence[Variable]) -> Json:
    container = _container_start(spec)
    container["image"] = spec.image
    # Ours come first, so that a definition's own values can refer to them as $(SLIMFAAS_JOB_ID).
    name = Variable("SLIMFAAS_JOB_NAME", spec.definition)
    container["env"] = [_variable(variable) for variable in (name, *ours, *spec.environments)]
    if spec.command is not None:
        container["command"] = list(spec.command)
    if spec.args is not None:
        container["args"] = [escape(arg) if spec.literal_args else arg for arg in spec.args]
    amounts = {"requests": dict(spec.requests), "limits": dict(spec.limits)}
    if resources := {part: values for part, values in amounts.items() if values}:
        container["resources"] = {**container.get("resources", {}), **resources}
    return container


def _container_start(spec: RunSpec) -> Json:
    """Build the part of the run's container that is the same for all runs."""
    if spec.template is not None:
        return dict(spec.template.container)
    return {
        "name": spec.definition,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security(spec.security_context),
    }


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


def build_admission(resource_version: int, *, gates_left: str | None = None) -> Json:
    """Build the merge patch that admits a run, provided that its resourceVersion is still this one.

    Args:
        resource_version: in which the run is queued.
        gates_left: `None`: Kubernetes runs it: `suspend: false`. The gate stays, because it can't be added again if the
            run is given to Kueue later. Otherwise Kueue runs it: our gate is removed, these of other controllers stay,
            and `suspend` stays true, because Kueue would stop a Job that somebody else has started.
    """
    metadata: Json = {"resourceVersion": str(resource_version)}
    if gates_left is None:
        return {"metadata": metadata, "spec": {"suspend": False}}
    return {"metadata": {**metadata, "annotations": {labels.GATE_ANNOTATION: gates_left or None}}}


def build_fence(resource_version: int, mark: str) -> Json:
    """Build the merge patch that changes only the resourceVersion, so that an admission still on its way conflicts."""
    return {"metadata": {"resourceVersion": str(resource_version), "annotations": {labels.FENCE_ANNOTATION: mark}}}


def build_start_timeout(resource_version: int, why: str) -> Json:
    """Build the merge patch that ends a run whose container does not start, provided that nothing has changed.

    Its deadline is over at once: the Job controller deletes its pods, and only then is it `Failed` and its slot free.

    Args:
        resource_version: of the run that was judged.
        why: for people; at most 1,024 characters are kept.
    """
    return _build_end(resource_version, labels.GAVE_UP_ANNOTATION, why)


def build_queue_timeout(resource_version: int, why: str) -> Json:
    """Build the merge patch that ends a queued run without a pod, provided that nothing has changed.

    The Job controller looks at deadlines only of Jobs that are not suspended. `parallelism: 0` makes no pod of it.

    Args:
        resource_version: in which the run is queued.
        why: for people; at most 1,024 characters are kept.
    """
    return _build_end(resource_version, labels.QUEUE_TIMED_OUT_ANNOTATION, why, suspend=False, parallelism=0)


def _build_end(resource_version: int, annotation: str, why: str, **spec: Any) -> Json:
    """Build a merge patch after which the Job controller ends the run."""
    return {
        "metadata": {"resourceVersion": str(resource_version), "annotations": {annotation: why[:1024]}},
        "spec": {**spec, "activeDeadlineSeconds": 1},
    }


def build_notification(job: Json, state: Notification) -> Json:
    """Build the merge patch that ends the notification of a finished run, provided that the run has not changed.

    The run then gets the TTL that its notification has kept from it, unless somebody has given it one.

    Args:
        job: the run's.
        state: how the notification has ended.
    """
    ttl_seconds = read_ttl_seconds(job)
    metadata = {
        "resourceVersion": job["metadata"]["resourceVersion"],
        "annotations": {labels.NOTIFICATION_ANNOTATION: state.value},
    }
    return {"metadata": metadata} | ({} if ttl_seconds is None else {"spec": {"ttlSecondsAfterFinished": ttl_seconds}})


def build_event(
    *,
    name: str,
    namespace: str,
    about: str,
    uid: str,
    reason: str,
    message: str,
    kind: str,
    at: datetime,
    reporter: str,
    about_kind: Literal["Job", "CronJob"] = "Job",
) -> Json:
    """Build a core/v1 Event about a run or a CronJob.

    Args:
        name: of the Event itself.
        namespace: of the object.
        about: the object's name.
        uid: the object's uid.
        reason: CamelCase.
        message: for people; at most 1,024 characters are kept.
        kind: `Normal` or `Warning`.
        at: when, aware of its time zone.
        reporter: which instance of the dispatcher.
        about_kind: the object's kind.
    """
    second = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": "batch/v1",
            "kind": about_kind,
            "name": about,
            "namespace": namespace,
            "uid": uid,
        },
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
