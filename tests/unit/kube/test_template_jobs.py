"""The Job of a run that is made from a template: for any template and any request, only what may differ does."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.request_context import RequestContext
from app.kube.manifests import build_cronjob, build_job
from schemas.configuration import parse_configuration
from schemas.definition import Definition
from schemas.faults import Refused
from schemas.merge import merge
from schemas.schedules import Schedule
from tests.unit.schemas.parsing import parse_request

Json = dict[str, Any]
ID = "abcdefghijkl"
QUEUED_AT = datetime(2026, 1, 1, tzinfo=UTC)

WORDS = st.sampled_from(["a", "b", "main", "$(TOKEN)", "x y"])
SCALARS = st.none() | st.booleans() | st.integers(0, 9) | WORDS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
    max_leaves=5,
)
LABELS = st.dictionaries(st.sampled_from(["team", "a/b", "tier"]), WORDS, max_size=2)
METADATA = st.fixed_dictionaries({}, optional={"labels": LABELS, "annotations": LABELS})
VARIABLES = st.lists(
    st.one_of(
        st.builds(lambda name, value: {"name": name, "value": value}, st.sampled_from(["A", "B"]), WORDS),
        st.just({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}}),
        st.just({"name": "EMPTY"}),
    ),
    max_size=3,
    unique_by=lambda variable: variable["name"],
)
AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "nvidia.com/gpu"]), st.sampled_from(["1", 2, "1500m"]), max_size=2)
RESOURCES = st.fixed_dictionaries(
    {}, optional={"requests": AMOUNTS, "limits": AMOUNTS, "claims": st.just([{"name": "g"}])}
)
SECURITY = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "runAsUser": st.integers(0, 2),
        "allowPrivilegeEscalation": st.booleans(),
        "capabilities": st.fixed_dictionaries({}, optional={"add": st.just(["SYS_ADMIN"]), "drop": st.just(["ALL"])}),
        "seccompProfile": st.just({"type": "Unconfined"}),
    },
)


PROBE = st.fixed_dictionaries(
    {"exec": st.just({"command": ["true"]})}, optional={"periodSeconds": st.integers(1, 3), "somethingNew": ANYTHING}
)
MOUNTS = st.lists(
    st.sampled_from(
        [
            {"name": "data", "mountPath": "/data", "readOnly": True},
            {"name": "scratch", "mountPath": "/scratch", "subPathExpr": "$(A)"},
            {"name": "token", "mountPath": "/token", "mountPropagation": "None"},
        ]
    ),
    max_size=2,
    unique_by=lambda mount: mount["name"],
)
VOLUMES = st.lists(
    st.sampled_from(
        [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
            {"name": "folder", "emptyDir": {"medium": "Memory", "sizeLimit": 1048576}},
            {"name": "config", "configMap": {"name": "config", "items": [{"key": "a", "path": "b"}]}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {"name": "new", "somethingNew": {"a": None, "b": [1]}},
        ]
    ),
    max_size=4,
    unique_by=lambda volume: volume["name"],
)


def container(name: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any container of this name, also with fields that the service does not know."""
    return st.fixed_dictionaries(
        {"name": st.just(name), "image": st.sampled_from(["team/app:1", "team/app:2"])},
        optional={
            "command": st.lists(WORDS, max_size=2),
            "args": st.lists(WORDS, max_size=2),
            "env": VARIABLES,
            "envFrom": st.just([{"secretRef": {"name": "api"}}, {"prefix": "C_", "configMapRef": {"name": "config"}}]),
            "resources": RESOURCES,
            "resizePolicy": st.just([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
            "securityContext": SECURITY,
            "volumeMounts": MOUNTS,
            "ports": st.just([{"containerPort": 80}]),
            "startupProbe": PROBE,
            "livenessProbe": PROBE,
            "terminationMessagePolicy": st.just("File"),
            "imagePullPolicy": st.sampled_from(["Always", "Never"]),
            "workingDir": WORDS,
            "lifecycle": ANYTHING,
            "somethingNew": ANYTHING,
            **more,
        },
    )


SIDECAR = container("mesh", restartPolicy=st.just("Always"))
POD_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "initContainers": st.lists(container("fetch") | SIDECAR, max_size=2, unique_by=lambda one: one["name"]),
    "volumes": VOLUMES,
    "nodeSelector": LABELS,
    "tolerations": ANYTHING,
    "affinity": st.fixed_dictionaries({}, optional={"nodeAffinity": ANYTHING, "podAntiAffinity": ANYTHING}),
    "topologySpreadConstraints": ANYTHING,
    "restartPolicy": st.sampled_from(["Never", "OnFailure"]),
    "serviceAccountName": st.just("trainer"),
    "automountServiceAccountToken": st.booleans(),
    "enableServiceLinks": st.booleans(),
    "securityContext": SECURITY,
    "imagePullSecrets": st.just([{"name": "registry"}]),
    "os": st.sampled_from([{"name": "linux"}, {"name": "windows"}]),
    "resources": RESOURCES,
    "resourceClaims": st.just([{"name": "g", "resourceClaimTemplateName": "gpu"}]),
    "schedulingGates": st.just([{"name": "example.com/wait"}]),
    "hostUsers": st.booleans(),
    "subdomain": st.just("jobs"),
    "dnsConfig": ANYTHING,
    "activeDeadlineSeconds": st.integers(1, 3),
    "priorityClassName": WORDS,
    "somethingNew": ANYTHING,
}
JOB_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "backoffLimit": st.integers(0, 3),
    "activeDeadlineSeconds": st.integers(1, 3),
    "ttlSecondsAfterFinished": st.integers(0, 3),
    "podFailurePolicy": st.just({"rules": []}),
    "podReplacementPolicy": st.sampled_from(["Failed", "TerminatingOrFailed"]),
    "suspend": st.just(True),
    "completions": st.just(1),
    "completionMode": st.just("NonIndexed"),
    "somethingNew": ANYTHING,
}


@st.composite
def templates(draw: st.DrawFn) -> Json:
    """Any template. Of its pod, at least a third of the fields is there."""
    names = draw(st.permutations(["main", "job", "proxy"]))[: draw(st.integers(1, 3))]
    fields = draw(st.permutations(sorted(POD_FIELDS)))[: draw(st.integers(len(POD_FIELDS) // 3, len(POD_FIELDS)))]
    pod = {key: draw(POD_FIELDS[key]) for key in fields}
    pod["containers"] = [draw(container(name)) for name in names]
    metadata = draw(METADATA)
    if draw(st.booleans()):
        chosen = draw(st.sampled_from(names))
        annotations = {**metadata.get("annotations", {}), "kubectl.kubernetes.io/default-container": chosen}
        metadata = {**metadata, "annotations": annotations}
    job = draw(st.fixed_dictionaries({}, optional=JOB_FIELDS))
    return {"metadata": draw(METADATA), "spec": {**job, "template": {"metadata": metadata, "spec": pod}}}


BESIDE = st.fixed_dictionaries(
    {
        "Visibility": st.sampled_from(["Public", "Private"]),
        "EnvironmentsWhitelist": st.sampled_from([["NEW", "A"], ["A"]]),
    },
    optional={
        "SecurityContext": st.fixed_dictionaries(
            {}, optional={"RunAsUser": st.integers(0, 2), "AllowPrivilegeEscalation": st.booleans()}
        ),
        "Args": st.lists(WORDS, max_size=1),
        "TimeoutSeconds": st.integers(1, 3),
        "Environments": st.just([{"Name": "BESIDE", "Value": "$(A)"}]),
    },
)
REQUEST_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "Args": st.lists(WORDS, max_size=2),
    "Image": st.sampled_from(["team/app:1", "team/app:2"]),
    "DependsOn": st.lists(st.sampled_from(["database", "cache"]), max_size=2, unique=True),
    "Environments": st.lists(
        st.builds(
            lambda name, value: {"Name": name, "Value": value}, st.sampled_from(["A", "NEW", "A", "TOKEN"]), WORDS
        ),
        max_size=2,
        unique_by=lambda variable: variable["Name"],
    ),
    "Resources": st.fixed_dictionaries(
        {},
        optional={
            part: st.dictionaries(st.just("cpu"), st.sampled_from(["500m", "1"]), max_size=1)
            for part in ("Requests", "Limits")
        },
    ),
    "BackoffLimit": st.integers(0, 3),
    "TimeoutSeconds": st.integers(1, 3),
    "PendingTimeoutSeconds": st.integers(1, 3),
    "QueueTimeoutSeconds": st.integers(1, 3),
    "TtlSecondsAfterFinished": st.integers(0, 3),
    "RestartPolicy": st.sampled_from(["Never", "OnFailure"]),
}


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """Any request of at least three fields. The definition may refuse some of them."""
    fields = draw(st.permutations(sorted(REQUEST_FIELDS)))[: draw(st.integers(3, len(REQUEST_FIELDS)))]
    return {key: draw(REQUEST_FIELDS[key]) for key in fields}


def read(template: Json, beside: Json) -> Definition | None:
    """The definition, without what differs beside the template; `None`: the template contradicts itself."""
    document = json.dumps({"Configurations": {"job": {"JobTemplate": template, **beside}}})
    try:
        return parse_configuration(document)["job"]
    except Refused as refusal:
        fields = {fault.pointer.split("/")[3] for fault in refusal.faults} - {"JobTemplate"}
    return read(template, {key: value for key, value in beside.items() if key not in fields}) if fields else None


def run(definition: Definition, body: Json) -> tuple[Json, Json]:
    """The Job of a run, and the part of the request that is accepted: what is refused is left out and sent again."""
    try:
        spec = merge(definition, parse_request(json.dumps(body).encode()))
    except Refused as refusal:
        refused = {fault.pointer.split("/")[1] for fault in refusal.faults}
        assert refused & body.keys()
        return run(definition, {key: value for key, value in body.items() if key not in refused})
    context = RequestContext(request_id="r", started_by="system:serviceaccount:a:b")
    job = build_job(spec, ID, queued_at=QUEUED_AT, call="c", path="p", query="q", context=context)
    return job, body


def without_nulls(value: Any) -> Any:
    """The value as Kubernetes reads it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def chosen_container(template: Json) -> int:
    """The position of the run's container, by the documented rule."""
    pod_template = template["spec"]["template"]
    names = [one["name"] for one in pod_template["spec"]["containers"]]
    annotations = pod_template["metadata"].get("annotations", {})
    annotated = annotations.get("kubectl.kubernetes.io/default-container")
    return names.index(annotated) if annotated else names.index("job") if "job" in names else 0


def differences(before: Any, after: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """The paths at which two JSON values differ. A missing object or list is the same as an empty one."""
    if before in (None, {}, []) and after in (None, {}, []):
        return set()
    if isinstance(before or after, dict | list):
        before, after = before or type(after)(), after or type(before)()
    if isinstance(before, dict) and isinstance(after, dict):
        return {
            found
            for key in before.keys() | after.keys()
            for found in differences(before.get(key), after.get(key), (*path, key))
        }
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return {found for index, (one, other) in pairs for found in differences(one, other, (*path, index))}
    return set() if before == after else {path}


OWN = {
    ("metadata", "name"),
    *(("metadata", "labels", key) for key in ("app.kubernetes.io/managed-by", "slimfaas.dev/job")),
    *(("metadata", "annotations", f"slimfaas.dev/{key}") for key in ("queued-at", "depends-on", "call")),
    *(("metadata", "annotations", f"slimfaas.dev/{key}") for key in ("request-id", "started-by")),
    ("metadata", "annotations", "kueue.x-k8s.io/admission-gated-by"),
    *(("spec", key) for key in ("suspend", "parallelism", "completions")),
}
"""What the service decides for each run."""

POD = ("spec", "template", "spec")


def may_differ(template: Json, definition: Definition, body: Json) -> set[tuple[str | int, ...]]:
    """Where a run may differ from its template: what the service sets, and what the request says, where it may."""
    index = chosen_container(template)
    main: tuple[str | int, ...] = (*POD, "containers", index)
    spec, pod = template["spec"], template["spec"]["template"]["spec"]
    own = {*OWN, (*main, "env")}
    own |= {(*POD[:2], "metadata", *path[1:]) for path in OWN if path[1] == "labels"}
    own.add((*POD[:2], "metadata", "labels", "slimfaas-job-name"))
    own |= {
        (*POD[:2], "metadata", "annotations", key)
        for key in ("kubectl.kubernetes.io/default-container", "SlimFaas/DefaultTrust")
    }
    # Where the template says nothing, the definition or the service's default does.
    own |= {("spec", key) for key in ("backoffLimit", "podFailurePolicy", "activeDeadlineSeconds") if key not in spec}
    defaults = ("restartPolicy", "automountServiceAccountToken", "enableServiceLinks")
    own |= {(*POD, key) for key in defaults if key not in pod}
    for place, holder in ((POD, pod), (main, pod["containers"][index])):
        for key in ("seccompProfile", "allowPrivilegeEscalation", "runAsUser"):
            if key not in holder.get("securityContext", {}):
                own.add((*place, "securityContext", key))
    if "terminationMessagePolicy" not in pod["containers"][index]:
        own.add((*main, "terminationMessagePolicy"))
    if definition.args and not pod["containers"][index].get("args"):
        own.add((*main, "args"))
    requested: dict[str, tuple[str | int, ...]] = {
        "Args": (*main, "args"),
        "Image": (*main, "image"),
        "BackoffLimit": ("spec", "backoffLimit"),
        "TimeoutSeconds": ("spec", "activeDeadlineSeconds"),
        "TtlSecondsAfterFinished": ("spec", "ttlSecondsAfterFinished"),
        "RestartPolicy": (*POD, "restartPolicy"),
        "DependsOn": ("metadata", "annotations", "SlimFaas/DependsOn"),
        "PendingTimeoutSeconds": ("metadata", "annotations", "slimfaas.dev/pending-timeout-seconds"),
        "QueueTimeoutSeconds": ("metadata", "annotations", "slimfaas.dev/queue-timeout-seconds"),
    }
    own |= {path for field, path in requested.items() if field in body}
    for part, lowers in (("Requests", ["requests"]), ("Limits", ["limits", "requests"])):
        if "cpu" in (body.get("Resources") or {}).get(part, {}):
            own |= {(*main, "resources", lowered, "cpu") for lowered in lowers}
    return own


def normal(template: Json) -> Json:
    """A template as the API server reads it: amounts as texts."""
    template = without_nulls(copy.deepcopy(template))
    for one in template["spec"]["template"]["spec"]["containers"]:
        for part in ("requests", "limits"):
            amounts = one.get("resources", {}).get(part, {})
            amounts.update({key: str(amount) for key, amount in amounts.items()})
    return template


@given(templates(), BESIDE, requests())
def test_build_job__changes_nothing_of_a_template_but_what_it_may(template: Json, beside: Json, body: Json) -> None:
    definition = read(template, beside)
    if definition is None:
        return
    job, body = run(definition, body)

    built = {key: normal(job)[key] for key in ("metadata", "spec")}
    allowed = may_differ(template, definition, body)

    different = differences(normal(template), built)

    assert {path for path in different if not any(path[: len(one)] == one for one in allowed)} == set()
    assert (job["spec"]["suspend"], job["spec"]["parallelism"], job["spec"]["completions"]) == (True, 1, 1)


@given(templates(), BESIDE, requests())
def test_build_job__keeps_every_variable_of_a_template_but_those_of_the_request(
    template: Json, beside: Json, body: Json
) -> None:
    """In their order, before those that the definition and the request add."""
    definition = read(template, beside)
    if definition is None:
        return
    job, body = run(definition, body)
    index = chosen_container(template)
    requested = {one["Name"]: one["Value"].replace("$", "$$") for one in body.get("Environments", ())}

    variables = job["spec"]["template"]["spec"]["containers"][index]["env"]

    expected = [
        {"name": one["name"], "value": requested[one["name"]]}
        if one["name"] in requested
        else one
        if "valueFrom" in one
        else {"value": "", **one}
        for one in template["spec"]["template"]["spec"]["containers"][index].get("env", ())
    ]
    names = {one["name"] for one in expected}
    beside_names = {variable.name for variable in definition.environments} - names
    expected += [{"name": name, "value": "$(A)"} for name in sorted(beside_names)]
    expected += [{"name": name, "value": value} for name, value in requested.items() if name not in names]
    assert [one for one in variables if not is_own(one)] == expected


@given(templates(), requests(), requests())
def test_build_job__leaves_the_shared_template_as_it_is(template: Json, first: Json, second: Json) -> None:
    definition = read(template, {})
    if definition is None:
        return
    assert definition.template is not None
    before = copy.deepcopy(definition.template.job)

    job, _ = run(definition, first)
    job["spec"]["template"]["spec"]["containers"].clear()
    job["metadata"]["labels"].clear()
    run(definition, second)

    assert definition.template.job == before


@given(templates(), BESIDE, requests())
def test_build_job__is_the_same_without_the_variables_of_the_template(template: Json, beside: Json, body: Json) -> None:
    """They are the definition's, so a template that is kept for long need not have them."""
    definition = read(template, beside)
    if definition is None:
        return
    assert definition.template is not None
    shorter = replace(definition, template=definition.template.without_variables())

    assert shorter.template is not None
    assert "env" not in shorter.template.container
    assert run(shorter, body) == run(definition, body)


@given(templates(), BESIDE, requests())
def test_build_cronjob__makes_the_runs_that_the_same_request_makes(template: Json, beside: Json, body: Json) -> None:
    """But for what only one call has, and the id, which is the name of each Job."""
    definition = read(template, beside)
    if definition is None:
        return
    job, body = run(definition, body)
    request = parse_request(json.dumps(body).encode())
    made = build_cronjob(merge(definition, request), Schedule("0 0 * * *", request), "id", origin="configuration")

    differing = differences({key: job[key] for key in ("metadata", "spec")}, made["spec"]["jobTemplate"])

    of_one_call = {("metadata", "annotations", f"slimfaas.dev/{key}") for key in ("queued-at", "call")}
    of_one_call |= {("metadata", "annotations", f"slimfaas.dev/{key}") for key in ("request-id", "started-by")}
    of_one_call |= {("metadata", "name"), ("metadata", "labels", "slimfaas.dev/schedule")}
    own = {
        (*POD[:2], "metadata", "labels", "slimfaas-job-name"),
        (*POD, "containers", chosen_container(template), "env"),
    }
    assert differing <= of_one_call | own
    variables = [
        [one for one in found["template"]["spec"]["containers"][chosen_container(template)]["env"] if not is_own(one)]
        for found in (job["spec"], made["spec"]["jobTemplate"]["spec"])
    ]
    assert variables[0] == variables[1]


def is_own(variable: Json) -> bool:
    """Return whether the service sets a variable."""
    return str(variable["name"]).startswith("SLIMFAAS_JOB_")
