"""Runs that Kubernetes makes at the times of a schedule, in the queue beside those of requests."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.kube import labels
from schemas.definition import Definition
from tests.integration.dispatching import QUICK, ClusterFixture, DispatcherProcess, await_noted, make_due, until
from tests.integration.test_schedule_keeper import YEARLY, Harness, definition, names_of
from tests.support.observer import Observer


@pytest.fixture
def harness(cluster: ClusterFixture) -> Harness:
    return Harness(cluster)


def runs_of(harness: Harness, cronjob: str) -> list[Any]:
    """Return the Jobs that a schedule has made, the oldest time first."""
    found = harness.cluster.batch.list_namespaced_job(harness.cluster.namespace).items
    return sorted(
        (one for one in found if one.metadata.name.startswith(f"{cronjob}-")), key=lambda one: one.metadata.name
    )


@pytest.fixture
def scheduled(harness: Harness) -> Iterator[tuple[Definition, list[str]]]:
    """Keep three schedules of one definition, and have Kubernetes make the run of each."""
    one = definition(
        {"Schedule": YEARLY},
        {"Schedule": YEARLY, "TimeZone": "Europe/Paris"},
        {"Schedule": YEARLY, "TimeZone": "Asia/Tokyo", "DependsOn": ["database"]},
    )
    with harness.keeping(one):
        harness.await_names(*names_of(one))
        for name in names_of(one):
            make_due(harness.cluster, name)
        yield one, [until(lambda name=name: runs_of(harness, name))[0].metadata.name for name in names_of(one)]


def test_scheduled_runs__obey_slots_and_dependencies(
    harness: Harness, scheduled: tuple[Definition, list[str]], seen: Observer
) -> None:
    """Beside runs of requests, whose slot it is, too."""
    _, (first, second, dependent) = scheduled
    (requested,) = harness.cluster.queue("fib")
    with harness.cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= {first, second, requested})
        until(lambda: harness.cluster.reasons(dependent) == ["WaitingForDependencies"])
        assert harness.cluster.job(dependent).spec.suspend
        harness.cluster.deploy("database", replicas=1)
        seen.wait(lambda: dependent in seen.finished)
    assert max(seen.most_active.values(), default=0) <= 1


@pytest.mark.slow
def test_scheduled_runs__are_made_while_no_dispatcher_leads_and_started_by_the_next(
    harness: Harness, cluster: ClusterFixture, seen: Observer
) -> None:
    """The leader is killed right before the time. Its successor starts the one run that Kubernetes has made."""
    one = definition({"Schedule": YEARLY})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
    kubeconfig = cluster.kubeconfig()
    with DispatcherProcess(kubeconfig, cluster.namespace, {"fib": 1}, QUICK) as leader:
        until(cluster.is_settled)
        leader.kill()
        make_due(harness.cluster, name)
        (run,) = until(lambda: runs_of(harness, name))
        assert run.spec.suspend
        with (
            DispatcherProcess(kubeconfig, cluster.namespace, {"fib": 1}, QUICK),
            harness.keeping(one),
        ):
            seen.wait(lambda: run.metadata.name in seen.finished)
            harness.await_names(name)
    assert [found.metadata.name for found in runs_of(harness, name)] == [run.metadata.name]
    assert seen.starts[run.metadata.name] == 1


@pytest.mark.parametrize(
    ("policy", "left"), [("Allow", {"first", "second"}), ("Forbid", {"first"}), ("Replace", {"second"})]
)
def test_concurrency_policy__counts_queued_runs(harness: Harness, policy: str, left: set[str]) -> None:
    """No dispatcher leads, so the first run is queued when the second time has come."""
    one = definition({"Schedule": YEARLY, "ConcurrencyPolicy": policy})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        make_due(harness.cluster, name)
        (first,) = until(lambda: runs_of(harness, name))
        await_noted(harness.cluster, name)
        # Another time that has passed. It pauses, so that the controller does not look between the two changes.
        harness.patch(name, {"spec": {"schedule": "0 0 2 1 *", "suspend": True}})
        make_due(harness.cluster, name)
        harness.patch(name, {"spec": {"suspend": False}})
        expected = len(left)

        def decided() -> bool:
            runs = runs_of(harness, name)
            if policy == "Forbid":
                selector = f"involvedObject.kind=CronJob,involvedObject.name={name},reason=JobAlreadyActive"
                events = harness.cluster.core.list_namespaced_event(harness.cluster.namespace, field_selector=selector)
                return bool(events.items)
            return len(runs) == expected and ("first" in left or runs[0].metadata.uid != first.metadata.uid)

        until(decided)
        uids = {found.metadata.uid for found in runs_of(harness, name)}
        assert (first.metadata.uid in uids) is ("first" in left)
        assert len(uids) == expected
        # The edit of the test is told, and stays.
        until(lambda: harness.reasons(name) == ["ScheduleEdited"])


@pytest.mark.slow
def test_scheduled_runs__end_in_the_queue_when_their_time_there_is_over(
    harness: Harness, cluster: ClusterFixture
) -> None:
    one = definition({"Schedule": YEARLY, "QueueTimeoutSeconds": 1, "DependsOn": ["nobody"]})
    (name,) = names_of(one)
    with harness.keeping(one), cluster.dispatching({"fib": 1}):
        harness.await_names(name)
        make_due(harness.cluster, name)
        (run,) = until(lambda: runs_of(harness, name))
        until(lambda: labels.QUEUE_TIMED_OUT_ANNOTATION in cluster.job(run.metadata.name).metadata.annotations)


def test_run_by_hand__from_a_schedule_is_queued_and_started(
    harness: Harness, cluster: ClusterFixture, seen: Observer
) -> None:
    """As `kubectl create job by-hand --from=cronjob/...` makes it."""
    one = definition({"Schedule": YEARLY, "Suspend": True})
    (name,) = names_of(one)
    with harness.keeping(one):
        harness.await_names(name)
        template = harness.cronjobs()[name].spec.job_template
        metadata = {"name": "by-hand", "labels": template.metadata.labels, "annotations": template.metadata.annotations}
        cluster.batch.create_namespaced_job(cluster.namespace, {"metadata": metadata, "spec": template.spec})
        assert cluster.job("by-hand").spec.suspend
        with cluster.dispatching({"fib": 1}):
            seen.wait(lambda: "by-hand" in seen.finished)
