"""Collections: selectors, pages, revisions, watches, bookmarks, and the ends of watches."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import job, named, pod
from tests.parity.steps import (
    CONFIG_MAPS,
    JOBS,
    LEASES,
    PODS,
    Step,
    call,
    create,
    delete,
    get_list,
    pages,
    patch,
    watch,
)

pytestmark = COMPARES

OURS = {"labelSelector": "case=$NAME"}
BOOKMARKS = {"allowWatchBookmarks": "true"}
BACKGROUND = {"propagationPolicy": "Background"}
INITIAL: dict[str, str | int] = {
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    **BOOKMARKS,
    "timeoutSeconds": 1,
}


def config_map(name: str = "", **labels: str) -> Step:
    """Create a ConfigMap for the case."""
    made = named(f"$NAME{name}")
    made["metadata"]["labels"].update(labels)
    return create(CONFIG_MAPS, made)


def relabel(name: str = "", **labels: str | None) -> Step:
    """Change the ConfigMap's labels."""
    return patch(CONFIG_MAPS, {"metadata": {"labels": labels}}, name=f"$NAME{name}")


def gone(name: str = "") -> Step:
    """Delete the ConfigMap."""
    return delete(CONFIG_MAPS, name=f"$NAME{name}")


THREE = [config_map("-a", tier="x"), config_map("-b", tier="y"), config_map("-c", tier="x")]
# Sorted after them, and selected by none of the selectors.
FOREIGN = create(CONFIG_MAPS, {"metadata": {"name": "$NAME-z"}})

LISTS: dict[str, list[Step]] = {
    "by equality": [*THREE, get_list(CONFIG_MAPS, labelSelector="case=$NAME,tier=x")],
    "by inequality": [*THREE, get_list(CONFIG_MAPS, labelSelector="case=$NAME,tier!=x")],
    "by a set": [*THREE, get_list(CONFIG_MAPS, labelSelector="case in ($NAME),tier notin (x, z)")],
    "by what they have": [*THREE, get_list(CONFIG_MAPS, labelSelector="case=$NAME,tier,!other")],
    "by a name": [*THREE, get_list(CONFIG_MAPS, fieldSelector="metadata.name=$NAME-b")],
    "by labels and a name": [*THREE, get_list(CONFIG_MAPS, fieldSelector="metadata.name!=$NAME-b", **OURS)],
    "in all namespaces": [*THREE, get_list("/api/v1/configmaps", **OURS)],
    "page by page": [*THREE, FOREIGN, pages(CONFIG_MAPS, 1, config_map("-aa"), gone("-c"), **OURS)],
    "in pages that are just large enough": [*THREE, FOREIGN, pages(CONFIG_MAPS, 3, **OURS)],
    "in pages that are large enough": [*THREE, FOREIGN, pages(CONFIG_MAPS, 4, **OURS)],
    "with nothing found": [get_list(CONFIG_MAPS, limit=5, **OURS)],
    "from the past": [*THREE, gone("-a"), get_list(CONFIG_MAPS, resourceVersion="0", **OURS)],
    "a Job by whether it succeeded": [create(JOBS, job(("metadata.labels", {"case": "$NAME"}))),
        get_list(JOBS, fieldSelector="status.successful=0", **OURS),
        get_list(JOBS, fieldSelector="status.successful!=0", **OURS)],
}  # fmt: skip

# A namespace without objects. Both servers ignore some of these parameters, and then list everything: in the tests'
# namespace, that would be what other cases left there, and generated names differ.
NO_JOBS = "/apis/batch/v1/namespaces/$NAME/jobs"
NONSENSE = (
    "labelSelector=a b", "labelSelector=a in b", "labelSelector==a", "labelSelector=a,", "labelSelector=a=b c",
    "labelSelector=a~b", "labelSelector=a>x", "labelSelector=a in (b", "labelSelector=-a", "labelSelector=a=@",
    "fieldSelector=spec.suspend=true", "fieldSelector=foo", "fieldSelector=metadata.name=a\\b",
    "fieldSelector=metadata.name=a=b", "limit=x", "limit=-1", "continue=abc", "continue=e30", "resourceVersion=x",
    "resourceVersion=-1", "resourceVersion=99999999", "resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=Sometimes", "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersionMatch=Exact&resourceVersion=1&continue=abc", "timeoutSeconds=x", "sendInitialEvents=true",
    "watch=1&resourceVersion=x", "watch=1&resourceVersionMatch=Exact&resourceVersion=1",
    "watch=1&sendInitialEvents=true&timeoutSeconds=1", "watch=1&timeoutSeconds=x",
    "watch=1&labelSelector=a b", "watch=1&resourceVersion=1&limit=x",
)  # fmt: skip

END = ("ADDED", "$NAME-end")
INITIAL_END = ("BOOKMARK", "")  # the number of further ones depends on other objects
FOR_1_S, FOR_4_S = {"timeoutSeconds": 1}, {"timeoutSeconds": 4}
HELD = job(("metadata.labels", {"case": "$NAME"}), ("metadata.finalizers", ["example.com/held"]))
HELD_LEASE = {"metadata": {"name": "$NAME", "finalizers": ["example.com/held"]}}
LET_GO: dict[str, Any] = {"metadata": {"finalizers": None, "annotations": {"new": "1"}}}

WATCHES: dict[str, list[Step]] = {
    "each change once, in order": [config_map("-0"), watch(CONFIG_MAPS, OURS,
        config_map("-a"), relabel("-a", n="1"), config_map("-b"), relabel("-a", n="1"), gone("-a"),
        config_map("-a"), gone("-0"), config_map("-end"), end=END)],
    "objects come and go with their labels": [watch(CONFIG_MAPS, {"labelSelector": "case=$NAME,tier=x"},
        config_map("-a", tier="x"), config_map("-b", tier="y"), relabel("-a", tier="y"), relabel("-b", tier="x"),
        relabel("-b", n="1"), gone("-b"), gone("-a"), config_map("-end", tier="x"), end=END)],
    "one object by its name": [watch(CONFIG_MAPS, {"fieldSelector": "metadata.name=$NAME-a", **FOR_1_S},
        config_map("-a"), relabel("-a", n="1"), gone("-a"), config_map("-b"))],
    "a Job by its name, and no other": [watch(JOBS, {"fieldSelector": "metadata.name=$NAME", **FOR_4_S},
        create(JOBS, job(("metadata.name", "$NAME-x"))), create(JOBS, job()), patch(JOBS, {"spec": {"suspend": False}}),
        patch(JOBS, {"status": {"active": 1, "startTime": "2001-01-01T00:00:00Z"}}, name="$NAME/status"),
        delete(JOBS, BACKGROUND), end=("DELETED", "$NAME"))],
    "a Job by its name, up to the end of the watch": [create(JOBS, job()), watch(
        JOBS, {"fieldSelector": "metadata.name=$NAME", **FOR_1_S}, create(JOBS, job(("metadata.name", "$NAME-x"))))],
    "a pod by its name": [watch(PODS, {"fieldSelector": "metadata.name=$NAME", **FOR_4_S}, create(PODS, pod()),
        patch(PODS, {"status": {"podIP": "10.1.1.1"}}, name="$NAME/status"), delete(PODS), end=("DELETED", "$NAME"))],
    "pods that come and go by their phase": [watch(PODS, {"fieldSelector": "status.phase=Running", **OURS, **FOR_4_S},
        create(PODS, pod(("metadata.labels", {"case": "$NAME"}))),
        patch(PODS, {"status": {"phase": "Running"}}, name="$NAME/status"),
        patch(PODS, {"status": {"phase": "Succeeded"}}, name="$NAME/status"), end=("DELETED", "$NAME"))],
    "what a finalizer holds": [watch(JOBS, OURS, create(JOBS, HELD), delete(JOBS, BACKGROUND), patch(JOBS, LET_GO),
        end=("DELETED", "$NAME"))],
    "what a finalizer holds, without a selector": [watch(LEASES, {}, create(LEASES, HELD_LEASE), delete(LEASES),
        patch(LEASES, LET_GO), end=("DELETED", "$NAME"))],
    "without a version, what is there": [*THREE, watch(CONFIG_MAPS, {"resourceVersion": "", **OURS, **FOR_1_S})],
    "from version 0, what is there": [*THREE, watch(CONFIG_MAPS, {"resourceVersion": "0", **OURS, **FOR_1_S})],
    "a bookmark of what happened elsewhere, before the end": [
        watch(CONFIG_MAPS, {**OURS, **BOOKMARKS, **FOR_4_S}, config_map(), meanwhile=FOREIGN)],
    "no bookmark unless asked for": [watch(CONFIG_MAPS, {**OURS, **FOR_4_S}, config_map(), meanwhile=FOREIGN)],
    "initial events and their end": [*THREE, watch(CONFIG_MAPS, {"resourceVersion": "", **OURS, **INITIAL},
        end=INITIAL_END)],
    "initial events since a version": [*THREE, watch(CONFIG_MAPS, {**OURS, **INITIAL}, end=INITIAL_END)],
}  # fmt: skip

TABLES = {
    "list": LISTS,
    "watch": WATCHES,
    "nonsense": {query: [call("GET", f"{NO_JOBS}?{query}")] for query in NONSENSE},
}
CASES = {f"{table}: {name}": steps for table, cases in TABLES.items() for name, steps in cases.items()}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_collection__is_listed_and_watched_alike(compare: Compare, steps: list[Step]) -> None:
    """The same objects, and the same events in the same order."""
    compare(*steps)
