"""The decisions of the CronJob controller, and the controller with a clock that is moved."""

from datetime import UTC, datetime, timedelta
from typing import Any

from devcluster.cluster import Cluster
from devcluster.controllers.cron_plan import Plan, job_name, make_job, reconcile, record_start
from devcluster.kinds import CRON_JOB, JOB
from devcluster.objects import Object, to_time
from tests.support.waiting import until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POD = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}


def make_cron_job(status: Object | None = None, **spec: Any) -> Object:
    given = {"schedule": "0 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3, **spec}
    template = {"spec": {"suspend": True, "template": {"spec": POD}}}
    metadata = {"name": "hourly", "namespace": "ns", "uid": "u", "creationTimestamp": to_time(NOON)}
    return {"metadata": metadata, "spec": {"jobTemplate": template, **given}, "status": status or {}}


def made(cron_job: Object, plan: Plan, **status: Any) -> Object:
    """Return the Job that the plan creates, and put it into the CronJob's status."""
    assert plan.tick is not None
    job = make_job(cron_job, plan.tick)
    job["metadata"].update(uid=f"uid-{plan.tick}", resourceVersion="1")
    job["status"] = status
    cron_job["status"] = record_start(plan.status, job, plan.tick)
    return job


def reasons(plan: Plan) -> list[str]:
    return [event.reason for event in plan.events]


def test_reconcile__before_the_first_tick__waits_for_it():
    plan = reconcile(make_cron_job(), [], NOON + timedelta(minutes=59))
    assert (plan.tick, plan.requeue_after_seconds) == (None, 60.1)


def test_reconcile__at_the_tick__creates_one_job_and_then_no_other():
    cron_job, now = make_cron_job(timeZone="Europe/Paris"), NOON + timedelta(hours=1)
    plan = reconcile(cron_job, [], now)
    job = made(cron_job, plan)
    assert job["metadata"]["name"] == f"hourly-{int(now.timestamp()) // 60}"
    assert job["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T14:00:00+01:00"
    }
    again = reconcile(cron_job, [job], now)
    assert (again.tick, again.status["active"][0]["name"]) == (None, job_name(cron_job, plan.tick))


def test_reconcile__ticks_missed__creates_only_the_most_recent():
    plan = reconcile(make_cron_job(), [], NOON + timedelta(hours=5, minutes=30))
    assert plan.tick == (NOON + timedelta(hours=5)).timestamp()


def test_reconcile__deadline__leaves_out_older_ticks():
    cron_job = make_cron_job(startingDeadlineSeconds=60)
    assert reconcile(cron_job, [], NOON + timedelta(hours=1, seconds=50)).tick is not None
    assert reconcile(cron_job, [], NOON + timedelta(hours=1, seconds=70)).tick is None


def test_reconcile__forbid__leaves_the_tick_out_while_a_job_is_active():
    cron_job = make_cron_job(concurrencyPolicy="Forbid")
    job = made(cron_job, reconcile(cron_job, [], NOON + timedelta(hours=1)))
    plan = reconcile(cron_job, [job], NOON + timedelta(hours=2))
    assert (plan.tick, plan.delete, reasons(plan)) == (None, [], ["JobAlreadyActive"])


def test_reconcile__replace__deletes_the_active_job():
    cron_job = make_cron_job(concurrencyPolicy="Replace")
    job = made(cron_job, reconcile(cron_job, [], NOON + timedelta(hours=1)))
    plan = reconcile(cron_job, [job], NOON + timedelta(hours=2))
    assert (plan.tick is not None, plan.delete, plan.status.get("active")) == (True, [job], None)


def test_reconcile__history_limits__delete_the_oldest():
    cron_job, jobs = make_cron_job(successfulJobsHistoryLimit=1), []
    for hour in (1, 2, 3):
        at = to_time(NOON + timedelta(hours=hour))
        job = made(cron_job, reconcile(cron_job, [], NOON + timedelta(hours=hour)))
        complete = {"type": "Complete", "status": "True"}
        job["status"] = {"startTime": at, "completionTime": at, "conditions": [complete]}
        jobs.append(job)
    plan = reconcile(cron_job, jobs, NOON + timedelta(hours=3, minutes=1))
    assert plan.delete == jobs[:2]
    assert plan.status["lastSuccessfulTime"] == to_time(NOON + timedelta(hours=3))


def test_reconcile__suspended_or_deleted__creates_nothing():
    later = NOON + timedelta(hours=1)
    assert reconcile(make_cron_job(suspend=True), [], later).tick is None
    deleted = make_cron_job()
    deleted["metadata"]["deletionTimestamp"] = to_time(NOON)
    assert reconcile(deleted, [], later).tick is None


def test_controller__clock_moved__creates_the_job_of_the_next_tick():
    with Cluster() as cluster:
        cron_job = make_cron_job(schedule="@yearly")
        cron_job["metadata"] = {"name": "yearly", "namespace": "ns"}
        cluster.store.create(CRON_JOB, cron_job)
        cluster.move_cron_clock(timedelta(days=366))
        [job] = until(lambda: cluster.store.list(JOB, "ns")[0])
        assert job["metadata"]["name"].startswith("yearly-")
        assert job["spec"]["suspend"] is True
