"""`schemas.cronjobs`: definitions from annotated CronJobs, as an API server or a manifest has them."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.configuration import parse_configuration
from schemas.cronjobs import (
    MAX_SIZE_BYTES,
    claims_definition,
    cronjob_pointer,
    definition_content,
    measure,
    parse_cronjob,
)
from schemas.definition import Definition
from schemas.faults import Refused

ANNOTATIONS = {
    "SlimFaas/Job": "true",
    "SlimFaas/JobImagesWhitelist": "team/app:*, team/other:1",
    "SlimFaas/DefaultVisibility": "Public",
    "SlimFaas/NumberParallelJob": "3",
    "SlimFaas/DependsOn": "fibonacci1, fibonacci2",
    "SlimFaas/Schedules": "",
    "kubectl.kubernetes.io/last-applied-configuration": "{}",
}

TEMPLATE = {
    "metadata": {"labels": {"team": "blue"}},
    "spec": {
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 60,
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {"name": "main", "image": "team/app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
                ],
                "volumes": [{"name": "data", "emptyDir": {}}],
                "nodeSelector": {"disk": "ssd"},
            }
        },
    },
}


def cronjob(name: str = "resize", **annotations: object) -> dict[str, Any]:
    """A CronJob with these annotations of SlimFaas besides `Job`; `None`: without it."""
    given = {"SlimFaas/Job": "true"} | {f"SlimFaas/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": name,
            "annotations": {key: value for key, value in given.items() if value is not None},
        },
        "spec": {"schedule": "0 0 * * *", "suspend": True, "jobTemplate": copy.deepcopy(TEMPLATE)},
    }


def faults_of(value: dict[str, Any]) -> dict[str, str]:
    """Return the message of each fault by its pointer."""
    with pytest.raises(Refused) as refusal:
        parse_cronjob(value)
    return {fault.pointer: fault.message for fault in refusal.value.faults}


def test_parse_cronjob__is_the_definition_that_the_configuration_has_for_the_same_fields() -> None:
    value = cronjob()
    value["metadata"]["annotations"] = ANNOTATIONS
    entry = {
        "JobTemplate": TEMPLATE,
        "ImagesWhitelist": ["team/app:*", "team/other:1"],
        "Visibility": "Public",
        "NumberParallelJob": 3,
        "DependsOn": ["fibonacci1", "fibonacci2"],
    }
    configured = parse_configuration(json.dumps({"Configurations": {"resize": entry}}))["resize"]
    found = parse_cronjob(value)
    assert (found.source, configured.source) == ("CronJob", "Configuration")
    assert {**_fields(found), "source": ""} == {**_fields(configured), "source": ""}


def _fields(definition: Definition) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in Definition.__slots__}


def test_parse_cronjob__has_the_configurations_defaults_without_annotations() -> None:
    found = parse_cronjob(cronjob())
    assert (found.visibility, found.number_parallel_job, found.depends_on) == ("Private", 1, ())


@pytest.mark.parametrize("blank", ["", "  "])
def test_parse_cronjob__takes_a_blank_annotation_as_none(blank: str) -> None:
    names = ("JobImagesWhitelist", "DefaultVisibility", "NumberParallelJob", "DependsOn", "Schedules")
    assert parse_cronjob(cronjob(**dict.fromkeys(names, blank))) == parse_cronjob(cronjob())


def test_parse_cronjob__reads_what_concerns_kueue() -> None:
    found = parse_cronjob(cronjob(Queue="team-a", Priority="high", PrioritiesWhitelist="low, lowest"))
    assert (found.queue, found.priority, found.priorities_whitelist) == ("team-a", "high", ("low", "lowest"))
    assert faults_of(cronjob(Priority="high")).keys() == {"/metadata/annotations/SlimFaas~1Priority"}


def test_parse_cronjob__takes_what_slimfaas_takes_of_spaces_and_case() -> None:
    found = parse_cronjob(cronjob(DefaultVisibility=" public ", NumberParallelJob=" 2 ", DependsOn=",a,, b ,"))
    assert (found.visibility, found.number_parallel_job, found.depends_on) == ("Public", 2, ("a", "b"))


def test_parse_cronjob__ignores_fields_that_are_null() -> None:
    """An API server writes `creationTimestamp: null` into templates."""
    value = cronjob()
    value["spec"]["jobTemplate"]["metadata"] = {"creationTimestamp": None, "labels": None}
    value["spec"]["jobTemplate"]["spec"]["template"]["metadata"] = {"creationTimestamp": None}
    value["spec"]["jobTemplate"]["spec"]["suspend"] = None
    assert parse_cronjob(value).template is not None


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("DefaultVisibility", "Publik", "must be one of Public, Private"),
        ("NumberParallelJob", "two", "must be an integer"),
        ("NumberParallelJob", "-1", "must be an integer"),
        ("NumberParallelJob", "1.0", "must be an integer"),
        ("NumberParallelJob", "٣", "must be an integer"),
        ("NumberParallelJob", "0", "must be at least 1"),
        ("NumberParallelJob", "9999999999", "must be at most 2147483647"),
        ("NumberParallelJob", "9" * 5000, "must be an integer"),
        ("DependsOn", "a,a", "has an item twice"),
        ("DependsOn", ",".join(f"d{number}" for number in range(65)), "must have at most 64 items"),
        ("JobImagesWhitelist", "a b", "has a character that no image reference can have"),
        ("Schedules", "NaN", "not JSON: NaN is not a JSON value"),
        ("Schedules", '{"Schedule": "0 0 * * *"}', "must be an array"),
        ("Job", "yes", 'must be "true" or "false"'),
        ("Job", True, "must be a string; put it in quotes"),
        ("NumberParallelJob", 1, "must be a string; put it in quotes"),
        ("NumberParallelJobs", "1", "unknown annotation; did you mean SlimFaas/NumberParallelJob?"),
    ],
)
def test_parse_cronjob__names_the_annotation_of_a_fault(annotation: str, value: object, message: str) -> None:
    assert faults_of(cronjob(**{annotation: value})) == {f"/metadata/annotations/SlimFaas~1{annotation}": message}


@pytest.mark.parametrize("suspend", [False, None, "true"])
def test_parse_cronjob__refuses_one_that_is_not_suspended(suspend: object) -> None:
    value = cronjob()
    value["spec"]["suspend"] = suspend
    assert "beside the queue" in faults_of(value)["/spec/suspend"]


def test_parse_cronjob__points_to_the_faults_of_its_template() -> None:
    value = cronjob()
    value["spec"]["jobTemplate"]["spec"]["parallelism"] = 2
    value["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] = ""
    assert faults_of(value).keys() == {
        "/spec/jobTemplate/spec/parallelism",
        "/spec/jobTemplate/spec/template/spec/containers/0/image",
    }


@pytest.mark.parametrize("name", ["a" * 31, "with.dot", "a-slimfaas-job-b", "", None, 1])
def test_parse_cronjob__points_to_a_name_that_no_definition_can_have(name: object) -> None:
    value = cronjob()
    value["metadata"]["name"] = name
    assert "/metadata/name" in faults_of(value)


def test_parse_cronjob__tells_every_fault_at_once() -> None:
    value = cronjob(DefaultVisibility="x", NumberParallelJob="x")
    value["spec"]["suspend"] = False
    del value["spec"]["jobTemplate"]
    assert len(faults_of(value)) == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value["metadata"]["annotations"].update({"SlimFaas/DependsOn": "x" * MAX_SIZE_BYTES}),
        lambda value: value["spec"]["jobTemplate"].update({"spec": [{}] * (MAX_SIZE_BYTES // 64)}),
        lambda value: value["spec"]["jobTemplate"].update({"spec": _deep(1000)}),
    ],
    ids=["long", "wide", "deep"],
)
def test_parse_cronjob__refuses_what_is_too_large(spoil: Callable[[dict[str, Any]], object]) -> None:
    value = cronjob()
    spoil(value)
    (message,) = faults_of(value).values()
    assert "larger than 131072 bytes" in message or "nested deeper" in message


def _deep(levels: int) -> object:
    value: object = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_measure__ends_at_the_limit_where_aliases_make_a_value_endless() -> None:
    """YAML's aliases can make a list that contains itself."""
    endless: list[object] = []
    endless += [endless, endless]
    with pytest.raises(Refused):
        measure(endless)


def test_measure__is_at_least_the_length_of_the_json() -> None:
    value = definition_content(cronjob(DependsOn="a" * 100))
    assert measure(json.loads(value[0])) == value[1] > len(value[0])


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda value: value["metadata"].update(resourceVersion="7", managedFields=[{}]), False),
        (lambda value: value["metadata"]["annotations"].update(other="x"), False),
        (lambda value: value.update(status={"lastScheduleTime": "now"}), False),
        (lambda value: value["metadata"]["annotations"].update({"SlimFaas/Other": "x"}), True),
        (lambda value: value["spec"].update(suspend=False), True),
        (lambda value: value["spec"]["jobTemplate"]["spec"].update(backoffLimit=0), True),
    ],
)
def test_definition_content__differs_only_with_what_the_definition_depends_on(
    change: Callable[[dict[str, Any]], object], differs: bool
) -> None:
    value = cronjob()
    before = definition_content(value)
    change(value)
    assert (definition_content(value) != before) is differs


@pytest.mark.parametrize(
    ("value", "claims"),
    [("true", True), ("True", True), ("yes", True), (True, True), ("false", False), (" FALSE ", False)],
)
def test_claims_definition__is_false_only_without_the_annotation_or_with_false(value: object, claims: bool) -> None:
    """Anything else is told as a fault: its author has meant something."""
    assert claims_definition(cronjob(Job=value)) is claims
    assert claims_definition(cronjob(Job=None)) is False


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/Configurations/a", "/metadata/name"),
        ("/Configurations/a/JobTemplate", "/spec/jobTemplate"),
        ("/Configurations/a/JobTemplate/spec/x~1y", "/spec/jobTemplate/spec/x~1y"),
        ("/Configurations/a/DependsOn/3", "/metadata/annotations/SlimFaas~1DependsOn"),
        ("/Configurations/a/Image", "/spec/jobTemplate"),
        ("", ""),
    ],
)
def test_cronjob_pointer__names_the_part_of_the_cronjob(pointer: str, expected: str) -> None:
    assert cronjob_pointer(pointer, "a") == expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(annotations=_json, metadata=_json, spec=_json, template=_json)
def test_parse_cronjob__raises_nothing_but_refused_for_any_json(
    annotations: object, metadata: object, spec: object, template: object
) -> None:
    """The watch would begin again and again."""
    values: list[dict[str, Any]] = [
        {"metadata": metadata, "spec": spec},
        {"metadata": {"name": "a", "annotations": annotations}, "spec": {"suspend": True, "jobTemplate": template}},
        {
            "metadata": {"name": "a", "annotations": {"SlimFaas/Job": "true"}},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [template]}}}}},
        },
    ]
    for value in values:
        claims_definition(value)
        with pytest.raises(Refused):
            parse_cronjob(value)


def test_parse_cronjob__reads_schedules_as_slimfaas_documents_them() -> None:
    (schedule,) = parse_cronjob(cronjob(Schedules='[{"Schedule":"0/2 * * * *","Args":["39"]}]')).schedules
    assert (schedule.cron, schedule.time_zone, schedule.request.args) == ("0/2 * * * *", "Etc/UTC", ("39",))


def test_parse_cronjob__names_the_part_of_a_schedule_that_asks_for_too_much() -> None:
    found = faults_of(cronjob(Schedules='[{"Schedule": "@daily"}, {"Schedule": "@daily", "BackoffLimit": 7}]'))
    assert list(found) == ["/metadata/annotations/SlimFaas~1Schedules/1/BackoffLimit"]


def test_parse_cronjob__counts_schedules_by_what_they_take_in_memory() -> None:
    entry = '{"Schedule": "@daily"}'
    assert definition_content(cronjob(Schedules=f"[{entry}]"))[1] > definition_content(cronjob())[1] + 1024
    assert list(faults_of(cronjob(Schedules=f"[{','.join([entry] * 120)}]"))) == [""]
