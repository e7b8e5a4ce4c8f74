"""Runs that are handed to Kueue, with tests that do Kueue's part. tests/e2e has the real one."""

import pytest

from app.kube import labels
from tests.integration.dispatching import LONG, MERGE_PATCH, ClusterFixture, until
from tests.support.observer import Observer


def test_dispatcher__run_with_a_queue__removes_its_gate_and_does_not_start_it(
    cluster: ClusterFixture, seen: Observer
) -> None:
    names = cluster.queue(count=3, local_queue="team-a")
    assert all(cluster.is_gated(name) for name in names)
    with cluster.dispatching({"fib": 2}):
        until(lambda: cluster.reasons(names[2]) == ["WaitingForSlot"])
        assert [cluster.is_gated(name) for name in names] == [False, False, True]
        assert all(cluster.job(name).spec.suspend for name in names), "only Kueue starts them"
        cluster.suspend(names[1], False)
        seen.wait(lambda: names[1] in seen.finished)
        until(lambda: not cluster.is_gated(names[2]))
    assert seen.starts == {names[1]: 1}


@pytest.mark.slow
def test_dispatcher__preempted_run__keeps_its_slot_and_is_not_started_again(
    cluster: ClusterFixture, seen: Observer
) -> None:
    [preempted] = cluster.queue(local_queue="team-a", args=LONG)
    with cluster.dispatching({"fib": 1}):
        until(lambda: not cluster.is_gated(preempted))
        cluster.suspend(preempted, False)
        seen.wait(lambda: bool(seen.pods[preempted]))
        cluster.suspend(preempted, True)
        [behind] = cluster.queue(local_queue="team-a")
        until(lambda: cluster.reasons(behind) == ["WaitingForSlot"])
        assert cluster.is_gated(behind)
        assert cluster.job(preempted).spec.suspend is True
        assert cluster.reasons(preempted) == []
        cluster.delete(preempted)
        until(lambda: not cluster.is_gated(behind))


def test_dispatcher__unready_dependency__keeps_the_gate(cluster: ClusterFixture, seen: Observer) -> None:
    cluster.deploy("db", replicas=0)
    [waiting] = cluster.queue(local_queue="team-a", depends_on=("db",))
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.reasons(waiting) == ["WaitingForDependencies"])
        assert cluster.is_gated(waiting)
        cluster.scale("db", replicas=1)
        until(lambda: not cluster.is_gated(waiting))


def test_dispatcher__run_without_a_queue__starts_with_its_gate_until_somebody_names_a_queue(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Kueue labels the Jobs of a namespace with a default queue; the stored Job decides."""
    plain, given = cluster.queue(count=2)
    body = {"metadata": {"labels": {labels.LOCAL_QUEUE_LABEL: "default"}}}
    cluster.batch.patch_namespaced_job(given, cluster.namespace, body, _content_type=MERGE_PATCH)
    with cluster.dispatching({"fib": 2}):
        seen.wait(lambda: plain in seen.finished)
        until(lambda: not cluster.is_gated(given))
    assert cluster.is_gated(plain)
    assert cluster.job(given).spec.suspend is True
