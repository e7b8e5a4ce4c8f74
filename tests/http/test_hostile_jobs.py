"""Jobs that somebody with rights in the namespace has made, with annotations that no request writes."""

import json
from typing import Any

import pytest
from kubernetes import client

from app.kube import labels
from tests.http.clients import Caller
from tests.support.faults import FaultProxy

HOSTILE_LISTS = {
    "leaves the collection": '["../../../../version"]',
    "leaves it once": '[".."]',
    "names nothing": '[""]',
    "quoted": '["a%2f..%2f..%2fversion?x=y"]',
    "many": json.dumps([f"w{number}" for number in range(20_000)]),
    "deep": "[" * 100_000,
    "garbage": '["db"',
    "numbers": "[1, 2]",
}


def make_job(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "public"},
            "annotations": annotations,
        },
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1"}]}},
        },
    }


@pytest.mark.parametrize("names", HOSTILE_LISTS.values(), ids=HOSTILE_LISTS.keys())
def test_depends_on__that_can_not_be_read_is_said_and_read_nowhere(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str, names: str
) -> None:
    """The service's token reads only workloads of its namespace, and every list is answered."""
    job = make_job("public-slimfaas-job-aaaaaaaaaaaa", {labels.DEPENDS_ON_ANNOTATION: names})
    batch.create_namespaced_job(namespace, job)
    for run in (caller_by_proxy.get("/job/public/aaaaaaaaaaaa").json, *caller_by_proxy.get("/job/public").json):
        assert (run["Status"], run["Reason"], run["DependsOn"]) == ("Queued", "WaitingForDependencies", None)
        assert "the annotation that lists them can't be read" in run["Message"]
    assert caller_by_proxy.get("/jobs/status").status_code == 200
    for request in proxy.requests:
        path = request.path.partition("?")[0]
        assert f"/namespaces/{namespace}/" in path
        assert ".." not in path
        assert "%" not in path


def test_queued_at__in_the_year_1_does_not_jump_the_queue(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """Its creation counts."""
    first = caller.post("/job/public").json["Id"]
    job = make_job("public-slimfaas-job-aaaaaaaaaaaa", {labels.QUEUED_AT_ANNOTATION: "0001-01-01T00:00:00Z"})
    batch.create_namespaced_job(namespace, job)
    [run] = [run for run in caller.get("/job/public").json if run["Id"] == "aaaaaaaaaaaa"]
    assert abs(run["InQueueTimestamp"] - caller.get(f"/job/public/{first}").json["InQueueTimestamp"]) < 60_000


@pytest.mark.parametrize(
    "annotation",
    [
        labels.QUEUED_AT_ANNOTATION,
        labels.PENDING_TIMEOUT_ANNOTATION,
        labels.GAVE_UP_ANNOTATION,
        labels.HOLD_ANNOTATION,
        labels.TRACEPARENT_ANNOTATION,
        labels.REQUEST_ID_ANNOTATION,
        labels.KEY_ANNOTATION,
        labels.CALL_ANNOTATION,
    ],
)
@pytest.mark.parametrize("text", ["", "\r\n\x1b[2J", "9" * 100_000])
def test_annotations__of_any_text_leave_runs_readable(
    caller: Caller, batch: client.BatchV1Api, namespace: str, annotation: str, text: str
) -> None:
    """A list, the run, and its cancellation."""
    batch.create_namespaced_job(namespace, make_job("public-slimfaas-job-aaaaaaaaaaaa", {annotation: text}))
    assert len(caller.get("/job/public").json) == 1
    assert caller.get("/job/public/aaaaaaaaaaaa").status_code == 200
    assert caller.call("DELETE", "/job/public/aaaaaaaaaaaa").status_code == 200
