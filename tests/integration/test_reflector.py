"""A reflector against an API server that misbehaves: what it shows is, in the end, what there is."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.common.types import Json
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.reflector import Reflector
from tests.integration.dispatching import MERGE_PATCH, ClusterFixture, until
from tests.support.faults import (
    Delay,
    Fault,
    FaultProxy,
    GoSilent,
    Hold,
    LoseRequest,
    LoseResponse,
    Refuse,
    Request,
    Truncate,
)
from tests.support.selection import slow
from tests.support.servers import embedded_server
from tests.support.waiting import DEADLINE_SECONDS

Item = tuple[str, str]  # a Job's name, and its definition


class ListedStore:
    """A store that keeps its records, and counts lists.

    Attributes:
        items: the records, by name.
        lists: how many lists there were.
        version: the resourceVersion of the last one.
        failures_left: how many further records it fails to take.
    """

    def __init__(self) -> None:
        self.items: dict[str, str] = {}
        self.lists = 0
        self.version = 0
        self.failures_left = 0

    def await_item(self, name: str) -> None:
        """Return once it has this record."""
        until(lambda: name in self.items)

    def replace(self, records: list[Item], version: int) -> None:
        """Keep these records and no others."""
        self.items, self.lists, self.version = dict(records), self.lists + 1, version

    def put(self, record: Item) -> None:
        """Keep this record, or fail."""
        if self.failures_left:
            self.failures_left -= 1
            raise RuntimeError("the store can't take this")
        self.items[record[0]] = record[1]

    def remove(self, record: Item) -> None:
        """Drop this record."""
        self.items.pop(record[0], None)


def read_item(job: Json) -> Item:
    return job["metadata"]["name"], job["metadata"]["labels"][labels.DEFINITION_LABEL]


def is_watch(request: Request) -> bool:
    return request.watching


def is_list(request: Request) -> bool:
    return not request.watching


@contextmanager
def reflecting(
    cluster: ClusterFixture, store: ListedStore, *, silence_seconds: float = 60.0
) -> Iterator[Reflector[Item]]:
    namespace = cluster.connect()
    reflector = Reflector(namespace, namespace.runs, read_item, store, name="test", silence_seconds=silence_seconds)
    reflector.start()
    try:
        yield reflector
    finally:
        reflector.stop()
        reflector.join(DEADLINE_SECONDS)


def test_reflector__lists_and_then_follows_every_change(cluster: ClusterFixture) -> None:
    """A list first, then additions, changes and deletions as they come, without another list."""
    store = ListedStore()
    [old] = cluster.queue()
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        assert set(store.items) == {old}
        [new] = cluster.queue()
        until(lambda: new in store.items)
        cluster.delete(old)
        until(lambda: set(store.items) == {new})
    assert store.lists == 1
    assert store.version > 0


def test_reflector__removes_an_object_that_loses_its_labels(cluster: ClusterFixture) -> None:
    """For a watch with a selector that is a deletion."""
    store = ListedStore()
    [name] = cluster.queue()
    with reflecting(cluster, store):
        until(lambda: name in store.items)
        patch = {"metadata": {"labels": {labels.DEFINITION_LABEL: None}}}
        cluster.batch.patch_namespaced_job(name, cluster.namespace, patch, _content_type=MERGE_PATCH)
        until(lambda: not store.items)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Refuse(410, "Expired"), when=is_watch, times=2),
        Fault(Refuse(410, "Expired"), when=is_list, times=2),
        Fault(Refuse(503, "ServiceUnavailable"), when=is_watch, times=3),
        Fault(Refuse(503, "ServiceUnavailable"), when=is_list, times=3),
        Fault(Refuse(429, "TooManyRequests"), times=3),
        Fault(Refuse(403, "Forbidden"), times=3),
        Fault(LoseRequest(), times=3),
        Fault(LoseResponse(), when=is_list, times=2),
        Fault(Truncate(100), times=3),
        Fault(Delay(after_seconds=0.3), times=2),
    ],
    ids=lambda fault: f"{type(fault.action).__name__}-{getattr(fault.action, 'status', '')}-{fault.when.__name__}",
)
def test_reflector__recovers_from_failures_at_the_start(cluster: ClusterFixture, fault: Fault) -> None:
    """Whatever the first calls come to, it is in step in the end, and says so only then."""
    cluster.proxy.add(fault)
    store = ListedStore()
    [name] = cluster.queue()
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        assert name in store.items
        [later] = cluster.queue()
        until(lambda: later in store.items)
    assert cluster.proxy.hits(fault)


def test_list__starts_again_when_it_expires_between_two_pages(cluster: ClusterFixture) -> None:
    """The store never has half a list."""
    names = cluster.queue(count=260)
    expired = cluster.proxy.add(Fault(Refuse(410, "Expired"), when=lambda request: "continue=" in request.query))
    store = ListedStore()
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        assert set(store.items) == set(names)
    assert store.lists == 1
    assert cluster.proxy.hits(expired) == 1


def test_list__removes_what_was_deleted_during_an_outage(cluster: ClusterFixture) -> None:
    """A list replaces everything; it isn't merely added."""
    store = ListedStore()
    stay, go = cluster.queue(count=2)
    with reflecting(cluster, store) as reflector:
        until(lambda: len(store.items) == 2)
        cluster.proxy.add(Fault(Refuse(410, "Expired"), when=is_watch, times=2))
        cluster.proxy.cut_watches()
        cluster.delete(go)
        until(lambda: set(store.items) == {stay})
        assert reflector.synced.wait(DEADLINE_SECONDS)
    assert store.lists >= 2


def test_synced__is_cleared_during_an_outage(cluster: ClusterFixture) -> None:
    """A broken watch is no longer in step, until everything was listed anew and a watch is open again."""
    store = ListedStore()
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        refused = cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), when=is_watch, times=None))
        cluster.proxy.cut_watches()
        until(lambda: cluster.proxy.hits(refused) >= 2)
        assert not reflector.synced.is_set()
        [name] = cluster.queue()
        cluster.proxy.remove(refused)
        assert reflector.synced.wait(DEADLINE_SECONDS)
        store.await_item(name)


def test_watch__resumes_where_it_was_cut(cluster: ClusterFixture) -> None:
    """Changes during the outage arrive without a list: a list of many costs as many, a cut does not."""
    store = ListedStore()
    # No controller changes these runs, so the last change that the watch has shown stands.
    cluster.queue(managed_by="example.com/other")
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        for _ in range(3):
            opened = sum(map(is_watch, cluster.proxy.requests))
            cluster.proxy.cut_watches()
            cluster.proxy.wait_for(is_watch, count=opened + 1)
            until(reflector.synced.is_set)
            store.await_item(cluster.queue(managed_by="example.com/other")[0])
    assert store.lists == 1


def test_watch__lists_again_when_its_last_change_no_longer_stands(cluster: ClusterFixture) -> None:
    """Etcd may have been restored, and an API server lets the watch go on without a sign of that."""
    store, held = ListedStore(), Hold()
    [name] = cluster.queue(managed_by="example.com/other")
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        cluster.proxy.add(Fault(held, when=is_watch))
        cluster.proxy.cut_watches()
        held.wait_held()
        cluster.batch.patch_namespaced_job(name, cluster.namespace, {"metadata": {"annotations": {"a": "b"}}})
        held.release()
        until(lambda: store.lists == 2)


@pytest.mark.embedded_only("a real server forgets for all tests at once")
def test_watch__lists_again_after_410_gone(tmp_path: Path) -> None:
    """The server says so inside the stream, in an ERROR event with code 410, after it has answered 200."""
    with embedded_server(history_size=5) as server, FaultProxy(server.url) as proxy:
        cluster, store, held = ClusterFixture(server, server.create_namespace(), tmp_path, proxy), ListedStore(), Hold()
        first = cluster.queue(managed_by="example.com/other")
        with reflecting(cluster, store) as reflector:
            assert reflector.synced.wait(DEADLINE_SECONDS)
            proxy.add(Fault(held, when=is_watch))
            proxy.cut_watches()
            held.wait_held()
            names = [*first, *cluster.queue(count=20)]
            held.release()
            until(lambda: store.items.keys() == set(names))
    assert store.lists == 2


def test_watch__is_given_up_when_it_falls_silent(cluster: ClusterFixture) -> None:
    """Nothing at all for longer than a watch lasts means that the connection is dead."""
    store = ListedStore()
    cluster.queue(managed_by="example.com/other")
    with reflecting(cluster, store, silence_seconds=3.0) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        cluster.proxy.silence(watches_only=True)
        [name] = cluster.queue()
        until(lambda: name in store.items)
    assert store.lists == 1


def test_watch__continues_after_the_store_fails(cluster: ClusterFixture) -> None:
    """What can't be taken in is listed again: nothing is missed for good."""
    store = ListedStore()
    with reflecting(cluster, store) as reflector:
        assert reflector.synced.wait(DEADLINE_SECONDS)
        store.failures_left = 2
        names = cluster.queue(count=2)
        until(lambda: set(store.items) == set(names))
        assert reflector.synced.wait(DEADLINE_SECONDS)
    assert store.failures_left <= 1


def test_watch__backs_off_when_it_is_refused_each_time(cluster: ClusterFixture) -> None:
    """Each try waits longer than the one before."""
    refused = cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), when=is_watch, times=None))
    with reflecting(cluster, ListedStore()):
        until(lambda: cluster.proxy.hits(refused) >= 5)
        budget = [request.started for request in cluster.proxy.requests if request.fault is refused][:5]
    pauses = [later - earlier for earlier, later in itertools.pairwise(budget)]
    assert pauses[-1] > 0.3
    assert budget[-1] - budget[0] > 0.7


@pytest.mark.parametrize("moment", ["watching", "waiting to try again", *slow("list without an answer")])
def test_stop__ends_a_list_a_watch_or_a_wait_at_once(cluster: ClusterFixture, moment: str) -> None:
    """Also in the middle of a quiet watch that would last for most of a minute."""
    store = ListedStore()
    namespace: NamespacedClient = cluster.connect()
    reflector: Reflector[Any] = Reflector(namespace, namespace.runs, read_item, store, name="test")
    if moment == "waiting to try again":
        refused = cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), times=None))
        reflector.start()
        until(lambda: cluster.proxy.hits(refused) >= 4)
    elif moment == "watching":
        reflector.start()
        assert reflector.synced.wait(DEADLINE_SECONDS)
    else:
        hanging = cluster.proxy.add(Fault(GoSilent(), when=is_list))
        reflector.start()
        until(lambda: cluster.proxy.hits(hanging))
    reflector.stop()
    reflector.join(DEADLINE_SECONDS)
    assert "watch-test" not in {thread.name for thread in threading.enumerate()}


def test_stop__reads_no_further_page(cluster: ClusterFixture) -> None:
    """A list of ten thousand runs has two hundred; and half a list is store to nobody."""
    cluster.queue(count=120)
    hold = Hold()
    cluster.proxy.add(Fault(hold, when=lambda request: "continue=" in request.query, times=None))
    store = ListedStore()
    with reflecting(cluster, store) as reflector:
        hold.wait_held()
        reflector.stop()
        hold.release()
        reflector.join(DEADLINE_SECONDS)
        assert [request for request in cluster.proxy.requests if is_watch(request)] == []
    assert len(cluster.proxy.requests) == 2
    assert store.lists == 0
