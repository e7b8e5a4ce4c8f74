"""The store's guarantees: revisions, optimistic locking, history, finalizers and grace periods."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import ApiError
from devcluster.kinds import CONFIG_MAP, JOB, LEASE, NAMESPACE, POD
from devcluster.objects import clone
from devcluster.store import Store
from tests.support.waiting import DEADLINE_SECONDS


def config(name="one", namespace="default", **metadata):
    return {"metadata": {"name": name, "namespace": namespace, **metadata}, "data": {"n": "0"}}


def pod(name="one", **spec):
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox:1"}], **spec},
    }


def number(value):
    def change(obj):
        obj["data"] = {"n": str(value)}
        return obj

    return change


def raised(call, *args, **kwargs):
    with pytest.raises(ApiError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_store__each_change_gets_the_next_revision():
    """Create, update and delete."""
    store = Store()
    created = store.create(CONFIG_MAP, config())
    updated = store.update(CONFIG_MAP, "default", "one", number(1))
    deleted = store.delete(CONFIG_MAP, "default", "one")
    versions = [int(obj["metadata"]["resourceVersion"]) for obj in (created, updated, deleted)]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]
    assert store.revision == versions[-1]


def test_create__refuses_a_name_in_use():
    store = Store()
    store.create(CONFIG_MAP, config())
    error = raised(store.create, CONFIG_MAP, config())
    assert (error.status, error.message) == (409, 'configmaps "one" already exists')


def test_create__generates_unique_names_with_the_prefix():
    """Five characters after the prefix, at most 63 in total."""
    store = Store()
    metadata = {"generateName": "a" * 70, "namespace": "default"}
    names = {store.create(CONFIG_MAP, {"metadata": dict(metadata)})["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 63 and name.startswith("a" * 58) for name in names)


def test_update__conflicts_on_an_older_version():
    store = Store()
    stale = clone(store.create(CONFIG_MAP, config()))
    store.update(CONFIG_MAP, "default", "one", number(1))
    error = raised(store.update, CONFIG_MAP, "default", "one", lambda _: stale)
    assert (error.status, error.reason) == (409, "Conflict")
    assert "the object has been modified" in error.message


def test_update__of_a_lease_requires_the_version():
    """Leases have no unconditional update, so they can serve as locks."""
    store = Store()
    store.create(LEASE, {"metadata": {"name": "one", "namespace": "default"}})
    error = raised(
        store.update, LEASE, "default", "one", lambda _: {"metadata": {"name": "one", "namespace": "default"}}
    )
    assert error.status == 422
    assert "must be specified for an update" in error.message


def test_update__one_of_many_writers_with_the_same_version_wins():
    """Optimistic locking works between threads."""
    store = Store()
    seen = store.create(CONFIG_MAP, config())
    outcomes = []

    def write(value):
        try:
            store.update(CONFIG_MAP, "default", "one", lambda _: number(value)(clone(seen)))
            outcomes.append("won")
        except ApiError as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["Conflict"] * 7 + ["won"]


def test_update__without_effect_makes_no_revision():
    """No watch is woken."""
    store = Store()
    created = store.create(CONFIG_MAP, config())
    assert store.update(CONFIG_MAP, "default", "one", number(0)) is created
    assert store.revision == int(created["metadata"]["resourceVersion"])


def test_update__of_status_changes_only_the_status():
    """And an update of the object changes everything but the status."""
    store = Store()
    store.create(POD, pod())

    def change(obj):
        obj["status"] = {"phase": "Running"}
        obj["spec"]["activeDeadlineSeconds"] = 5
        return obj

    reported = store.update(POD, "default", "one", change, subresource="status")
    assert (reported["status"]["phase"], "activeDeadlineSeconds" in reported["spec"]) == ("Running", False)
    store.update(POD, "default", "one", lambda obj: {**obj, "status": {"phase": "Pending"}}, subresource="status")
    configured = store.update(POD, "default", "one", change)
    assert (configured["status"]["phase"], configured["spec"]["activeDeadlineSeconds"]) == ("Pending", 5)


def test_update__generation_counts_only_changes_of_spec():
    """Changes of labels and status leave it unchanged."""
    store = Store()
    store.create(POD, pod())
    labelled = store.update(
        POD, "default", "one", lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}}
    )
    changed = store.update(
        POD, "default", "one", lambda obj: {**obj, "spec": {**obj["spec"], "activeDeadlineSeconds": 5}}
    )
    assert (labelled["metadata"]["generation"], changed["metadata"]["generation"]) == (1, 2)


def test_dry_run__returns_the_result_and_stores_nothing():
    store = Store()
    store.create(CONFIG_MAP, config())
    before = store.revision
    assert store.update(CONFIG_MAP, "default", "one", number(7), dry_run=True)["data"] == {"n": "7"}
    store.delete(CONFIG_MAP, "default", "one", dry_run=True)
    store.create(CONFIG_MAP, config("two", "elsewhere"), dry_run=True)
    assert raised(store.create, CONFIG_MAP, config(), dry_run=True).reason == "AlreadyExists"
    assert store.revision == before
    assert store.get(CONFIG_MAP, "default", "one")["data"] == {"n": "0"}


def test_list__is_sorted_and_limited_to_its_namespace():
    """Namespaces with a common prefix are not mixed up."""
    store = Store()
    for namespace, name in (("b", "x"), ("a", "y"), ("a-b", "z"), ("a", "x")):
        store.create(CONFIG_MAP, config(name, namespace))
    names = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in store.list(CONFIG_MAP, None)[0]]
    assert names == [("a-b", "z"), ("a", "x"), ("a", "y"), ("b", "x")]
    assert [one["metadata"]["name"] for one in store.list(CONFIG_MAP, "a")[0]] == ["x", "y"]


OPERATIONS = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from("abc")), max_size=25)


def apply(store, operation, name, value):
    names = [one["metadata"]["name"] for one in store.list(CONFIG_MAP, "default")[0]]
    if operation == "delete":
        if name in names:
            store.delete(CONFIG_MAP, "default", name)
    elif name in names:
        store.update(CONFIG_MAP, "default", name, number(value))
    else:
        store.create(CONFIG_MAP, config(name))


@given(OPERATIONS)
def test_list__at_an_earlier_revision_is_the_list_of_then(operations):
    """Whatever happened since."""
    store = Store()
    past = [store.list(CONFIG_MAP, "default")]
    for value, (operation, name) in enumerate(operations, start=1):
        apply(store, operation, name, value)
        past.append(store.list(CONFIG_MAP, "default"))
    for objects, revision in past:
        assert store.list(CONFIG_MAP, "default", revision=revision) == (objects, revision)


@given(OPERATIONS, st.integers(0, 25))
def test_watch__from_a_list_leads_to_the_present_state(operations, start):
    """Applying the events since a list's revision to that list gives the current objects: none lost, none doubled."""
    store = Store()
    replayed, revision = {}, store.revision
    for value, (operation, name) in enumerate(operations, start=1):
        apply(store, operation, name, value)
        if value == start:
            objects, revision = store.list(CONFIG_MAP, "default")
            replayed = {one["metadata"]["name"]: one for one in objects}
    if start > len(operations):
        objects, revision = store.list(CONFIG_MAP, "default")
        replayed = {one["metadata"]["name"]: one for one in objects}
    for event in store.subscribe(CONFIG_MAP, "default", revision).wait(0):
        name = event.object["metadata"]["name"]
        assert (name in replayed) is (event.type != "ADDED")
        replayed.pop(name, None)
        if event.type != "DELETED":
            replayed[name] = event.object
    current = store.list(CONFIG_MAP, "default")[0]
    assert sorted(replayed.values(), key=lambda one: one["metadata"]["name"]) == current


def test_watch__blocks_until_a_change_in_its_namespace():
    store = Store()
    subscription = store.subscribe(CONFIG_MAP, "default", store.revision)
    received = []
    thread = threading.Thread(target=lambda: received.extend(subscription.wait()))
    thread.start()
    store.create(CONFIG_MAP, config("other", "elsewhere"))
    store.create(CONFIG_MAP, config("mine"))
    thread.join(DEADLINE_SECONDS)
    assert [(event.type, event.object["metadata"]["name"]) for event in received] == [("ADDED", "mine")]


def test_close__ends_a_pending_wait():
    store = Store()
    subscription = store.subscribe(CONFIG_MAP, None, store.revision)
    thread = threading.Thread(target=subscription.wait)
    thread.start()
    subscription.close()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


@pytest.mark.parametrize("how", ["compacted", "overrun"])
def test_watch__expires_from_a_dropped_revision(how):
    """410 Gone tells the client to list again; a watch from the present still works."""
    store = Store(history_size=5)
    start = store.revision
    for value in range(12):
        store.create(CONFIG_MAP, config(f"c{value}"))
    if how == "compacted":
        store.compact()
    error = raised(store.subscribe(CONFIG_MAP, None, start).wait, 0)
    assert (error.status, error.reason) == (410, "Expired")
    assert store.subscribe(CONFIG_MAP, None, store.revision).wait(0) == []


def test_copy__has_the_objects_and_the_revision_and_changes_on_its_own():
    """As etcd is restored from a snapshot: later revisions are used again, and earlier watches have to list."""
    store = Store()
    start = store.revision
    store.create(CONFIG_MAP, config("before"))
    copy = store.copy()
    assert copy.revision == store.revision
    assert copy.list(CONFIG_MAP, None) == store.list(CONFIG_MAP, None)
    assert raised(copy.subscribe(CONFIG_MAP, None, start).wait, 0).status == 410

    in_both = [one.create(CONFIG_MAP, config("after"))["metadata"]["resourceVersion"] for one in (store, copy)]
    assert in_both[0] == in_both[1]
    copy.delete(CONFIG_MAP, "default", "before")
    assert store.get(CONFIG_MAP, "default", "before")


def test_delete__with_finalizers_waits_for_the_last_one():
    """The delete only marks the object; the owners of the finalizers release it."""
    store = Store()
    store.create(CONFIG_MAP, config(finalizers=["a.dev/x"]))
    marked = store.delete(CONFIG_MAP, "default", "one")
    assert marked["metadata"]["deletionTimestamp"]
    adding = raised(
        store.update,
        CONFIG_MAP,
        "default",
        "one",
        lambda obj: {**obj, "metadata": {**obj["metadata"], "finalizers": ["a.dev/x", "b.dev/y"]}},
    )
    assert "no new finalizers can be added if the object is being deleted" in adding.message

    def release(obj):
        del obj["metadata"]["finalizers"]
        return obj

    store.update(CONFIG_MAP, "default", "one", release)
    assert raised(store.get, CONFIG_MAP, "default", "one").reason == "NotFound"
    events = store.subscribe(CONFIG_MAP, None, 0).wait(0)
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    # The event has the last stored state, with the finalizer, and the revision of the removal.
    assert events[-1].object["metadata"]["finalizers"] == ["a.dev/x"]
    assert events[-1].object["metadata"]["resourceVersion"] == str(store.revision)


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), (None, ["orphan"])]
)
def test_delete__propagation_policy_adds_a_finalizer(policy, finalizers):
    """Foreground and Orphan delay the removal; without a policy a Job orphans its pods, as on a real server."""
    store = Store()
    spec = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b:1"}]}}}
    store.create(JOB, {"metadata": {"name": "one", "namespace": "default"}, "spec": spec})
    assert store.delete(JOB, "default", "one", propagation=policy)["metadata"]["finalizers"] == finalizers


def test_delete__in_the_background_removes_at_once():
    """The owner is gone before its dependents."""
    store = Store()
    store.create(CONFIG_MAP, config())
    store.delete(CONFIG_MAP, "default", "one", propagation="Background")
    assert store.list(CONFIG_MAP, "default")[0] == []


def test_delete__of_a_pod_on_a_node_sets_the_grace_period():
    """The node then deletes the pod with grace period 0; until then, another delete can only shorten the period."""
    store = Store()
    store.create(POD, pod(nodeName="laptop"))
    marked = store.delete(POD, "default", "one")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert store.delete(POD, "default", "one", grace_period_seconds=60) == marked
    shorter = store.delete(POD, "default", "one", grace_period_seconds=5)
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    store.delete(POD, "default", "one", grace_period_seconds=0)
    assert store.list(POD, "default")[0] == []


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
def test_delete__of_a_pod_that_does_not_run_removes_at_once(phase):
    """It has no node yet, or it has ended."""
    store = Store()
    store.create(POD, pod(**({} if phase == "Pending" else {"nodeName": "laptop"})))
    store.update(POD, "default", "one", lambda obj: {**obj, "status": {"phase": phase}}, subresource="status")
    store.delete(POD, "default", "one")
    assert store.list(POD, "default")[0] == []


def test_update__only_a_binding_assigns_a_node():
    store = Store()
    store.create(POD, pod())

    def assign(obj):
        obj["spec"]["nodeName"] = "laptop"
        return obj

    refused = raised(store.update, POD, "default", "one", assign)
    assert [cause["field"] for cause in refused.causes] == ["spec"]
    bound = store.update(POD, "default", "one", assign, subresource="binding")
    assert (bound["spec"]["nodeName"], bound["metadata"]["generation"]) == ("laptop", 1)


@pytest.mark.parametrize("precondition", [{"uid": "other"}, {"resource_version": "1"}])
def test_delete__with_a_failed_precondition_does_nothing(precondition):
    """The client meant another object, or another state of it."""
    store = Store()
    store.create(CONFIG_MAP, config())
    assert raised(store.delete, CONFIG_MAP, "default", "one", **precondition).reason == "Conflict"
    assert store.get(CONFIG_MAP, "default", "one")


def test_create__makes_a_valid_namespace_on_demand():
    """An invalid name is not found."""
    store = Store()
    store.create(CONFIG_MAP, config(namespace="on-demand"))
    assert store.get(NAMESPACE, None, "on-demand")["status"] == {"phase": "Active"}
    error = raised(store.create, CONFIG_MAP, config(namespace="Not_One"))
    assert (error.status, error.message) == (404, 'namespaces "Not_One" not found')


def test_delete__of_a_namespace_removes_its_objects_first():
    """Each with its own event; other namespaces keep their objects."""
    store = Store()
    store.create(CONFIG_MAP, config("a", "doomed"))
    store.create(LEASE, {"metadata": {"name": "b", "namespace": "doomed"}})
    store.create(CONFIG_MAP, config("a", "doomed-not"))
    since = store.revision
    ending = store.delete(NAMESPACE, None, "doomed", propagation="Background")
    assert (ending["status"]["phase"], "deletionTimestamp" in ending["metadata"]) == ("Terminating", True)
    assert [one["metadata"]["namespace"] for one in store.list(CONFIG_MAP, None)[0]] == ["doomed-not"]
    assert store.list(LEASE, None)[0] == []
    assert [event.type for event in store.subscribe(CONFIG_MAP, "doomed", since).wait(0)] == ["DELETED"]
