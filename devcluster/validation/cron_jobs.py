"""Rules and defaults for CronJobs: `k8s.io/kubernetes/pkg/apis/batch` and its registry strategy in Kubernetes 1.37.

See https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""

from devcluster.errors import Cause
from devcluster.objects import Object, metadata_of
from devcluster.validation.fields import check_not_negative, invalid, not_supported, required
from devcluster.validation.jobs import check_job_template
from devcluster.validation.podspecs import default_template
from schemas.cron import NotACronExpressionError, parse_cron
from schemas.time_zones import find_time_zone

_POLICIES = ("Allow", "Forbid", "Replace")
_MAX_NAME_LENGTH = 52
"""Jobs are named `<name>-<minutes since the epoch>`, with 11 characters after the name, of 63 at most."""


def default_cron_job(cron_job: Object) -> None:
    """Fill in a CronJob's defaults, in place. The defaults of its Jobs are filled in when a Job is created."""
    spec = cron_job.setdefault("spec", {})
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    pod_template = template.setdefault("spec", {}).setdefault("template", {})
    for part in (template, pod_template):
        part.setdefault("metadata", {})
    default_template(pod_template)
    spec.setdefault("schedule", "")


def check_cron_job(cron_job: Object) -> list[Cause]:
    """Check a new CronJob, with its defaults filled in."""
    name = metadata_of(cron_job).get("name", "")
    causes = _check_spec(cron_job["spec"], {})
    if len(name) > _MAX_NAME_LENGTH:
        causes.append(invalid("metadata.name", name, f"must be no more than {_MAX_NAME_LENGTH} characters"))
    return causes


def check_cron_job_update(new: Object, old: Object) -> list[Cause]:
    """Check a CronJob's new spec against the stored one."""
    return _check_spec(new["spec"], old["spec"])


def _check_spec(spec: Object, old: Object) -> list[Cause]:
    schedule, policy = spec["schedule"], spec["concurrencyPolicy"]
    causes = _check_schedule(schedule) if schedule else [required("spec.schedule")]
    causes += check_not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    if spec.get("timeZone") != old.get("timeZone"):
        causes += _check_time_zone(spec.get("timeZone"))
    if policy not in _POLICIES:
        causes.append(not_supported("spec.concurrencyPolicy", policy, _POLICIES))
    causes += check_job_template(spec["jobTemplate"], "spec.jobTemplate")
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        causes += check_not_negative(f"spec.{field}", spec[field])
    return causes


def _check_schedule(schedule: str) -> list[Cause]:
    if "TZ" in schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid("spec.schedule", schedule, detail)]
    try:
        parse_cron(schedule)
    except NotACronExpressionError as error:
        return [invalid("spec.schedule", schedule, str(error))]
    return []


def _check_time_zone(name: str | None) -> list[Cause]:
    if name is None:
        return []
    if not name:
        return [invalid("spec.timeZone", name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid("spec.timeZone", name, detail)]
    return [] if find_time_zone(name) else [invalid("spec.timeZone", name, f"unknown time zone {name}")]
