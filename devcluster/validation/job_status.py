"""Rules for the status that a controller writes on a Job: `ValidateJobStatusUpdate` of Kubernetes 1.37."""

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.validation.fields import check_not_negative, invalid, required

_LAST = "terminal "


def has_condition(job: Object, name: str) -> bool:
    """Return whether a condition of the Job is True."""
    conditions = job.get("status", {}).get("conditions") or ()
    return any(condition["type"] == name and condition["status"] == "True" for condition in conditions)


def is_finished(job: Object) -> bool:
    """Return whether the Job is Complete or Failed."""
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def default_job_status(job: Object) -> None:
    """Normalize a Job's status in place, as the server does: omit counts of 0, set missing times to null."""
    status = job.setdefault("status", {})
    for field in ("active", "succeeded", "failed"):
        if status.get(field) == 0:
            del status[field]
    for condition in status.get("conditions") or ():
        for field in ("lastProbeTime", "lastTransitionTime"):
            condition.setdefault(field, None)


def check_job_status(new: Object, old: Object) -> list[Cause]:
    """Check a Job's new status.

    Counts must not decrease, a finished Job must stay finished, and its conditions must be consistent.
    """
    status, before = new.get("status", {}), old.get("status", {})
    causes = [
        cause
        for field in ("active", "succeeded", "failed", "ready", "terminating")
        for cause in check_not_negative(f"status.{field}", status.get(field))
    ]
    for field in ("failed", "succeeded"):
        if status.get(field, 0) < before.get(field, 0):
            causes.append(invalid(f"status.{field}", status.get(field, 0), f"cannot decrease the {field} counter"))
    causes += [*_check_conditions(new, old), *_check_running(new, old), *_check_times(new, old)]
    if status.get("ready", 0) > max(status.get("active", 0), 0) and _changed(status, before, "ready", "active"):
        causes.append(invalid("status.ready", status["ready"], "cannot set more ready pods than active"))
    return causes


def _changed(status: Object, before: Object, *fields: str) -> bool:
    return any(status.get(field) != before.get(field) for field in fields)


def _conditions_cause(detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {detail}", "status.conditions")


def _check_conditions(new: Object, old: Object) -> list[Cause]:
    complete, failed = has_condition(new, "Complete"), has_condition(new, "Failed")
    failing, succeeding = has_condition(new, "FailureTarget"), has_condition(new, "SuccessCriteriaMet")
    completing = complete and not has_condition(old, "Complete")
    causes = [
        _conditions_cause(f"cannot disable the {kind}{name}=True condition")
        for name, kind in (("Failed", _LAST), ("Complete", _LAST), ("FailureTarget", _LAST), ("SuccessCriteriaMet", ""))
        if has_condition(old, name) and not has_condition(new, name)
    ]
    errors = {
        "cannot set Complete=True and Failed=true conditions": complete and failed,
        "cannot set Complete=True and FailureTarget=true conditions": completing and failing,
        "cannot set Failed=True condition without the FailureTarget=true condition": (
            failed and not failing and not has_condition(old, "Failed")
        ),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition": (
            completing and not succeeding
        ),
        "cannot set SuccessCriteriaMet=True and Failed=true conditions": succeeding and failed,
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions": succeeding and failing,
    }
    return causes + [_conditions_cause(error) for error, applies in errors.items() if applies]


def _check_running(new: Object, old: Object) -> list[Cause]:
    """Check that a finished Job has no pods that run or terminate."""
    status, before = new.get("status", {}), old.get("status", {})
    if not is_finished(new):
        return []
    return [
        invalid(f"status.{field}", status[field], f"{field}>0 is invalid for finished job")
        for field in ("active", "terminating")
        if status.get(field) and (not is_finished(old) or _changed(status, before, field))
    ]


def _check_times(new: Object, old: Object) -> list[Cause]:
    status, before, spec = new.get("status", {}), old.get("status", {}), new["spec"]
    started, completed = status.get("startTime"), status.get("completionTime")
    complete = has_condition(new, "Complete")
    causes: list[Cause] = []
    if completed and not complete:
        detail = "cannot set completionTime when there is no Complete=True condition"
        causes.append(invalid("status.completionTime", completed, detail))
    if complete and not completed:
        causes.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if completed and before.get("completionTime") not in (None, completed):
        causes.append(invalid("status.completionTime", completed, "field is immutable"))
    if started and completed and completed < started:
        causes.append(invalid("status.completionTime", completed, "must be equal to or after `startTime`"))
    never_ran = spec["suspend"] and spec.get("completions") == 0
    if is_finished(new) and not is_finished(old) and not started and not never_ran:
        causes.append(required("status.startTime", "startTime is required for finished job"))
    resuming = has_condition(old, "Suspended") and not has_condition(new, "Suspended")
    if before.get("startTime") not in (None, started) and not spec["suspend"] and not resuming:
        causes.append(invalid("status.startTime", started, "field is immutable for unsuspended job once set"))
    return causes
