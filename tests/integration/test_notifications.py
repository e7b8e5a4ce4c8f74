"""The ends of runs are told to their receivers: at least once, never too early, whatever fails in between."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.definitions.registry import Registry
from app.kube import labels
from app.telemetry.metrics import REGISTRY
from schemas.definition import Definition
from tests.integration.dispatching import LONG, ClusterFixture, DispatcherProcess, registry_of, until
from tests.support.faults import Fault, FaultProxy, Hold, LoseResponse, Refuse, Request
from tests.support.observer import Observer
from tests.support.receivers import Received, Receiver, Reply
from tests.support.selection import slow

SLOTS = {"fib": 4}
PRINTS = pytest.mark.embedded_only("the nodes of the real control plane run no processes")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


def is_marking(request: Request) -> bool:
    """Whether a request marks a run as told."""
    return request.method == "PATCH" and b"slimfaas.dev/notification" in request.body


def state(cluster: ClusterFixture, name: str) -> str:
    return str(cluster.job(name).metadata.annotations[labels.NOTIFICATION_ANNOTATION])


def is_delivered(cluster: ClusterFixture, name: str) -> bool:
    return state(cluster, name) == "Delivered"


def deliveries(outcome: str, definition: str = "fib") -> float:
    """How many notifications the metrics of this process have."""
    return (
        REGISTRY.get_sample_value("slimfaas_jobs_notifications_total", {"definition": definition, "outcome": outcome})
        or 0.0
    )


def undelivered() -> float:
    value = REGISTRY.get_sample_value("slimfaas_jobs_undelivered_notifications", {"definition": "fib"})
    return value or 0.0


def test_notification__of_a_run__is_delivered_with_one_write_which_sets_its_ttl(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    before = deliveries("delivered")
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(cluster.is_settled)
        [name] = cluster.queue(notifies=True, ttl_seconds=3600)
        assert cluster.job(name).spec.ttl_seconds_after_finished is None
        until(lambda: is_delivered(cluster, name))
    job = cluster.job(name)
    [got] = receiver.received
    event = json.loads(got.body)
    assert got.event_id == event["id"] == f"{job.metadata.uid}-ended"
    assert event["type"] == "dev.slimfaas.run.succeeded"
    assert event["data"]["Name"] == name
    assert event["data"]["Status"] == "Succeeded"
    assert event["data"]["Notification"] == "Undelivered"
    assert job.spec.ttl_seconds_after_finished == 3600
    patches = [request for request in cluster.proxy.requests if request.method == "PATCH" and request.status == 200]
    assert [is_marking(request) for request in patches] == [False, True]  # the admission, and this one
    assert deliveries("delivered") == before + 1


def test_notification__where_no_run_has_one__costs_nothing(cluster: ClusterFixture, seen: Observer) -> None:
    [name] = cluster.queue(ttl_seconds=3600)
    known = sys.modules.pop("app.dispatcher.notifier", None)
    try:
        with cluster.dispatching(SLOTS, registry=registry_of({"fib": "http://127.0.0.1:1/"})):
            seen.wait(lambda: name in seen.finished)
            [other] = cluster.queue()
            seen.wait(lambda: other in seen.finished)
            assert "app.dispatcher.notifier" not in sys.modules
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("notifier")]
    finally:
        if known is not None:
            sys.modules["app.dispatcher.notifier"] = known
    assert not [request for request in cluster.proxy.requests if is_marking(request)]


@PRINTS
def test_notification__of_a_run_that_fails__says_how(cluster: ClusterFixture, receiver: Receiver) -> None:
    [name] = cluster.queue(args=("sh", "-c", "echo out of paper; exit 7"), notifies=True)
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: is_delivered(cluster, name))
    [got] = receiver.received
    event = json.loads(got.body)
    assert event["type"] == "dev.slimfaas.run.failed"
    assert (event["data"]["ExitCode"], event["data"]["Result"]) == (7, "out of paper\n")
    assert cluster.job(name).spec.ttl_seconds_after_finished is None  # it has none


def test_notification__of_a_run_that_ended_while_nobody_led__is_delivered(
    cluster: ClusterFixture, seen: Observer, receiver: Receiver
) -> None:
    [name] = cluster.queue(notifies=True)
    cluster.suspend(name, False)
    seen.wait(lambda: name in seen.finished)
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: is_delivered(cluster, name))


@pytest.mark.slow
def test_notification__while_the_receiver_is_down__waits_for_it(
    cluster: ClusterFixture, seen: Observer, receiver: Receiver
) -> None:
    failed = deliveries("failed")
    registry = registry_of({"fib": receiver.url})
    receiver.close()
    names = cluster.queue(count=3, notifies=True, ttl_seconds=0)
    with cluster.dispatching(SLOTS, registry=registry):
        until(lambda: undelivered() == 3)
        until(lambda: deliveries("failed") > failed)
        assert [state(cluster, name) for name in names] == ["Undelivered"] * 3  # although their TTL is over
        receiver.open()
        until(lambda: undelivered() == 0)
    assert len({got.event_id for got in receiver.received}) == 3


def test_notification__for_a_receiver_that_hangs__delays_no_other(cluster: ClusterFixture, receiver: Receiver) -> None:
    hanging = [Receiver(lambda _: Reply(hangs=True)) for _ in range(2)]
    for one in hanging:
        one.open()
    try:
        urls = {"dead1": hanging[0].url, "dead2": hanging[1].url, "fib": receiver.url}
        cluster.queue("dead1", notifies=True, count=2)
        cluster.queue("dead2", notifies=True, count=2)
        with cluster.dispatching({"fib": 4, "dead1": 4, "dead2": 4}, registry=registry_of(urls)):
            until(lambda: hanging[0].received and hanging[1].received)
            names = cluster.queue(notifies=True, count=3)
            until(lambda: all(is_delivered(cluster, name) for name in names))
            for one in hanging:
                one.close()
    finally:
        for one in hanging:
            one.close()


@pytest.mark.parametrize("lost", [True, *slow(False)])
def test_notification__whose_write_has_no_answer__is_not_sent_twice(
    cluster: ClusterFixture, receiver: Receiver, lost: bool
) -> None:
    fault = cluster.proxy.add(Fault(LoseResponse() if lost else Refuse(500, "InternalError"), when=is_marking))
    [name] = cluster.queue(notifies=True)
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: is_delivered(cluster, name))
        until(lambda: undelivered() == 0)
    assert cluster.proxy.hits(fault) == 1
    assert len(receiver.received) == 1


def test_notification__of_a_run_that_changes_meanwhile__is_sent_once_and_written(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    [name] = cluster.queue(notifies=True)

    def annotate(_: Received) -> Reply:
        patch = {"metadata": {"annotations": {"example.com/note": "seen"}}}
        cluster.batch.patch_namespaced_job(name, cluster.namespace, patch)
        return Reply()

    receiver.answer = annotate
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: is_delivered(cluster, name))
    assert len(receiver.received) == 1
    answers = [request.status for request in cluster.proxy.requests if is_marking(request)]
    assert answers == [409, 200]


def test_notification__of_a_run_that_is_deleted__is_not_sent_any_more(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    """Deleting a run is its owner's wish. One that is deleted before its end was cancelled."""
    receiver.close()
    [ended] = cluster.queue(notifies=True)
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: undelivered() == 1)
        [active] = cluster.queue(notifies=True, args=LONG)
        until(lambda: cluster.job(active).spec.suspend is False)
        cluster.delete(ended)
        cluster.delete(active)
        until(lambda: undelivered() == 0)
        receiver.open()
        [last] = cluster.queue(notifies=True)
        until(lambda: is_delivered(cluster, last))
    assert [json.loads(got.body)["data"]["Name"] for got in receiver.received] == [last]


def test_notification__of_a_definition_that_goes_and_comes_back__waits_for_it(
    cluster: ClusterFixture, seen: Observer, receiver: Receiver
) -> None:
    registry = Registry({})
    [name] = cluster.queue(notifies=True)
    with cluster.dispatching(SLOTS, registry=registry):
        until(lambda: undelivered() == 1)
        assert receiver.received == []
        there = registry_of({"fib": receiver.url}).all()[0]
        registry.replace({"fib": there})
        until(lambda: is_delivered(cluster, name))
        registry.replace({"fib": replace(there, notify=None)})
        [unwanted] = cluster.queue(notifies=True, ttl_seconds=3600)
        seen.wait(lambda: unwanted in seen.finished)
        until(lambda: state(cluster, unwanted) == "NotWanted")
    assert cluster.job(unwanted).spec.ttl_seconds_after_finished == 3600
    assert len(receiver.received) == 1


def test_notification__that_is_given_up__says_so(cluster: ClusterFixture, seen: Observer, receiver: Receiver) -> None:
    given_up = deliveries("given_up")
    receiver.close()
    definition = registry_of({"fib": receiver.url}).all()[0]
    assert definition.notify is not None
    few = Definition("fib", "busybox:1", notify=replace(definition.notify, max_undelivered=2))
    first, *others = cluster.queue(notifies=True, ttl_seconds=3600, count=3)
    with cluster.dispatching({"fib": 1}, registry=Registry({"fib": few})):
        until(lambda: state(cluster, first) == "GivenUp")
        until(lambda: "NotificationGivenUp" in cluster.reasons(first))
        until(lambda: deliveries("given_up") == given_up + 1)
        assert [state(cluster, name) for name in others] == ["Undelivered"] * 2
    assert cluster.job(first).spec.ttl_seconds_after_finished == 3600


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while it is sent", "before it is written"])
def test_notification__whose_leader_is_killed__is_sent_by_the_next_one(
    cluster: ClusterFixture, cut_off: FaultProxy, receiver: Receiver, moment: str
) -> None:
    """Both have the same id."""
    hold = Hold()
    if moment == "while it is sent":
        receiver.answer = lambda _: Reply(hangs=len(receiver.received) == 1)
    else:
        cut_off.add(Fault(hold, when=is_marking))
    [name] = cluster.queue(notifies=True, ttl_seconds=3600)
    receivers = {"fib": receiver.url}
    kubeconfig = cluster.kubeconfig(cut_off)
    with DispatcherProcess(kubeconfig, cluster.namespace, SLOTS, receivers=receivers) as process:
        until(lambda: receiver.received)
        if moment == "before it is written":
            cut_off.wait_for(is_marking)
        assert state(cluster, name) == "Undelivered"
        process.kill()
    with cluster.dispatching(SLOTS, registry=registry_of(receivers)):
        until(lambda: is_delivered(cluster, name))
        hold.release()  # the write of the dead leader comes late, and conflicts
        if moment == "before it is written":
            until(lambda: [request.status for request in cut_off.requests if is_marking(request)] == [409])
    first, second = receiver.received
    assert first.event_id == second.event_id
    assert is_delivered(cluster, name)


@pytest.mark.slow
def test_notification__whose_leader_is_paused__is_sent_by_both_and_written_once(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    paused, go_on = threading.Event(), threading.Event()

    def answer(_: Received) -> Reply:
        if len(receiver.received) == 1:
            paused.set()
            go_on.wait()
        return Reply()

    receiver.answer = answer
    [name] = cluster.queue(notifies=True)
    receivers = {"fib": receiver.url}
    with DispatcherProcess(cluster.kubeconfig(), cluster.namespace, SLOTS, receivers=receivers) as process:
        until(paused.is_set)
        process.pause()
        with cluster.dispatching(SLOTS, registry=registry_of(receivers)):
            until(lambda: is_delivered(cluster, name))
            version = cluster.job(name).metadata.resource_version
            marked = len([request for request in cluster.proxy.requests if is_marking(request)])
            go_on.set()
            process.resume()
            [other] = cluster.queue(notifies=True)
            until(lambda: is_delivered(cluster, other))
        process.stop()  # it has ended what it was doing
    assert cluster.job(name).metadata.resource_version == version
    assert marked == 1
    assert len({got.event_id for got in receiver.received}) == 2


def test_notification__of_a_run_without_a_definition_of_ours__becomes_no_series_of_its_own(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    registry = Registry({})
    [name] = cluster.queue("stranger", notifies=True)
    with cluster.dispatching(SLOTS, registry=registry):
        cluster.suspend(name, False)
        until(lambda: REGISTRY.get_sample_value("slimfaas_jobs_undelivered_notifications", {"definition": "(unknown)"}))
    assert REGISTRY.get_sample_value("slimfaas_jobs_undelivered_notifications", {"definition": "stranger"}) is None


@pytest.mark.slow
def test_notification__that_a_webhook_of_the_cluster_refuses__is_not_sent_again(
    cluster: ClusterFixture, receiver: Receiver
) -> None:
    fault = cluster.proxy.add(Fault(Refuse(422, "Invalid"), times=2, when=is_marking))
    [name] = cluster.queue(notifies=True)
    with cluster.dispatching(SLOTS, registry=registry_of({"fib": receiver.url})):
        until(lambda: is_delivered(cluster, name))
    assert cluster.proxy.hits(fault) == 2
    assert len(receiver.received) == 1


def test_notification__is_signed_with_a_mounted_secret(cluster: ClusterFixture, receiver: Receiver) -> None:
    """One that is not mounted yet is waited for: nothing is sent without its signature."""
    failed = deliveries("failed")
    there: Any = registry_of({"fib": receiver.url}).all()[0]
    signed = replace(there, notify=replace(there.notify, secret=("hooks", "fib")))
    [name] = cluster.queue(notifies=True)
    with cluster.dispatching(SLOTS, registry=Registry({"fib": signed})):
        until(lambda: deliveries("failed") > failed)
        assert receiver.received == []
        (cluster.folder / "hooks").mkdir()
        (cluster.folder / "hooks" / "fib").write_text("whsec_" + "c2VjcmV0" * 4)
        until(lambda: is_delivered(cluster, name))
    assert receiver.received[0].headers["webhook-signature"].startswith("v1,")
