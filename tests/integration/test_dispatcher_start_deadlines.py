"""Runs that hold a slot and don't start: after their time they are given up, and say why."""

from pathlib import Path
from typing import Any

import pytest

from app.kube import labels
from app.kube.errors import UnavailableError
from app.telemetry.metrics import REGISTRY
from tests.integration.dispatching import LONG, ClusterFixture, until
from tests.support.faults import Action, Fault, Hold, LoseRequest, LoseResponse, Refuse, Request
from tests.support.observer import Observer
from tests.support.selection import slow
from tests.support.stuck_pods import NO_SECRET, make_stuck_pod, write_mount_event

MISSING = "missing.invalid/app:1"
"""Can't be pulled: no row of the embedded node's table has it, and the real one's refuses it."""

EXECUTES = pytest.mark.embedded_only("the nodes of the real control plane run no processes")

SOON = {labels.PENDING_TIMEOUT_ANNOTATION: "1"}


def is_giving_up(request: Request) -> bool:
    return request.method == "PATCH" and labels.GAVE_UP_ANNOTATION.encode() in request.body


def is_look(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/pods")


def reason_of(cluster: ClusterFixture, name: str) -> str:
    """Why a run has failed; empty: it hasn't."""
    conditions = cluster.job(name).status.conditions or ()
    return next((str(found.reason) for found in conditions if found.type == "Failed" and found.status == "True"), "")


def given_up() -> float:
    """How many runs the metrics say were given up."""
    return REGISTRY.get_sample_value("slimfaas_jobs_given_up_runs_total", {"definition": "fib"}) or 0.0


def why(cluster: ClusterFixture, name: str) -> str:
    return str((cluster.job(name).metadata.annotations or {}).get(labels.GAVE_UP_ANNOTATION, ""))


def test_start_deadline__image_cannot_be_pulled__frees_the_slot(cluster: ClusterFixture, seen: Observer) -> None:
    """It fails and says why; the next one gets the slot, and not before the pod is gone."""
    [stuck] = cluster.queue(annotations=SOON, image=MISSING)
    [next_one] = cluster.queue()
    before = given_up()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: next_one in seen.finished)
    assert given_up() == before + 1
    assert reason_of(cluster, stuck) == "DeadlineExceeded"
    assert "ImagePull" in why(cluster, stuck) or "ErrImage" in why(cluster, stuck)
    assert seen.most_active["fib"] == 1
    assert cluster.count_stored(is_giving_up) == 1


@pytest.mark.slow
def test_start_error__without_a_deadline__frees_the_slot_after_two_looks(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Two looks show the same error. A run that gets no pod at all is left alone: that is no such error."""
    [stuck] = cluster.queue(image=MISSING)
    [next_one] = cluster.queue()
    [homeless] = cluster.queue("other", account="nobody")
    with cluster.dispatching({"fib": 1, "other": 1}, start_error_seconds=2):
        seen.wait(lambda: next_one in seen.finished)
        until(lambda: any(is_look(request) and homeless in request.query for request in cluster.proxy.requests))
    assert reason_of(cluster, stuck) == "DeadlineExceeded"
    assert "SLIMFAAS_START_ERROR_TIMEOUT_SECONDS is 2" in why(cluster, stuck)
    assert seen.most_active["fib"] == 1
    assert sum(is_look(request) and stuck in request.query for request in cluster.proxy.requests) >= 2
    assert not why(cluster, homeless)


def test_start_deadline__reason_for_no_pod_can_not_be_read__ends_the_run_all_the_same(
    cluster: ClusterFixture, seen: Observer
) -> None:
    [homeless] = cluster.queue(annotations=SOON, account="nobody")
    refused = cluster.proxy.add(Fault(Refuse(403, "Forbidden"), method="GET", path="/events$", times=None))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: homeless in seen.finished)
    assert cluster.proxy.hits(refused) == 1
    assert why(cluster, homeless) == (
        "no pod could be made within 1 s (a quota, a missing ServiceAccount, or a policy)"
    )


def test_start_deadline__volumes_cannot_be_mounted__says_why(cluster: ClusterFixture) -> None:
    """With another controller, so that nobody but the test makes its pod. That controller would end it."""
    [stuck] = cluster.queue(annotations=SOON, managed_by="example.com/test")
    pod = make_stuck_pod(
        cluster.core, cluster.namespace, {"name": stuck, "uid": cluster.job(stuck).metadata.uid}, "fib"
    )
    write_mount_event(cluster.core, cluster.namespace, pod)
    cluster.suspend(stuck, False)
    started = {"status": {"startTime": "2026-01-01T00:00:00Z"}}
    cluster.batch.patch_namespaced_job_status(stuck, cluster.namespace, started)
    with cluster.dispatching({"fib": 1}):
        until(lambda: why(cluster, stuck))
    assert why(cluster, stuck) == (
        "its container has not started within 1 s: FailedMount: its volumes can't be mounted, and Kubernetes tries "
        f"again: {NO_SECRET}"
    )


def test_start_error__no_limit__holds_the_slot(cluster: ClusterFixture, seen: Observer) -> None:
    """As long as it takes; nobody even looks at its pods."""
    [stuck] = cluster.queue(image=MISSING)
    [given_up] = cluster.queue("other", annotations=SOON, image=MISSING)
    with cluster.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: given_up in seen.finished)
    assert reason_of(cluster, stuck) == ""
    assert not [request for request in cluster.proxy.requests if is_look(request) and stuck in request.query]


def test_start_deadline__run_starts_in_time__is_left_alone(cluster: ClusterFixture, seen: Observer) -> None:
    """Once its container is known to be ready it may run for as long as it likes."""
    [long] = cluster.queue(args=LONG)
    with cluster.dispatching({"fib": 1, "other": 1}):
        until(lambda: cluster.job(long).status.ready)
        # Only now: a busy machine may take longer than that to start it.
        cluster.batch.patch_namespaced_job(long, cluster.namespace, {"metadata": {"annotations": SOON}})
        [given_up] = cluster.queue("other", annotations=SOON, image=MISSING)
        seen.wait(lambda: given_up in seen.finished)
    assert reason_of(cluster, long) == ""
    assert not why(cluster, long)


def is_initializing(cluster: ClusterFixture, name: str) -> bool:
    """Whether an init container of a run runs, as its pod tells."""
    selector = f"batch.kubernetes.io/job-name={name}"
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector).items
    return any(one.state.running for pod in pods for one in pod.status.init_container_statuses or ())


def init(name: str, *command: str, image: str = "busybox:1") -> dict[str, Any]:
    """Return an init container."""
    return {"name": name, "image": image, "command": list(command)}


@pytest.mark.slow
@EXECUTES
def test_start_deadline__init_container_runs__leaves_the_run_alone(
    cluster: ClusterFixture, seen: Observer, tmp_path: Path
) -> None:
    """It has started, and may take as long as it likes."""
    script = f"touch {tmp_path}/begun; until test -e {tmp_path}/go; do sleep 0.05; done"
    [patient] = cluster.queue(initial=[init("setup", "sh", "-c", script)])
    with cluster.dispatching({"fib": 1, "other": 1}):
        until((tmp_path / "begun").exists)
        until(lambda: is_initializing(cluster, patient))
        # Only now: a busy machine may take longer than that to start it.
        cluster.batch.patch_namespaced_job(patient, cluster.namespace, {"metadata": {"annotations": SOON}})
        [stuck] = cluster.queue("other", annotations=SOON, image=MISSING)
        seen.wait(lambda: stuck in seen.finished)
        until(lambda: any(is_look(request) and patient in request.query for request in cluster.proxy.requests))
        assert not why(cluster, patient)
        (tmp_path / "go").touch()
        seen.wait(lambda: patient in seen.finished)
    assert reason_of(cluster, patient) == ""


@EXECUTES
@pytest.mark.parametrize("before", [[], *slow([init("setup", "true")])], ids=["the first", "the second"])
def test_start_deadline__init_container_has_no_image__names_it(
    cluster: ClusterFixture, seen: Observer, before: list[dict[str, Any]]
) -> None:
    """Also where an earlier one has ended."""
    [stuck] = cluster.queue(annotations=SOON, initial=[*before, init("fetch", "true", image=MISSING)])
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert reason_of(cluster, stuck) == "DeadlineExceeded"
    assert "its container has not started within 1 s" in why(cluster, stuck)
    assert "the init container fetch" in why(cluster, stuck)


@EXECUTES
@pytest.mark.slow
def test_start_error__init_container_has_no_image__frees_the_slot(cluster: ClusterFixture, seen: Observer) -> None:
    [stuck] = cluster.queue(initial=[init("fetch", "true", image=MISSING)])
    with cluster.dispatching({"fib": 1}, start_error_seconds=2):
        seen.wait(lambda: stuck in seen.finished)
    assert "SLIMFAAS_START_ERROR_TIMEOUT_SECONDS is 2" in why(cluster, stuck)
    assert "the init container fetch" in why(cluster, stuck)


@pytest.mark.parametrize(
    "action",
    [LoseResponse(), *slow(LoseRequest(), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests"))],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'status', '')}",
)
@pytest.mark.parametrize("call", ["the write", *slow("the look")])
def test_start_deadline__call_fails__is_repeated(
    cluster: ClusterFixture, seen: Observer, action: Action, call: str
) -> None:
    """Lost, repeated or refused for the moment: the run is given up all the same, once."""
    [stuck] = cluster.queue(annotations=SOON, image=MISSING)
    fault = cluster.proxy.add(Fault(action, when=is_look if call == "the look" else is_giving_up, times=2))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert cluster.proxy.hits(fault)
    assert reason_of(cluster, stuck) == "DeadlineExceeded"


@pytest.mark.slow
def test_start_deadline__new_leader__counts_from_the_start_of_the_job(cluster: ClusterFixture, seen: Observer) -> None:
    """The time is the Job's, not the dispatcher's: one that leads later gives it up at once."""
    [stuck] = cluster.queue(annotations=SOON, image=MISSING)
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.job(stuck).status.start_time)
        cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="GET", path=r"/pods$", times=None))
        cluster.proxy.wait_for(is_look)
    cluster.proxy.heal()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert reason_of(cluster, stuck) == "DeadlineExceeded"


@pytest.mark.slow
def test_start_deadline__run_changes_between_read_and_write__is_judged_again(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """The write carries the version that was judged: it conflicts, and the new version is looked at."""
    [stuck] = cluster.queue(annotations=SOON, image=MISSING)
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="GET", path=r"/pods$"))
    with cluster.dispatching({"fib": 1}):
        hold.wait_held()
        cluster.batch.patch_namespaced_job(
            stuck, cluster.namespace, {"metadata": {"annotations": {"somebody": "else"}}}
        )
        hold.release()
        conflicted = cluster.proxy.wait_for(lambda request: is_giving_up(request) and request.status is not None)
        seen.wait(lambda: stuck in seen.finished)
    assert conflicted[0].status == 409
    assert reason_of(cluster, stuck) == "DeadlineExceeded"


def test_start_deadline__before_its_time__makes_no_call(cluster: ClusterFixture, seen: Observer) -> None:
    """Nothing is polled: the time comes from the watch."""
    cluster.queue(annotations={labels.PENDING_TIMEOUT_ANNOTATION: "600"}, image=MISSING)
    [finished] = cluster.queue("other")
    with cluster.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: finished in seen.finished)
    assert not any(map(is_look, cluster.proxy.requests))


def test_start_deadline__clock__is_the_api_servers(cluster: ClusterFixture) -> None:
    """A node's own clock may be minutes off; the API server's is read off its answers."""
    server = cluster.connect().transport
    server.call("GET", "/version")
    stored = cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "now"}})
    assert abs(stored.metadata.creation_timestamp.timestamp() - server.clock.now()) < 10


def test_start_deadline__error_response__does_not_set_the_clock(cluster: ClusterFixture) -> None:
    """A load balancer answers in the API server's place, and by a clock of its own."""
    server = cluster.connect().transport
    server.call("GET", "/version")
    before = server.clock.now()
    cluster.proxy.add(Fault(Refuse(502, "BadGateway", date="Thu, 01 Jan 2099 12:00:00 GMT"), path="/version", times=2))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            server.call("GET", "/version")
    assert server.clock.now() - before < 3600


@pytest.mark.slow
def test_start_deadline__missing_right_to_read_pods__delays_no_other(cluster: ClusterFixture, seen: Observer) -> None:
    """Nor is the API server asked about it again and again."""
    [hidden] = cluster.queue("first", annotations=SOON, image=MISSING)
    [stuck] = cluster.queue("second", annotations=SOON, image=MISSING)

    def is_hidden(request: Request) -> bool:
        return is_look(request) and hidden in request.query

    refusal = cluster.proxy.add(Fault(Refuse(403, "Forbidden"), when=is_hidden, times=None))
    with cluster.dispatching({"first": 1}):
        until(lambda: cluster.proxy.hits(refusal))
    with cluster.dispatching({"first": 1, "second": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert reason_of(cluster, hidden) == ""
    assert cluster.proxy.hits(refusal) == 2, "once for each dispatcher"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["the look", "the write"])
def test_start_deadline__call_without_a_response__delays_no_other(
    cluster: ClusterFixture, seen: Observer, call: str
) -> None:
    """Each of its calls fails: the others have their turn, and it is tried less and less often."""
    [first] = cluster.queue("first", annotations=SOON, image=MISSING)

    def is_meant(request: Request) -> bool:
        if call == "the look":
            return is_look(request) and first in request.query
        return is_giving_up(request) and first in request.path

    failing = cluster.proxy.add(Fault(Refuse(500, "InternalError"), when=is_meant, times=None))
    with cluster.dispatching({"first": 1, "second": 2}):
        until(lambda: cluster.proxy.hits(failing) == 2)
        others = cluster.queue("second", count=2, annotations=SOON, image=MISSING)
        seen.wait(lambda: seen.finished >= set(others))
        assert cluster.proxy.hits(failing) < 8
        cluster.proxy.remove(failing)
        seen.wait(lambda: first in seen.finished)
