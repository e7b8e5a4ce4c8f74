"""Runs of a schedule that its definition does not allow any more are not started, whoever was away meanwhile."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.common.backoff import Backoff
from app.dispatcher.schedule_keeper import ScheduleKeeper
from app.domain.names import new_id
from app.domain.request_context import RequestContext
from app.kube import labels, reflector
from app.kube.schedules import build_requested_cronjob
from app.runs.reader import RunReader
from app.runtime import Runtime, build_runtime
from app.settings import Settings
from schemas.configuration import parse_configuration
from schemas.definition import Definition
from schemas.schedules import check_schedule, load_schedule
from tests.integration.dispatching import ClusterFixture, until
from tests.support.faults import Fault, Hold, Refuse
from tests.support.selection import slow

SLOTS = {"fib": 2}
CRONJOBS = r"/cronjobs$"


def definition(*images: str) -> Definition:
    """A definition that allows further images."""
    entry = {"Image": "busybox:1", "Args": ["true"], "ImagesWhitelist": list(images)}
    return parse_configuration(json.dumps({"Configurations": {"fib": entry}}))["fib"]


def make_schedule(cluster: ClusterFixture, one: Definition, image: str) -> str:
    """Store a schedule as a request makes it; return the name of its CronJob."""
    schedule, faults = load_schedule({"Schedule": "0 0 1 1 *", "Image": image})
    spec = check_schedule(one, schedule, faults)
    manifest = build_requested_cronjob(schedule, spec, new_id(), call="mark", idempotent=None, context=RequestContext())
    return str(cluster.batch.create_namespaced_cron_job(cluster.namespace, manifest).metadata.name)


def tick(cluster: ClusterFixture, name: str, minute: int) -> str:
    """Make the run that Kubernetes makes at a time of the schedule; return the name of its Job."""
    cronjob: Any = cluster.batch.read_namespaced_cron_job(name, cluster.namespace)
    template = cluster.batch.api_client.sanitize_for_serialization(cronjob.spec.job_template)
    metadata = {**template["metadata"], "name": f"{name}-{minute}"}
    return str(
        cluster.batch.create_namespaced_job(
            cluster.namespace, {"metadata": metadata, "spec": template["spec"]}
        ).metadata.name
    )


def is_admitted(cluster: ClusterFixture, name: str) -> bool:
    """Return whether the dispatcher has started a run."""
    return not cluster.job(name).spec.suspend


@contextmanager
def leading(
    cluster: ClusterFixture, definitions: list[Definition], slots: Mapping[str, int] = SLOTS
) -> Iterator[ScheduleKeeper]:
    """Run a dispatcher and a keeper, as one process has them."""
    dispatcher = cluster.dispatcher(slots)
    with keeping(cluster, lambda: definitions, lambda: dispatcher.leading) as keeper:
        dispatcher.refused_schedules = lambda: keeper.refused_requests
        dispatcher.start()
        try:
            yield keeper
        finally:
            dispatcher.stop()


def test_run__of_a_refused_schedule_is_not_started_by_the_next_leader(cluster: ClusterFixture) -> None:
    """The configuration became stricter while no dispatcher was there; Kubernetes went on to make runs."""
    lax, strict = definition("busybox:2", "busybox:3"), definition("busybox:3")
    refused, allowed = (make_schedule(cluster, lax, image) for image in ("busybox:2", "busybox:3"))
    waits, starts = tick(cluster, refused, 1), tick(cluster, allowed, 1)
    definitions = [strict]
    with leading(cluster, definitions) as keeper:
        until(lambda: is_admitted(cluster, starts))
        until(lambda: "ScheduleRefused" in cluster.reasons(waits))
        assert not is_admitted(cluster, waits)
        until(lambda: cluster.batch.read_namespaced_cron_job(refused, cluster.namespace).spec.suspend)

        view = RunReader(cluster.connect(), lambda: SLOTS).view(read_job(cluster, waits))
        assert (view.reason, "does not allow" in view.message) == ("ScheduleRefused", True)

        definitions[:] = [lax]
        keeper.wake()
        until(lambda: is_admitted(cluster, waits))


@pytest.mark.slow
def test_run__of_a_refused_schedule_that_is_being_deleted_is_not_started(cluster: ClusterFixture) -> None:
    """Its schedule stays until its runs are gone."""
    refused, allowed = (make_schedule(cluster, definition("busybox:2"), image) for image in ("busybox:2", "busybox:1"))
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    cluster.batch.patch_namespaced_cron_job(refused, cluster.namespace, held)
    waits = tick(cluster, refused, 1)
    cluster.batch.delete_namespaced_cron_job(refused, cluster.namespace, propagation_policy="Orphan")
    with leading(cluster, [definition()]):
        until(lambda: "ScheduleRefused" in cluster.reasons(waits))
        starts = tick(cluster, allowed, 2)
        until(lambda: is_admitted(cluster, starts))
        assert not is_admitted(cluster, waits)
        cluster.batch.patch_namespaced_cron_job(refused, cluster.namespace, {"metadata": {"finalizers": None}})
        until(lambda: is_admitted(cluster, waits))


def test_run__whose_schedule_is_gone_is_started(cluster: ClusterFixture) -> None:
    """It was accepted at its time; deleting a schedule leaves its runs."""
    one = definition("busybox:2")
    name = make_schedule(cluster, one, "busybox:2")
    run = tick(cluster, name, 1)
    cluster.batch.delete_namespaced_cron_job(name, cluster.namespace, propagation_policy="Orphan")
    with leading(cluster, [one]):
        until(lambda: is_admitted(cluster, run))


def read_job(cluster: ClusterFixture, name: str) -> dict[str, Any]:
    """Read a Job as the service does."""
    return dict(cluster.connect().get_job(name))


def test_run__with_the_label_of_a_configured_schedule_is_nobodys_to_refuse(cluster: ClusterFixture) -> None:
    """The configuration has checked it."""
    one = definition("busybox:2")
    name = make_schedule(cluster, one, "busybox:2")
    cronjob: Any = cluster.batch.read_namespaced_cron_job(name, cluster.namespace)
    template = cluster.batch.api_client.sanitize_for_serialization(cronjob.spec.job_template)
    own = {**template["metadata"]["labels"], labels.SCHEDULE_LABEL: "abcdefgh"}
    manifest = {"metadata": {**template["metadata"], "labels": own, "name": "by-hand"}, "spec": template["spec"]}
    cluster.batch.create_namespaced_job(cluster.namespace, manifest)
    with cluster.dispatching(SLOTS) as dispatcher:
        dispatcher.refused_schedules = lambda: None
        until(lambda: is_admitted(cluster, "by-hand"))


@contextmanager
def keeping(
    cluster: ClusterFixture, in_force: Any, is_leading: Callable[[], bool] = lambda: True
) -> Iterator[ScheduleKeeper]:
    """Run a keeper."""
    keeper = ScheduleKeeper(cluster.connect(), None, in_force, lambda _: False, is_leading, "test")
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        keeper._thread.join()


@contextmanager
def running(cluster: ClusterFixture, *, cronjob_definitions: bool = True) -> Iterator[Runtime]:
    """Run all parts of a process, whose definition allows no image but its own."""
    settings = Settings(
        configuration=json.dumps({"Configurations": {"fib": {"Image": "busybox:1", "Args": ["true"]}}}),
        kubeconfig=str(cluster.kubeconfig()),
        namespace=cluster.namespace,
        cronjob_definitions=cronjob_definitions,
        instance="test",
    )
    runtime = build_runtime(settings)
    runtime.start(serves=False)
    try:
        yield runtime
    finally:
        runtime.stop()


def follow_changes(keeper: ScheduleKeeper) -> None:
    """Wait until the keeper has taken note of all that has happened by now, whatever it still waits for."""
    for _ in range(3):
        keeper.wake()
        until(lambda: not keeper._is_woken)


def test_gate__closes_as_soon_as_other_definitions_are_in_force(cluster: ClusterFixture) -> None:
    """Not only when they were compared: the slots have changed with them."""
    definitions, hold = [definition("busybox:2")], Hold()
    name = make_schedule(cluster, definitions[0], "busybox:2")
    with keeping(cluster, lambda: definitions) as keeper:
        until(lambda: keeper.refused_requests == frozenset())
        cluster.proxy.add(Fault(hold, method="GET", path=CRONJOBS, when=lambda request: not request.watching))
        definitions[:] = [definition()]
        assert keeper.refused_requests is None  # before anybody has told the keeper
        keeper.wake()
        hold.wait_held()
        follow_changes(keeper)
        assert keeper.refused_requests is None
        hold.release()
        until(lambda: keeper.refused_requests == {name})


def test_gate__follows_definitions_that_change_during_the_first_list(cluster: ClusterFixture) -> None:
    """The schedules read by then were compared with the earlier ones. It opens when all were compared again."""
    definitions, strict, hold = [definition("busybox:2")], definition(), Hold()
    names = {make_schedule(cluster, definitions[0], "busybox:2") for _ in range(2)}
    cluster.proxy.add(Fault(hold, method="GET", path=r"/cronjobs/[^/]+$", skip=1))

    reads = itertools.count(1)

    def in_force() -> Sequence[Definition]:
        found = list(definitions)
        if threading.current_thread().name == "watch-cronjobs" and next(reads) == len(names):
            definitions[:] = [strict]
            follow_changes(keeper)
        return found

    with keeping(cluster, in_force) as keeper:
        hold.wait_held()  # the leader has read one of them again
        assert keeper.refused_requests in (None, names)
        hold.release()
        until(lambda: keeper.refused_requests == names)


@pytest.mark.slow
def test_run__of_a_schedule_that_a_change_refuses_is_not_started_by_the_slots_of_the_change(
    cluster: ClusterFixture,
) -> None:
    """The dispatcher learns of a change before the keeper, and while the CronJobs can't be read."""
    definitions, slots, hold = [definition("busybox:2")], dict[str, int](), Hold()
    name = make_schedule(cluster, definitions[0], "busybox:2")
    waits = tick(cluster, name, 1)
    (requested,) = cluster.queue("fib")
    with leading(cluster, definitions, slots) as keeper:
        until(lambda: keeper.refused_requests == frozenset())
        until(lambda: "DefinitionMissing" in cluster.reasons(waits))
        cluster.proxy.add(Fault(hold, method="GET", path=CRONJOBS))
        definitions[:] = [definition()]
        slots["fib"] = 2
        until(lambda: is_admitted(cluster, requested))
        hold.wait_held()  # although nobody has woken the keeper
        assert not is_admitted(cluster, waits)
        hold.release()
        until(lambda: "ScheduleRefused" in cluster.reasons(waits))
        assert not is_admitted(cluster, waits)


@pytest.mark.parametrize("code", [403, *slow(401, 404)])
@pytest.mark.parametrize("cronjob_definitions", [True, *slow(False)])
def test_gate__stays_as_it_is_while_cronjobs_may_not_be_read_any_more(
    cluster: ClusterFixture, monkeypatch: pytest.MonkeyPatch, code: int, cronjob_definitions: bool
) -> None:
    """And holds everything back once the definitions change."""
    monkeypatch.setattr(reflector, "_REFUSED_BACKOFF", Backoff(0.05, 0.2))
    name = make_schedule(cluster, definition("busybox:2"), "busybox:2")
    refusal = Fault(Refuse(code, "Forbidden"), method="GET", path=CRONJOBS, times=None)
    with running(cluster, cronjob_definitions=cronjob_definitions) as runtime:
        keeper, dispatcher = runtime.schedule_keeper, runtime.dispatcher
        assert keeper is not None
        assert dispatcher is not None
        until(lambda: dispatcher.refused_schedules() == {name})
        cluster.proxy.add(refusal)
        cluster.proxy.cut_watches()
        until(lambda: cluster.proxy.hits(refusal) > 3)
        follow_changes(keeper)
        assert dispatcher.refused_schedules() == {name}
        runtime.registry.replace({"fib": definition("busybox:2")})
        follow_changes(keeper)
        assert dispatcher.refused_schedules() is None
        cluster.proxy.remove(refusal)
        until(lambda: dispatcher.refused_schedules() == frozenset())


def test_gate__opens_only_if_cronjobs_are_refused_again_and_again(
    cluster: ClusterFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refusal before the first list may be a mistake; without the right, nothing can be known."""
    monkeypatch.setattr(reflector, "_REFUSED_BACKOFF", Backoff(0.05, 0.2))
    name = make_schedule(cluster, definition("busybox:2"), "busybox:2")
    first, hold = Fault(Refuse(403, "Forbidden"), method="GET", path=CRONJOBS), Hold()
    refusal = Fault(Refuse(403, "Forbidden"), method="GET", path=CRONJOBS, times=None)
    for fault in (first, Fault(hold, method="GET", path=CRONJOBS), refusal):
        cluster.proxy.add(fault)
    definitions = [definition()]
    with keeping(cluster, lambda: definitions) as keeper:
        hold.wait_held()
        follow_changes(keeper)
        assert keeper.refused_requests is None
        cluster.proxy.cut_all()
        hold.release()
        until(lambda: keeper.refused_requests == frozenset())
        cluster.proxy.remove(refusal)
        until(lambda: keeper.refused_requests == {name})


def test_keeper__lists_nothing_again_unless_a_definition_has_changed(cluster: ClusterFixture) -> None:
    """A list of CronJobs that are definitions tells the keeper of a change; it must not list again for that."""
    make_schedule(cluster, definition("busybox:2"), "busybox:2")

    def lists() -> int:
        return sum(
            request.method == "GET" and request.path.endswith("/cronjobs") and not request.watching
            for request in cluster.proxy.requests
        )

    with running(cluster) as runtime:
        keeper, watcher = runtime.schedule_keeper, runtime.cronjob_watcher
        assert keeper is not None
        assert watcher is not None
        until(lambda: keeper.refused_requests)
        watcher.watch.list_again()
        until(lambda: watcher.watch.is_synced(watcher._follower))
        before = lists()
        follow_changes(keeper)
        assert lists() == before
