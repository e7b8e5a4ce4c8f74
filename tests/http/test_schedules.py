"""Schedules over HTTP: made, listed, read, paused and deleted; each is a CronJob, and nothing else stores it."""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from werkzeug.test import TestResponse

from app.domain.request_context import RequestContext
from app.factory import create_app
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.runs.limits.queue_limiter import QueueLimiter
from app.runs.reader import RunReader
from app.runs.retry_budget import RetryPolicy
from app.runs.schedules.change import DeletionUnfinishedError, ScheduleChanger
from app.runs.schedules.counter import ScheduleCounter
from app.runs.schedules.create import ScheduleCreator, TooManySchedulesError
from app.runs.schedules.reader import ScheduleReader
from app.settings import Settings
from schemas.definition import Definition
from tests.http.clients import DEFINITIONS, SECRET, Caller, MakeCaller, check_problem, faults
from tests.support.faults import Fault, FaultProxy, Hold, LoseRequest, LoseResponse, Refuse
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until

PATH = "/job-schedules/public"
NEVER = {"Schedule": "0 0 1 1 *", "Args": ["1"]}
"""Once a year: no test waits for it."""
CRONJOBS = r"/cronjobs$"
ONE_CRONJOB = r"/cronjobs/public-[a-z2-7]+$"


def create(caller: Caller, body: Any = NEVER, path: str = PATH, key: str | None = None) -> TestResponse:
    headers = {} if key is None else {"Idempotency-Key": key}
    return caller.post(path, json.dumps(body), headers=headers)


def created(caller: Caller, body: Any = NEVER, path: str = PATH) -> str:
    """Make a schedule; return its path."""
    response = create(caller, body, path)
    assert response.status_code == 201, response.text
    return str(response.headers["Location"])


def change(caller: Caller, path: str, suspend: bool) -> TestResponse:
    return caller.call("PATCH", path, json={"Suspend": suspend})


def stored(batch: client.BatchV1Api, namespace: str) -> list[Any]:
    return list(batch.list_namespaced_cron_job(namespace).items)


@pytest.fixture
def configure(server: Server, namespace: str, tmp_path: Path) -> Callable[..., Caller]:
    """Return a function that starts the service with a changed definition `public`."""

    def start(changes: dict[str, Any], url: str = "", **settings: Any) -> Caller:
        changed = {**DEFINITIONS["Configurations"]["public"], **changes}
        document = json.dumps({"Configurations": {"public": changed}})
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace, url=url or server.url))
        settings = {"public_listing": True, **settings}
        return Caller(create_app(Settings(configuration=document, kubeconfig=kubeconfig, **settings)).test_client())

    return start


# Creating.


def test_create__stores_one_cronjob_whose_jobs_are_queued_runs(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    response = create(caller, {**NEVER, "TimeZone": "Europe/Paris", "ConcurrencyPolicy": "Forbid"})
    assert response.status_code == 201
    assert list(response.json) == ["Id"]
    assert response.headers["Location"] == f"{PATH}/{response.json['Id']}"
    (cronjob,) = stored(batch, namespace)
    assert cronjob.metadata.name == f"public-{response.json['Id']}"
    assert cronjob.metadata.labels[labels.SCHEDULE_ORIGIN_LABEL] == "http"
    assert (cronjob.spec.schedule, cronjob.spec.time_zone) == ("0 0 1 1 *", "Europe/Paris")
    template = cronjob.spec.job_template
    assert template.spec.suspend is True
    assert template.spec.template.spec.containers[0].args == ["1"]
    for mark in (labels.CALL_ANNOTATION, labels.QUEUED_AT_ANNOTATION, labels.KEY_ANNOTATION):
        assert mark not in template.metadata.annotations, "a run is not the request's"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/Schedule"),
        ({"Schedule": "0 0 * *"}, "/Schedule"),
        ({"Schedule": "TZ=UTC 0 0 * * *"}, "/Schedule"),
        ({**NEVER, "TimeZone": "Mars/Olympus"}, "/TimeZone"),
        ({**NEVER, "ConcurrencyPolicy": "Sometimes"}, "/ConcurrencyPolicy"),
        ({**NEVER, "StartingDeadlineSeconds": 5}, "/StartingDeadlineSeconds"),
        ({**NEVER, "Suspend": "no"}, "/Suspend"),
        ({**NEVER, "Cron": "x"}, "/Cron"),
        ({**NEVER, "Image": "evil:1"}, "/Image"),
        ({**NEVER, "Resources": {"Limits": {"cpu": "2"}}}, "/Resources/Limits/cpu"),
        (
            {**NEVER, "Environments": [{"Name": "X", "SecretRef": {"Name": "a", "Key": "b"}}]},
            "/Environments/0/SecretRef",
        ),
        ({**NEVER, "Environments": [{"Name": "LD_PRELOAD", "Value": "x"}]}, "/Environments/0"),
    ],
)
def test_create__refuses_what_is_malformed_or_not_allowed(
    caller: Caller, batch: client.BatchV1Api, namespace: str, body: Any, pointer: str
) -> None:
    response = create(caller, body)
    assert response.status_code == 422, response.text
    assert pointer in faults(response)
    assert stored(batch, namespace) == []


def test_create__lets_no_runs_of_a_public_definition_pile_up(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """Anyone may make such schedules, and MaxQueued refuses no run of the clock."""
    refused = create(caller, {**NEVER, "ConcurrencyPolicy": "Allow"})
    assert refused.status_code == 422
    assert "Forbid or Replace" in faults(refused)["/ConcurrencyPolicy"]
    for body in (NEVER, {**NEVER, "ConcurrencyPolicy": "Replace"}):
        assert create(caller, body).status_code == 201
    assert sorted(one.spec.concurrency_policy for one in stored(batch, namespace)) == ["Forbid", "Replace"]
    dry_run = create(caller, path=f"{PATH}?dryRun=true")
    assert dry_run.json["spec"]["concurrencyPolicy"] == "Forbid"


def test_create__needs_a_body_and_knows_its_query(caller: Caller) -> None:
    check_problem(caller.post(PATH), 400)
    check_problem(caller.post(PATH, "[]"), 422)
    check_problem(create(caller, path=f"{PATH}?dryrun=true"), 400)
    check_problem(create(caller, path="/job-schedules/unknown"), 404)
    check_problem(create(caller, path="/job-schedules/private"), 403)


def test_dry_run__shows_the_cronjob_without_secrets_and_stores_nothing(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    response = create(caller, path=f"{PATH}?dryRun=true")
    assert response.status_code == 200, response.text
    assert response.json["kind"] == "CronJob"
    assert response.json["spec"]["jobTemplate"]["spec"]["suspend"] is True
    assert SECRET not in response.text
    assert stored(batch, namespace) == []
    check_problem(create(caller, {"Schedule": "x"}, f"{PATH}?dryRun=true"), 422)


def test_limit__bounds_the_schedules_that_requests_have_made(
    make_caller: MakeCaller, batch: client.BatchV1Api, namespace: str
) -> None:
    """A repeated request finds its schedule all the same."""
    caller = make_caller(max_schedules=2)
    first = create(caller, key="a")
    created(caller)
    problem = check_problem(create(caller), 409)
    assert "SLIMFAAS_MAX_SCHEDULES" in problem["detail"]
    check_problem(create(caller, path=f"{PATH}?dryRun=true"), 409)
    assert create(caller, key="a").json == first.json
    assert len(stored(batch, namespace)) == 2
    assert caller.call("DELETE", first.headers["Location"]).status_code == 204
    until(lambda: len(stored(batch, namespace)) == 1)
    created(caller)


def test_limit__is_counted_at_most_once_a_second_for_requests_that_store_nothing(
    server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """To count, all schedules are read, which may be some MiB; and anyone may try."""
    now = [0.0]
    kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
    own = NamespacedClient(connect(str(kubeconfig), namespace))
    creator = ScheduleCreator(own, QueueLimiter(own, None, 2**28), ScheduleCounter(own, clock=lambda: now[0]), 2)
    definition, body, context = Definition("public", image="busybox:1"), json.dumps(NEVER).encode(), RequestContext()

    def lists() -> int:
        return sum(request.method == "GET" and request.path.endswith("/cronjobs") for request in proxy.requests)

    for _ in range(3):
        creator.dry_run(definition, body, context=context)
    assert lists() == 1
    for expected in (1, 2):
        creator.create(definition, body, context=context)
        assert lists() == expected
    for expected in (3, 3, 3):
        with pytest.raises(TooManySchedulesError):
            creator.create(definition, body, context=context)
        assert lists() == expected
    now[0] = 2.0
    with pytest.raises(TooManySchedulesError):
        creator.dry_run(definition, body, context=context)
    assert lists() == 4


def test_limit__of_zero_lets_requests_make_none(make_caller: MakeCaller) -> None:
    check_problem(create(make_caller(max_schedules=0)), 409)


def test_access_log__names_the_schedule_and_the_fields(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app.api.access_log"):
        location = created(caller, {**NEVER, "Args": ["hush"]})
        caller.call("DELETE", location)
        caller.call("DELETE", f"{PATH}/INFO:forged")
    schedule_id = location.rpartition("/")[2]
    lines = [record.getMessage() for record in caplog.records if record.name == "app.api.access_log"]
    assert lines[0].startswith(f"POST status=201 definition=public schedule={schedule_id} fields=Args address=")
    assert lines[1].startswith(f"DELETE status=204 definition=public schedule={schedule_id} address=")
    assert lines[2].startswith("DELETE status=404 definition=public address=")
    assert "hush" not in caplog.text


# Idempotency-Key, and lost responses.


def test_key__finds_the_schedule_of_the_first_request(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    first, again = create(caller, key="one"), create(caller, key="one")
    assert "Idempotency-Replayed" not in first.headers
    assert (again.status_code, again.json, again.headers["Location"]) == (201, first.json, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    check_problem(create(caller, {**NEVER, "Args": ["2"]}, key="one"), 422)
    assert len(stored(batch, namespace)) == 1
    run = caller.post("/job/public", "{}", headers={"Idempotency-Key": "one"})
    assert run.json["Id"] != first.json["Id"], "who knows the run's id must not know the schedule's"


def test_key__of_many_requests_at_once_makes_one_schedule(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: create(caller, key="one"), range(8)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json["Id"] for response in responses}) == 1
    assert len(stored(batch, namespace)) == 1


def test_key__is_still_good_after_the_definition_has_become_stricter(
    configure: Callable[..., Caller], batch: client.BatchV1Api, namespace: str
) -> None:
    first = create(configure({}), key="one")
    assert create(configure({"Overridable": []}), key="one").json == first.json
    assert len(stored(batch, namespace)) == 1


def test_key__whose_name_is_taken_by_a_stranger_gets_409(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    location = create(caller, key="one").headers["Location"]
    (cronjob,) = stored(batch, namespace)
    batch.patch_namespaced_cron_job(
        cronjob.metadata.name, namespace, {"metadata": {"labels": {labels.DEFINITION_LABEL: "x"}}}
    )
    check_problem(create(caller, key="one"), 409)
    check_problem(caller.get(location), 404)
    check_problem(caller.call("DELETE", location), 404)
    assert len(stored(batch, namespace)) == 1


@pytest.mark.parametrize("key", [None, "one"])
@pytest.mark.parametrize("lost", [LoseRequest(), LoseResponse()])
def test_create__makes_one_schedule_although_an_answer_is_lost(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str, lost: Any, key: str | None
) -> None:
    proxy.add(Fault(lost, method="POST", path=CRONJOBS, times=1))
    response = create(caller_by_proxy, key=key)
    assert response.status_code == 201, response.text
    (cronjob,) = stored(batch, namespace)
    assert cronjob.metadata.name == f"public-{response.json['Id']}"


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", ONE_CRONJOB), ("GET", r"/jobs$"), ("DELETE", r"/jobs/"), ("DELETE", ONE_CRONJOB)]
)
@pytest.mark.parametrize("lost", [LoseRequest(), LoseResponse()])
def test_delete__is_certain_although_an_answer_is_lost(
    caller_by_proxy: Caller,
    proxy: FaultProxy,
    batch: client.BatchV1Api,
    namespace: str,
    lost: Any,
    method: str,
    path: str,
) -> None:
    location = created(caller_by_proxy)
    make_run(batch, namespace)
    fault = proxy.add(Fault(lost, method=method, path=path, times=1))
    assert caller_by_proxy.call("DELETE", location).status_code == 204
    assert proxy.hits(fault) == 1
    check_problem(caller_by_proxy.get(location), 404)
    until(lambda: not stored(batch, namespace) and not runs(batch, namespace))


@pytest.mark.parametrize("lost", [LoseRequest(), LoseResponse(), Refuse(409, "Conflict")])
def test_change__is_certain_although_an_answer_is_lost_or_conflicts(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str, lost: Any
) -> None:
    location = created(caller_by_proxy)
    proxy.add(Fault(lost, method="PATCH", path=ONE_CRONJOB, times=1))
    response = change(caller_by_proxy, location, True)
    assert (response.status_code, response.json["Suspend"]) == (200, True)
    (cronjob,) = stored(batch, namespace)
    assert cronjob.spec.suspend is True


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_failure__is_told_without_the_words_of_the_api_server(
    caller_by_proxy: Caller, proxy: FaultProxy, method: str
) -> None:
    location = created(caller_by_proxy)
    proxy.add(Fault(Refuse(403, "Forbidden", message="secret words"), method=method, path="/cronjobs"))
    response = {
        "POST": lambda: create(caller_by_proxy),
        "PATCH": lambda: change(caller_by_proxy, location, True),
        "DELETE": lambda: caller_by_proxy.call("DELETE", location),
    }[method]()
    assert "secret words" not in check_problem(response, 503)["detail"]


# Reading.


def test_read__shows_what_is_started_and_when(caller: Caller) -> None:
    body = {
        "Schedule": "30 2 * * *",
        "TimeZone": "Europe/Paris",
        "StartingDeadlineSeconds": 60,
        "Args": ["$1"],
        "Environments": [{"Name": "LEVEL", "Value": "hush"}],
        "TtlSecondsAfterFinished": 5,
    }
    location = created(caller, body)
    response = caller.get(location)
    view = response.json
    assert response.status_code == 200
    assert "hush" not in response.text
    assert view["Id"] == location.rpartition("/")[2]
    assert (view["Name"], view["CronJob"]) == ("public", f"public-{view['Id']}")
    assert (view["Status"], view["Source"], view["Suspend"]) == ("Active", "Http", False)
    assert (view["Schedule"], view["TimeZone"], view["StartingDeadlineSeconds"]) == ("30 2 * * *", "Europe/Paris", 60)
    assert (view["Args"], view["Image"], view["DependsOn"]) == (["$1"], "busybox:1", ["nobody"])
    assert {"LEVEL", "PASSWORD"} <= set(view["Environments"])
    assert view["NextTimestamp"] % 60_000 == 0
    assert (view["LastTimestamp"], view["UnfinishedRuns"]) == (-1, 0)
    (listed,) = caller.get(PATH).json
    assert listed == view


def test_definitions_status__tells_schedules_and_their_next_time(make_caller: MakeCaller) -> None:
    """To those who may list; and no ids, because they are the keys."""
    caller = make_caller(public_listing=True)
    created(caller, {**NEVER, "Suspend": True})
    location = created(caller, {"Schedule": "30 2 * * *", "TimeZone": "Europe/Paris"})
    response = caller.get("/jobs/status")
    first, second = response.json[0]["Schedules"]
    assert first == {
        "Status": "Active",
        "Schedule": "30 2 * * *",
        "TimeZone": "Europe/Paris",
        "Suspend": False,
        "Source": "Http",
        "NextTimestamp": first["NextTimestamp"],
    }
    assert first["NextTimestamp"] > 0
    assert (second["Suspend"], second["NextTimestamp"]) == (True, -1)
    assert location.rpartition("/")[2] not in response.text
    assert "Schedules" not in make_caller().get("/jobs/status").json[0]


def test_definitions_status__works_without_the_right_to_list_schedules(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    proxy.add(Fault(Refuse(403, "Forbidden"), method="GET", path=CRONJOBS))
    assert caller_by_proxy.get("/jobs/status").json[0]["Schedules"] == []


def test_list__abridges_long_fields_and_stays_bounded(caller: Caller) -> None:
    long = [created(caller, {**NEVER, "Args": ["x" * 30_000, "y"]}) for _ in range(3)]
    response = caller.get(PATH)
    assert len(response.data) < 10_000
    assert [one["Truncated"] for one in response.json] == [["Args"]] * 3
    assert [one["Id"] for one in response.json] == sorted(location.rpartition("/")[2] for location in long)
    assert caller.get(long[0]).json["Args"] == ["x" * 30_000, "y"]


def test_unknown__gets_404(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    location = created(caller)
    (cronjob,) = stored(batch, namespace)
    run = caller.post("/job/public").json["Id"]
    for path in (f"{PATH}/aaaaaaaaaaaa", f"{PATH}/AAAA", f"{PATH}/{run}", f"{PATH}/{cronjob.metadata.name}"):
        for method in ("GET", "DELETE"):
            check_problem(caller.call(method, path), 404)
        check_problem(change(caller, path, True), 404)
    check_problem(caller.get(f"{location}?x=1"), 400)
    check_problem(caller.get(f"{PATH}?limit=1"), 400)


def test_cronjob__that_is_not_ours_is_no_schedule(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """Its name alone says nothing."""
    created(caller)
    (cronjob,) = stored(batch, namespace)
    copy = {
        "metadata": {"name": "public-bbbbbbbbbbbb", "labels": {"app": "x"}},
        "spec": batch.api_client.sanitize_for_serialization(cronjob.spec),
    }
    batch.create_namespaced_cron_job(namespace, copy)
    assert len(caller.get(PATH).json) == 1
    check_problem(caller.get(f"{PATH}/bbbbbbbbbbbb"), 404)
    check_problem(caller.call("DELETE", f"{PATH}/bbbbbbbbbbbb"), 404)
    assert len(stored(batch, namespace)) == 2


# Pausing and deleting.


def test_change__pauses_and_resumes(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    location = created(caller)
    paused = change(caller, location, True)
    assert (paused.status_code, paused.json["Status"], paused.json["NextTimestamp"]) == (200, "Suspended", -1)
    assert change(caller, location, True).status_code == 200
    (cronjob,) = stored(batch, namespace)
    assert cronjob.spec.suspend is True
    resumed = change(caller, location, False)
    assert (resumed.json["Status"], resumed.json["Suspend"]) == ("Active", False)
    assert resumed.json["NextTimestamp"] > 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{}", 422),
        ("[]", 422),
        ('{"Suspend": null}', 422),
        ('{"Suspend": 1}', 422),
        ('{"Suspend": true, "Schedule": "* * * * *"}', 422),
        ('{"Suspend": true, "Suspend": false}', 422),
    ],
)
def test_change__refuses_everything_else(caller: Caller, body: str, status: int) -> None:
    location = created(caller)
    check_problem(caller.call("PATCH", location, data=body), status)
    assert caller.get(location).json["Suspend"] is False


def make_run(batch: client.BatchV1Api, namespace: str, minute: int = 29_400_000) -> str:
    """Make the run that Kubernetes makes at a time of the only schedule; return the name of its Job."""
    (cronjob,) = stored(batch, namespace)
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cronjob.metadata.name,
        "uid": cronjob.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    template = batch.api_client.sanitize_for_serialization(cronjob.spec.job_template)
    metadata = {**template["metadata"], "name": f"{cronjob.metadata.name}-{minute}", "ownerReferences": [owner]}
    made: Any = batch.create_namespaced_job(namespace, {"metadata": metadata, "spec": template["spec"]})
    return str(made.metadata.name)


def admit(batch: client.BatchV1Api, namespace: str, name: str) -> None:
    """Start a run as the dispatcher does."""
    batch.patch_namespaced_job(name, namespace, {"spec": {"suspend": False}})


def runs(batch: client.BatchV1Api, namespace: str) -> set[str]:
    """Return the names of the Jobs that are not being deleted."""
    found = batch.list_namespaced_job(namespace).items
    return {job.metadata.name for job in found if job.metadata.deletion_timestamp is None}


def test_delete__deletes_the_queued_runs_and_leaves_the_others(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    location = created(caller)
    active, _ = (make_run(batch, namespace, minute) for minute in (1, 2))
    admit(batch, namespace, active)
    other = caller.post("/job/public").json["Id"]
    assert caller.call("DELETE", location).status_code == 204
    assert runs(batch, namespace) == {active, f"public-slimfaas-job-{other}"}
    check_problem(caller.get(location), 404)
    check_problem(caller.call("DELETE", location), 404)
    until(lambda: stored(batch, namespace) == [])
    assert runs(batch, namespace) == {active, f"public-slimfaas-job-{other}"}


def test_delete__leaves_a_run_that_is_admitted_meanwhile(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    location = created(caller_by_proxy)
    run = make_run(batch, namespace)
    with held(proxy, Fault(Hold(), method="DELETE", path=r"/jobs/"), caller_by_proxy, location):
        admit(batch, namespace, run)
    assert runs(batch, namespace) == {run}
    until(lambda: stored(batch, namespace) == [])


def test_delete__leaves_no_queued_run_of_a_schedule_that_somebody_has_resumed_meanwhile(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """Its queued runs were listed, and there was none."""
    location = created(caller_by_proxy)
    with held(proxy, Fault(Hold(), method="DELETE", path=ONE_CRONJOB), caller_by_proxy, location):
        assert change(caller_by_proxy, location, False).status_code == 200
        make_run(batch, namespace)
    assert runs(batch, namespace) == set()
    until(lambda: stored(batch, namespace) == [])


@contextmanager
def held(proxy: FaultProxy, fault: Fault, caller: Caller, location: str) -> Iterator[None]:
    """Delete a schedule, and hold back one call of this to the API server while the body runs."""
    assert isinstance(fault.action, Hold)
    proxy.add(fault)
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(caller.call, "DELETE", location)
        try:
            fault.action.wait_held()
            yield
        finally:
            fault.action.release()
        assert response.result().status_code == 204


def test_delete__that_has_failed_half_way_leaves_a_paused_schedule_and_can_be_repeated(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    location = created(caller_by_proxy)
    run = make_run(batch, namespace)
    fault = proxy.add(Fault(Refuse(403, "Forbidden"), method="DELETE", path=r"/jobs/"))
    problem = check_problem(caller_by_proxy.call("DELETE", location), 503)
    assert "may or may not have been changed" in problem["detail"]
    assert caller_by_proxy.get(location).json["Suspend"] is True
    assert runs(batch, namespace) == {run}
    proxy.remove(fault)
    assert caller_by_proxy.call("DELETE", location).status_code == 204
    assert runs(batch, namespace) == set()


def test_delete__of_more_queued_runs_than_there_is_time_for_goes_on_when_it_is_repeated(
    server: Server, batch: client.BatchV1Api, namespace: str, tmp_path: Path, caller: Caller
) -> None:
    location = created(caller)
    for minute in range(3):
        make_run(batch, namespace, minute)
    now = iter(range(0, 10_000, 6))
    own = NamespacedClient(connect(str(write_kubeconfig(tmp_path, server, namespace)), namespace))
    policy = RetryPolicy(clock=lambda: float(next(now)))
    changer = ScheduleChanger(own, ScheduleReader(own), RunReader(own, dict), ScheduleCounter(own), retry_policy=policy)
    definition, schedule_id = Definition("public", image="busybox:1"), location.rpartition("/")[2]
    left = len(runs(batch, namespace))
    while left:
        with pytest.raises(DeletionUnfinishedError):
            changer.delete(definition, schedule_id, None)
        (cronjob,) = stored(batch, namespace)
        assert cronjob.spec.suspend is True
        assert len(runs(batch, namespace)) <= left
        left = len(runs(batch, namespace))
    changer.delete(definition, schedule_id, None)
    until(lambda: stored(batch, namespace) == [])


def test_configured__is_listed_but_not_changed_by_a_call(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    location = created(caller)
    (cronjob,) = stored(batch, namespace)
    origin = {"metadata": {"labels": {labels.SCHEDULE_ORIGIN_LABEL: "configuration"}}}
    batch.patch_namespaced_cron_job(cronjob.metadata.name, namespace, origin)
    (listed,) = caller.get(PATH).json
    assert listed["Source"] == "Configuration"
    for response in (caller.call("DELETE", location), change(caller, location, True)):
        assert "the configuration (Schedules)" in check_problem(response, 409)["detail"]
    assert stored(batch, namespace)[0].spec.suspend is False


# A definition that has changed.


def test_stricter_definition__is_told_and_keeps_the_schedule_from_being_resumed(
    configure: Callable[..., Caller],
) -> None:
    location = created(
        configure({"Resources": {"Limits": {"cpu": "2"}}}), {**NEVER, "Resources": {"Limits": {"cpu": "2"}}}
    )
    stricter = configure({})
    view = stricter.get(location).json
    assert view["Status"] == "Refused"
    assert "/Resources/Limits/cpu" in view["Message"]
    assert change(stricter, location, True).json["Suspend"] is True
    assert "/Resources/Limits/cpu" in faults(change(stricter, location, False))
    assert stricter.call("DELETE", location).status_code == 204


def test_delete__of_a_refused_schedule_deletes_its_runs(
    configure: Callable[..., Caller], batch: client.BatchV1Api, namespace: str
) -> None:
    """Nothing would hold the queued ones back without it. One that was started earlier goes on."""
    large = {"Resources": {"Limits": {"cpu": "2"}}}
    location = created(configure(large), {**NEVER, **large})
    active, _ = (make_run(batch, namespace, minute) for minute in (1, 2))
    admit(batch, namespace, active)
    stricter = configure({})
    assert stricter.call("DELETE", location).status_code == 204
    assert runs(batch, namespace) == {active}
    check_problem(stricter.get(location), 404)
    until(lambda: stored(batch, namespace) == [])


@pytest.mark.parametrize("suspend", [True, False])
def test_change__of_a_schedule_that_the_leader_has_suspended_is_the_callers_wish(
    caller: Caller, batch: client.BatchV1Api, namespace: str, suspend: bool
) -> None:
    """The leader would resume it, when its definition allows it again."""
    location = created(caller)
    (cronjob,) = stored(batch, namespace)
    refused = {"metadata": {"annotations": {labels.SCHEDULE_REFUSED_ANNOTATION: "why"}}, "spec": {"suspend": True}}
    batch.patch_namespaced_cron_job(cronjob.metadata.name, namespace, refused)
    assert change(caller, location, suspend).json["Suspend"] is suspend
    (cronjob,) = stored(batch, namespace)
    assert cronjob.spec.suspend is suspend
    assert labels.SCHEDULE_REFUSED_ANNOTATION not in cronjob.metadata.annotations


def test_annotation__that_somebody_has_spoilt_is_told(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    location = created(caller)
    (cronjob,) = stored(batch, namespace)
    for text in ("{", "[]", "", '{"Schedule": 5}', "[" * 5000):
        annotations = {"metadata": {"annotations": {labels.SCHEDULE_ANNOTATION: text}}}
        batch.patch_namespaced_cron_job(cronjob.metadata.name, namespace, annotations)
        assert caller.get(location).json["Status"] == "Refused"
    assert caller.call("DELETE", location).status_code == 204
