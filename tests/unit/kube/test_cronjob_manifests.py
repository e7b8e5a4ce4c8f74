"""The CronJob of a schedule, whole."""

from typing import Any

import pytest

from app.domain.names import schedule_ids
from app.kube.manifests import RUNS_KEPT_WITHOUT_TTL, build_cronjob, build_job
from schemas.definition import Definition, Variable
from schemas.merge import merge
from schemas.notify import DEFAULT_MAX_UNDELIVERED, Notify
from schemas.schedules import load_schedule
from tests.unit.kube.test_manifests import MOMENT

LABELS = {"app.kubernetes.io/managed-by": "slimfaas-jobs", "slimfaas.dev/job": "report"}


def cronjob_of(definition: Definition, entry: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The CronJob of a schedule of a definition."""
    schedule, faults = load_schedule(entry)
    assert faults == []
    spec = merge(definition, schedule.request)
    return build_cronjob(spec, schedule, "abcdefgh", **{"origin": "configuration", **options})


def test_build_cronjob__of_a_minimal_schedule() -> None:
    cronjob = cronjob_of(Definition("report", "team/app:1"), {"Schedule": "0 0 * * *", "Args": ["$HOME"]})
    applied = cronjob["metadata"]["annotations"].pop("slimfaas.dev/schedule-applied")
    assert applied == f"{applied[:32]}/unset"
    template = cronjob["spec"].pop("jobTemplate")
    assert cronjob == {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": "report-abcdefgh",
            "labels": {
                **LABELS,
                "slimfaas.dev/schedule": "abcdefgh",
                "slimfaas.dev/schedule-origin": "configuration",
            },
            "annotations": {"slimfaas.dev/schedule": '{"Args":["$HOME"],"Schedule":"0 0 * * *"}'},
        },
        "spec": {
            "schedule": "0 0 * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": RUNS_KEPT_WITHOUT_TTL,
            "failedJobsHistoryLimit": RUNS_KEPT_WITHOUT_TTL,
        },
    }
    assert template["metadata"] == {
        "labels": {**LABELS, "slimfaas.dev/schedule": "abcdefgh"},
        "annotations": {
            "kueue.x-k8s.io/admission-gated-by": "slimfaas.dev/dispatcher",
            "slimfaas.dev/depends-on": "[]",
        },
    }
    (container,) = template["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["$$HOME"]
    assert container["env"][1] == {
        "name": "SLIMFAAS_JOB_ID",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
    }


def test_build_cronjob__makes_the_job_that_a_request_makes() -> None:
    definition = Definition(
        "report",
        "team/app:1",
        depends_on=("db",),
        limits={"cpu": "1"},
        environments=(Variable("A", "1"), Variable("B", source={"secretKeyRef": {"name": "s", "key": "k"}})),
        timeout_seconds=60,
        pending_timeout_seconds=30,
        queue_timeout_seconds=90,
        ttl_seconds_after_finished=5,
    )
    schedule, _ = load_schedule({"Schedule": "@daily", "Args": ["1"], "QueueTimeoutSeconds": 80})
    spec = merge(definition, schedule.request)
    job = build_job(spec, "abcdefghijkl", queued_at=MOMENT, call="mark")
    template = build_cronjob(spec, schedule, "abcdefgh", origin="http")["spec"]["jobTemplate"]
    for one in (job, template):
        del one["spec"]["template"]["spec"]["containers"][0]["env"][1]  # SLIMFAAS_JOB_ID
        del one["spec"]["template"]["metadata"]["labels"]["slimfaas-job-name"]
    assert template["spec"] == job["spec"]
    del job["metadata"]["annotations"]["slimfaas.dev/queued-at"]
    del job["metadata"]["annotations"]["slimfaas.dev/call"]
    assert template["metadata"]["annotations"] == job["metadata"]["annotations"]


def test_build_cronjob__has_what_a_schedule_says() -> None:
    spec = cronjob_of(
        Definition("report", "team/app:1"),
        {
            "Schedule": "30 2 * * *",
            "TimeZone": "Europe/Paris",
            "ConcurrencyPolicy": "Replace",
            "StartingDeadlineSeconds": 60,
            "Suspend": True,
        },
    )["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("30 2 * * *", "Europe/Paris", "Replace")
    assert (spec["startingDeadlineSeconds"], spec["suspend"]) == (60, True)


def test_build_cronjob__leaves_runs_with_a_ttl_to_it() -> None:
    """A history limit would delete them sooner."""
    spec = cronjob_of(Definition("report", "a", ttl_seconds_after_finished=3600), {"Schedule": "@daily"})["spec"]
    assert spec["successfulJobsHistoryLimit"] == spec["failedJobsHistoryLimit"] == 2**31 - 1


def test_build_cronjob__says_whose_the_schedule_and_its_runs_are() -> None:
    cronjob = cronjob_of(Definition("report", "a"), {"Schedule": "@daily"}, origin="http", started_by="ann")
    assert cronjob["metadata"]["labels"]["slimfaas.dev/schedule-origin"] == "http"
    assert cronjob["metadata"]["annotations"]["slimfaas.dev/started-by"] == "ann"
    assert cronjob["spec"]["jobTemplate"]["metadata"]["annotations"]["slimfaas.dev/started-by"] == "ann"


def test_build_cronjob__fits_the_longest_name() -> None:
    schedule, _ = load_schedule({"Schedule": "@daily"})
    definition = Definition("a" * 30, "a")
    (schedule_id,) = schedule_ids(definition.name, [schedule])
    cronjob = build_cronjob(merge(definition, schedule.request), schedule, schedule_id, origin="configuration")
    assert len(cronjob["metadata"]["name"]) <= 52


def test_build_cronjob__has_another_digest_for_every_change_but_pauses() -> None:
    definition = Definition("report", "a")
    entries: list[dict[str, Any]] = [
        {"Schedule": "@daily"},
        {"Schedule": "@daily", "Args": ["1"]},
        {"Schedule": "@daily", "ConcurrencyPolicy": "Forbid"},
    ]
    marks = [
        cronjob_of(one, entry)["metadata"]["annotations"]["slimfaas.dev/schedule-applied"]
        for one in (definition, Definition("report", "b"))
        for entry in entries
    ]
    assert len(set(marks)) == 6
    assert cronjob_of(definition, entries[0])["metadata"]["annotations"]["slimfaas.dev/schedule-applied"] == marks[0]


@pytest.mark.parametrize(("seconds", "kept"), [(None, DEFAULT_MAX_UNDELIVERED), (60, 2**31 - 1)])
def test_build_cronjob__of_runs_whose_end_is_told__deletes_no_untold_one(seconds: int | None, kept: int) -> None:
    notify = Notify("https://hooks.example/", frozenset({"failed"}))
    definition = Definition("report", "team/app:1", ttl_seconds_after_finished=seconds, notify=notify)
    spec = cronjob_of(definition, {"Schedule": "0 0 * * *"})["spec"]
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (kept, kept)
    assert "ttlSecondsAfterFinished" not in spec["jobTemplate"]["spec"]
    annotations = spec["jobTemplate"]["metadata"]["annotations"]
    assert annotations["slimfaas.dev/notification"] == "Undelivered"
    assert annotations.get("slimfaas.dev/ttl-seconds-after-finished") == (None if seconds is None else str(seconds))


@pytest.mark.parametrize(("undelivered", "kept"), [(10_000, 10_000), (5, DEFAULT_MAX_UNDELIVERED)])
def test_build_cronjob__keeps_as_many_runs_as_may_wait_for_the_receiver(undelivered: int, kept: int) -> None:
    notify = Notify("https://hooks.example/", frozenset({"failed"}), max_undelivered=undelivered)
    spec = cronjob_of(Definition("report", "team/app:1", notify=notify), {"Schedule": "0 0 * * *"})["spec"]
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (kept, kept)
