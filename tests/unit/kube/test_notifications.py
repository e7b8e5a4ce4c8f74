"""What runs remember of their notification, and how hostile annotations are read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.kube import labels
from app.kube.manifests import build_job, build_notification
from app.kube.parsing import read_notification, read_run, read_ttl_seconds
from schemas.configuration import parse_value
from schemas.definition import Definition
from schemas.merge import merge
from schemas.notify import Notify
from schemas.request import Request
from schemas.run import Notification

NOTIFY = Notify("https://hooks.example/", frozenset({"failed"}))


def job_of(definition: Definition, request: Request | None = None) -> dict[str, Any]:
    spec = merge(definition, request or Request())
    return dict(build_job(spec, "abcdefghijkl", queued_at=datetime(2026, 3, 1, tzinfo=UTC), call="mark"))


def finished(
    annotation: str | None = "Undelivered", *, condition: str | None = "Complete", ttl: str | None = None, **spec: Any
) -> dict[str, Any]:
    """A Job as the API server shows it."""
    job = job_of(Definition("fib", "busybox:1"))
    annotations = {labels.NOTIFICATION_ANNOTATION: annotation, labels.TTL_ANNOTATION: ttl}
    job["metadata"] |= {"uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-03-01T00:00:00Z"}
    job["metadata"]["annotations"] |= {key: value for key, value in annotations.items() if value is not None}
    job["spec"] |= {"suspend": False, **spec}
    if condition is not None:
        ended = {"type": condition, "status": "True", "lastTransitionTime": "2026-03-01T00:01:00Z"}
        job["status"] = {"conditions": [ended]}
    return job


@pytest.mark.parametrize("seconds", [None, 0, 60])
def test_build_job__with_a_notification__keeps_its_ttl_in_an_annotation(seconds: int | None) -> None:
    """Kubernetes must not delete a run whose end is not told."""
    job = job_of(Definition("fib", "busybox:1", ttl_seconds_after_finished=seconds, notify=NOTIFY))
    assert "ttlSecondsAfterFinished" not in job["spec"]
    annotations = job["metadata"]["annotations"]
    assert annotations[labels.NOTIFICATION_ANNOTATION] == "Undelivered"
    assert annotations.get(labels.TTL_ANNOTATION) == (None if seconds is None else str(seconds))
    assert read_ttl_seconds(job) == seconds


def test_build_job__with_a_notification_and_a_ttl_of_its_template_or_request() -> None:
    template = {
        "spec": {
            "ttlSecondsAfterFinished": 600,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "fib", "image": "busybox:1"}]}},
        }
    }
    entry = {"JobTemplate": template, "Notify": {"Url": "https://hooks.example/"}}
    definition = parse_value({"Configurations": {"fib": entry}})["fib"]
    for request, seconds in ((None, 600), (Request(ttl_seconds_after_finished=5), 5)):
        job = job_of(definition, request)
        assert "ttlSecondsAfterFinished" not in job["spec"]
        assert read_ttl_seconds(job) == seconds


def test_build_job__without_a_notification__is_as_before() -> None:
    job = job_of(Definition("fib", "busybox:1", ttl_seconds_after_finished=60))
    assert job["spec"]["ttlSecondsAfterFinished"] == 60
    assert not {labels.NOTIFICATION_ANNOTATION, labels.TTL_ANNOTATION} & job["metadata"]["annotations"].keys()


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (finished(), Notification.UNDELIVERED),
        (finished(condition="Failed"), Notification.UNDELIVERED),
        (finished(condition=None), Notification.WAITING),
        (finished(None), Notification.NONE),
        (finished("Delivered"), Notification.DELIVERED),
        (finished("GivenUp"), Notification.GIVEN_UP),
        (finished("NotWanted"), Notification.NOT_WANTED),
        (finished("Waiting"), Notification.NONE),
        (finished(""), Notification.NONE),
        (finished("x" * 100_000), Notification.NONE),
    ],
)
def test_read_notification__believes_only_what_we_have_written(job: dict[str, Any], state: Notification) -> None:
    assert read_notification(job) is state
    run = read_run(job)
    assert (run.end is not None and run.end.undelivered) is (state is Notification.UNDELIVERED)


def test_read_run__of_one_that_is_being_deleted__has_nothing_to_tell() -> None:
    job = finished()
    job["metadata"]["deletionTimestamp"] = "2026-03-01T00:02:00Z"
    run = read_run(job)
    assert run.end is not None
    assert run.end.undelivered is False


def test_read_run__of_one_that_timed_out_in_the_queue__is_told_once_it_has_failed() -> None:
    for condition, told in ((None, False), ("Failed", True)):
        job = finished(condition=condition, parallelism=0)
        job["metadata"]["annotations"][labels.QUEUE_TIMED_OUT_ANNOTATION] = "was queued for too long"
        run = read_run(job)
        assert run.end is not None
        assert run.end.undelivered is told


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        (finished(ttl="60"), 60),
        (finished(), None),
        (finished(ttl="60", ttlSecondsAfterFinished=5), 5),
        (finished(ttl="-1"), None),
        (finished(ttl="1e3"), None),
        (finished(ttl="9" * 10), 2**31 - 1),
        (finished(ttl="9" * 5000), None),
    ],
)
def test_build_notification__sets_the_ttl_and_demands_the_version(job: dict[str, Any], seconds: int | None) -> None:
    patch = build_notification(job, Notification.DELIVERED)
    assert patch["metadata"] == {
        "resourceVersion": "7",
        "annotations": {"slimfaas.dev/notification": "Delivered"},
    }
    assert patch.get("spec") == (None if seconds is None else {"ttlSecondsAfterFinished": seconds})
