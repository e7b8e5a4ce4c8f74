"""From a field of a Job back to the definition's."""

from datetime import UTC, datetime

import pytest

from app.kube.errors import warnings_in
from app.kube.field_paths import definition_pointer
from app.kube.manifests import build_job
from schemas.configuration import parse_value
from schemas.definition import Definition, Variable
from schemas.merge import merge
from schemas.request import Request

CONTAINER = "spec.template.spec.containers[0]"


@pytest.mark.parametrize(
    ("job_field", "pointer"),
    [
        (f"{CONTAINER}.image", "/Image"),
        (f"{CONTAINER}.imagePullPolicy", ""),
        (f"{CONTAINER}.args[3]", "/Args"),
        (f"{CONTAINER}.resources.limits[cpu]", "/Resources/Limits/cpu"),
        (f"{CONTAINER}.resources.requests[nvidia.com/gpu]", "/Resources/Requests/nvidia.com~1gpu"),
        (f"{CONTAINER}.resources.requests", "/Resources/Requests"),
        (f"{CONTAINER}.resources", "/Resources"),
        (f"{CONTAINER}.env[1].value", ""),
        (f"{CONTAINER}.env[2].valueFrom.fieldRef", "/Environments/0"),
        (f"{CONTAINER}.env", "/Environments"),
        (f"{CONTAINER}.securityContext.capabilities.add[0]", "/SecurityContext/Capabilities"),
        ("spec.template.spec.securityContext.seccompProfile.type", "/SecurityContext/SeccompProfile"),
        ("spec.template.spec.serviceAccountName", "/ServiceAccountName"),
        ("spec.activeDeadlineSeconds", "/TimeoutSeconds"),
        ("spec.backoffLimit", "/BackoffLimit"),
        ("spec.template.spec.containers[1].image", ""),
        ("metadata.annotations", ""),
        ("", ""),
    ],
)
def test_definition_pointer__maps_a_job_field_to_the_definition(job_field: str, pointer: str) -> None:
    """Where one field is to blame; what others have added to the Job is no field of a definition."""
    assert definition_pointer(job_field) == pointer


def test_definition_pointer__subtracts_our_own_variables() -> None:
    """However many the service puts before them."""
    definition = Definition("a", "busybox", environments=(Variable("ONE", ""), Variable("TWO", "")))
    job = build_job(merge(definition, Request()), "a" * 12, queued_at=datetime.now(UTC), call="c")
    names = [variable["name"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]]
    for index, name in enumerate(("ONE", "TWO")):
        assert definition_pointer(f"{CONTAINER}.env[{names.index(name)}].name") == f"/Environments/{index}"


@pytest.mark.parametrize(
    ("headers", "texts"),
    [
        ([], []),
        (['299 - "one"'], ["one"]),
        (['299 - "one"', '299 - "two, \\"three\\""'], ["one", 'two, "three"']),
        (['299 - "one", 299 - "two"'], ["one", "two"]),
        (["garbage", '199 - "other"', '299 - "open'], []),
        (['299 - "a\x1b[31m  b"'], ["a?[31m b"]),
    ],
)
def test_warnings_in__parses_warning_headers(headers: list[str], texts: list[str]) -> None:
    """As the API server writes them; what a terminal would obey is taken out."""
    assert warnings_in(headers) == texts


@pytest.mark.parametrize(
    ("job_field", "pointer"),
    [
        ("spec.template.spec.tolerations[0].operator", "/JobTemplate/spec/template/spec/tolerations/0/operator"),
        ("spec.template.spec.volumes[1].name", "/JobTemplate/spec/template/spec/volumes/1/name"),
        ("spec.template.spec.containers[1].image", "/JobTemplate/spec/template/spec/containers/1/image"),
        ("spec.template.spec.containers[0].image", "/JobTemplate/spec/template/spec/containers/0/image"),
        ("spec.template.spec.containers[1].resources.limits[cpu]", "/Resources/Limits/cpu"),
        ("spec.template.spec.containers[1].env[1].name", ""),
        ("spec.template.spec.containers[1].env[2].name", "/JobTemplate/spec/template/spec/containers/1/env/0/name"),
        ("spec.template.spec.containers[1].env[3].name", "/Environments/0"),
        ("spec.backoffLimit", "/BackoffLimit"),
        ("spec.podFailurePolicy.rules[0]", "/JobTemplate/spec/podFailurePolicy/rules/0"),
        ("metadata.labels", "/JobTemplate/metadata/labels"),
        ("", ""),
    ],
)
def test_definition_pointer__finds_the_place_that_says_the_field(job_field: str, pointer: str) -> None:
    """In the template, or beside it. The run's container is the second one."""
    containers = [
        {"name": "helper", "image": "busybox:1"},
        {"name": "main", "image": "busybox:1", "env": [{"name": "A", "value": "1"}]},
    ]
    entry = {
        "JobTemplate": {"spec": {"template": {"spec": {"containers": containers}}}},
        "BackoffLimit": 3,
        "Resources": {"Limits": {"cpu": "1"}},
        "Environments": [{"Name": "B", "Value": "2"}],
    }
    definition = parse_value({"Configurations": {"main": entry}})["main"]

    assert definition_pointer(job_field, definition.template) == pointer
