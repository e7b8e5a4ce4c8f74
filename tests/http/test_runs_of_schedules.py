"""Runs that no request has made: Kubernetes made them at a time of a schedule, or a person with kubectl."""

import json
from typing import Any

import pytest
from kubernetes import client

from app.domain.names import new_id
from app.kube import labels
from app.kube.manifests import Origin, build_cronjob
from schemas.configuration import parse_configuration
from schemas.schedules import check_schedule, load_schedule
from tests.http.clients import DEFINITIONS, Caller, MakeCaller, check_problem
from tests.support.waiting import until

CONFIGURED = "abcdefgh"


class Schedules:
    """Makes schedules and their runs, as the cluster and people do."""

    def __init__(self, batch: client.BatchV1Api, namespace: str) -> None:
        self.batch: Any = batch
        self.namespace = namespace

    def create(self, schedule_id: str, origin: Origin) -> str:
        """Create the CronJob of a schedule of the definition `public`; return its name."""
        definition = parse_configuration(json.dumps(DEFINITIONS))["public"]
        schedule, _ = load_schedule({"Schedule": "0 0 1 1 *", "DependsOn": ["nobody"]})
        cronjob = build_cronjob(check_schedule(definition, schedule), schedule, schedule_id, origin=origin)
        self.batch.create_namespaced_cron_job(self.namespace, cronjob)
        return str(cronjob["metadata"]["name"])

    def tick(self, name: str) -> str:
        """Have the CronJob controller make a run for a time that has passed; return the name of its Job."""
        status = {"status": {"lastScheduleTime": "2001-01-01T00:00:00Z"}}
        self.batch.patch_namespaced_cron_job_status(name, self.namespace, status)
        return str(until(lambda: [job for job in self.jobs() if job.startswith(f"{name}-")])[0])

    def start_by_hand(self, cronjob: str, name: str) -> str:
        """Create a Job as `kubectl create job NAME --from=cronjob/CRONJOB` does; return its name."""
        found = self.batch.read_namespaced_cron_job(cronjob, self.namespace)
        template = found.spec.job_template
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": cronjob, "uid": found.metadata.uid}
        annotations = {**template.metadata.annotations, "cronjob.kubernetes.io/instantiate": "manual"}
        metadata = client.V1ObjectMeta(
            name=name,
            labels=template.metadata.labels,
            annotations=annotations,
            owner_references=[{**owner, "controller": True}],
        )
        self.batch.create_namespaced_job(self.namespace, client.V1Job(metadata=metadata, spec=template.spec))
        return name

    def jobs(self) -> list[str]:
        """Return the names of the Jobs that exist."""
        return [job.metadata.name for job in self.batch.list_namespaced_job(self.namespace).items]


@pytest.fixture
def schedules(batch: client.BatchV1Api, namespace: str) -> Schedules:
    return Schedules(batch, namespace)


def test_runs_of_schedules__work_in_every_call(caller: Caller, schedules: Schedules) -> None:
    """Their id is the name of their Job."""
    cronjob = schedules.create(CONFIGURED, "configuration")
    tick = schedules.tick(cronjob)
    by_hand = schedules.start_by_hand(cronjob, "public-backup-1")
    listed = until(lambda: len(runs := caller.get("/job/public").json) == 2 and runs)
    assert {(run["Id"], run["Name"], run["Schedule"]) for run in listed} == {
        (tick, tick, CONFIGURED),
        (by_hand, by_hand, CONFIGURED),
    }
    for run_id in (tick, by_hand):
        run = caller.get(f"/job/public/{run_id}").json
        assert (run["Id"], run["Status"], run["Schedule"]) == (run_id, "Queued", CONFIGURED)
        assert run["Message"] == "waits for nobody (not found)"
        assert {run["PositionInQueue"] for run in listed} == {1, 2}
        check_problem(caller.get(f"/job/private/{run_id}"), 403)
        check_problem(caller.get(f"/job/other/{run_id}"), 404)
    waited = caller.get(f"/job/public/{tick}", headers={"Prefer": "wait=1"})
    assert waited.json["Status"] == "Queued"
    check_problem(caller.get(f"/job/public/{tick}/logs"), 409)
    assert caller.call("DELETE", f"/job/public/{tick}").status_code == 200
    assert caller.call("DELETE", "/job/public?status=Queued").json == {"Deleted": 1, "Remaining": 0}
    until(lambda: schedules.jobs() == [])


def test_runs_of_requests__have_no_schedule(caller: Caller) -> None:
    location = caller.post("/job/public", '{"DependsOn": ["nobody"]}').headers["Location"]
    assert caller.get(location).json["Schedule"] == ""


def test_runs__with_an_id_that_can_be_guessed_need_a_trusted_caller(
    make_caller: MakeCaller, schedules: Schedules
) -> None:
    """For a public definition, the id of a run is the key to it. Not everybody who can guess one may cancel a run."""
    configured = schedules.create(CONFIGURED, "configuration")
    requested = schedules.create(new_id(), "http")
    tick, open_tick = schedules.tick(configured), schedules.tick(requested)
    by_hand = schedules.start_by_hand(configured, "public-backup-1")
    stranger = make_caller()
    for run_id in (tick, by_hand, "unknown"):
        for method in ("GET", "DELETE"):
            check_problem(stranger.call(method, f"/job/public/{run_id}"), 403)
        check_problem(stranger.get(f"/job/public/{run_id}/logs"), 403)
    check_problem(stranger.get(f"/job-schedules/public/{CONFIGURED}"), 403)
    assert stranger.get(f"/job/public/{open_tick}").json["Schedule"]
    assert stranger.call("DELETE", f"/job/public/{open_tick}").status_code == 200
    trusted = make_caller(public_listing=True)
    assert trusted.get(f"/job/public/{tick}").status_code == 200


def test_runs__whose_whole_name_looks_like_a_secret_id_can_not_be_used(
    make_caller: MakeCaller, schedules: Schedules
) -> None:
    """A person has chosen the name, so it may be guessed, and nothing about it tells that."""
    schedules.start_by_hand(schedules.create(CONFIGURED, "configuration"), "nightlyclean")
    for caller in (make_caller(), make_caller(public_listing=True)):
        for method in ("GET", "DELETE"):
            check_problem(caller.call(method, "/job/public/nightlyclean"), 404)
        check_problem(caller.get("/job/public/nightlyclean/logs"), 404)
    assert caller.get("/job/public").json == []
    assert schedules.jobs() == ["nightlyclean"]


def test_runs__show_no_schedule_that_no_schedule_can_be(caller: Caller, schedules: Schedules) -> None:
    """Anybody may have written the label."""
    cronjob = schedules.create(CONFIGURED, "configuration")
    tick = schedules.tick(cronjob)
    patch = {"metadata": {"labels": {labels.SCHEDULE_LABEL: "UPPER"}}}
    schedules.batch.patch_namespaced_job(tick, schedules.namespace, patch)
    assert caller.get(f"/job/public/{tick}").json["Schedule"] == ""
