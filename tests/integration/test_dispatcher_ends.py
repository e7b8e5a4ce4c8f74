"""How runs end: counted once for the metrics across changes of the leader, and logged with what their pods know."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from app.telemetry.metrics import REGISTRY
from tests.integration.dispatching import LONG, ClusterFixture, until
from tests.support.faults import Fault, Refuse
from tests.support.observer import Observer

PRINTS = pytest.mark.embedded_only("the nodes of the real control plane run no processes")


def ends(outcome: str, reason: str = "", definition: str = "fib") -> float:
    """How many ends the metrics of this process have."""
    labels = {"definition": definition, "outcome": outcome, "reason": reason}
    return REGISTRY.get_sample_value("slimfaas_jobs_ended_runs_total", labels) or 0.0


def lines_about(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name == "app.dispatcher.end_reporter"]
    return [line for line in found if name in line]


def test_end__of_a_run_that_succeeds__is_counted_and_logged(
    cluster: ClusterFixture, seen: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.dispatcher.end_reporter")
    before = ends("succeeded")
    [name] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: name in seen.finished)
        until(lambda: lines_about(caplog, name))
    [line] = lines_about(caplog, name)
    assert line.startswith(f"run {name} succeeded: ran for ")
    assert ends("succeeded") == before + 1
    assert not [request for request in cluster.proxy.requests if request.path.endswith("/pods")]


@PRINTS
@pytest.mark.parametrize("readable", [True, False])
def test_end__of_a_run_that_fails__is_logged_with_its_exit_code_if_that_can_be_read(
    cluster: ClusterFixture, seen: Observer, caplog: pytest.LogCaptureFixture, readable: bool
) -> None:
    caplog.set_level(logging.INFO, "app.dispatcher.end_reporter")
    if not readable:
        cluster.proxy.add(Fault(Refuse(403, "Forbidden"), method="GET", path=r"/pods$", times=None))
    before = ends("failed", "BackoffLimitExceeded")
    [name] = cluster.queue(args=("sh", "-c", "exit 7"))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: name in seen.finished)
        until(lambda: lines_about(caplog, name))
    [line] = lines_about(caplog, name)
    assert line.startswith(f"run {name} failed: reason BackoffLimitExceeded, ran for ")
    assert line.endswith(", exit code 7") is readable
    assert ends("failed", "BackoffLimitExceeded") == before + 1


def test_end__of_a_run_that_is_deleted__is_counted_as_cancelled(cluster: ClusterFixture, seen: Observer) -> None:
    """Whether it was queued or active."""
    before = ends("cancelled")
    active, queued = cluster.queue(count=2, args=LONG)
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: active in seen.starts)
        cluster.delete(queued)
        cluster.delete(active)
        until(lambda: ends("cancelled") == before + 2)


@pytest.mark.slow
def test_end__while_nobody_leads__is_counted_by_the_next_leader_only(cluster: ClusterFixture, seen: Observer) -> None:
    """The Lease says until when its last holder has counted."""
    expected = ends("succeeded")
    for led in (True, False, True, False):
        [name] = cluster.queue()
        if not led:
            cluster.suspend(name, False)
            seen.wait(lambda name=name: name in seen.finished)  # type: ignore[misc]
        expected += 1
        with cluster.dispatching({"fib": 1}):
            until(lambda count=expected: ends("succeeded") == count)  # type: ignore[misc]
            # Kubernetes cuts times to whole seconds: the next leader counts the ends of the last second, too.
            completed = cluster.job(name).status.completion_time
            until(lambda at=completed: datetime.now(UTC) > at + timedelta(seconds=1))  # type: ignore[misc]
    assert ends("succeeded") == expected


def test_end__of_a_job_with_an_unknown_definition__becomes_no_series_of_its_own(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Whoever may create Jobs may write any name into the label."""
    before = ends("succeeded", definition="(unknown)")
    [name] = cluster.queue("stranger")
    with cluster.dispatching({"fib": 1}):
        cluster.suspend(name, False)
        seen.wait(lambda: name in seen.finished)
        until(lambda: ends("succeeded", definition="(unknown)") == before + 1)
    assert ends("succeeded", definition="stranger") == 0
