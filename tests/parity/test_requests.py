"""Sequences of requests about Jobs: read, patch, put, delete; and requests that are not served."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import CONTAINER, POD_SPEC, job
from tests.parity.sides import JSON_PATCH, MERGE, STRATEGIC, Session
from tests.parity.steps import JOBS, Step, call, create, delete, delete_all, get, patch, replace

pytestmark = COMPARES

HELD = ("metadata.finalizers", ["example.com/held"])
RELEASE = patch(JOBS, {"metadata": {"finalizers": None}})
HIDDEN: dict[str, Any] = {"propagationPolicy": "Background"}


def merge(body: Any, **query: str) -> list[Step]:
    """Return steps: create a Job, apply one merge patch, get the Job."""
    return [create(JOBS, job(("metadata.labels", {"x": "y"}))), patch(JOBS, body, MERGE, **query), get(JOBS)]


def in_pod(**spec: Any) -> list[Step]:
    """Return a strategic merge patch of the pod's spec."""
    return strategic({"spec": {"template": {"spec": spec}}})


def in_container(**fields: Any) -> list[Step]:
    """Return a strategic merge patch of the container."""
    return in_pod(containers=[{"name": "main", **fields}])


def strategic(body: Any, **query: str) -> list[Step]:
    """Return steps: create a Job, apply one strategic merge patch."""
    return [create(JOBS, job()), patch(JOBS, body, STRATEGIC, **query), get(JOBS)]


def json_patch(*operations: Any, body: Any = None, **query: str) -> list[Step]:
    """Return steps: create a Job, apply one JSON patch."""
    made = job(("metadata.labels", {"x": "y"}))
    return [create(JOBS, made), patch(JOBS, list(operations) if body is None else body, JSON_PATCH, **query), get(JOBS)]


def changed_by_put(*changes: tuple[str, Any], at: str = "") -> list[Step]:
    """Return steps: create a Job, replace it with one PUT."""
    return [create(JOBS, job(("metadata.labels", {"x": "y"}))), replace(JOBS, *changes, at=at), get(JOBS)]


def after(*steps: Step) -> list[Step]:
    """Return steps that create a Job and then take these steps."""
    return [create(JOBS, job()), *steps]


def status(**fields: Any) -> Step:
    """Return a patch of the status."""
    return patch(JOBS, {"status": fields}, name="$NAME/status")


def own_delete(field: str, *between: Step) -> Step:
    """Return a DELETE with the Job's own uid or resourceVersion as a precondition."""

    def step(session: Session) -> None:
        own = session.request("GET", f"{JOBS}/$NAME", record=False).body["metadata"]
        for one in between:
            one(session)
        session.request("DELETE", f"{JOBS}/$NAME", {**HIDDEN, "preconditions": {field: own[field]}})

    return step


def conditions(*types: str) -> list[dict[str, str]]:
    return [{"type": type_, "status": "True"} for type_ in types]


STARTED = "2001-01-01T00:00:00Z"
LATER = "2001-01-01T00:00:05Z"
UNSUSPENDED = create(JOBS, job(("spec.suspend", False)))
RUNNING = [UNSUSPENDED, status(active=1, ready=1, startTime=STARTED)]
FINISHED = {"active": 0, "ready": 0, "conditions": conditions("SuccessCriteriaMet", "Complete"), "succeeded": 1}

READS: dict[str, list[Step]] = {
    "what was created is read": after(get(JOBS)),
    "the name is taken": after(create(JOBS, job())),
    "a missing Job": [get(JOBS)],
    "as a table": after(get(JOBS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")),
    "its metadata alone": after(get(JOBS, accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")),
    "a dry run stores nothing": [create(JOBS, job(), dryRun="All"), get(JOBS)],
    "a dry run of something": [create(JOBS, job(), dryRun="Some")],
    "in a namespace with an invalid name": [create("/apis/batch/v1/namespaces/A_B/jobs", job())],
}

MERGES: dict[str, list[Step]] = {
    "nothing": merge({}),
    "a label": merge({"metadata": {"labels": {"n": "1"}}}),
    "no labels": merge({"metadata": {"labels": None}}),
    "a bad label": merge({"metadata": {"labels": {"a b": "c"}}}),
    "an old resourceVersion": merge({"metadata": {"resourceVersion": "1"}}),
    "a bad resourceVersion": merge({"metadata": {"resourceVersion": "abc"}}),
    "another uid": merge({"metadata": {"uid": "abc"}}),
    "another name": merge({"metadata": {"name": "b"}}),
    "another namespace": merge({"metadata": {"namespace": "b"}}),
    "another creationTimestamp": merge({"metadata": {"creationTimestamp": STARTED}}),
    "a deletionTimestamp": merge({"metadata": {"deletionTimestamp": STARTED}}),
    "another generation": merge({"metadata": {"generation": 55}}),
    "another kind": merge({"kind": "Pod"}),
    "another apiVersion": merge({"apiVersion": "v1"}),
    "suspend, which a scheduler changes": merge({"spec": {"suspend": False}}),
    "completions": merge({"spec": {"completions": 3}}),
    "parallelism": merge({"spec": {"parallelism": 3}}),
    "backoffLimit": merge({"spec": {"backoffLimit": 3}}),
    "no backoffLimit": merge({"spec": {"backoffLimit": None}}),
    "completionMode": merge({"spec": {"completionMode": "Indexed"}}),
    "the selector": merge({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
    "no selector": merge({"spec": {"selector": None}}),
    "manualSelector": merge({"spec": {"manualSelector": True}}),
    "managedBy": merge({"spec": {"managedBy": "example.com/other"}}),
    "ttlSecondsAfterFinished": merge({"spec": {"ttlSecondsAfterFinished": 3}}),
    "a string as a number": merge({"spec": {"parallelism": "x"}}),
    "an unknown field": merge({"spec": {"foo": 1}}),
    "an unknown field, strictly": merge({"spec": {"foo": 1}}, fieldValidation="Strict"),
    "the status": merge({"status": {"active": 5}}),
    "a missing Job": [patch(JOBS, {})],
    "as a dry run": merge({"spec": {"parallelism": 9}}, dryRun="All"),
}

STRATEGIC_PATCHES: dict[str, list[Step]] = {
    "the image": in_container(image="z"),
    "resources, which a scheduler sets": in_container(resources={"limits": {"cpu": "1"}}),
    "a bad amount": in_container(resources={"limits": {"cpu": "x"}}),
    "a variable": in_container(env=[{"name": "X", "value": "1"}]),
    "nodeSelector, which a scheduler sets": in_pod(nodeSelector={"a": "b"}),
    "tolerations, which a scheduler sets": in_pod(tolerations=[{"key": "a", "operator": "Exists"}]),
    "restartPolicy": in_pod(restartPolicy="OnFailure"),
    "annotations of the pod": strategic({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
    "labels of the pod": strategic({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
    "a string as a number": strategic({"spec": {"parallelism": "x"}}),
    "an unknown field, strictly": strategic({"spec": {"foo": 1}}, fieldValidation="Strict"),
    "a container without its name": in_pod(containers=[{"image": "z"}]),
    "an unknown directive": strategic({"spec": {"$patch": "foo"}}),
    "replace a map": strategic({"metadata": {"labels": {"$patch": "replace", "only": "this"}}}),
    "delete a container": in_container(**{"$patch": "delete"}),
}

SUSPENDED = {"op": "test", "path": "/spec/suspend", "value": True}
JSON_PATCHES: dict[str, list[Step]] = {
    "a test that holds": json_patch(SUSPENDED, {"op": "replace", "path": "/spec/parallelism", "value": 2}),
    "a test that fails": json_patch({**SUSPENDED, "value": False}),
    "remove a missing field": json_patch({"op": "remove", "path": "/spec/nope"}),
    "an unknown operation": json_patch({"op": "foo", "path": "/spec/nope"}),
    "no list": json_patch(body={"op": "foo"}),
    "a path without a slash": json_patch({"op": "add", "path": "spec", "value": 1}),
    "an old resourceVersion": json_patch({"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}),
    "an unknown field, strictly": json_patch({"op": "add", "path": "/spec/foo", "value": 1}, fieldValidation="Strict"),
    "add below a missing field": json_patch({"op": "add", "path": "/spec/x/y", "value": 1}),
    "nothing": json_patch(),
    "a label": json_patch({"op": "add", "path": "/metadata/labels/z", "value": "1"}),
}

UNREADABLE: dict[str, list[Step]] = {
    f"{body.decode() or 'nothing'} as {content_type}": after(patch(JOBS, body, content_type))
    for body in (b"xyz", b"", b'"x"')
    for content_type in (MERGE, STRATEGIC, JSON_PATCH, "application/json", "text/plain")
}

PUTS: dict[str, list[Step]] = {
    "what is there": changed_by_put(),
    "suspend": changed_by_put(("spec.suspend", False)),
    "no resourceVersion": changed_by_put(("metadata.resourceVersion", ...)),
    "an old resourceVersion": changed_by_put(("metadata.resourceVersion", "1")),
    "a bad resourceVersion": changed_by_put(("metadata.resourceVersion", "x")),
    "resourceVersion 0": changed_by_put(("metadata.resourceVersion", "0")),
    "another uid": changed_by_put(("metadata.uid", "abc")),
    "no uid": changed_by_put(("metadata.uid", ...)),
    "another name": changed_by_put(("metadata.name", "zz")),
    "no name": changed_by_put(("metadata.name", ...)),
    "another namespace": changed_by_put(("metadata.namespace", "zz")),
    "no namespace": changed_by_put(("metadata.namespace", ...)),
    "no creationTimestamp": changed_by_put(("metadata.creationTimestamp", ...)),
    "no labels": changed_by_put(("metadata.labels", ...)),
    "a status": changed_by_put(("status", {"active": 7})),
    "no selector": changed_by_put(("spec.selector", ...)),
    "no spec": changed_by_put(("spec", ...)),
    "another kind": changed_by_put(("kind", "Pod")),
    "to a name that does not exist": changed_by_put(("metadata.name", "$NAME-2"), at="$NAME-2"),
    "another image": changed_by_put((f"{CONTAINER}.image", "z")),
    "another restartPolicy": changed_by_put((f"{POD_SPEC}.restartPolicy", "OnFailure")),
}

STATUSES: dict[str, list[Step]] = {
    "it takes the status alone": [UNSUSPENDED, patch(JOBS, {"status": {"active": 1, "startTime": STARTED},
        "spec": {"parallelism": 7}, "metadata": {"labels": {"via": "status"}}}, name="$NAME/status"),
        get(JOBS, "$NAME/status")],
    "a negative count": [UNSUSPENDED, status(active=-1)],
    "more ready than active": [UNSUSPENDED, status(ready=3, active=1)],
    "complete without its criteria": [UNSUSPENDED, status(conditions=conditions("Complete"))],
    "failed without its target": [UNSUSPENDED, status(conditions=conditions("Failed"))],
    "a completionTime alone": [UNSUSPENDED, status(completionTime=STARTED)],
    "complete and failed": [UNSUSPENDED, status(startTime=STARTED, completionTime=LATER, conditions=conditions(
        "Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"))],
    "another startTime": [*RUNNING, status(startTime=LATER)],
    "fewer succeeded": [*RUNNING, status(succeeded=1), status(succeeded=0)],
    "finished with an active pod": [*RUNNING, status(completionTime=LATER, conditions=FINISHED["conditions"])],
    "completed before it started": [*RUNNING, status(**FINISHED, completionTime="2000-01-01T00:00:00Z")],
    "finished": [*RUNNING, status(**FINISHED, completionTime=LATER), get(JOBS)],
    "unfinished again": [*RUNNING, status(**FINISHED, completionTime=LATER), status(conditions=None)],
    "another completionTime": [*RUNNING, status(**FINISHED, completionTime=LATER),
                               status(completionTime="2001-01-01T00:00:06Z")],
}  # fmt: skip

DELETES: dict[str, list[Step]] = {
    "in the background": after(delete(JOBS, HIDDEN), get(JOBS)),
    "by the query": after(delete(JOBS, propagationPolicy="Background"), get(JOBS)),
    "with options of its kind": after(delete(JOBS, {"kind": "DeleteOptions", "apiVersion": "v1", **HIDDEN})),
    "a missing Job": [delete(JOBS, HIDDEN)],
    "with an unknown policy": after(delete(JOBS, {"propagationPolicy": "Sometimes"})),
    "with such a policy in the query": after(delete(JOBS, propagationPolicy="Sometimes")),
    "with both policies": after(delete(JOBS, {**HIDDEN, "orphanDependents": True})),
    "with a body that is no JSON": after(delete(JOBS, b"xyz")),
    "with a body that is a list": after(delete(JOBS, b"[]")),
    "with another kind": after(delete(JOBS, {"kind": "Sparkle", "apiVersion": "v1"})),
    "its own uid as a precondition": [create(JOBS, job()), own_delete("uid"), get(JOBS)],
    "its own resourceVersion as a precondition": [create(JOBS, job()), own_delete("resourceVersion"), get(JOBS)],
    "an old resourceVersion": [
        create(JOBS, job()), own_delete("resourceVersion", patch(JOBS, {"metadata": {"labels": {"a": "b"}}})), get(JOBS)
    ],
    "a number as a precondition": after(delete(JOBS, {**HIDDEN, "preconditions": {"uid": 5}})),
    "an empty precondition": after(delete(JOBS, {**HIDDEN, "preconditions": {}}), get(JOBS)),
    "a grace period of 0": after(delete(JOBS, {**HIDDEN, "gracePeriodSeconds": 0}), get(JOBS)),
    "another uid": after(delete(JOBS, {**HIDDEN, "preconditions": {"uid": "abc"}}), get(JOBS)),
    "another resourceVersion": after(delete(JOBS, {**HIDDEN, "preconditions": {"resourceVersion": "1"}})),
    "a dry run": after(delete(JOBS, HIDDEN, dryRun="All"), get(JOBS)),
    "a dry run by the query": after(delete(JOBS, propagationPolicy="Background", dryRun="All"), get(JOBS)),
    "a dry run in the foreground": after(delete(JOBS, propagationPolicy="Foreground", dryRun="All")),
    "a dry run by the body": after(delete(JOBS, {**HIDDEN, "dryRun": ["All"]}), get(JOBS)),
    "a dry run of something": after(delete(JOBS, {"dryRun": ["x"]})),
    "a word as grace period": after(delete(JOBS, {"gracePeriodSeconds": "x"})),
    "a word as grace period in the query": after(delete(JOBS, gracePeriodSeconds="x")),
    "a Job with a finalizer": [create(JOBS, job(HELD)), delete(JOBS, HIDDEN), get(JOBS),
        patch(JOBS, {"metadata": {"finalizers": ["example.com/held", "example.com/late"]}}),
        patch(JOBS, {"metadata": {"labels": {"late": "1"}}}), delete(JOBS, HIDDEN), RELEASE, get(JOBS)],
    "a collection": [create(JOBS, job(("metadata.labels", {"case": "$NAME"}))),
        delete_all(JOBS, labelSelector="case=$NAME", propagationPolicy="Background"), get(JOBS)],
    "a collection that is empty": [delete_all(JOBS, labelSelector="case=$NAME", propagationPolicy="Background")],
    "an unknown collection by a field": [delete_all(JOBS, fieldSelector="nope=1")],
}  # fmt: skip

PATHS = (
    ("POST", "/apis/batch/v1/jobs"), ("PUT", JOBS), ("PATCH", JOBS), ("POST", f"{JOBS}/$NAME"),
    ("DELETE", "/apis/batch/v1/jobs"), ("GET", "/apis/batch/v1/sparkles"),
    ("GET", "/apis/batch/v1/namespaces/$NS/sparkles"), ("GET", "/apis/batch/v7/jobs"),
    ("GET", "/apis/sparkle.dev/v1/jobs"), ("GET", f"{JOBS}/$NAME/sparkle"), ("DELETE", f"{JOBS}/$NAME/status"),
    ("POST", f"{JOBS}/$NAME/status"), ("GET", "/api/v1/namespaces/$NS/jobs"), ("GET", "/apis/batch/v1/jobs/$NAME"),
    ("GET", f"{JOBS}/$NAME/"), ("GET", f"{JOBS}/A_B"), ("GET", "/sparkle"),
)  # fmt: skip
MISSES = {f"{method} {path}": [call(method, path, job() if method[0] == "P" else None)] for method, path in PATHS}

TYPES: dict[str, list[Step]] = {
    "an object as text": [call("POST", JOBS, job(), content_type="text/plain")],
    "an object as a form": [call("POST", JOBS, job(), content_type="application/x-www-form-urlencoded")],
    "an object with a charset": [call("POST", JOBS, job(), content_type="application/json; charset=utf-8")],
    "a response as XML": [call("GET", JOBS, accept="text/xml")],
}

TABLES = {
    "reading": READS, "merge patch of": MERGES, "strategic patch of": STRATEGIC_PATCHES, "JSON patch:": JSON_PATCHES,
    "patch:": UNREADABLE, "put:": PUTS, "status:": STATUSES, "delete": DELETES, "path": MISSES, "type": TYPES,
}  # fmt: skip
CASES = {f"{table} {name}": steps for table, cases in TABLES.items() for name, steps in cases.items()}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_requests__get_the_same_responses(compare: Compare, steps: list[Step]) -> None:
    """And leave both servers with the same Job."""
    compare(*steps)
