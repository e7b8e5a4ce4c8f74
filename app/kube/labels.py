"""Every label, annotation and name that this service reads or writes in the cluster.

Others may rely on these: changing one orphans the runs of an earlier version.
"""

from collections.abc import Iterable

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
"""On runs and their pods: who made them. https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/"""

MANAGED_BY = "slimfaas-jobs"
"""The value of `MANAGED_BY_LABEL`; Jobs without it are none of ours."""

DEFINITION_LABEL = "slimfaas.dev/job"
"""On runs and their pods: the name of the definition."""

QUEUED_AT_ANNOTATION = "slimfaas.dev/queued-at"
"""On runs: when the call was accepted, RFC 3339 in UTC with microseconds; what a definition's queue is ordered by."""

DEPENDS_ON_ANNOTATION = "slimfaas.dev/depends-on"
"""On runs: a JSON list of the Deployments and StatefulSets that must be ready before the run starts."""

CALL_ANNOTATION = "slimfaas.dev/call"
"""On runs: a random mark of the call that made it, by which a repeated create knows its own work."""

KEY_ANNOTATION = "slimfaas.dev/idempotency-key"
"""On runs whose call had an Idempotency-Key: a digest of it, whose beginning is the run's id."""

REQUEST_ANNOTATION = "slimfaas.dev/request"
"""On the same runs: a digest of the request, by which a repeated call is told from another one with the same key."""

REQUEST_ID_ANNOTATION = "slimfaas.dev/request-id"
"""On runs: the id of the call that made it, as in the service's log and in that call's `X-Request-Id`."""

TRACEPARENT_ANNOTATION = "slimfaas.dev/traceparent"
"""On runs whose call belonged to a trace: its place in it (https://www.w3.org/TR/trace-context/)."""

FENCE_ANNOTATION = "slimfaas.dev/fence"
"""On runs whose admission was sent and never answered: written to make that admission, should it still be on its way,
conflict."""

PENDING_TIMEOUT_ANNOTATION = "slimfaas.dev/pending-timeout-seconds"
"""On runs that have one: how many seconds an attempt may wait for its container to start, once the run is admitted."""

GAVE_UP_ANNOTATION = "slimfaas.dev/gave-up"
"""On runs whose container did not start in that time: why, for people. The Job's deadline then ends it."""

DEFAULT_TRUST_ANNOTATION = "SlimFaas/DefaultTrust"
"""On pods: whether one counts as a trusted caller. Set by us on the pods of runs of public definitions."""

UNTRUSTED = "Untrusted"
"""The value of `DEFAULT_TRUST_ANNOTATION` on pods that are not trusted callers."""

REPLICAS_MIN_ANNOTATION = "SlimFaas/ReplicasMin"
"""On Deployments and StatefulSets, set by their owners: how many replicas must be ready."""

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

COMPONENT = "slimfaas-jobs-dispatcher"
"""Who reports the Events on runs."""

RUNS_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{DEFINITION_LABEL}"
"""Selects every run in the namespace."""


def runs_selector(definition: str) -> str:
    """Select the runs of one definition."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{DEFINITION_LABEL}={definition}"


def pods_selector(jobs: Iterable[str]) -> str:
    """Select the pods of some Jobs; there must be at least one."""
    return f"{JOB_NAME_LABEL} in ({','.join(jobs)})"
