"""CronJobs that an API server stores, completes, changes or refuses."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import cron_job
from tests.parity.sides import STRATEGIC
from tests.parity.steps import (
    CRON_JOBS,
    Step,
    call,
    create,
    delete,
    delete_all,
    get,
    get_list,
    patch,
    put,
    replace,
    watch,
)

pytestmark = COMPARES

JOB_SPEC = "spec.jobTemplate.spec"
POD_SPEC = f"{JOB_SPEC}.template.spec"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OLD = "2001-01-01T00:00:00Z"

EXPRESSIONS = (
    "@hourly", "@every 90m", "@midnight", "@reboot", "* * * * ?", "0 0 * JAN mon-FRI", "*/5 1-3,7 * * *",
    "1/20 * * * *",
    "0 0 * * 7", "60 * * * *", "* * * *", "* * * * * *", "0 0 L * *", "-1 * * * *", "5-1 * * * *", "*/0 * * * *",
    "1-2-3 * * * *", "1/2/3 * * * *", "x * * * *", ", * * * *", "59 23 31 2 *", "TZ=UTC 0 0 * * *", "@every x",
    "@every 0", "  0 0 * * *  ", "99999999999999999999 * * * *",
)  # fmt: skip
ZONES = (
    "Europe/Paris", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "europe/paris", "Local", "local", "", "/UTC",
    "../UTC", "Europe", "Nowhere/City", "UTC+1", "Europe/Paris ", "-x", "a" * 20,
)  # fmt: skip
CHANGES: dict[str, list[tuple[str, Any]]] = {
    "as it is": [],
    "no spec": [("spec", {})],
    "no schedule": [("spec.schedule", ...)],
    "a schedule that is a number": [("spec.schedule", 5)],
    "no jobTemplate": [("spec.jobTemplate", ...)],
    "a policy": [("spec.concurrencyPolicy", "Forbid")],
    "an unknown policy": [("spec.concurrencyPolicy", "Sometimes")],
    "an empty policy": [("spec.concurrencyPolicy", "")],
    "a deadline": [("spec.startingDeadlineSeconds", 10)],
    "a negative deadline": [("spec.startingDeadlineSeconds", -1)],
    "a deadline beyond int32": [("spec.startingDeadlineSeconds", 2**31)],
    "history limits": [("spec.successfulJobsHistoryLimit", 0), ("spec.failedJobsHistoryLimit", 7)],
    "negative history limits": [("spec.successfulJobsHistoryLimit", -1), ("spec.failedJobsHistoryLimit", -1)],
    "not suspended": [("spec.suspend", ...), ("spec.schedule", "0 0 1 1 *")],
    "a name of 52 characters": [("metadata.name", "a" * 52)],
    "a name of 53 characters": [("metadata.name", "a" * 53)],
    "a name with a dot": [("metadata.name", "$NAME.x")],
    "a name with an underscore": [("metadata.name", "a_b")],
    "a generateName": [("metadata", {"generateName": "$NAME-"})],
    "a status": [("status", {"lastScheduleTime": OLD})],
    "metadata of the template": [("spec.jobTemplate.metadata", {"labels": {"a": "b"}, "annotations": {"c": "d"}})],
    "a selector": [(f"{JOB_SPEC}.selector", {"matchLabels": {"a": "b"}})],
    "a manual selector": [(f"{JOB_SPEC}.manualSelector", True)],
    "a manual selector, turned off": [(f"{JOB_SPEC}.manualSelector", False)],
    "a Job's fields": [(f"{JOB_SPEC}.suspend", True), (f"{JOB_SPEC}.backoffLimit", 1), (f"{JOB_SPEC}.completions", 1),
                       (f"{JOB_SPEC}.parallelism", 1), (f"{JOB_SPEC}.ttlSecondsAfterFinished", 5)],
    "negative Job's fields": [(f"{JOB_SPEC}.backoffLimit", -1), (f"{JOB_SPEC}.ttlSecondsAfterFinished", -1)],
    "an unknown completionMode": [(f"{JOB_SPEC}.completionMode", "Sometimes")],
    "Indexed without completions": [(f"{JOB_SPEC}.completionMode", "Indexed")],
    "a managedBy without a domain": [(f"{JOB_SPEC}.managedBy", "foo")],
    "restartPolicy Always": [(f"{POD_SPEC}.restartPolicy", "Always")],
    "no restartPolicy": [(f"{POD_SPEC}.restartPolicy", ...)],
    "no containers": [(f"{POD_SPEC}.containers", [])],
    "a container without a name": [(f"{POD_SPEC}.containers.0.name", ...)],
    "unknown fields": [("spec.foo", 1), (f"{JOB_SPEC}.bar", 2)],
    **{f"the schedule {text!r}": [("spec.schedule", text)] for text in EXPRESSIONS},
    **{f"the time zone {text!r}": [("spec.timeZone", text)] for text in ZONES},
}  # fmt: skip


def after(*steps: Step) -> list[Step]:
    return [create(CRON_JOBS, cron_job(("metadata.labels", {"case": "$NAME"}))), *steps]


def merge(**spec: Any) -> Step:
    return patch(CRON_JOBS, {"spec": spec})


STORIES: dict[str, list[Step]] = {
    "read": after(get(CRON_JOBS), get(CRON_JOBS, "other"), get(CRON_JOBS, "$NAME/status")),
    "listed": after(get_list(CRON_JOBS, labelSelector="case=$NAME"),
                    get_list(CRON_JOBS, fieldSelector="spec.suspend=true"),
                    get_list(CRON_JOBS, fieldSelector="metadata.name=$NAME")),
    "as a table": after(get(CRON_JOBS, accept=TABLE), merge(timeZone="Europe/Paris", suspend=True),
                        get(CRON_JOBS, accept=TABLE)),
    "created twice": after(create(CRON_JOBS, cron_job())),
    "a dry run": [create(CRON_JOBS, cron_job(), dryRun="All"), get(CRON_JOBS)],
    "watched": [watch(CRON_JOBS, {"fieldSelector": "metadata.name=$NAME"}, *after(merge(schedule="1 0 * * *")),
                      delete(CRON_JOBS), end=("DELETED", "$NAME"))],
    "another schedule": after(merge(schedule="@daily"), get(CRON_JOBS)),
    "a bad schedule": after(merge(schedule="x"), get(CRON_JOBS)),
    "a time zone and none": after(merge(timeZone="UTC"), merge(timeZone=None), merge(timeZone="x")),
    "a schedule with a time zone": after(merge(schedule="TZ=UTC 0 0 * * *")),
    "the same": after(merge(suspend=True), get(CRON_JOBS)),
    "defaults removed": after(merge(suspend=None, concurrencyPolicy=None, successfulJobsHistoryLimit=None,
                                    failedJobsHistoryLimit=None)),
    "another template": after(patch(CRON_JOBS, {"spec": {"jobTemplate": {"spec": {"backoffLimit": 2, "template": {
        "spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}}}}}, STRATEGIC)),
    "an old version": after(patch(CRON_JOBS, {"metadata": {"resourceVersion": "1"}})),
    "replaced": after(replace(CRON_JOBS, ("spec.schedule", "@weekly"), ("status", {"lastScheduleTime": OLD}))),
    "replaced without a version": after(put(CRON_JOBS, cron_job(("spec.schedule", "@weekly")))),
    "put without an existing object": [put(CRON_JOBS, cron_job())],
    "a status": after(patch(CRON_JOBS, {"status": {"lastScheduleTime": OLD, "lastSuccessfulTime": OLD, "active": [
        {"kind": "Job", "name": "x", "apiVersion": "batch/v1"}]}, "spec": {"suspend": False}}, name="$NAME/status"),
        patch(CRON_JOBS, {"status": {"active": None}}, name="$NAME/status"), get(CRON_JOBS)),
    "a status by a patch of the object": after(patch(CRON_JOBS, {"status": {"lastScheduleTime": OLD}})),
    "a status put": after(replace(CRON_JOBS, ("status", {"lastScheduleTime": OLD}), at="$NAME/status")),
    "deleted": after(delete(CRON_JOBS), get(CRON_JOBS), delete(CRON_JOBS)),
    "deleted in the foreground": after(delete(CRON_JOBS, {"propagationPolicy": "Foreground"}, dryRun="All")),
    "a collection deleted": after(delete_all(CRON_JOBS, labelSelector="case=$NAME"), get(CRON_JOBS)),
    "scaled": after(get(CRON_JOBS, "$NAME/scale")),
    "the former version": [call("GET", "/apis/batch/v1beta1/namespaces/$NS/cronjobs")],
}  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_new_cron_job__is_stored_or_refused_alike(compare: Compare, changes: list[tuple[str, Any]]) -> None:
    compare(create(CRON_JOBS, cron_job(*changes)))


@pytest.mark.parametrize("steps", STORIES.values(), ids=STORIES.keys())
def test_cron_job__gets_the_same_responses(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)
