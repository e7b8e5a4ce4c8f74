"""Jobs that an API server refuses, changes or accepts: one POST each, on both servers."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import CONTAINER, POD_SPEC, changed, job
from tests.parity.steps import JOBS, create

pytestmark = COMPARES

ENV, RESOURCES, METADATA = f"{CONTAINER}.env", f"{CONTAINER}.resources", "metadata"
SELECTOR, LABELS = "spec.selector", "spec.template.metadata"


def env(*entries: dict[str, Any]) -> tuple[str, Any]:
    return ENV, list(entries)


def from_field(path: str | None) -> dict[str, Any]:
    return {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path} if path else {}}}


CHANGES: dict[str, list[tuple[str, Any]]] = {
    "as it is": [],
    # metadata
    "a name in capitals": [("metadata.name", "Upper")],
    "a name with a dot": [("metadata.name", "$NAME.x")],
    "a name of 64 characters": [("metadata.name", "a" * 64)],
    "a name of 254 characters": [("metadata.name", "a" * 254)],
    "a name with an underscore": [("metadata.name", "a_b")],
    "no name": [(METADATA, {})],
    "an empty generateName": [(METADATA, {"generateName": ""})],
    "a generateName": [(METADATA, {"generateName": "$NAME-"})],
    "a bad generateName": [(METADATA, {"generateName": "a_"})],
    "a label key with a space": [("metadata.labels", {"a b": "c"})],
    "a label value with a space": [("metadata.labels", {"a": "b c"})],
    "a label value of 64 characters": [("metadata.labels", {"a": "b" * 64})],
    "bad label prefixes": [("metadata.labels", {"/a": "b", "A.b/c": "d", "a/b/c": "d"})],
    "an annotation key with a space": [("metadata.annotations", {"a b": "c"})],
    "annotations that are too large": [("metadata.annotations", {"a": "x" * 262145})],
    "bad owners": [("metadata.ownerReferences", [
        {"apiVersion": "", "kind": "", "name": "", "uid": ""},
        {"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "b"},
        {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b", "controller": True},
        {"apiVersion": "v1", "kind": "Pod", "name": "c", "uid": "d", "controller": True}])],
    "bad finalizers": [("metadata.finalizers", ["a b", "orphan", "foregroundDeletion", "nodomain"])],
    "a resourceVersion": [("metadata.resourceVersion", "5")],
    "a resourceVersion that is no number": [("metadata.resourceVersion", "abc")],
    "a uid": [("metadata.uid", "abc")],
    "a generation and a status": [("metadata.generation", 7), ("status", {"active": 5})],
    "a deletionTimestamp": [("metadata.deletionTimestamp", "2001-01-01T00:00:00Z")],
    "another namespace": [("metadata.namespace", "other")],
    "a creationTimestamp that is no time": [("metadata.creationTimestamp", "yesterday")],
    # the type
    "another kind": [("kind", "Pod")],
    "an unknown kind": [("kind", "Sparkle")],
    "another apiVersion": [("apiVersion", "v1")],
    "an unknown version": [("apiVersion", "batch/v9")],
    "another type": [("apiVersion", "v1"), ("kind", "Pod")],
    "no type": [("apiVersion", ...), ("kind", ...)],
    # the spec
    "no spec": [("spec", {})],
    "no template": [("spec.template", ...)],
    "a negative backoffLimit": [("spec.backoffLimit", -1)],
    "a negative ttlSecondsAfterFinished": [("spec.ttlSecondsAfterFinished", -1)],
    "a negative activeDeadlineSeconds": [("spec.activeDeadlineSeconds", -5)],
    "a negative parallelism": [("spec.parallelism", -1)],
    "negative completions": [("spec.completions", -1)],
    "a backoffLimit beyond int32": [("spec.backoffLimit", 2**31)],
    "a backoffLimit in quotes": [("spec.backoffLimit", "1")],
    "a fractional backoffLimit": [("spec.backoffLimit", 1.5)],
    "a boolean backoffLimit": [("spec.backoffLimit", True)],
    "suspend in quotes": [("spec.suspend", "true")],
    "nulls": [("spec.completions", None), ("metadata.labels", None), (ENV, None)],
    "unknown fields": [("spec.foo", 1), ("foo", 2), (f"{CONTAINER}.bar", 3)],
    "metadata that is a string": [(METADATA, "x")],
    "a spec that is a list": [("spec", [])],
    "a label that is a number": [("metadata.labels", {"a": 1})],
    "an unknown completionMode": [("spec.completionMode", "Sometimes")],
    "Indexed without completions": [("spec.completionMode", "Indexed")],
    "Indexed": [("spec.completionMode", "Indexed"), ("spec.completions", 3), ("spec.parallelism", 2)],
    "Indexed, with a long name": [("metadata.name", "a" * 62), ("spec.completionMode", "Indexed"),
                                  ("spec.completions", 3)],
    "backoffLimitPerIndex without Indexed": [("spec.backoffLimitPerIndex", 1)],
    "maxFailedIndexes without Indexed": [("spec.maxFailedIndexes", 1)],
    "an unknown podReplacementPolicy": [("spec.podReplacementPolicy", "Sometimes")],
    "a managedBy without a domain": [("spec.managedBy", "foo")],
    "a pod failure policy": [("spec.podFailurePolicy", {"rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}]})],
    # the selector
    "a selector of its own": [(SELECTOR, {"matchLabels": {"a": "b"}})],
    "manualSelector without a selector": [("spec.manualSelector", True)],
    "a manual selector": [("spec.manualSelector", True), (SELECTOR, {"matchLabels": {"a": "b"}}),
                          (LABELS, {"labels": {"a": "b"}})],
    "a manual selector that doesn't match": [("spec.manualSelector", True), (SELECTOR, {"matchLabels": {"a": "b"}})],
    "bad expressions": [("spec.manualSelector", True), (LABELS, {"labels": {"a": "b"}}), (SELECTOR, {
        "matchExpressions": [{"key": "a", "operator": "In"}, {"key": "a b", "operator": "Exists", "values": ["x"]},
                             {"key": "c", "operator": "Maybe"}]})],
    "a job-name label of another Job": [(LABELS, {"labels": {"job-name": "other"}})],
    "a controller-uid label of another Job": [(LABELS, {"labels": {"controller-uid": "other"}})],
    "template labels": [(LABELS, {"labels": {"q": "r"}})],
    "bad template metadata": [(LABELS, {"labels": {"q r": "r"}, "annotations": {"a b": "c"}})],
    # the pod
    "restartPolicy Always": [(f"{POD_SPEC}.restartPolicy", "Always")],
    "no restartPolicy": [(f"{POD_SPEC}.restartPolicy", ...)],
    "an unknown restartPolicy": [(f"{POD_SPEC}.restartPolicy", "Sometimes")],
    "no containers": [(f"{POD_SPEC}.containers", [])],
    "containers that are an object": [(f"{POD_SPEC}.containers", {})],
    "two containers of one name": [(f"{POD_SPEC}.containers", [{"name": "a", "image": "b"}] * 2)],
    "an init container of the same name": [(f"{POD_SPEC}.initContainers", [{"name": "main", "image": "b"}])],
    "ephemeral containers": [(f"{POD_SPEC}.ephemeralContainers", [{"name": "e", "image": "b"}])],
    "an unknown dnsPolicy": [(f"{POD_SPEC}.dnsPolicy", "Sometimes")],
    "a bad nodeName": [(f"{POD_SPEC}.nodeName", "A_")],
    "a bad serviceAccountName": [(f"{POD_SPEC}.serviceAccountName", "A_")],
    "a serviceAccountName": [(f"{POD_SPEC}.serviceAccountName", "abc")],
    "a bad hostname": [(f"{POD_SPEC}.hostname", "a.b")],
    "a pod deadline of 0": [(f"{POD_SPEC}.activeDeadlineSeconds", 0)],
    "a bad nodeSelector": [(f"{POD_SPEC}.nodeSelector", {"a b": "c"})],
    "bad tolerations": [(f"{POD_SPEC}.tolerations", [
        {"key": "a b"}, {"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "b"},
        {"key": "a", "operator": "Maybe"}, {"key": "a", "effect": "Maybe"}, {"key": "a", "tolerationSeconds": 1}])],
    "bad volumes": [(f"{POD_SPEC}.volumes", [
        {"name": "A_"}, {"emptyDir": {}}, {"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}])],
    "volumes": [(f"{POD_SPEC}.volumes", [
        {"name": "v"}, {"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "c"}}])],
    # the container
    "no image": [(f"{CONTAINER}.image", ...)],
    "an image without a tag": [(f"{CONTAINER}.image", "busybox")],
    "an image with a digest": [(f"{CONTAINER}.image", "busybox@sha256:" + "0" * 64)],
    "an image of a registry with a port": [(f"{CONTAINER}.image", "localhost:5000/busybox")],
    "no container name": [(f"{CONTAINER}.name", ...)],
    "a bad container name": [(f"{CONTAINER}.name", "A_b")],
    "bad ports": [(f"{CONTAINER}.ports", [
        {"containerPort": 0}, {"containerPort": 70000}, {"containerPort": 80, "name": "UPPER_x"},
        {"containerPort": 80, "name": "abcdefghijklmnop"}, {"containerPort": 80, "protocol": "X"},
        {"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}])],
    "args that are a string": [(f"{CONTAINER}.args", "1")],
    "args that are numbers": [(f"{CONTAINER}.args", [1])],
    "an unknown imagePullPolicy": [(f"{CONTAINER}.imagePullPolicy", "Maybe")],
    "an unknown terminationMessagePolicy": [(f"{CONTAINER}.terminationMessagePolicy", "Maybe")],
    "bad volume mounts": [(f"{POD_SPEC}.volumes", [{"name": "v"}]), (f"{CONTAINER}.volumeMounts", [
        {"name": "v", "mountPath": "/a"}, {"name": "", "mountPath": ""}, {"name": "w", "mountPath": "/a"}])],
    "an exec probe": [(f"{CONTAINER}.livenessProbe", {"exec": {"command": ["a"]}})],
    "an HTTP probe of a named port": [(f"{CONTAINER}.livenessProbe", {"httpGet": {"port": "http"}})],
    # environment
    "a variable without a name": [env({"value": "b"})],
    "a variable's name with =": [env({"name": "a=b", "value": "c"})],
    "a variable's name that isn't ASCII": [env({"name": "aé", "value": "c"})],
    "a variable's value that is a number": [env({"name": "A", "value": 1})],
    "variables that are an object": [(ENV, {})],
    "a value and a reference": [env({**from_field("metadata.name"), "value": "b"})],
    "a reference to nothing": [env({"name": "A", "valueFrom": {}})],
    "bad field references": [env(*map(from_field, ("nope", "status.phase", "metadata.labels['a b']", None,
                                                   "spec.x['a']")))],
    "resource references": [env({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.foo"}}},
                                {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}})],
    "bad Secret and ConfigMap references": [env(
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "A_B", "key": "a b"}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "x", "key": ""}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "", "key": "k"}}})],
    "two references": [env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "a"},
                                                       "configMapKeyRef": {"name": "x", "key": "y"}}})],
    "bad envFrom": [(f"{CONTAINER}.envFrom", [{}, {"prefix": "a=", "configMapRef": {"name": "x"}},
                                              {"secretRef": {"name": "A_"}}, {"secretRef": {}}])],
    # resources
    "a negative amount": [(RESOURCES, {"requests": {"cpu": "-1"}})],
    "a request over its limit": [(RESOURCES, {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})],
    "a GPU request below its limit": [(RESOURCES, {"requests": {"nvidia.com/gpu": "1"},
                                                   "limits": {"nvidia.com/gpu": "2"}})],
    "half a GPU": [(RESOURCES, {"limits": {"nvidia.com/gpu": "0.5"}})],
    "a GPU request without a limit": [(RESOURCES, {"requests": {"nvidia.com/gpu": "1"}})],
    "an unknown resource": [(RESOURCES, {"limits": {"foo": "1"}})],
    "a bad resource name": [(RESOURCES, {"limits": {"a b/c": "1"}})],
    "an amount with a word": [(RESOURCES, {"limits": {"cpu": "1 core"}})],
    "an amount with half an exponent": [(RESOURCES, {"limits": {"cpu": "1e"}})],
    "amounts that are numbers": [(RESOURCES, {"limits": {"cpu": 1, "memory": 1024}})],
    "a boolean amount": [(RESOURCES, {"limits": {"cpu": True}})],
    "amounts in many ways": [(RESOURCES, {
        "limits": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": "1.5Gi"},
        "requests": {"cpu": "100u", "memory": "1e3", "ephemeral-storage": "1500000"}})],
    "hugepages alone": [(RESOURCES, {"limits": {"hugepages-2Mi": "2Mi"}})],
}  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_create_job__has_the_same_result_with(compare: Compare, changes: list[tuple[str, Any]]) -> None:
    """Both servers store the same Job, or refuse it with the same status, reason and causes."""
    compare(create(JOBS, changed(job(), *changes)))


BODIES: dict[str, bytes] = {
    "no JSON": b"xyz",
    "nothing": b"",
    "a list": b"[]",
    "a string": b'"x"',
    "half an object": b'{"kind":"Job"',
    "NaN": b'{"a":NaN}',
    "20,000 brackets": b"[" * 20_000,
    "20,000 objects": b'{"a":' * 20_000,
    "more than three mebibytes": b'{"metadata":{"name":"' + b"x" * 3 * 1024 * 1024 + b'"}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_create_job__has_the_same_error_for_a_body_that_is(compare: Compare, body: bytes) -> None:
    compare(create(JOBS, body))


@pytest.mark.parametrize("directive", ["Strict", "Warn", "Ignore", "Sometimes"])
def test_create_job__treats_unknown_fields_alike_with_field_validation(compare: Compare, directive: str) -> None:
    """They are refused, reported or dropped."""
    compare(create(JOBS, job(("spec.foo", 1), ("metadata.bar", 2)), fieldValidation=directive))
