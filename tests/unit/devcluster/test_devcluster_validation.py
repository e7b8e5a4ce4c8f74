"""Validation and defaults of the embedded cluster, with the messages of kube-apiserver 1.37."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import ApiError
from devcluster.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, JOB, LEASE, POD, SECRET, Kind
from devcluster.store import Store
from devcluster.validation.names import dns_label_errors, label_key_errors, label_value_errors
from devcluster.validation.schema import DecodeError, decode

CONTAINER = "spec.template.spec.containers.0."
POD_SPEC = "spec.template.spec."


def make_job(**changes):
    """Make a valid suspended Job with changes: a dotted path to a value, where `...` removes the field."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}},
        },
    }
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = job
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return job


def causes_of(kind: Kind, obj):
    """Return the causes for which a new object is refused, as {field: message}."""
    with pytest.raises(ApiError) as caught:
        Store().create(kind, obj)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")
    return {cause["field"]: cause["message"] for cause in caught.value.causes}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"metadata.name": "Upper"}, "metadata.name", "a lowercase RFC 1123 subdomain must consist of"),
        ({"metadata.name": "a" * 254}, "metadata.name", "must be no more than 253 characters"),
        ({"metadata": {}}, "metadata.name", "Required value: name or generateName is required"),
        ({"metadata.labels": {"a b": "c"}}, "metadata.labels", "name part must consist of"),
        ({"metadata.labels": {"a": "b c"}}, "metadata.labels", "a valid label must be an empty string or consist of"),
        ({"metadata.labels": {"a": "b" * 64}}, "metadata.labels", "must be no more than 63 bytes"),
        ({"metadata.annotations": {"a b": "c"}}, "metadata.annotations", "name part must consist of"),
        ({"metadata.annotations": {"a": "x" * 262145}}, "metadata.annotations", "may not be more than 262144 bytes"),
        ({"metadata.finalizers": ["plain"]}, "metadata.finalizers[0]", "name is neither a standard finalizer name"),
        ({"metadata.ownerReferences": [{}]}, "metadata.ownerReferences[0].uid", "Required value: must not be empty"),
        ({"spec.backoffLimit": -1}, "spec.backoffLimit", "must be greater than or equal to 0"),
        ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished", "must be greater than or equal to 0"),
        ({"spec.activeDeadlineSeconds": -1}, "spec.activeDeadlineSeconds", "must be greater than or equal to 0"),
        ({"spec.parallelism": -1}, "spec.parallelism", "must be greater than or equal to 0"),
        ({"spec.completionMode": "Other"}, "spec.completionMode", 'supported values: "NonIndexed", "Indexed"'),
        ({"spec.manualSelector": True}, "spec.selector", "Required value"),
        ({"spec.selector": {"matchLabels": {"a": "b"}}}, "spec.selector", "`selector` not auto-generated"),
        (
            {"spec.template.metadata": {"labels": {"job-name": "other"}}},
            "spec.template.metadata.labels[job-name]",
            "must be 'one'",
        ),
        (
            {POD_SPEC + "restartPolicy": "Always"},
            "spec.template.spec.restartPolicy",
            'Required value: valid values: "OnFailure", "Never"',
        ),
        ({POD_SPEC + "restartPolicy": ...}, "spec.template.spec.restartPolicy", "Required value: valid values"),
        ({POD_SPEC + "restartPolicy": "Maybe"}, "spec.template.spec.restartPolicy", 'Unsupported value: "Maybe"'),
        ({POD_SPEC + "containers": []}, "spec.template.spec.containers", "Required value"),
        ({POD_SPEC + "dnsPolicy": "Maybe"}, "spec.template.spec.dnsPolicy", 'Unsupported value: "Maybe"'),
        ({POD_SPEC + "nodeSelector": {"a b": "c"}}, "spec.template.spec.nodeSelector", "name part must consist of"),
        ({POD_SPEC + "tolerations": [{}]}, "spec.template.spec.tolerations[0].operator", "operator must be Exists"),
        ({CONTAINER + "name": ...}, "spec.template.spec.containers[0].name", "Required value"),
        ({CONTAINER + "name": "A_b"}, "spec.template.spec.containers[0].name", "a lowercase RFC 1123 label"),
        ({CONTAINER + "image": ...}, "spec.template.spec.containers[0].image", "Required value"),
        ({CONTAINER + "imagePullPolicy": "X"}, "spec.template.spec.containers[0].imagePullPolicy", "Unsupported value"),
        ({CONTAINER + "ports": [{}]}, "spec.template.spec.containers[0].ports[0].containerPort", "Required value"),
        (
            {CONTAINER + "ports": [{"containerPort": 70000}]},
            "spec.template.spec.containers[0].ports[0].containerPort",
            "must be between 1 and 65535, inclusive",
        ),
        (
            {CONTAINER + "env": [{"name": "a=b", "value": "c"}]},
            "spec.template.spec.containers[0].env[0].name",
            "must consist only of printable ASCII characters other than '='",
        ),
        (
            {
                CONTAINER + "env": [
                    {"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
                ]
            },
            "spec.template.spec.containers[0].env[0].valueFrom",
            "may not be specified when `value` is not empty",
        ),
        (
            {CONTAINER + "env": [{"name": "A", "valueFrom": {}}]},
            "spec.template.spec.containers[0].env[0].valueFrom",
            "must specify one of: `fieldRef`",
        ),
        (
            {CONTAINER + "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a b"}}}]},
            "spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef.key",
            "a valid config key must consist of",
        ),
        (
            {CONTAINER + "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
            "spec.template.spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            'Unsupported value: "status.phase"',
        ),
        (
            {CONTAINER + "volumeMounts": [{"name": "absent", "mountPath": "/a"}]},
            "spec.template.spec.containers[0].volumeMounts[0].name",
            'Not found: "absent"',
        ),
        (
            {CONTAINER + "resources": {"requests": {"cpu": "-1"}}},
            "spec.template.spec.containers[0].resources.requests[cpu]",
            "must be greater than or equal to 0",
        ),
        (
            {CONTAINER + "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
            "spec.template.spec.containers[0].resources.requests",
            'Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi',
        ),
        (
            {CONTAINER + "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}}},
            "spec.template.spec.containers[0].resources.requests",
            "must be equal to nvidia.com/gpu limit of 2",
        ),
        (
            {CONTAINER + "resources": {"limits": {"nvidia.com/gpu": "500m"}}},
            "spec.template.spec.containers[0].resources.limits[nvidia.com/gpu]",
            "must be an integer",
        ),
        (
            {CONTAINER + "resources": {"requests": {"nvidia.com/gpu": "1"}}},
            "spec.template.spec.containers[0].resources.limits",
            "Limit must be set for non overcommitable resources",
        ),
        (
            {CONTAINER + "resources": {"limits": {"disk": "1"}}},
            "spec.template.spec.containers[0].resources.limits[disk]",
            "must be a standard resource for containers",
        ),
    ],
)
def test_create__refuses_an_invalid_job_with_field_and_message(change, field, message):
    """Every rule for the Job and its pod template."""
    causes = causes_of(JOB, make_job(**change))
    assert field in causes
    assert message in causes[field]


def test_create__fills_in_the_defaults_of_a_job():
    job = Store().create(JOB, make_job())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    defaults = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed",
        "manualSelector": False,
    }
    assert {key: spec[key] for key in defaults} == defaults
    assert (pod["dnsPolicy"], pod["terminationGracePeriodSeconds"], pod["schedulerName"]) == (
        "ClusterFirst",
        30,
        "default-scheduler",
    )
    container = pod["containers"][0]
    assert (container["imagePullPolicy"], container["terminationMessagePath"]) == (
        "IfNotPresent",
        "/dev/termination-log",
    )
    assert job["metadata"]["generation"] == 1
    assert job["status"] == {}


def test_create__generates_selector_and_labels_of_a_job():
    """The selector is the Job's uid; the labels are on the template, and on a Job that has none."""
    job = Store().create(JOB, make_job())
    uid, labels = job["metadata"]["uid"], job["spec"]["template"]["metadata"]["labels"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert labels == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "one",
        "controller-uid": uid,
        "job-name": "one",
    }
    assert job["metadata"]["labels"] == labels


@pytest.mark.parametrize(("image", "policy"), [("busybox", "Always"), ("busybox:latest", "Always"),
                                               ("busybox:1", "IfNotPresent"), ("r:5000/busybox", "Always"),
                                               ("busybox@sha256:" + "0" * 64, "IfNotPresent")])  # fmt: skip
def test_create__pull_policy_follows_the_tag(image, policy):
    """Only `latest`, which may change, is always pulled."""
    job = Store().create(JOB, make_job(**{CONTAINER + "image": image}))
    assert job["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == policy


def change_job(changes, *, status=None):
    """Change a stored suspended Job, as with a PUT of its new state."""
    store = Store()
    store.create(JOB, make_job())
    if status:
        store.update(JOB, "default", "one", lambda job: {**job, "status": status}, subresource="status")

    def change(job):
        for path, value in changes.items():
            *parents, last = path.split(".")
            place = job
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
            place[last] = value
        return job

    return store.update(JOB, "default", "one", change)


def update_causes(changes, **options):
    """Return the fields for which a change of a stored suspended Job is refused."""
    with pytest.raises(ApiError) as caught:
        change_job(changes, **options)
    assert caught.value.status == 422
    return {cause["field"] for cause in caught.value.causes}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spec.completions": 2}, "spec.completions"),
        ({"spec.completionMode": "Indexed"}, "spec.completionMode"),
        ({"spec.selector": {"matchLabels": {"job-name": "one"}}}, "spec.selector"),
        ({CONTAINER + "image": "busybox:2"}, "spec.template.spec"),
        ({CONTAINER + "env": [{"name": "A", "value": "b"}]}, "spec.template.spec"),
        ({POD_SPEC + "restartPolicy": "OnFailure"}, "spec.template.spec"),
        ({"metadata.name": "two"}, "metadata.name"),
        ({"metadata.uid": "2"}, "metadata.uid"),
        ({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z"}, "metadata.deletionTimestamp"),
    ],
)
def test_update__refuses_a_change_of_immutable_fields(change, field):
    """Completions, selector, containers and identity, suspended or not."""
    assert field in update_causes(change)


@pytest.mark.parametrize(
    "change",
    [
        {"spec.suspend": False},
        {"spec.parallelism": 3},
        {"spec.backoffLimit": 3},
        {"spec.ttlSecondsAfterFinished": 3},
        {"spec.activeDeadlineSeconds": 3},
        {POD_SPEC + "nodeSelector": {"a": "b"}},
        {POD_SPEC + "tolerations": [{"operator": "Exists"}]},
        {"spec.template.metadata.annotations": {"a": "b"}},
        {CONTAINER + "resources": {"limits": {"cpu": "1"}}},
    ],
)
def test_update__of_a_suspended_job_may_change_scheduling_and_resources(change):
    """As in Kubernetes 1.36 and later."""
    changed = change_job(change)
    assert int(changed["metadata"]["generation"]) == 2


def test_update__of_a_suspended_job_with_active_pods_cannot_change_the_template():
    status = {"startTime": "2026-01-01T00:00:00Z", "active": 1}
    assert update_causes({POD_SPEC + "nodeSelector": {"a": "b"}}, status=status) == {"spec.template"}


def test_update__of_an_unsuspended_job_cannot_change_the_template():
    store = Store()
    store.create(JOB, make_job(**{"spec.suspend": False}))

    def change(job):
        job["spec"]["template"]["spec"]["nodeSelector"] = {"a": "b"}
        return job

    with pytest.raises(ApiError, match=r"spec\.template: Invalid value") as caught:
        store.update(JOB, "default", "one", change)
    assert caught.value.status == 422


STARTED = {"startTime": "2026-01-01T00:00:00Z"}


def condition(*names):
    return [{"type": name, "status": "True"} for name in names]


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"active": -1}, "status.active"),
        ({"active": 1, "ready": 2}, "status.ready"),
        ({"conditions": condition("Complete"), **STARTED}, "status.conditions"),
        ({"conditions": condition("Failed"), **STARTED}, "status.conditions"),
        ({"conditions": condition("SuccessCriteriaMet", "Complete"), **STARTED}, "status.completionTime"),
        ({"completionTime": "2026-01-01T00:00:00Z"}, "status.completionTime"),
        ({"conditions": condition("FailureTarget", "Failed")}, "status.startTime"),
        ({"conditions": condition("FailureTarget", "Failed"), "active": 1, **STARTED}, "status.active"),
        (
            {
                "conditions": condition("SuccessCriteriaMet", "Complete"),
                "completionTime": "2025-01-01T00:00:00Z",
                **STARTED,
            },
            "status.completionTime",
        ),
    ],
)
def test_update__refuses_an_inconsistent_job_status(status, field):
    store = Store()
    store.create(JOB, make_job(**{"spec.suspend": False}))
    with pytest.raises(ApiError) as caught:
        store.update(JOB, "default", "one", lambda job: {**job, "status": status}, subresource="status")
    assert field in {cause["field"] for cause in caught.value.causes}


@pytest.mark.parametrize(
    ("kind", "obj", "field"),
    [
        (LEASE, {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds"),
        (LEASE, {"spec": {"leaseTransitions": -1}}, "spec.leaseTransitions"),
        (CONFIG_MAP, {"data": {"a b": "c"}}, "data[a b]"),
        (CONFIG_MAP, {"data": {"..": "c"}}, "data[..]"),
        (SECRET, {"data": {"a b": "Yg=="}}, "data[a b]"),
        (EVENT, {"involvedObject": {"namespace": "other"}}, "involvedObject.namespace"),
        (
            EVENT,
            {"involvedObject": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z"},
            "reportingComponent",
        ),
        (DEPLOYMENT, {"spec": {"template": {"spec": {"containers": []}}}}, "spec.selector"),
        (POD, {"spec": {"containers": []}}, "spec.containers"),
    ],
)
def test_create__refuses_invalid_objects_of_other_kinds(kind, obj, field):
    """Leases, ConfigMaps, Secrets, Events, Deployments and pods."""
    assert field in causes_of(kind, {"metadata": {"name": "one", "namespace": "default"}, **obj})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spec.parallelism": "1"},
            "cannot unmarshal string into Go struct field JobSpec.spec.parallelism of type int32",
        ),
        ({"spec.backoffLimit": 2**31}, "cannot unmarshal number 2147483648 into Go struct field"),
        ({"spec.backoffLimit": True}, "cannot unmarshal bool into Go struct field"),
        ({"spec.suspend": "true"}, "JobSpec.spec.suspend of type bool"),
        (
            {CONTAINER + "args": "1"},
            "unmarshal string into Go struct field Container.spec.template.spec.containers.args of type []string",
        ),
        (
            {CONTAINER + "env": [{"name": "A", "value": 1}]},
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        ({CONTAINER + "resources": {"limits": {"cpu": "1 core"}}}, "quantities must match the regular expression"),
        ({CONTAINER + "resources": {"limits": {"cpu": "1gi"}}}, "quantities must match the regular expression"),
        ({CONTAINER + "resources": {"limits": {"cpu": "1K"}}}, "unable to parse quantity's suffix"),
        ({"metadata.labels": {"a": 1}}, "ObjectMeta.metadata.labels of type string"),
        ({"metadata.creationTimestamp": "yesterday"}, 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00"'),
    ],
)
def test_decode__refuses_a_value_of_the_wrong_type(change, message):
    """The message names the field and the type."""
    with pytest.raises(DecodeError) as caught:
        decode(JOB, make_job(**change))
    assert message in str(caught.value)


def test_decode__drops_and_reports_unknown_fields():
    job, unknown = decode(JOB, make_job(**{"spec.foo": 1, CONTAINER + "bar": 2, "status.baz": 3}))
    assert sorted(unknown) == ["spec.foo", "spec.template.spec.containers[0].bar", "status.baz"]
    assert "foo" not in job["spec"]


def test_decode__returns_canonical_quantities_and_times():
    resources = {"limits": {"cpu": "1000m", "memory": 1024}}
    created = {"metadata.creationTimestamp": "2026-01-01T01:00:00.5+01:00"}
    job, _ = decode(JOB, make_job(**{CONTAINER + "resources": resources, **created}))
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "1024"}
    assert job["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01 00:00:00.123456Z", "x"]
)
def test_decode__requires_six_fractional_digits_in_a_micro_time(time):
    """As kube-apiserver does."""
    with pytest.raises(DecodeError, match="parsing time"):
        decode(LEASE, {"metadata": {"name": "one"}, "spec": {"renewTime": time}})


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_names__every_dns_label_is_a_valid_subdomain_key_and_value(text):
    assert dns_label_errors(text) == label_key_errors(text) == label_value_errors(text) == []


@pytest.mark.parametrize("text", ["a\n", "-a", "a-", "a b", "é", "a/b/c", "/a", "a/"])
def test_label_key_errors__refuses_any_other_character(text):
    """Not even a trailing newline passes."""
    assert label_key_errors(text)
