"""Lists and watches over HTTP: selectors, pages, revisions, bookmarks, expiry, and disconnects."""

import http.client
import json
import threading
import time

import kubernetes.client as kubernetes
import pytest
from kubernetes import watch as kubernetes_watch

from devcluster.http import ApiServer
from devcluster.kinds import CONFIG_MAP
from devcluster.store import Store
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = OF_THE_EMBEDDED_CLUSTER


class NoLogs:
    """A log source without logs; these tests read none."""

    def read(self, pod, options):
        """Yield nothing."""
        yield from ()


@pytest.fixture
def store():
    """Return a store for this test, with a short history."""
    return Store(history_size=100)


@pytest.fixture
def server(store):
    """Start an API server for that store."""
    running = ApiServer(store, NoLogs())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def core(server):
    """Return the official client's core API."""
    with kubernetes.ApiClient(kubernetes.Configuration(host=server.url)) as client:
        yield kubernetes.CoreV1Api(client)


def add(store, name, namespace="default", **labels):
    return store.create(CONFIG_MAP, {"metadata": {"name": name, "namespace": namespace, "labels": labels}})


def relabel(store, name, **labels):
    def change(obj):
        obj["metadata"]["labels"] = labels
        return obj

    return store.update(CONFIG_MAP, "default", name, change)


class Lines:
    """A raw watch of ConfigMaps: its lines, decoded."""

    def __init__(self, server, query, path="/api/v1/namespaces/default/configmaps", accept="application/json"):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
        self.connection.request("GET", f"{path}?watch=true&{query}", headers={"Accept": accept})
        self.answer = self.connection.getresponse()

    def close(self):
        """Disconnect."""
        self.answer.close()
        self.connection.close()

    def next(self):
        """Return the next event; None when the watch has ended."""
        line = self.answer.readline()
        return json.loads(line) if line else None

    def names(self, count):
        """Return (type, name) of the next events."""
        events = [self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@pytest.fixture
def watch(server):
    """Return a function that opens raw watches; they are closed with the test."""
    opened = []

    def open_watch(query, **options):
        opened.append(Lines(server, query, **options))
        return opened[-1]

    yield open_watch
    for lines in opened:
        lines.close()


def get(server, query, path="/api/v1/namespaces/default/configmaps"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
    connection.request("GET", f"{path}?{query}")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def test_list__selects_by_labels_and_fields(core, store):
    """Both selectors apply together, in one namespace or in all."""
    add(store, "a", tier="x")
    add(store, "b", tier="y")
    add(store, "a", "other", tier="x")
    names = [
        one.metadata.name for one in core.list_namespaced_config_map("default", label_selector="tier in (x)").items
    ]
    assert names == ["a"]
    everywhere = core.list_config_map_for_all_namespaces(label_selector="tier=x", field_selector="metadata.name=a")
    assert [one.metadata.namespace for one in everywhere.items] == ["default", "other"]


def test_pages__show_the_state_of_the_first_page(core, store):
    """All pages together are one consistent list, whatever changes in between."""
    for number in range(7):
        add(store, f"c{number}")
    page = core.list_namespaced_config_map("default", limit=3)
    first = page.metadata.resource_version
    assert page.metadata.remaining_item_count == 4
    names = [one.metadata.name for one in page.items]
    add(store, "c00")
    store.delete(CONFIG_MAP, "default", "c6")
    while page.metadata._continue:
        page = core.list_namespaced_config_map("default", limit=3, _continue=page.metadata._continue)
        assert page.metadata.resource_version == first
        names += [one.metadata.name for one in page.items]
    assert names == [f"c{number}" for number in range(7)]


def test_pages__an_empty_page_may_follow_a_full_one(core, store):
    """Whether the selector matches any of the remaining objects is only known at the next page."""
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        add(store, name, tier=tier)
    page = core.list_namespaced_config_map("default", limit=2, label_selector="tier=x")
    assert [one.metadata.name for one in page.items] == ["a", "b"]
    last = core.list_namespaced_config_map(
        "default", limit=2, label_selector="tier=x", _continue=page.metadata._continue
    )
    assert (last.items, last.metadata._continue) == ([], None)


def test_pages__omit_the_remaining_count_with_a_selector(core, store):
    for number in range(4):
        add(store, f"c{number}", tier="x")
    page = core.list_namespaced_config_map("default", limit=1, label_selector="tier=x")
    assert page.metadata._continue
    assert page.metadata.remaining_item_count is None


def test_pages__expire_with_an_old_continue_token(server, store):
    """410: the client must list again."""
    for number in range(3):
        add(store, f"c{number}")
    _, page = get(server, "limit=1")
    add(store, "later")
    store.compact()
    status, answer = get(server, f"limit=1&continue={page['metadata']['continue']}")
    assert (status, answer["reason"]) == (410, "Expired")
    assert "too old to display a consistent list result" in answer["message"]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("labelSelector=a%20b", 400, "BadRequest"),
        ("fieldSelector=data.n%3D1", 400, "BadRequest"),
        ("resourceVersion=abc", 400, "BadRequest"),
        ("resourceVersion=99999", 504, "Timeout"),
        ("continue=abc", 400, "BadRequest"),
        ("limit=x", 400, "BadRequest"),
        ("resourceVersionMatch=Exact", 422, "Invalid"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "Invalid"),
        ("watch=1&resourceVersionMatch=Exact&resourceVersion=1", 422, "Invalid"),
        ("sendInitialEvents=true", 422, "Invalid"),
    ],
)
def test_list__refuses_invalid_options(server, query, status, reason):
    """With the status and reason of a real server."""
    code, answer = get(server, query)
    assert (code, answer["reason"]) == (status, reason)


def test_list__at_an_exact_revision_shows_the_past(server, store):
    """NotOlderThan shows the present."""
    then = add(store, "a")["metadata"]["resourceVersion"]
    add(store, "b")
    _, past = get(server, f"resourceVersion={then}&resourceVersionMatch=Exact")
    assert [one["metadata"]["name"] for one in past["items"]] == ["a"]
    _, present = get(server, f"resourceVersion={then}&resourceVersionMatch=NotOlderThan")
    assert len(present["items"]) == 2


def test_watch__without_a_revision_starts_with_existing_objects(watch, store):
    """As synthetic ADDED events."""
    add(store, "a")
    lines = watch("")
    assert lines.names(1) == [("ADDED", "a")]
    add(store, "b")
    store.delete(CONFIG_MAP, "default", "a")
    assert lines.names(2) == [("ADDED", "b"), ("DELETED", "a")]


def test_watch__from_a_list_delivers_each_later_change_once(core, store):
    """Through the official client."""
    add(store, "a")
    version = core.list_namespaced_config_map("default").metadata.resource_version
    add(store, "b")
    add(store, "elsewhere", "other")
    relabel(store, "a", tier="x")
    watcher = kubernetes_watch.Watch()
    seen = []
    for event in watcher.stream(core.list_namespaced_config_map, "default", resource_version=version):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            watcher.stop()
    assert seen == [("ADDED", "b"), ("MODIFIED", "a")]


def test_watch__selector_turns_label_changes_into_added_and_deleted(watch, store):
    """An object that stops matching is DELETED, one that starts matching is ADDED, others are not reported."""
    lines = watch("labelSelector=tier%3Dx")
    add(store, "a", tier="x")
    add(store, "b", tier="y")
    relabel(store, "a", tier="y")
    changed = relabel(store, "b", tier="x")
    relabel(store, "b", tier="x", more="1")
    store.delete(CONFIG_MAP, "default", "b")
    expected = [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]
    events = [lines.next() for _ in expected]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == expected
    assert events[1]["object"]["metadata"]["labels"] == {"tier": "x"}
    assert int(events[1]["object"]["metadata"]["resourceVersion"]) < int(changed["metadata"]["resourceVersion"])


def test_watch__from_a_dropped_revision_is_an_error_event(watch, store):
    """410 is sent as an ERROR event, then the watch ends."""
    start = store.revision
    add(store, "a")
    store.compact()
    lines = watch(f"resourceVersion={start}")
    event = lines.next()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert lines.next() is None


def test_watch__expires_when_too_far_behind(watch, store):
    """410 instead of missing events."""
    start = store.revision
    for number in range(250):
        add(store, f"c{number}")
    assert watch(f"resourceVersion={start}").next()["object"]["code"] == 410


def test_watch__ends_at_its_timeout(watch):
    """With a complete response."""
    assert watch("timeoutSeconds=1").next() is None


@pytest.mark.slow
def test_bookmark__is_sent_shortly_before_the_timeout(watch, store):
    """It has the revision up to which nothing was missed, even if no object of this kind changed."""
    lines = watch(f"timeoutSeconds=3&allowWatchBookmarks=true&resourceVersion={store.revision}")
    store.ensure_namespace("somewhere")
    event = lines.next()
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert event["object"]["metadata"]["resourceVersion"] == str(store.revision)
    assert lines.next() is None


def test_initial_events__end_with_an_annotated_bookmark(watch, store):
    """As in a streaming list."""
    add(store, "a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    lines = watch(query)
    assert lines.names(1) == [("ADDED", "a")]
    assert lines.next()["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_watch__of_tables_sends_the_columns_once(watch, store):
    """As for `kubectl get --watch`."""
    add(store, "a")
    add(store, "b")
    lines = watch("", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    columns = [len(lines.next()["object"]["columnDefinitions"]) for _ in range(2)]
    assert columns == [3, 0]


def test_watch__ends_when_the_client_disconnects(watch):
    """Even if it is idle."""
    before = set(threading.enumerate())
    lines = watch("")
    threads = set(threading.enumerate()) - before
    assert threads
    lines.close()
    deadline = time.monotonic() + DEADLINE_SECONDS
    for thread in threads:
        thread.join(deadline - time.monotonic())
    assert not any(thread.is_alive() for thread in threads)


def test_stop__ends_open_watches(server, watch):
    """Within seconds; each ends as a complete response."""
    watches = [watch("") for _ in range(5)]
    server.stop()
    assert [lines.next() for lines in watches] == [None] * 5
