"""Every label, annotation and name that this service reads or writes in the cluster.

Others may rely on these: changing one orphans the runs of an earlier version.
"""

from collections.abc import Iterable

from schemas.template_rules import MANAGER

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
"""On runs and their pods: who made them. https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/"""

MANAGED_BY = MANAGER
"""The value of `MANAGED_BY_LABEL`, `slimfaas-jobs`; Jobs without it are none of ours."""

DEFINITION_LABEL = "slimfaas.dev/job"
"""On runs and their pods: the name of the definition."""

QUEUED_AT_ANNOTATION = "slimfaas.dev/queued-at"
"""On runs: when the request was accepted, RFC 3339 in UTC with microseconds; orders the definition's queue."""

DEPENDS_ON_ANNOTATION = "slimfaas.dev/depends-on"
"""On runs: a JSON list of the Deployments and StatefulSets that must be ready before the run starts."""

CALL_ANNOTATION = "slimfaas.dev/call"
"""On runs: a random mark of the request that made it, by which a repeated create knows its own work."""

KEY_ANNOTATION = "slimfaas.dev/idempotency-key"
"""On runs whose request had an Idempotency-Key: a digest of it, whose beginning is the run's id."""

REQUEST_ANNOTATION = "slimfaas.dev/request"
"""On the same runs: a digest of the request, by which a repeated request is told from another one with the same key."""

REQUEST_ID_ANNOTATION = "slimfaas.dev/request-id"
"""On runs: the id of the request that made it, as in the service's log and in that request's `X-Request-Id`."""

TRACEPARENT_ANNOTATION = "slimfaas.dev/traceparent"
"""On runs whose request belonged to a trace: its place in it (https://www.w3.org/TR/trace-context/)."""

STARTED_BY_ANNOTATION = "slimfaas.dev/started-by"
"""On runs whose caller was identified as a user of the cluster: the user (`app.domain.user_names`)."""

SCHEDULE_LABEL = "slimfaas.dev/schedule"
"""On CronJobs that are schedules, and on the runs that they make: the schedule's id."""

SCHEDULE_ORIGIN_LABEL = "slimfaas.dev/schedule-origin"
"""On such CronJobs: where the schedule was asked for (`app.kube.manifests.Origin`)."""

SCHEDULE_ANNOTATION = "slimfaas.dev/schedule"
"""On such CronJobs: the schedule as JSON, as it was asked for."""

SCHEDULE_APPLIED_ANNOTATION = "slimfaas.dev/schedule-applied"
"""On such CronJobs: a digest of what the service has written, and the `Suspend` that was asked for."""

SCHEDULE_EDITED_ANNOTATION = "slimfaas.dev/schedule-edited"
"""On such CronJobs that somebody else has changed: a digest of the changed specification. It is left as it is."""

SCHEDULE_REFUSED_ANNOTATION = "slimfaas.dev/schedule-refused"
"""On such CronJobs that the leader has suspended, because the definition does not allow the schedule any more: why."""

FENCE_ANNOTATION = "slimfaas.dev/fence"
"""On runs whose admission was sent and never answered: written to make that admission, should it still be on its way,
conflict."""

PENDING_TIMEOUT_ANNOTATION = "slimfaas.dev/pending-timeout-seconds"
"""On runs that have one: how many seconds an attempt may wait for its container to start, once the run is admitted."""

QUEUE_TIMEOUT_ANNOTATION = "slimfaas.dev/queue-timeout-seconds"
"""On runs that have one: how many seconds the run may be queued."""

QUEUE_TIMED_OUT_ANNOTATION = "slimfaas.dev/queue-timed-out"
"""On runs that were queued for longer than that: why they waited, for people. The Job's deadline then ends them."""

GAVE_UP_ANNOTATION = "slimfaas.dev/gave-up"
"""On runs whose container did not start in that time: why, for people. The Job's deadline then ends it."""

NOTIFICATION_ANNOTATION = "slimfaas.dev/notification"
"""On runs of definitions that have somebody told of the end: whether that has happened (`schemas.run.Notification`)."""

TTL_ANNOTATION = "slimfaas.dev/ttl-seconds-after-finished"
"""On the same runs: their `ttlSecondsAfterFinished`, which the Job itself gets when that has happened."""

DEFAULT_TRUST_ANNOTATION = "SlimFaas/DefaultTrust"
"""On pods: whether one counts as a trusted caller. Set by us on the pods of runs of public definitions."""

UNTRUSTED = "Untrusted"
"""The value of `DEFAULT_TRUST_ANNOTATION` on pods that are not trusted callers."""

REPLICAS_MIN_ANNOTATION = "SlimFaas/ReplicasMin"
"""On Deployments and StatefulSets or on their pod templates, set by their owners: how many replicas must be ready."""

SLIMFAAS_JOB_NAME_LABEL = "slimfaas-job-name"
"""On the pods of some runs (`app.kube.manifests`): the run's Job. A SlimFaas in the namespace trusts these pods."""

SLIMFAAS_DEPENDS_ON_ANNOTATION = "SlimFaas/DependsOn"
"""On some runs (`app.kube.manifests`): the dependencies, separated by commas. A SlimFaas in the namespace starts these
functions, and keeps them from being scaled to zero, for as long as the Job exists."""

TRUSTED = "Trusted"
"""The value of `DEFAULT_TRUST_ANNOTATION` that says the same as none; any other takes the trust away."""

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
"""On pods, set by Kubernetes: the Job that they belong to."""

LEASE_NAME = "slimfaas-jobs-dispatcher"
"""The Lease by which one dispatcher at a time is elected in a namespace."""

INTENT_ANNOTATION = "slimfaas.dev/intent"
"""On that Lease: the admissions that its holder may have sent, or is about to send (app/dispatcher/intent.py)."""

HOLD_ANNOTATION = "slimfaas.dev/hold"
"""On runs, set by people: a queued run that has it is not started. Any value counts but `false`."""

LOCAL_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On the Jobs of runs that Kueue starts once they are admitted: its LocalQueue. Set by us for a definition's `Queue`,
or by Kueue where the namespace has a LocalQueue called `default`. https://kueue.sigs.k8s.io/docs/tasks/run/jobs/"""

PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
"""On the same Jobs: Kueue's WorkloadPriorityClass."""

GATE_ANNOTATION = "kueue.x-k8s.io/admission-gated-by"
"""On every run, from its creation: keeps Kueue from starting it before it is admitted. It can't be added later. The
admission removes it (`app.kube.manifests.build_admission`)."""

GATE = "slimfaas.dev/dispatcher"
"""The value of `GATE_ANNOTATION`."""

WORKLOAD_JOB_LABEL = "kueue.x-k8s.io/job-uid"
"""On Kueue's Workloads: the uid of the Job."""

COMPONENT = "slimfaas-jobs-dispatcher"
"""Who reports the Events on runs."""

RUNS_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{DEFINITION_LABEL}"
"""Selects every run in the namespace."""


SCHEDULES_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{DEFINITION_LABEL},{SCHEDULE_LABEL}"
"""Selects the CronJobs of every schedule in the namespace."""


def runs_selector(definition: str) -> str:
    """Select the runs of one definition."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{DEFINITION_LABEL}={definition}"


def pods_selector(jobs: Iterable[str]) -> str:
    """Select the pods of some Jobs; there must be at least one."""
    return f"{JOB_NAME_LABEL} in ({','.join(jobs)})"


def workloads_selector(uids: Iterable[str]) -> str:
    """Select Kueue's Workloads of some Jobs, by the Jobs' uids; there must be at least one."""
    return f"{WORKLOAD_JOB_LABEL} in ({','.join(uids)})"
