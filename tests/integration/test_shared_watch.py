"""One watch for several stores: each gets a list that began after it joined, and all changes after that."""

from collections.abc import Iterator

import pytest

from app.kube.shared_watch import Follower, SharedWatch
from tests.integration.dispatching import ClusterFixture, until
from tests.integration.test_reflector import Item, ListedStore, read_item
from tests.support.faults import Request


def is_watch(request: Request) -> bool:
    return request.watching


@pytest.fixture
def watch(cluster: ClusterFixture) -> SharedWatch:
    """A shared watch of the runs."""
    namespace = cluster.connect()
    return SharedWatch(namespace, namespace.runs, name="test")


@pytest.fixture
def first(watch: SharedWatch) -> Iterator[ListedStore]:
    """A store that has joined the watch."""
    store = ListedStore()
    follower = follower_of(store)
    watch.join(follower)
    until(lambda: watch.is_synced(follower))
    yield store
    watch.leave(follower)


def follower_of(store: ListedStore) -> Follower[Item]:
    return Follower(read_item, store)


def test_join__lists_again_and_feeds_all_followers_by_one_watch(
    cluster: ClusterFixture, watch: SharedWatch, first: ListedStore
) -> None:
    [old] = cluster.queue()
    second = ListedStore()
    follower = follower_of(second)
    watch.join(follower)
    until(lambda: watch.is_synced(follower))
    assert second.items.keys() == {old}
    [new] = cluster.queue()
    until(lambda: first.items.keys() == second.items.keys() == {old, new})
    cluster.delete(old)
    until(lambda: first.items.keys() == second.items.keys() == {new})
    assert (first.lists, second.lists) == (2, 1)
    assert sum(map(is_watch, cluster.proxy.requests)) == 2
    watch.leave(follower)


def test_list_again__fills_the_stores_from_a_new_list_and_follows_changes(
    cluster: ClusterFixture, watch: SharedWatch, first: ListedStore
) -> None:
    watch.list_again()
    until(lambda: first.lists == 2)
    [new] = cluster.queue()
    until(lambda: first.items.keys() == {new})


def test_join__breaks_the_view_of_the_other_followers(watch: SharedWatch) -> None:
    """What they know is complete again after the next list only."""
    breaks: list[bool] = []
    first = Follower(read_item, ListedStore(), on_break=lambda: breaks.append(watch.is_synced(first)))
    second = follower_of(ListedStore())
    watch.join(first)
    until(lambda: watch.is_synced(first))
    watch.join(second)
    assert len(breaks) == 1
    until(lambda: watch.is_synced(first))
    watch.leave(first)
    watch.leave(second)


def test_leave__passes_nothing_more_on_and_keeps_the_watch_for_the_others(
    cluster: ClusterFixture, watch: SharedWatch, first: ListedStore
) -> None:
    second = ListedStore()
    follower = follower_of(second)
    watch.join(follower)
    until(lambda: watch.is_synced(follower))
    watch.leave(follower)
    assert not watch.is_synced(follower)
    [new] = cluster.queue()
    until(lambda: new in first.items)
    assert not second.items
    assert first.lists == 2


def test_leave__ends_the_watch_of_the_last_follower(cluster: ClusterFixture, watch: SharedWatch) -> None:
    store = ListedStore()
    follower = follower_of(store)
    watch.join(follower)
    until(lambda: watch.is_synced(follower))
    watch.leave(follower)
    again = follower_of(store)
    watch.join(again)
    until(lambda: watch.is_synced(again))
    assert store.lists == 2
    watch.leave(again)
