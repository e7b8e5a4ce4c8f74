"""Definitions with a `JobTemplate`: both places become one, or their disagreement is a fault."""

import json
from typing import Any

import pytest

from schemas.configuration import parse_configuration
from schemas.definition import Definition, Variable
from schemas.faults import Refused
from schemas.merge import merge
from schemas.request import Request
from tests.unit.schemas.parsing import parse_request

ENTRY = "/Configurations/train"
TEMPLATE = f"{ENTRY}/JobTemplate"
POD = f"{TEMPLATE}/spec/template/spec"
MAIN = f"{POD}/containers/0"


def template(
    *, container: Any = None, pod: Any = None, job: Any = None, pod_metadata: Any = None, metadata: Any = None
) -> dict[str, Any]:
    """A template with one container, and what else is given."""
    main = {"name": "main", "image": "team/train:1", **(container or {})}
    pod_template: dict[str, Any] = {"spec": {"containers": [main], **(pod or {})}}
    if pod_metadata is not None:
        pod_template["metadata"] = pod_metadata
    whole: dict[str, Any] = {"spec": {"template": pod_template, **(job or {})}}
    return whole if metadata is None else {"metadata": metadata, **whole}


def read(job: Any, **beside: Any) -> Definition:
    """The definition of a template and of fields beside it."""
    return parse_configuration(json.dumps({"Configurations": {"train": {"JobTemplate": job, **beside}}}))["train"]


def faults(job: Any, **beside: Any) -> dict[str, str]:
    """The faults of a template and of fields beside it, by pointer."""
    with pytest.raises(Refused) as refused:
        read(job, **beside)
    return {fault.pointer: fault.message for fault in refused.value.faults}


def test_read_template__takes_the_fields_of_a_definition_from_the_template() -> None:
    container = {
        "command": ["train"],
        "args": ["--all"],
        "env": [
            {"name": "LEVEL", "value": "info"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
        ],
        "resources": {"requests": {"cpu": 1}, "limits": {"cpu": "2", "nvidia.com/gpu": 1}},
    }
    job = {"backoffLimit": 3, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 5}
    pod = {"restartPolicy": "OnFailure", "serviceAccountName": "trainer"}

    definition = read(template(container=container, pod=pod, job=job))

    assert definition.image == "team/train:1"
    assert (definition.command, definition.args) == (("train",), ("--all",))
    assert definition.environments == (
        Variable("LEVEL", "info"),
        Variable("TOKEN", source={"secretKeyRef": {"name": "api", "key": "token"}}),
    )
    assert (definition.requests, definition.limits) == ({"cpu": "1"}, {"cpu": "2", "nvidia.com/gpu": "1"})
    assert (definition.backoff_limit, definition.timeout_seconds, definition.ttl_seconds_after_finished) == (3, 60, 5)
    assert (definition.restart_policy, definition.service_account_name) == ("OnFailure", "trainer")


@pytest.mark.parametrize(
    ("pod_metadata", "names", "index"),
    [
        ({"annotations": {"kubectl.kubernetes.io/default-container": "b"}}, ["a", "b", "train"], 1),
        (None, ["a", "b", "train"], 2),
        (None, ["a", "b"], 0),
    ],
)
def test_read_template__finds_the_container_of_the_run(pod_metadata: Any, names: list[str], index: int) -> None:
    containers = [{"name": name, "image": f"team/{name}:1"} for name in names]

    definition = read(template(pod={"containers": containers}, pod_metadata=pod_metadata))

    assert definition.template is not None
    assert definition.template.index == index
    assert definition.image == f"team/{names[index]}:1"


def test_read_template__refuses_an_annotation_that_names_no_container() -> None:
    annotations = {"kubectl.kubernetes.io/default-container": "gone"}
    pointer = f"{TEMPLATE}/spec/template/metadata/annotations/kubectl.kubernetes.io~1default-container"

    assert faults(template(pod_metadata={"annotations": annotations})) == {
        pointer: "names no container of the template"
    }


SAID_TWICE: list[tuple[str, Any, Any, dict[str, Any], str]] = [
    ("Image", "team/train:1", "team/train:2", {"container": {"image": "team/train:1"}}, f"{MAIN}/image"),
    ("Command", ["a"], ["b"], {"container": {"command": ["a"]}}, f"{MAIN}/command"),
    ("Args", ["a"], ["b"], {"container": {"args": ["a"]}}, f"{MAIN}/args"),
    ("RestartPolicy", "OnFailure", "Never", {"pod": {"restartPolicy": "OnFailure"}}, f"{POD}/restartPolicy"),
    ("ServiceAccountName", "a", "b", {"pod": {"serviceAccountName": "a"}}, f"{POD}/serviceAccountName"),
    ("ServiceAccountName", "a", "b", {"pod": {"serviceAccount": "a"}}, f"{POD}/serviceAccountName"),
    ("BackoffLimit", 0, 1, {"job": {"backoffLimit": 0}}, f"{TEMPLATE}/spec/backoffLimit"),
    ("TimeoutSeconds", 5, 6, {"job": {"activeDeadlineSeconds": 5}}, f"{TEMPLATE}/spec/activeDeadlineSeconds"),
    (
        "TtlSecondsAfterFinished",
        0,
        1,
        {"job": {"ttlSecondsAfterFinished": 0}},
        f"{TEMPLATE}/spec/ttlSecondsAfterFinished",
    ),
]


@pytest.mark.parametrize(("field", "same", "other", "said", "place"), SAID_TWICE)
def test_read_template__accepts_what_is_said_twice_alike(
    field: str, same: Any, other: Any, said: dict[str, Any], place: str
) -> None:
    del other, place
    assert read(template(**said), **{field: same}) is not None


@pytest.mark.parametrize(("field", "same", "other", "said", "place"), SAID_TWICE)
def test_read_template__names_both_places_that_disagree(
    field: str, same: Any, other: Any, said: dict[str, Any], place: str
) -> None:
    del same
    assert faults(template(**said), **{field: other}) == {
        f"{ENTRY}/{field}": f"differs from {place}; say it in one of the two places only"
    }


def test_read_template__compares_amounts_as_quantities() -> None:
    job = template(container={"resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}})

    assert read(job, Resources={"Limits": {"cpu": "1"}}).limits == {"cpu": "1", "memory": "1Gi"}
    (message,) = faults(job, Resources={"Limits": {"cpu": "2"}}).values()
    assert message.startswith(f"differs from {MAIN}/resources/limits/cpu;")


def test_read_template__finds_a_request_above_the_limit_of_the_other_place() -> None:
    job = template(container={"resources": {"requests": {"cpu": "2"}}})

    assert faults(job, Resources={"Limits": {"cpu": "1"}}) == {
        f"{MAIN}/resources/requests/cpu": "larger than the limit of the same resource"
    }


def test_read_template__merges_variables_by_name() -> None:
    job = template(container={"env": [{"name": "A", "value": "1"}, {"name": "B"}]})

    definition = read(job, Environments=[{"Name": "B"}, {"Name": "C", "Value": "3"}])

    assert definition.environments == (Variable("A", "1"), Variable("B", ""), Variable("C", "3"))
    assert faults(job, Environments=[{"Name": "A", "Value": "2"}]) == {
        f"{ENTRY}/Environments/0": f"differs from {MAIN}/env/0; say it in one of the two places only"
    }


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ([{"name": "SLIMFAAS_JOB_ID", "value": "x"}], "names that begin with SLIMFAAS_JOB_ are set by the service"),
        ([{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}], "has both value and valueFrom"),
    ],
)
def test_read_template__refuses_variables_that_it_could_not_set(env: Any, message: str) -> None:
    assert faults(template(container={"env": env})) == {f"{MAIN}/env/0": message}


def test_read_template__needs_an_image_in_one_of_the_places() -> None:
    job = template(container={"image": None})

    assert read(job, Image="team/train:2").image == "team/train:2"
    assert faults(job) == {f"{MAIN}/image": f"required, but missing; {ENTRY}/Image may say it instead"}


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"job": {"completions": 2}}, "spec/completions"),
        ({"job": {"parallelism": 2}}, "spec/parallelism"),
        ({"job": {"parallelism": 0}}, "spec/parallelism"),
        ({"job": {"completionMode": "Indexed"}}, "spec/completionMode"),
        ({"job": {"managedBy": "kueue.x-k8s.io/multikueue"}}, "spec/managedBy"),
        ({"job": {"manualSelector": True}}, "spec/manualSelector"),
        ({"job": {"selector": {"matchLabels": {}}}}, "spec/selector"),
        ({"job": {"suspend": False}}, "spec/suspend"),
        ({"job": {"successPolicy": {}}}, "spec/successPolicy"),
        ({"job": {"backoffLimitPerIndex": 1}}, "spec/backoffLimitPerIndex"),
        ({"metadata": {"name": "train"}}, "metadata/name"),
        ({"metadata": {"generateName": "train-"}}, "metadata/generateName"),
        ({"metadata": {"finalizers": ["a/b"]}}, "metadata/finalizers"),
        ({"metadata": {"labels": {"slimfaas.dev/job": "x"}}}, "metadata/labels/slimfaas.dev~1job"),
        ({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "x"}}}, "metadata/labels/kueue.x-k8s.io~1queue-name"),
        (
            {"pod_metadata": {"annotations": {"app.kubernetes.io/managed-by": "Helm"}}},
            "spec/template/metadata/annotations/app.kubernetes.io~1managed-by",
        ),
        (
            {"pod_metadata": {"annotations": {"SlimFaas/DefaultTrust": "Trusted"}}},
            "spec/template/metadata/annotations/SlimFaas~1DefaultTrust",
        ),
        (
            {"metadata": {"annotations": {"kueue.x-k8s.io/podset-preferred-topology": "rack"}}},
            "metadata/annotations/kueue.x-k8s.io~1podset-preferred-topology",
        ),
        ({"pod_metadata": {"labels": {"job-name": "x"}}}, "spec/template/metadata/labels/job-name"),
        ({"pod_metadata": {"namespace": "x"}}, "spec/template/metadata/namespace"),
    ],
)
def test_read_template__refuses_what_is_not_its_to_say(said: dict[str, Any], place: str) -> None:
    assert list(faults(template(**said))) == [f"{TEMPLATE}/{place}"]


def test_read_template__accepts_where_kueue_should_place_the_pod() -> None:
    placement = {"annotations": {"kueue.x-k8s.io/podset-preferred-topology": "rack"}}
    definition = read(template(pod_metadata=placement))
    assert definition.template is not None
    assert definition.template.job["spec"]["template"]["metadata"] == placement


def test_read_template__accepts_what_says_the_same_as_the_service_or_nothing() -> None:
    """`kubectl create job --dry-run=client -o json` and the API server write such defaults."""
    job = {
        "completions": 1,
        "parallelism": 1,
        "completionMode": "NonIndexed",
        "manualSelector": False,
        "suspend": True,
        "managedBy": None,
    }
    assert read(template(job=job, metadata={"creationTimestamp": None}, pod={"volumes": None})) is not None


def test_read_template__takes_an_empty_service_account_for_none() -> None:
    definition = read(template(pod={"serviceAccountName": "", "serviceAccount": ""}))
    assert definition.service_account_name is None
    assert definition.template is not None
    assert definition.template.pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, {"spec": {}}, {"spec": {"template": {"spec": {}}}}])
def test_read_template__refuses_what_is_no_template(value: Any) -> None:
    assert all(pointer.startswith(TEMPLATE) for pointer in faults(value))


def test_merge__bounds_a_request_by_the_template() -> None:
    definition = read(template(container={"resources": {"limits": {"cpu": "1"}}}, job={"backoffLimit": 0}))

    body = {"Image": "other:1", "BackoffLimit": 1, "Resources": {"Limits": {"cpu": "2"}}}
    request = parse_request(json.dumps(body).encode())

    with pytest.raises(Refused) as refused:
        merge(definition, request)

    assert [fault.pointer for fault in refused.value.faults] == ["/BackoffLimit", "/Image", "/Resources/Limits/cpu"]


def test_merge__refuses_a_restart_policy_that_the_failure_policy_excludes() -> None:
    definition = read(template(job={"podFailurePolicy": {"rules": []}}))

    with pytest.raises(Refused, match="needs Never"):
        merge(definition, Request(restart_policy="OnFailure"))


def test_read_template__refuses_a_failure_policy_with_restarts() -> None:
    job = template(job={"podFailurePolicy": {"rules": []}})

    assert faults(job, RestartPolicy="OnFailure") == {
        f"{TEMPLATE}/spec/podFailurePolicy": "needs the restart policy Never"
    }


@pytest.mark.parametrize(
    "said",
    [
        {"pod": {"volumes": [{"name": "data", "secret": {"secretName": "keys"}}]}},
        {"pod": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}},
        {"pod": {"imagePullSecrets": [{"name": "registry"}]}},
        {"pod": {"initContainers": [{"name": "fetch", "image": "fetch:1"}]}},
        {"pod": {"automountServiceAccountToken": True}},
        {"pod": {"hostNetwork": True}},
        {"container": {"envFrom": [{"secretRef": {"name": "api"}}]}},
        {"container": {"env": [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "a"}}}]}},
    ],
)
def test_environment_faults__treats_what_a_template_mounts_as_secret(said: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="EnvironmentsWhitelist"):
        merge(read(template(**said)), Request(environments=(Variable("ANY", "1", literal=True),)))


@pytest.mark.parametrize(
    "said",
    [
        {"pod": {"nodeSelector": {"pool": "gpu"}, "tolerations": [{"operator": "Exists"}]}},
        {"pod": {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
    ],
)
def test_environment_faults__lets_requests_set_variables_where_nothing_is_secret(said: dict[str, Any]) -> None:
    variable = Variable("ANY", "1", literal=True)
    assert merge(read(template(**said)), Request(environments=(variable,))).environments == (variable,)


def test_environment_faults__lets_no_pattern_allow_a_variable_beside_those_of_a_whole_secret() -> None:
    job = template(container={"envFrom": [{"secretRef": {"name": "api"}}]})
    request = Request(environments=(Variable("REPORT_DAY", "1", literal=True),))

    assert merge(read(job, EnvironmentsWhitelist=["REPORT_DAY"]), request)
    with pytest.raises(Refused, match="name it in full"):
        merge(read(job, EnvironmentsWhitelist=["REPORT_*"]), request)


@pytest.mark.parametrize("name", ["TENANT", "tenant", "INNER"])
def test_environment_faults__lets_no_request_choose_what_is_mounted(name: str) -> None:
    container = {
        "env": [{"name": "INNER", "value": "a"}, {"name": "TENANT", "value": "of-$(INNER)"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "subPathExpr": "$(TENANT)/out"}],
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    definition = read(template(container=container, pod={"volumes": volumes}), EnvironmentsWhitelist=["*"])

    with pytest.raises(Refused, match="decides what this definition mounts"):
        merge(definition, Request(environments=(Variable(name, "b", literal=True),)))


@pytest.mark.parametrize("name", ["SLIMFAAS_JOB_PATH", "SLIMFAAS_JOB_QUERY", "TRACEPARENT", "TRACESTATE"])
def test_read_template__refuses_a_mount_that_a_caller_could_choose(name: str) -> None:
    mounts = [{"name": "data", "mountPath": "/data", "subPathExpr": f"$({name})"}]
    volumes = [{"name": "data", "emptyDir": {}}]

    assert list(faults(template(container={"volumeMounts": mounts}, pod={"volumes": volumes}))) == [
        f"{MAIN}/volumeMounts"
    ]


def test_read_template__counts_null_beside_the_template_as_absent() -> None:
    """SlimFaas writes it for no value."""
    nulls: dict[str, Any] = dict.fromkeys(("Resources", "DependsOn", "Environments"))
    assert read(template(), **nulls) == read(template())


def test_read_template__finds_the_container_of_a_definition_with_capitals() -> None:
    containers = [{"name": "proxy", "image": "team/proxy:1"}, {"name": "train", "image": "team/train:1"}]
    document = json.dumps({"Configurations": {"Train": {"JobTemplate": template(pod={"containers": containers})}}})
    assert parse_configuration(document)["train"].image == "team/train:1"


def test_read_template__refuses_a_container_name_beside_the_template() -> None:
    variable = {"Name": "A", "ResourceFieldRef": {"ContainerName": "main", "Resource": "limits.cpu"}}
    [(pointer, message)] = faults(template(), Environments=[variable]).items()
    assert pointer == f"{ENTRY}/Environments/0/ResourceFieldRef/ContainerName"
    assert "JobTemplate" in message
