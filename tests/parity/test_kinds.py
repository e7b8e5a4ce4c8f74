"""The other kinds that the service reads or writes."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import event, lease, named, pod, workload
from tests.parity.sides import STRATEGIC
from tests.parity.steps import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    STATEFUL_SETS,
    Step,
    call,
    create,
    delete,
    get,
    get_list,
    patch,
    put,
    replace,
)

pytestmark = COMPARES

MOMENT = "2001-01-01T00:00:00.123456Z"
NEW_STYLE = (("eventTime", MOMENT), ("reportingComponent", "slimfaas.dev/jobs"), ("reportingInstance", "i"),
             ("action", "Wait"))  # fmt: skip
SELECTOR = "spec.selector"

LEASE_CASES: dict[str, list[Step]] = {
    "with all fields": [create(LEASES, lease(holderIdentity="me", leaseDurationSeconds=5, leaseTransitions=1,
                                             renewTime=MOMENT, acquireTime=MOMENT)), get(LEASES)],
    "empty": [create(LEASES, lease())],
    "lasting 0 s": [create(LEASES, lease(leaseDurationSeconds=0))],
    "lasting less": [create(LEASES, lease(leaseDurationSeconds=-1))],
    "negative transitions": [create(LEASES, lease(leaseTransitions=-1))],
    "a time without its zone": [create(LEASES, lease(renewTime="2001-01-01T00:00:00"))],
    "a time without a fraction": [create(LEASES, lease(renewTime="2001-01-01T00:00:00Z"))],
    "a time of another zone": [create(LEASES, lease(renewTime="2001-01-01T02:00:00.500000+02:00"))],
    "no time": [create(LEASES, lease(renewTime="x"))],
    "a number as time": [create(LEASES, lease(renewTime=5))],
    "a strategy of its own": [create(LEASES, lease(strategy="OldestEmulationVersion", holderIdentity="x"))],
    "put without an existing object": [put(LEASES, lease(holderIdentity="x")), put(LEASES, lease(holderIdentity="y"))],
    "put with a version, no such object": [put(LEASES, {"metadata": {"name": "$NAME", "resourceVersion": "7"}})],
    "renewed with its version": [create(LEASES, lease()), replace(LEASES, ("spec.holderIdentity", "a")), get(LEASES)],
    "renewed with an old version": [create(LEASES, lease()),
        replace(LEASES, ("spec.holderIdentity", "a"), ("metadata.resourceVersion", "1")), get(LEASES)],
    "patched": [create(LEASES, lease()), patch(LEASES, {"spec": {"holderIdentity": "z"}})],
    "deleted": [create(LEASES, lease()), delete(LEASES), delete(LEASES)],
}  # fmt: skip

EVENT_CASES: dict[str, list[Step]] = {
    "in the old style": [create(EVENTS, event(("count", 1), ("firstTimestamp", "2001-01-01T00:00:00Z"))), get(EVENTS)],
    "in the new style": [create(EVENTS, event(*NEW_STYLE)), get(EVENTS)],
    "in the new style, without a reason": [create(EVENTS, event(*NEW_STYLE, ("reason", "")))],
    "about an object elsewhere": [create(EVENTS, event(("involvedObject.namespace", "other")))],
    "about an object without a namespace": [create(EVENTS, event(("involvedObject.namespace", ...)))],
    "about nothing": [create(EVENTS, {"metadata": {"name": "$NAME"}})],
    "in the new style, too long": [create(EVENTS, event(
        *NEW_STYLE, ("reportingComponent", "a b"), ("reportingInstance", "i" * 129), ("action", "a" * 129),
        ("message", "m" * 1025), ("reason", "r" * 129)))],
    "in the old style, with a long message": [create(EVENTS, event(("message", "m" * 2000)))],
    "with generateName": [create(EVENTS, event(("metadata", {"generateName": "$NAME."})))],
    "with a bad name": [create(EVENTS, event(("metadata.name", "A_B")))],
    "of a type that nobody knows": [create(EVENTS, event(("type", "Sometimes")))],
    "counted up": [create(EVENTS, event(("count", 1))), patch(EVENTS, {"count": 2}, STRATEGIC)],
    "found by its fields": [create(EVENTS, event()),
        get_list(EVENTS, fieldSelector="involvedObject.name=$NAME,reason=Waiting"),
        get_list(EVENTS, fieldSelector="involvedObject.name=$NAME,reason=Other"),
        get_list(EVENTS, fieldSelector="message=x")],
}  # fmt: skip

DATA_CASES: dict[str, list[Step]] = {
    "a ConfigMap": [create(CONFIG_MAPS, named(data={"a": "b"})), get(CONFIG_MAPS), delete(CONFIG_MAPS)],
    "bad keys": [create(CONFIG_MAPS, named(data={"a b": "c", "..": "x", "..a": "y"}))],
    "a number": [create(CONFIG_MAPS, named(data={"a": 1}))],
    "more than one mebibyte": [create(CONFIG_MAPS, named(data={"a": "x" * 1048577}))],
    "an immutable ConfigMap": [create(CONFIG_MAPS, named(data={"a": "b"}, immutable=True)),
        patch(CONFIG_MAPS, {"data": {"a": "c"}}), patch(CONFIG_MAPS, {"immutable": False}),
        patch(CONFIG_MAPS, {"metadata": {"labels": {"x": "y"}}})],
    "a key replaced": [create(CONFIG_MAPS, named(data={"a": "b"})), replace(CONFIG_MAPS, ("data", {"c": "d"}))],
    "a Secret": [create(SECRETS, named(data={"a": "Yg=="}, stringData={"b": "c"})), get(SECRETS), delete(SECRETS)],
    "a Secret that is not base64": [create(SECRETS, named(data={"a": "!!"}))],
    "a Secret's type changed": [create(SECRETS, named()), patch(SECRETS, {"type": "example.com/other"})],
    "a namespace": [create(NAMESPACES, named()), get(NAMESPACES), create(NAMESPACES, named()),
        patch(NAMESPACES, {"metadata": {"annotations": {"a": "b"}}}), delete(NAMESPACES)],
    "a bad namespace": [create(NAMESPACES, named("A_B")), get(NAMESPACES, "A_B")],
    "a namespace in a namespace": [create(NAMESPACES, {"metadata": {"name": "$NAME", "namespace": "y"}})],
}  # fmt: skip


def both(*changes: tuple[str, Any]) -> list[Step]:
    """Return the same step for a Deployment and a StatefulSet."""
    return [create(DEPLOYMENTS, workload(*changes)), create(STATEFUL_SETS, workload(*changes))]


def patched(collection: str, body: Any) -> list[Step]:
    """Return a workload and a merge patch of it."""
    return [create(collection, workload()), patch(collection, body)]


def scaled(collection: str) -> list[Step]:
    """Return the steps of `kubectl scale`, and some that it may not take."""
    return [create(collection, workload()), get(collection, "$NAME/scale"),
            patch(collection, {"spec": {"replicas": 0}}, name="$NAME/scale"),
            patch(collection, {"spec": {"replicas": -1}}, name="$NAME/scale"),
            patch(collection, {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 0}}, name="$NAME/scale"),
            get(collection, "other/scale"), delete(collection, name="$NAME/scale")]  # fmt: skip


OTHER = {"app": "c"}
OTHER_SELECTOR = {"spec": {"selector": {"matchLabels": OTHER}, "template": {"metadata": {"labels": OTHER}}}}

WORKLOAD_CASES: dict[str, list[Step]] = {
    "as they are": both(),
    "no selector": both((SELECTOR, ...)),
    "an empty selector": both((SELECTOR, {})),
    "a selector that doesn't match": both((SELECTOR, {"matchLabels": {"x": "y"}})),
    "negative replicas": both(("spec.replicas", -1)),
    "restartPolicy Never": both(("spec.template.spec.restartPolicy", "Never")),
    "no spec": both(("spec", ...)),
    "an unknown strategy": both(("spec.strategy", {"type": "Sometimes"})),
    "an unknown podManagementPolicy": both(("spec.podManagementPolicy", "Sometimes")),
    "a progressDeadline that is too short": both(("spec.minReadySeconds", 5), ("spec.progressDeadlineSeconds", 5)),
    "a Deployment's selector changed": patched(DEPLOYMENTS, OTHER_SELECTOR),
    "a StatefulSet's selector changed": patched(STATEFUL_SETS, OTHER_SELECTOR),
    "a StatefulSet's serviceName changed": patched(STATEFUL_SETS, {"spec": {"serviceName": "z"}}),
    "a StatefulSet's podManagementPolicy changed": patched(
        STATEFUL_SETS, {"spec": {"podManagementPolicy": "Parallel"}}
    ),
    "a StatefulSet's revisionHistoryLimit changed": patched(STATEFUL_SETS, {"spec": {"revisionHistoryLimit": 3}}),
    "a Deployment's status": patched(DEPLOYMENTS, {"status": {"readyReplicas": 7}}),
    "a Deployment's image": patched(DEPLOYMENTS, {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
    "a Deployment by a field that it lacks": [get_list(DEPLOYMENTS, fieldSelector="status.replicas=1")],
    "a Deployment scaled": scaled(DEPLOYMENTS),
    "a StatefulSet scaled": scaled(STATEFUL_SETS),
}

LABELLED = pod(("metadata.labels", {"case": "$NAME"}))
POD_FIELDS = {"metadata.name": "$NAME", "metadata.namespace": "$NS", "spec.nodeName": "",
              "spec.restartPolicy": "Always", "spec.schedulerName": "nobody",
              "spec.serviceAccountName": "default", "spec.hostNetwork": "false",
              "status.phase": "Running", "status.podIP": "10.1.1.1", "status.podIPs": "fd00::1",
              "status.nominatedNodeName": "there"}  # fmt: skip
ENDED: dict[str, Any] = {
    "name": "main", "image": "busybox:1", "imageID": "", "ready": False, "restartCount": 0,
    "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no", "containerID": "x://y",
                             "startedAt": "2001-01-01T00:00:00Z", "finishedAt": "2001-01-01T00:00:05Z"}},
}  # fmt: skip
TWO_CONTAINERS = pod(("spec.containers", [{"name": name, "image": "busybox:1"} for name in ("main", "b")]))


def by_hand(**status: Any) -> Step:
    """Return a patch of a pod's status, as an administrator writes it without a node."""
    return patch(PODS, {"status": status}, STRATEGIC, name="$NAME/status")


def found_by(field: str, value: str) -> list[Step]:
    """Return lists of the pods with and without this value."""
    return [get_list(PODS, labelSelector="case=$NAME", fieldSelector=f"{field}{sign}{value}") for sign in ("=", "!=")]


AMOUNTS = {"limits": {"cpu": "1", "memory": "1Gi"}}
POD_CASES: dict[str, list[Step]] = {
    "as it is": [create(PODS, pod()), get(PODS)],
    "of guaranteed quality": [create(PODS, pod(("spec.containers.0.resources", AMOUNTS)))],
    "of burstable quality": [create(PODS, pod(("spec.containers.0.resources", {"requests": {"cpu": "1"}})))],
    "with a negative grace period": [create(PODS, pod(("spec.terminationGracePeriodSeconds", -1)))],
    "with an unknown restartPolicy": [create(PODS, pod(("spec.restartPolicy", "Sometimes")))],
    "its restartPolicy changed": [create(PODS, pod()), patch(PODS, {"spec": {"restartPolicy": "Never"}})],
    "its image changed": [create(PODS, pod()), replace(PODS, ("spec.containers.0.image", "busybox:2"))],
    "its containers changed": [create(PODS, pod()), replace(PODS, ("spec.containers", []))],
    "its node changed": [create(PODS, pod()), patch(PODS, {"spec": {"nodeName": "there"}})],
    "deleted before it has a node": [create(PODS, pod()), delete(PODS), get(PODS)],
    "held by a finalizer": [create(PODS, pod(("metadata.finalizers", ["example.com/held"]))), delete(PODS),
                            patch(PODS, {"metadata": {"finalizers": None}}), get(PODS)],
    "by its phase": [create(PODS, pod(("metadata.labels", {"case": "$NAME"}))),
                     get_list(PODS, labelSelector="case=$NAME", fieldSelector="status.phase=Pending"),
                     get_list(PODS, labelSelector="case=$NAME", fieldSelector="status.phase!=Pending"),
                     get_list(PODS, fieldSelector="spec.image=x")],
    "its status": [create(PODS, pod()), patch(PODS, {"status": {"phase": "Running", "podIP": "10.1.1.1"}},
                                              STRATEGIC, name="$NAME/status"), get(PODS)],
    "by every supported field": [create(PODS, LABELLED), by_hand(
        phase="Running", podIP="10.1.1.1", podIPs=[{"ip": "10.1.1.1"}, {"ip": "fd00::1"}], nominatedNodeName="there"),
        *[step for field, value in POD_FIELDS.items() for step in found_by(field, value)]],
    "by unknown fields": [get_list(PODS, fieldSelector=f"{field}=x") for field in (
        "status.hostIP", "spec.hostname", "metadata.uid", "metadata.labels", "status", "", "spec.containers", "podIP",
        "status.reason", "spec.priority")],
    "by two fields": [create(PODS, LABELLED), by_hand(podIP="10.1.1.1"),
        get_list(PODS, labelSelector="case=$NAME", fieldSelector="status.podIP=10.1.1.1,status.phase=Pending"),
        get_list(PODS, labelSelector="case=$NAME", fieldSelector="status.podIP=10.1.1.1,status.phase!=Pending")],
    "by an IPv6 address": [create(PODS, LABELLED), by_hand(podIP="fd00::a"),
        *found_by("status.podIP", "fd00::a"),
        get_list(PODS, labelSelector="case=$NAME", fieldSelector="status.podIP=FD00::A")],
    "an invalid address": [create(PODS, LABELLED), by_hand(podIP="x"), get(PODS)],
    "addresses that contradict each other": [create(PODS, LABELLED), by_hand(
        podIP="10.1.1.1", podIPs=[{"ip": "10.1.1.2"}]), get(PODS)],
    "addresses alone": [create(PODS, LABELLED), by_hand(podIPs=[{"ip": "10.1.1.2"}, {"ip": "fd00::2"}]), get(PODS)],
    "two addresses of one family": [create(PODS, LABELLED), by_hand(
        podIP="10.1.1.1", podIPs=[{"ip": "10.1.1.1"}, {"ip": "10.1.1.2"}])],
    "an address set and removed": [create(PODS, LABELLED), by_hand(podIP="10.1.1.1"),
        replace(PODS, ("status.podIP", "10.1.1.3"), at="$NAME/status"),
        replace(PODS, ("status.podIP", ...), ("status.podIPs", ...), at="$NAME/status")],
    "a status replaced by PUT": [create(PODS, LABELLED), replace(
        PODS, ("status", {"phase": "Failed", "hostIP": "192.168.1.1", "hostIPs": [{"ip": "192.168.1.1"}],
                          "podIP": "10.1.1.1", "reason": "Evicted", "message": "no more"}), at="$NAME/status")],
    "an unknown status of a phase": [create(PODS, LABELLED), by_hand(phase="Sometimes")],
    "conditions": [create(PODS, LABELLED), by_hand(
        conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z"}],
        startTime="2001-01-01T00:00:00Z"),
        by_hand(conditions=[{"type": "Ready", "status": "False"}, {"type": "example.com/Own", "status": "True"}])],
    "a container's state": [create(PODS, LABELLED), by_hand(phase="Failed", containerStatuses=[ENDED]), get(PODS)],
    "a container's termination undone": [create(PODS, LABELLED), by_hand(phase="Failed", containerStatuses=[ENDED]),
        by_hand(containerStatuses=[{**ENDED, "state": {"terminated": None, "running": {}}}])],
    "a container's termination undone with restartPolicy Never": [
        create(PODS, pod(("spec.restartPolicy", "Never"))), by_hand(phase="Failed", containerStatuses=[ENDED]),
        by_hand(containerStatuses=[{**ENDED, "state": {"terminated": None, "running": {}}}])],
    "the network of its host": [create(PODS, pod(("spec.hostNetwork", True))), get_list(
        PODS, fieldSelector="spec.hostNetwork=true,metadata.name=$NAME")],
    "the network of its host, with a port": [create(PODS, pod(
        ("spec.hostNetwork", True), ("spec.containers.0.ports", [{"containerPort": 8080}])))],
    "the network of its host, with another port": [create(PODS, pod(
        ("spec.hostNetwork", True), ("spec.containers.0.ports", [{"containerPort": 8080, "hostPort": 80}])))],
    "its metadata in its status": [create(PODS, LABELLED), patch(
        PODS, {"metadata": {"labels": {"x": "y"}, "annotations": {"a": "b"}}}, name="$NAME/status"), get(PODS)],
    "its spec in its status": [create(PODS, LABELLED), patch(
        PODS, {"spec": {"activeDeadlineSeconds": 5}}, name="$NAME/status"), get(PODS)],
    "an annotation": [create(PODS, LABELLED), patch(
        PODS, {"metadata": {"annotations": {"SlimFaas/DefaultTrust": "Untrusted"}}})],
    **{f"the log: {query}": [create(PODS, pod()), call("GET", f"{PODS}/$NAME/log?{query}")] for query in (
        "tailLines=-1", "tailLines=0", "tailLines=x", "limitBytes=0", "limitBytes=-5", "sinceSeconds=0",
        "sinceSeconds=-1", "sinceSeconds=x", "sinceTime=x", "sinceTime=2001-01-01T00:00:00Z", "sinceTime=",
        "sinceTime=2001-01-01T00:00:00Z&sinceSeconds=5", "container=other", "container=main", "container=",
        "previous=true", "previous=x", "follow=true", "timestamps=true", "stream=Stdout", "stream=x",
        "stream=Stdout&tailLines=1", "sinceSeconds=0&tailLines=-1&limitBytes=0", "foo=1", "pretty=true",
        "insecureSkipTLSVerifyBackend=true")},
    "the log of one of two containers": [create(PODS, TWO_CONTAINERS), *[
        call("GET", f"{PODS}/$NAME/log?{query}") for query in ("", "container=main", "container=b", "container=x")]],
    "the log, by other methods": [create(PODS, pod()), *[
        call(method, f"{PODS}/$NAME/log") for method in ("POST", "PUT", "PATCH", "DELETE")]],
    "deleted with preconditions": [create(PODS, pod()), delete(PODS, {"preconditions": {"uid": "x"}}),
        delete(PODS, {"preconditions": {"resourceVersion": "1"}}),
        delete(PODS, {"preconditions": {"uid": ""}}, dryRun="All"), delete(PODS, {"gracePeriodSeconds": 0})],
    "deleted with a grace period": [create(PODS, pod()), delete(PODS, {"gracePeriodSeconds": 5}), get(PODS)],
    "deleted with a negative grace period": [create(PODS, pod()), delete(PODS, gracePeriodSeconds=-1), get(PODS)],
    "patched as a dry run": [create(PODS, pod()), patch(
        PODS, {"metadata": {"labels": {"a": "b"}}}, dryRun="All"), get(PODS)],
    "the log of a pod without a node": [create(PODS, pod()), get(PODS, "$NAME/log")],
    "the log of a missing pod": [get(PODS, "$NAME/log")],
    "its metadata in a list": [create(PODS, pod(("metadata.labels", {"case": "$NAME"}))), call(
        "GET", f"{PODS}?labelSelector=case%3D$NAME",
        accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")],
}  # fmt: skip

TABLES = {"lease": LEASE_CASES, "event": EVENT_CASES, "data": DATA_CASES, "workload": WORKLOAD_CASES, "pod": POD_CASES}
CASES = {f"{table}: {name}": steps for table, cases in TABLES.items() for name, steps in cases.items()}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_kind__is_stored_and_refused_alike(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)
