"""`schemas.merge`: a request is applied to a definition exactly, or refused with all its faults."""

import json
import re
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from schemas.definition import Definition, Variable
from schemas.dependencies import WORKLOAD_NAME_LENGTH
from schemas.faults import Fault, Refused
from schemas.merge import RunSpec, merge
from schemas.request import Request, read_request
from schemas.security import SecurityContext
from tests.unit.schemas.parsing import parse_request

TOKEN = Variable("TOKEN", source={"secretKeyRef": {"name": "api", "key": "token"}})
DEFINITION = Definition(
    name="job",
    image="team/app:1",
    images_whitelist=("team/app:*", "team/tools/*"),
    requests={"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1G"},
    limits={"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "2"},
    depends_on=("db", "cache"),
    environments=(Variable("FIRST", "1"), TOKEN, Variable("LAST", "$(FIRST)")),
    environments_whitelist=("FIRST", "TOKEN", "A", "B", "Z"),
    backoff_limit=3,
    visibility="Public",
    number_parallel_job=2,
    max_queued=9,
    timeout_seconds=600,
    ttl_seconds_after_finished=60,
    restart_policy="OnFailure",
    command=("run",),
    args=("--default",),
    service_account_name="reporter",
    security_context=SecurityContext(run_as_user=10001),
)
UNCHANGED = merge(DEFINITION, Request())


def run(**fields: Any) -> RunSpec:
    return merge(DEFINITION, parse_request(json.dumps(fields).encode()))


def faults_in(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refused:
        run(**fields)
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


def test_merge__returns_the_definition_for_an_empty_request() -> None:
    unchanged = RunSpec(
        definition="job",
        image="team/app:1",
        command=("run",),
        args=("--default",),
        literal_args=False,
        requests=DEFINITION.requests,
        limits=DEFINITION.limits,
        depends_on=("db", "cache"),
        environments=DEFINITION.environments,
        backoff_limit=3,
        timeout_seconds=600,
        pending_timeout_seconds=None,
        queue_timeout_seconds=None,
        ttl_seconds_after_finished=60,
        restart_policy="OnFailure",
        visibility="Public",
        service_account_name="reporter",
        security_context=SecurityContext(run_as_user=10001),
    )
    assert unchanged == UNCHANGED


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("Args", ["42", "$(TOKEN)"], "args", ("42", "$(TOKEN)")),
        ("Args", [], "args", ()),
        ("Image", "team/app:1", "image", "team/app:1"),
        ("Image", "team/app:2", "image", "team/app:2"),
        ("Image", "team/tools/x", "image", "team/tools/x"),
        ("DependsOn", ["other"], "depends_on", ("other",)),
        ("DependsOn", [], "depends_on", ()),
        ("BackoffLimit", 0, "backoff_limit", 0),
        ("BackoffLimit", 3, "backoff_limit", 3),
        ("TimeoutSeconds", 1, "timeout_seconds", 1),
        ("TimeoutSeconds", 600, "timeout_seconds", 600),
        ("PendingTimeoutSeconds", 1, "pending_timeout_seconds", 1),
        ("PendingTimeoutSeconds", 2**31 - 1, "pending_timeout_seconds", 2**31 - 1),
        ("TtlSecondsAfterFinished", 0, "ttl_seconds_after_finished", 0),
        ("TtlSecondsAfterFinished", 60, "ttl_seconds_after_finished", 60),
        ("QueueTimeoutSeconds", 2**31 - 1, "queue_timeout_seconds", 2**31 - 1),
        ("RestartPolicy", "Never", "restart_policy", "Never"),
    ],
)
def test_merge__replaces_only_the_given_field(field: str, value: Any, attribute: str, expected: Any) -> None:
    """Also by an empty list or zero."""
    assert run(**{field: value}) == replace(UNCHANGED, **{attribute: expected}, literal_args=field == "Args")


def test_merge__refuses_numbers_above_the_definitions() -> None:
    bounded = replace(DEFINITION, pending_timeout_seconds=30, queue_timeout_seconds=90)
    above = {
        "BackoffLimit": 4,
        "PendingTimeoutSeconds": 31,
        "QueueTimeoutSeconds": 91,
        "TimeoutSeconds": 601,
        "TtlSecondsAfterFinished": 61,
    }
    with pytest.raises(Refused) as refused:
        merge(bounded, parse_request(json.dumps(above).encode()))
    assert [(fault.pointer, fault.message) for fault in refused.value.faults] == [
        (f"/{field}", f"above this definition's maximum of {value - 1}") for field, value in above.items()
    ]


@pytest.mark.parametrize(("retries", "is_accepted"), [(0, True), (6, True), (7, False), (2**31 - 1, False)])
def test_merge__bounds_retries_by_kubernetes_default_if_the_definition_sets_none(
    retries: int, is_accepted: bool
) -> None:
    definition = Definition(name="job", image="a")

    assert merge(definition, Request()).backoff_limit == 1
    if is_accepted:
        assert merge(definition, Request(backoff_limit=retries)).backoff_limit == retries
    else:
        with pytest.raises(Refused, match="/BackoffLimit: above this definition's maximum of 6"):
            merge(definition, Request(backoff_limit=retries))


def test_merge__takes_any_time_if_the_definition_sets_none() -> None:
    """Without one a run has no limit and is kept for ever, so every time is lower."""
    longest = 2**31 - 1
    spec = merge(
        Definition(name="job", image="a"),
        Request(
            timeout_seconds=longest,
            pending_timeout_seconds=longest,
            queue_timeout_seconds=longest,
            ttl_seconds_after_finished=longest,
        ),
    )
    assert spec.timeout_seconds == spec.pending_timeout_seconds == spec.queue_timeout_seconds == longest
    assert spec.ttl_seconds_after_finished == longest


ALL_FIELDS: dict[str, Any] = {
    "Args": [],
    "BackoffLimit": 1,
    "DependsOn": [],
    "Environments": [{"Name": "A", "Value": ""}],
    "Image": "team/app:1",
    "PendingTimeoutSeconds": 1,
    "QueueTimeoutSeconds": 1,
    "Resources": {"Limits": {"cpu": "1"}},
    "RestartPolicy": "OnFailure",
    "TimeoutSeconds": 1,
    "TtlSecondsAfterFinished": 1,
}


def test_merge__refuses_every_field_that_is_not_overridable() -> None:
    none = replace(DEFINITION, overridable=frozenset())
    with pytest.raises(Refused) as refused:
        merge(none, parse_request(json.dumps(ALL_FIELDS).encode()))
    message = "not among the fields that Overridable of the definition lets requests set"
    assert [(fault.pointer, fault.message) for fault in refused.value.faults] == [
        (f"/{field}", message) for field in ALL_FIELDS
    ]


@pytest.mark.parametrize("field", ALL_FIELDS)
def test_merge__applies_the_fields_that_are_overridable(field: str) -> None:
    body = json.dumps({field: ALL_FIELDS[field]}).encode()
    open_definition = replace(DEFINITION, overridable=None)
    limited = replace(DEFINITION, overridable=frozenset({field}))

    assert merge(limited, parse_request(body)) == merge(open_definition, parse_request(body))


def test_merge__lets_a_request_leave_everything_as_it_is_if_nothing_is_overridable() -> None:
    """Also with empty lists and objects, which change nothing."""
    none = replace(DEFINITION, overridable=frozenset())
    body = b'{"Environments": [], "Resources": {"Limits": {}}, "Image": "", "DependsOn": null}'
    assert merge(none, parse_request(body)) == merge(none, Request())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("evil/app:1", "not an image that this definition allows"),
        ("team/app", "not an image that this definition allows"),
        ("team/app:5000/evil", "not an image reference; write it like registry/repository:tag"),
        ("team/tools/x/y", "not an image that this definition allows"),
        ("team/app:1@sha256:" + "a" * 64, "not an image that this definition allows"),
        ("team/app:", "not an image reference; write it like registry/repository:tag"),
        ("team/app:1\n", "not an image reference; write it like registry/repository:tag"),
        ("team/app:*", "not an image reference; write it like registry/repository:tag"),
        ("team/tools/$(TOKEN)", "not an image reference; write it like registry/repository:tag"),
    ],
)
def test_merge__refuses_an_image_outside_of_the_whitelist(image: str, message: str) -> None:
    assert faults_in(Image=image) == [("/Image", message)]


@pytest.mark.parametrize(
    ("names", "pointer", "message"),
    [
        (["a", "a"], "/DependsOn/1", "named twice"),
        (["a", "Web"], "/DependsOn/1", "not the name of a Deployment or StatefulSet (a DNS subdomain)"),
        ([""], "/DependsOn/0", "not the name of a Deployment or StatefulSet (a DNS subdomain)"),
        (["a\n"], "/DependsOn/0", "not the name of a Deployment or StatefulSet (a DNS subdomain)"),
        (["ns/a"], "/DependsOn/0", "not the name of a Deployment or StatefulSet (a DNS subdomain)"),
        (["a" * 254], "/DependsOn/0", "not the name of a Deployment or StatefulSet (a DNS subdomain)"),
        ([f"a{number}" for number in range(33)], "/DependsOn", "more than 32 names"),
    ],
)
def test_merge__refuses_invalid_or_repeated_dependencies(names: list[str], pointer: str, message: str) -> None:
    """A run with one that cannot exist would wait forever."""
    assert faults_in(DependsOn=names) == [(pointer, message)]


def test_merge__allows_as_many_dependencies_as_the_definition_has() -> None:
    names = [f"a{number}" for number in range(40)]
    definition = replace(DEFINITION, depends_on=tuple(names))

    assert merge(definition, Request(depends_on=tuple(names[::-1]))).depends_on == tuple(names[::-1])
    with pytest.raises(Refused, match="more than 40 names"):
        merge(definition, Request(depends_on=(*names, "b")))


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        ({"Requests": {"cpu": "0.5"}}, {"cpu": "0.5"}, {}),
        ({"Requests": {"cpu": "500000u"}}, {"cpu": "500000u"}, {}),
        ({"Requests": {"cpu": "0"}}, {"cpu": "0"}, {}),
        ({"Limits": {"cpu": "999m"}}, {}, {"cpu": "999m"}),
        ({"Limits": {"memory": "1073741824"}}, {}, {"memory": "1073741824"}),
        ({"Limits": {"nvidia.com/gpu": "1"}}, {}, {"nvidia.com/gpu": "1"}),
        ({"Limits": {"nvidia.com/gpu": "0"}}, {}, {"nvidia.com/gpu": "0"}),
        ({"Requests": {"ephemeral-storage": "1e9"}}, {"ephemeral-storage": "1e9"}, {}),
        ({"Requests": {"ephemeral-storage": "512Ki"}}, {"ephemeral-storage": "512Ki"}, {}),
        ({"Requests": {"cpu": "200m"}, "Limits": {"cpu": "200m"}}, {"cpu": "200m"}, {"cpu": "200m"}),
    ],
)
def test_merge__lowers_resource_amounts_one_by_one(
    resources: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    spec = run(Resources=resources)

    assert spec == replace(
        UNCHANGED, requests={**DEFINITION.requests, **requests}, limits={**DEFINITION.limits, **limits}
    )


@pytest.mark.parametrize(
    ("limit", "request_after"),
    [({"cpu": "400m"}, {"cpu": "400m"}), ({"memory": "1G"}, {"memory": "1G"}), ({"cpu": "500m"}, {"cpu": "500m"})],
)
def test_merge__lowers_an_inherited_resource_request_with_its_limit(
    limit: dict[str, str], request_after: dict[str, str]
) -> None:
    spec = run(Resources={"Limits": limit})

    assert spec.limits == {**DEFINITION.limits, **limit}
    assert spec.requests == {**DEFINITION.requests, **request_after}


@pytest.mark.parametrize(
    ("resources", "pointer", "message"),
    [
        ({"Requests": {"cpu": "501m"}}, "/Resources/Requests/cpu", "above this definition's maximum of 500m"),
        ({"Requests": {"cpu": "500.000001m"}}, "/Resources/Requests/cpu", "above this definition's maximum of 500m"),
        ({"Limits": {"memory": "1025Mi"}}, "/Resources/Limits/memory", "above this definition's maximum of 1Gi"),
        ({"Limits": {"memory": "1.1e9"}}, "/Resources/Limits/memory", "above this definition's maximum of 1Gi"),
        ({"Limits": {"cpu": "1E"}}, "/Resources/Limits/cpu", "above this definition's maximum of 1"),
        (
            {"Limits": {"nvidia.com/gpu": "3"}},
            "/Resources/Limits/nvidia.com~1gpu",
            "above this definition's maximum of 2",
        ),
        (
            {"Requests": {"nvidia.com/gpu": "1"}},
            "/Resources/Requests/nvidia.com~1gpu",
            "not among the Requests of this definition",
        ),
        (
            {"Limits": {"ephemeral-storage": "1"}},
            "/Resources/Limits/ephemeral-storage",
            "not among the Limits of this definition",
        ),
        ({"Limits": {"CPU": "1"}}, "/Resources/Limits/CPU", "not among the Limits of this definition"),
        ({"Limits": {"cpu\n": "1"}}, "/Resources/Limits/cpu\n", "not among the Limits of this definition"),
        ({"Requests": {"cpu": "-1"}}, "/Resources/Requests/cpu", "a quantity must not be negative"),
        ({"Requests": {"cpu": "0.1n"}}, "/Resources/Requests/cpu", "finer than 1n, which Kubernetes would round"),
        *(
            (
                {"Limits": {resource: amount}},
                f"/Resources/Limits/{resource}",
                f"a limit of 0 means no limit for {resource}, so it cannot be set",
            )
            for resource in ("cpu", "memory")
            for amount in ("0", "+0", "0m", "0.0", ".0", "0Ki", "0e9", "0n")
        ),
        ({"Requests": {"cpu": ""}}, "/Resources/Requests/cpu", "not a quantity; write it like 500m, 2, 1.5 or 512Mi"),
        (
            {"Requests": {"cpu": "1\n"}},
            "/Resources/Requests/cpu",
            "not a quantity; write it like 500m, 2, 1.5 or 512Mi",
        ),
        (
            {"Requests": {"cpu": "300m"}, "Limits": {"cpu": "200m"}},
            "/Resources/Requests/cpu",
            "above the limit of 200m",
        ),
    ],
)
def test_merge__refuses_resources_above_the_definitions(resources: dict[str, Any], pointer: str, message: str) -> None:
    """Also unknown resources, and resource requests above their limit."""
    assert faults_in(Resources=resources) == [(pointer, message)]


def test_merge__replaces_variables_in_place_and_appends_new_ones() -> None:
    given = [{"Name": "Z", "Value": "z"}, {"name": "FIRST", "value": "$(TOKEN)"}, {"Name": "A", "Value": ""}]

    assert run(Environments=given).environments == (
        Variable("FIRST", "$(TOKEN)", literal=True),
        TOKEN,
        Variable("LAST", "$(FIRST)"),
        Variable("Z", "z", literal=True),
        Variable("A", "", literal=True),
    )


def test_merge__keeps_all_variables_for_an_empty_list() -> None:
    assert run(Environments=[]) == UNCHANGED


def test_merge__refuses_a_variable_given_twice() -> None:
    given = [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}, {"name": "A", "value": "1"}]

    assert faults_in(Environments=given) == [("/Environments/2", "named twice")]


@pytest.mark.parametrize("reference", ["SecretRef", "ConfigMapRef", "FieldRef", "ResourceFieldRef"])
def test_read_request__refuses_references_in_variables(reference: str) -> None:
    """Only the platform team decides which Secret a job gets."""
    ((pointer, message),) = faults_in(Environments=[{"Name": "A", reference: {"Name": "api", "Key": "token"}}])

    assert pointer == f"/Environments/0/{reference}"
    assert "literal values only" in message


@pytest.mark.parametrize("field", ["Command", "Visibility", "NumberParallelJob", "ImagesWhitelist"])
def test_read_request__refuses_fields_of_definitions_only(field: str) -> None:
    assert [pointer for pointer, _ in faults_in(**{field: ["sh"]})] == [f"/{field}"]


def test_merge__refuses_resources_that_the_definition_lacks() -> None:
    bare = Definition(name="bare", image="a")

    with pytest.raises(Refused) as refused:
        merge(bare, Request(requests={"cpu": "1m"}, limits={"cpu": "1m"}))

    assert [fault.pointer for fault in refused.value.faults] == ["/Resources/Limits/cpu", "/Resources/Requests/cpu"]


BEYOND = {
    "Image": "evil/app",
    "DependsOn": ["a", "a", "B"],
    "Resources": {"Requests": {"cpu": "2", "gpu": "1"}, "Limits": {"memory": "lots"}},
    "Environments": [{"Name": "A", "Value": "x"}, {"Name": "A", "Value": "x"}],
}
BEYOND_POINTERS = [
    "/DependsOn/1",
    "/DependsOn/2",
    "/Environments/1",
    "/Image",
    "/Resources/Limits/memory",
    "/Resources/Requests/cpu",
    "/Resources/Requests/gpu",
]


def test_merge__reports_all_faults_at_once() -> None:
    assert [pointer for pointer, _ in faults_in(**BEYOND)] == BEYOND_POINTERS


def test_merge__reports_faults_of_parsing_and_of_the_definition_together() -> None:
    body = json.dumps({**BEYOND, "BackoffLimit": "1", "Args": [1]}).encode()

    with pytest.raises(Refused) as refused:
        merge(DEFINITION, *read_request(body))

    assert [fault.pointer for fault in refused.value.faults] == ["/Args/0", "/BackoffLimit", *BEYOND_POINTERS]


def test_merge__refuses_a_request_with_earlier_faults_only() -> None:
    with pytest.raises(Refused) as refused:
        merge(DEFINITION, Request(), [Fault("/Args", "must be a list")])

    assert refused.value.faults == (Fault("/Args", "must be a list"),)


def test_merge__changes_neither_definition_nor_request() -> None:
    before = dict(DEFINITION.requests), dict(DEFINITION.limits)

    run(Resources={"Requests": {"cpu": "1m"}, "Limits": {"cpu": "1m", "memory": "1"}})

    assert (DEFINITION.requests, DEFINITION.limits) == before


def test_merge__never_repeats_the_value_of_a_variable() -> None:
    secret = "hunter2-correct-horse"
    definition = replace(DEFINITION, environments=(Variable("A", secret),))
    variables = [{"Name": "A", "Value": secret}, {"Name": "A", "Value": secret}]

    with pytest.raises(Refused) as refused:
        merge(definition, parse_request(json.dumps({**BEYOND, "Environments": variables}).encode()))

    assert secret not in str(refused.value)
    assert secret not in repr(refused.value.faults)


@pytest.mark.parametrize("names", list(permutations(("hugepages-2Mi", "cpu", "memory"))))
def test_merge__names_every_resource_that_is_wrong_whatever_is_wrong_before_it(names: tuple[str, ...]) -> None:
    """An amount that can't be read, or is none of the job's, hides no later one that is too large."""
    amounts = {"hugepages-2Mi": "1", "cpu": "many", "memory": "2Gi"}
    found = faults_in(Resources={"Limits": {name: amounts[name] for name in names}})
    assert {pointer for pointer, _ in found} == {f"/Resources/Limits/{name}" for name in amounts}


def test_merge__takes_a_dependency_with_the_longest_name_that_a_workload_may_have() -> None:
    """One letter more is no name."""
    longest = "a" * WORKLOAD_NAME_LENGTH
    assert run(DependsOn=[longest]).depends_on == (longest,)
    assert [pointer for pointer, _ in faults_in(DependsOn=[longest + "a"])] == ["/DependsOn/0"]


def test_merge__bounds_the_bytes_of_dependencies_by_those_of_the_definition() -> None:
    """The dispatcher keeps them in memory for as long as the run is queued. The definition's own it keeps once."""
    long = [f"{number}" + "a" * 200 for number in range(6)]
    assert run(DependsOn=long[:5]).depends_on == tuple(long[:5])
    assert faults_in(DependsOn=long) == [("/DependsOn", "the names have 1206 bytes together, more than 1024")]
    definition = replace(DEFINITION, depends_on=tuple(long))
    body = json.dumps({"DependsOn": long[::-1]}).encode()
    assert merge(definition, parse_request(body)).depends_on == tuple(long[::-1])


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ({"Args": ["a" * 65_000]}, True),
        ({"Args": ["\u00e9" * 32_000]}, True),
        ({"Args": ["<a/>" * 2_000, "x" * 40_000]}, True),
        ({"Args": ["$" * 48_000]}, True),
        ({"Args": ["$" * 50_000]}, False),
        ({"Args": ["<" * 17_000]}, False),
        ({"Environments": [{"Name": "A", "Value": "&" * 17_000}]}, False),
        ({"Environments": [{"Name": f"V{number}", "Value": ""} for number in range(500)]}, True),
        ({"Environments": [{"Name": f"V{number}", "Value": ""} for number in range(2_000)]}, False),
        ({"Environments": [{"Name": "A" * 60_000, "Value": ""}]}, False),
        ({"Args": [""] * 21_000}, True),
        ({"Args": ["\x01"] * 12_000}, False),
    ],
)
def test_merge__bounds_what_a_request_adds_to_its_job(body: dict[str, Any], accepted: bool) -> None:
    """A body has at most 64 KiB. Some texts grow to a multiple of that when they are stored or served."""
    definition, request = replace(DEFINITION, environments_whitelist=("*",)), parse_request(json.dumps(body).encode())
    if accepted:
        merge(definition, request)
        return
    with pytest.raises(Refused) as refused:
        merge(definition, request)
    [fault] = refused.value.faults
    assert fault.pointer == ""
    assert re.fullmatch(r"Args, .* would take \d+ bytes in the cluster, more than 98304: .*", fault.message)


IN_KUEUE = replace(DEFINITION, queue="team-a", priority="high", priorities_whitelist=("low",))


@pytest.mark.parametrize(("body", "priority"), [({}, "high"), ({"Priority": ""}, "high"), ({"Priority": "low"}, "low")])
def test_merge__takes_a_priority_that_the_definition_allows(body: dict[str, Any], priority: str) -> None:
    spec = merge(IN_KUEUE, parse_request(json.dumps(body).encode()))
    assert (spec.queue, spec.priority) == ("team-a", priority)


@pytest.mark.parametrize(
    ("definition", "body", "pointer"),
    [
        (IN_KUEUE, {"Priority": "highest"}, "/Priority"),
        (IN_KUEUE, {"Priority": "LOW"}, "/Priority"),
        (replace(IN_KUEUE, priorities_whitelist=()), {"Priority": "low"}, "/Priority"),
        (DEFINITION, {"Priority": "low"}, "/Priority"),
        (IN_KUEUE, {"QueueTimeoutSeconds": 60}, "/QueueTimeoutSeconds"),
    ],
)
def test_merge__refuses_other_priorities_and_a_queue_timeout_beside_kueue(
    definition: Definition, body: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Refused) as refused:
        merge(definition, parse_request(json.dumps(body).encode()))
    assert [fault.pointer for fault in refused.value.faults] == [pointer]
