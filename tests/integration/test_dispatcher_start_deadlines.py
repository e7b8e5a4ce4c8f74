"""Runs that hold a slot and don't start: after their time they are given up, and say why."""

import pytest

from app.kube import labels
from app.kube.errors import UnavailableError
from app.telemetry.metrics import REGISTRY
from tests.integration.dispatching import LONG, Stage, until
from tests.support.faults import Action, Fault, Hold, LoseRequest, LoseResponse, Refuse, Request
from tests.support.observer import Observer
from tests.support.selection import slow

MISSING = "missing.invalid/app:1"
"""Can't be pulled: no row of the embedded node's table has it, and the real one's refuses it."""

SOON = {labels.PENDING_TIMEOUT_ANNOTATION: "1"}


def is_giving_up(request: Request) -> bool:
    return request.method == "PATCH" and labels.GAVE_UP_ANNOTATION.encode() in request.body


def is_look(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/pods")


def reason_of(stage: Stage, name: str) -> str:
    """Why a run has failed; empty: it hasn't."""
    conditions = stage.job(name).status.conditions or ()
    return next((str(found.reason) for found in conditions if found.type == "Failed" and found.status == "True"), "")


def given_up() -> float:
    """How many runs the metrics say were given up."""
    return REGISTRY.get_sample_value("slimfaas_jobs_given_up_runs_total", {"definition": "fib"}) or 0.0


def why(stage: Stage, name: str) -> str:
    return str((stage.job(name).metadata.annotations or {}).get(labels.GAVE_UP_ANNOTATION, ""))


def test_a_run_whose_image_cannot_be_pulled_gives_its_slot_back(stage: Stage, seen: Observer) -> None:
    """It fails and says why; the next one gets the slot, and not before the pod is gone."""
    [stuck] = stage.queue(annotations=SOON, image=MISSING)
    [next_one] = stage.queue()
    before = given_up()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: next_one in seen.finished)
    assert given_up() == before + 1
    assert reason_of(stage, stuck) == "DeadlineExceeded"
    assert "ImagePull" in why(stage, stuck) or "ErrImage" in why(stage, stuck)
    assert seen.most_active["fib"] == 1
    assert sum(map(is_giving_up, stage.proxy.requests)) == 1


def test_without_a_time_it_holds_its_slot(stage: Stage, seen: Observer) -> None:
    """As long as it takes; nobody even looks at its pods."""
    [stuck] = stage.queue(image=MISSING)
    [given_up] = stage.queue("other", annotations=SOON, image=MISSING)
    with stage.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: given_up in seen.finished)
    assert reason_of(stage, stuck) == ""
    assert not [request for request in stage.proxy.requests if is_look(request) and stuck in request.query]


def test_a_run_that_starts_in_time_is_left_alone(stage: Stage, seen: Observer) -> None:
    """Once its container is known to be ready it may run for as long as it likes."""
    [long] = stage.queue(annotations=SOON, args=LONG)
    [given_up] = stage.queue("other", annotations=SOON, image=MISSING)
    with stage.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: given_up in seen.finished)
        until(lambda: stage.job(long).status.ready)
    assert reason_of(stage, long) == ""
    assert not why(stage, long)


@pytest.mark.parametrize(
    "action",
    [LoseResponse(), *slow(LoseRequest(), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests"))],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'status', '')}",
)
@pytest.mark.parametrize("call", ["the write", *slow("the look")])
def test_a_call_that_fails_is_made_again(stage: Stage, seen: Observer, action: Action, call: str) -> None:
    """Lost, repeated or refused for the moment: the run is given up all the same, once."""
    [stuck] = stage.queue(annotations=SOON, image=MISSING)
    fault = stage.proxy.add(Fault(action, when=is_look if call == "the look" else is_giving_up, times=2))
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert stage.proxy.hits(fault)
    assert reason_of(stage, stuck) == "DeadlineExceeded"


def test_another_dispatcher_counts_on_from_where_the_cluster_says(stage: Stage, seen: Observer) -> None:
    """The time is the Job's, not the dispatcher's: one that leads later gives it up at once."""
    [stuck] = stage.queue(annotations=SOON, image=MISSING)
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.job(stuck).status.start_time)
        stage.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="GET", path=r"/pods$", times=None))
        stage.proxy.wait_for(is_look)
    stage.proxy.heal()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert reason_of(stage, stuck) == "DeadlineExceeded"


def test_a_run_that_changes_between_look_and_write_is_judged_anew(stage: Stage, seen: Observer) -> None:
    """The write carries the version that was judged: it conflicts, and the new version is looked at."""
    [stuck] = stage.queue(annotations=SOON, image=MISSING)
    hold = Hold()
    stage.proxy.add(Fault(hold, method="GET", path=r"/pods$"))
    with stage.dispatching({"fib": 1}):
        hold.wait_held()
        stage.batch.patch_namespaced_job(stuck, stage.name, {"metadata": {"annotations": {"somebody": "else"}}})
        hold.release()
        conflicted = stage.proxy.wait_for(lambda request: is_giving_up(request) and request.status is not None)
        seen.wait(lambda: stuck in seen.finished)
    assert conflicted[0].status == 409
    assert reason_of(stage, stuck) == "DeadlineExceeded"


def test_what_waits_to_start_costs_no_call_before_its_time(stage: Stage, seen: Observer) -> None:
    """Nothing is polled: the time comes from the watch."""
    stage.queue(annotations={labels.PENDING_TIMEOUT_ANNOTATION: "600"}, image=MISSING)
    [finished] = stage.queue("other")
    with stage.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: finished in seen.finished)
    assert not any(map(is_look, stage.proxy.requests))


def test_the_time_is_told_by_the_api_servers_clock(stage: Stage) -> None:
    """A node's own clock may be minutes off; the API server's is read off its answers."""
    server = stage.connect().transport
    server.call("GET", "/version")
    stored = stage.core.create_namespaced_config_map(stage.name, {"metadata": {"name": "now"}})
    assert abs(stored.metadata.creation_timestamp.timestamp() - server.clock.now()) < 10


def test_an_error_tells_no_time(stage: Stage) -> None:
    """A load balancer answers in the API server's place, and by a clock of its own."""
    server = stage.connect().transport
    server.call("GET", "/version")
    before = server.clock.now()
    stage.proxy.add(Fault(Refuse(502, "BadGateway", date="Thu, 01 Jan 2099 12:00:00 GMT"), path="/version", times=2))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            server.call("GET", "/version")
    assert server.clock.now() - before < 3600


def test_a_run_that_may_not_be_looked_at_keeps_no_other_waiting(stage: Stage, seen: Observer) -> None:
    """Nor is the API server asked about it again and again."""
    [hidden] = stage.queue("first", annotations=SOON, image=MISSING)
    [stuck] = stage.queue("second", annotations=SOON, image=MISSING)

    def is_hidden(request: Request) -> bool:
        return is_look(request) and hidden in request.query

    refusal = stage.proxy.add(Fault(Refuse(403, "Forbidden"), when=is_hidden, times=None))
    with stage.dispatching({"first": 1}):
        until(lambda: stage.proxy.hits(refusal))
    with stage.dispatching({"first": 1, "second": 1}):
        seen.wait(lambda: stuck in seen.finished)
    assert reason_of(stage, hidden) == ""
    assert stage.proxy.hits(refusal) == 2, "once for each dispatcher"


@pytest.mark.slow
@pytest.mark.parametrize("call", ["the look", "the write"])
def test_a_run_that_gets_no_answer_keeps_no_other_waiting(stage: Stage, seen: Observer, call: str) -> None:
    """Each of its calls fails: the others have their turn, and it is tried less and less often."""
    [first] = stage.queue("first", annotations=SOON, image=MISSING)

    def is_meant(request: Request) -> bool:
        if call == "the look":
            return is_look(request) and first in request.query
        return is_giving_up(request) and first in request.path

    failing = stage.proxy.add(Fault(Refuse(500, "InternalError"), when=is_meant, times=None))
    with stage.dispatching({"first": 1, "second": 2}):
        until(lambda: stage.proxy.hits(failing) == 2)
        others = stage.queue("second", count=2, annotations=SOON, image=MISSING)
        seen.wait(lambda: seen.finished >= set(others))
        assert stage.proxy.hits(failing) < 8
        stage.proxy.remove(failing)
        seen.wait(lambda: first in seen.finished)
