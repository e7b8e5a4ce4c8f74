"""The decisions of the Job controller: the next step for a Job, as a pure function of it, its pods and the time.

Follows `pkg/controller/job/job_controller.go` of Kubernetes 1.37; see
https://kubernetes.io/docs/concepts/workloads/controllers/job/. Each call decides one step, and each step triggers the
next: a terminated pod is first written to `status.uncountedTerminatedPods`, then loses its finalizer, then is counted.
So each pod is counted exactly once, whatever fails in between. A Job is Complete or Failed only when none of its pods
is still terminating.

Not supported: Indexed completion, success policies, adoption of pods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from devcluster.controllers.backoff import BackOff
from devcluster.controllers.conditions import find_condition, is_true
from devcluster.controllers.failures import Failures
from devcluster.controllers.pod_failure_policy import find_job_failure, is_counted
from devcluster.controllers.pods import (
    is_active,
    is_deleting,
    is_ready,
    is_terminal,
    is_tracked,
    phase,
    removal_rank,
)
from devcluster.objects import Object, clone, parse_time, to_time

_PODS_AT_ONCE = 500  # the most that one step creates, deletes or counts


@dataclass(frozen=True)
class PlannedEvent:
    """An Event to record for the Job."""

    type: str  # Normal or Warning
    reason: str
    message: str


@dataclass
class Plan:
    """One step, in this order: create and delete pods, write the status, release pods, record events."""

    status: Object
    failures: Failures
    create: int = 0
    discard: list[Object] = field(default_factory=list)  # pods to release and delete; they are not counted
    abort: list[Object] = field(default_factory=list)  # pods to delete; they count as failed
    release: list[Object] = field(default_factory=list)  # pods to remove the tracking finalizer from
    events: list[PlannedEvent] = field(default_factory=list)
    requeue_after_seconds: float | None = None  # unless a change comes first; None: wait for a change

    def requeue_within(self, seconds: float) -> None:
        """Reconcile again after `seconds` at the latest."""
        self.requeue_after_seconds = (
            seconds if self.requeue_after_seconds is None else min(seconds, self.requeue_after_seconds)
        )


@dataclass(frozen=True)
class _Outcome:
    interim: str  # the condition that is set first: SuccessCriteriaMet or FailureTarget
    reason: str
    message: str

    @property
    def final(self) -> str:
        return "Complete" if self.interim == "SuccessCriteriaMet" else "Failed"


_COMPLETIONS_REACHED = _Outcome("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
_BACKOFF_LIMIT_EXCEEDED = _Outcome(
    "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
)
_DEADLINE_EXCEEDED = _Outcome("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")


def is_finished(job: Object) -> bool:
    """Return whether the Job has a terminal condition."""
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def reconcile(job: Object, pods: Sequence[Object], failures: Failures, back_off: BackOff, now: datetime) -> Plan:
    """Decide the next step.

    Args:
        job: The Job.
        pods: The pods that it controls.
        failures: `Plan.failures` of the last step that was carried out.
        back_off: The delay before a failed pod is replaced.
        now: The current time.
    """
    if is_finished(job):
        return Plan(job["status"], failures, release=[pod for pod in pods if is_tracked(pod)])
    return _Step(job, pods, failures, back_off, now).decide()


class _Step:
    def __init__(
        self, job: Object, pods: Sequence[Object], failures: Failures, back_off: BackOff, now: datetime
    ) -> None:
        self.job, self.pods, self.back_off, self.now = job, pods, back_off, now
        self.spec: Object = job["spec"]
        self.suspended: bool = bool(self.spec.get("suspend"))
        self.status: Object = clone(job.get("status") or {})
        self.uncounted: dict[str, list[str]] = self.status.setdefault("uncountedTerminatedPods", {})
        self._count_released()
        self.active = [pod for pod in pods if is_active(pod)]
        self.terminating = sum(1 for pod in pods if not is_terminal(pod) and is_deleting(pod))
        new = [pod for pod in pods if is_tracked(pod) and not self._is_uncounted(pod)]
        new_succeeded = [pod for pod in new if phase(pod) == "Succeeded"]
        new_failed = [pod for pod in new if self._has_failed(pod)]
        self.succeeded = self._total("succeeded") + len(new_succeeded)
        self.failed = self._total("failed") + sum(1 for pod in new_failed if is_counted(self.spec, pod))
        self.plan = Plan(self.status, failures.after(new_succeeded, new_failed))

    def decide(self) -> Plan:
        if not self.status.get("startTime") and not self.suspended:
            self.status["startTime"] = to_time(self.now)
        outcome = self._earlier_outcome() or self._failure()
        if outcome:
            self.plan.abort = self.active
        elif not self.job["metadata"].get("deletionTimestamp"):
            self._manage()
            if self._is_complete():
                outcome = _COMPLETIONS_REACHED
            else:
                self._update_suspension()
        self._count(outcome)
        if outcome:
            self._conclude(outcome)
        self._set_pod_counts()
        return self.plan

    def _earlier_outcome(self) -> _Outcome | None:
        for interim in ("SuccessCriteriaMet", "FailureTarget"):
            condition = find_condition(self.status, interim)
            if condition and condition["status"] == "True":
                return _Outcome(interim, condition.get("reason", ""), condition.get("message", ""))
        return None

    def _failure(self) -> _Outcome | None:
        if message := find_job_failure(self.spec, [pod for pod in self.pods if self._has_failed(pod)]):
            return _Outcome("FailureTarget", "PodFailurePolicy", message)
        if self.failed > self.spec.get("backoffLimit", 6) or self._has_restarted_too_often():
            return _BACKOFF_LIMIT_EXCEEDED
        deadline_seconds = self.spec.get("activeDeadlineSeconds")
        if deadline_seconds is None or self.suspended:
            return None
        left = parse_time(self.status["startTime"]) + timedelta(seconds=deadline_seconds) - self.now
        if left <= timedelta(0):
            return _DEADLINE_EXCEEDED
        self.plan.requeue_within(left.total_seconds())
        return None

    def _has_restarted_too_often(self) -> bool:
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            container.get("restartCount", 0)
            for pod in self.pods
            if phase(pod) in ("Running", "Pending")
            for field in ("initContainerStatuses", "containerStatuses")
            for container in pod["status"].get(field) or ()
        )
        return bool(restarts >= max(self.spec.get("backoffLimit", 6), 1))

    def _manage(self) -> None:
        """Create or delete pods, as suspend, parallelism and completions require."""
        parallelism: int = self.spec.get("parallelism", 1)
        completions: int | None = self.spec.get("completions")
        if self.suspended:
            wanted = 0
        elif completions is not None:
            wanted = max(0, min(parallelism, completions - self.succeeded))
        else:
            wanted = len(self.active) if self.succeeded else parallelism
        surplus = len(self.active) - wanted
        if surplus > 0:
            self.plan.discard = sorted(self.active, key=removal_rank)[: min(surplus, _PODS_AT_ONCE)]
            return
        waiting_for = self.terminating if self.spec.get("podReplacementPolicy") == "Failed" else 0
        missing = -surplus - waiting_for
        if missing > 0:
            wait_seconds = self._replacement_wait_seconds()
            if wait_seconds > 0:
                self.plan.requeue_within(wait_seconds)
            else:
                self.plan.create = min(missing, _PODS_AT_ONCE)

    def _replacement_wait_seconds(self) -> float:
        failures = self.plan.failures
        if failures.latest is None:
            return 0.0
        return self.back_off.period_seconds(failures.count) - (self.now - failures.latest).total_seconds()

    def _is_complete(self) -> bool:
        if len(self.active) + self.plan.create > len(self.plan.discard):
            return False
        completions = self.spec.get("completions")
        return self.succeeded > 0 if completions is None else self.succeeded >= completions

    def _update_suspension(self) -> None:
        if self.suspended:
            if self._ensure_condition("Suspended", "True", "JobSuspended", "Job suspended"):
                self.plan.events.append(PlannedEvent("Normal", "Suspended", "Job suspended"))
                self.status.pop("startTime", None)
        elif self._ensure_condition("Suspended", "False", "JobResumed", "Job resumed"):
            self.plan.events.append(PlannedEvent("Normal", "Resumed", "Job resumed"))
            self.status["startTime"] = to_time(self.now)  # activeDeadlineSeconds counts from here

    def _count(self, outcome: _Outcome | None) -> None:
        """Record the terminated pods as uncounted, and release them."""
        is_failing = outcome is not None and outcome.final == "Failed"
        discarded = {pod["metadata"]["uid"] for pod in self.plan.discard}
        for pod in self.pods:
            if not is_tracked(pod) or pod["metadata"]["uid"] in discarded:
                continue
            has_failed = self._has_failed(pod)
            is_over = outcome is not None or bool(self.job["metadata"].get("deletionTimestamp"))
            if not (is_over or phase(pod) == "Succeeded" or has_failed):
                continue
            if len(self.plan.release) == _PODS_AT_ONCE:
                return
            self.plan.release.append(pod)
            if self._is_uncounted(pod):
                continue
            if phase(pod) == "Succeeded":
                self.uncounted.setdefault("succeeded", []).append(pod["metadata"]["uid"])
            elif (has_failed or is_failing) and is_counted(self.spec, pod):
                # The running pods of a failing Job count as failed.
                self.uncounted.setdefault("failed", []).append(pod["metadata"]["uid"])

    def _conclude(self, outcome: _Outcome) -> None:
        is_known = is_true(self.job.get("status") or {}, outcome.interim)
        self._ensure_condition(outcome.interim, "True", outcome.reason, outcome.message)
        if not is_known or self.uncounted or self.plan.release or self.terminating or self.active:
            return
        self._ensure_condition(outcome.final, "True", outcome.reason, outcome.message)
        if outcome.final == "Failed":
            self.plan.events.append(PlannedEvent("Warning", outcome.reason, outcome.message))
            return
        self.status["completionTime"] = to_time(self.now)
        if self.status.get("succeeded", 0) > self.spec.get("completions", self.succeeded):
            message = "Too many succeeded pods running after completion count reached"
            self.plan.events.append(PlannedEvent("Warning", "TooManySucceededPods", message))
        self.plan.events.append(PlannedEvent("Normal", "Completed", "Job completed"))

    def _set_pod_counts(self) -> None:
        leaving = self.plan.abort + self.plan.discard
        gone = {pod["metadata"]["uid"] for pod in leaving}
        stays = [pod for pod in self.active if pod["metadata"]["uid"] not in gone]
        self.status["active"] = len(stays) + self.plan.create
        self.status["ready"] = sum(1 for pod in stays if is_ready(pod))
        self.status["terminating"] = self.terminating + len(leaving)
        for name in ("active", "succeeded", "failed"):
            if not self.status.get(name):
                self.status.pop(name, None)

    def _count_released(self) -> None:
        """Add the uncounted pods that have lost their finalizer to the counters."""
        tracked = {pod["metadata"]["uid"] for pod in self.pods if is_tracked(pod)}
        for name in ("succeeded", "failed"):
            uids = self.uncounted.get(name) or []
            kept = [uid for uid in uids if uid in tracked]
            self.status[name] = self.status.get(name, 0) + len(uids) - len(kept)
            self.uncounted.pop(name, None)
            if kept:
                self.uncounted[name] = kept

    def _total(self, name: str) -> int:
        return int(self.status.get(name, 0)) + len(self.uncounted.get(name) or ())

    def _is_uncounted(self, pod: Object) -> bool:
        uid = pod["metadata"]["uid"]
        return any(uid in uids for uids in self.uncounted.values())

    def _has_failed(self, pod: Object) -> bool:
        if phase(pod) == "Failed":
            return True
        if self.spec.get("podReplacementPolicy") == "Failed":
            return False
        return is_deleting(pod) and phase(pod) != "Succeeded"

    def _ensure_condition(self, type_: str, status: str, reason: str, message: str) -> bool:
        """Set a condition.

        Returns:
            False when nothing changed: it was set already, or it is absent and `status` is False.
        """
        old = find_condition(self.status, type_)
        if old is None and status == "False":
            return False
        if old and (old["status"], old.get("reason"), old.get("message")) == (status, reason, message):
            return False
        moment = to_time(self.now)
        new = {"type": type_, "status": status, "lastProbeTime": moment, "lastTransitionTime": moment,
               "reason": reason, "message": message}  # fmt: skip
        conditions = self.status.setdefault("conditions", [])
        if old:
            conditions[conditions.index(old)] = new
        else:
            conditions.append(new)
        return True
