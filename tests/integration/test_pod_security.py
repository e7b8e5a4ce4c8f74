"""Security settings of the runs' pods, and the Pod Security Standards.

https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import client

from app.domain.names import new_id
from app.kube.manifests import build_job
from schemas.configuration import load_schema, parse_configuration
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import Request
from tests.integration.dispatching import LONG, MERGE_PATCH, until
from tests.support.servers import SERVICE_ACCOUNT, Server

ENFORCED = pytest.mark.real_only("the embedded cluster does not enforce the Pod Security Standards")
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

PARTS = load_schema()["$defs"]
ADDABLE = PARTS["capabilities"]["properties"]["Add"]["items"]["enum"]
DROPPABLE = PARTS["capabilities"]["properties"]["Drop"]["items"]["enum"]
IDS = (PARTS["unixId"]["minimum"], 10001, PARTS["unixId"]["maximum"])
PROFILES = ({"Type": "RuntimeDefault"}, {"Type": "Localhost", "LocalhostProfile": "profiles/a.json"})

SHAPES: list[tuple[str, Any]] = [
    *((name, value) for name in ("RunAsUser", "RunAsGroup", "FsGroup") for value in IDS),
    *((name, value) for name in ("RunAsNonRoot", "ReadOnlyRootFilesystem", "AllowPrivilegeEscalation")
      for value in (True, False)),
    ("SupplementalGroups", []),
    ("SupplementalGroups", list(IDS)),
    ("Capabilities", {}),
    ("Capabilities", {"Add": [], "Drop": []}),
    *(("Capabilities", {"Add": [name]}) for name in ADDABLE),
    *(("Capabilities", {"Drop": [name]}) for name in DROPPABLE),
    ("Capabilities", {"Add": ADDABLE, "Drop": ["ALL"]}),
    *(("SeccompProfile", profile) for profile in PROFILES),
]  # fmt: skip
"""Each field of a SecurityContext, with each value that makes a difference."""


def subsets(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=4)


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from(IDS) for name in ("RunAsUser", "RunAsGroup", "FsGroup")},
        **{name: st.booleans() for name in ("RunAsNonRoot", "ReadOnlyRootFilesystem", "AllowPrivilegeEscalation")},
        "SupplementalGroups": st.lists(st.sampled_from(IDS), unique=True),
        "Capabilities": st.fixed_dictionaries({}, optional={"Add": subsets(ADDABLE), "Drop": subsets(DROPPABLE)}),
        "SeccompProfile": st.sampled_from(PROFILES),
    },
).filter(lambda context: not contradicts_itself(context))
"""Combinations of all fields."""


DROPPING_ALL = {"Capabilities": {"Drop": ["ALL"]}}


def contradicts_itself(context: dict[str, Any]) -> bool:
    capabilities = context.get("Capabilities", {})
    return bool(
        (context.get("RunAsNonRoot") and context.get("RunAsUser") == 0)
        or set(capabilities.get("Add", ())) & set(capabilities.get("Drop", ()))
    )


def read(**entry: Any) -> Definition:
    """Parse a definition with these fields."""
    return parse_configuration(json.dumps({"Configurations": {"job": {"Image": "busybox:1", **entry}}}))["job"]


def job_of(definition: Definition, *args: str) -> dict[str, Any]:
    spec = merge(definition, Request(args=args))
    return build_job(spec, new_id(), queued_at=datetime.now(UTC), call="test")


def create_pod(core: Any, namespace: str, template: dict[str, Any]) -> Any:
    """Create a pod from a Job's template as a dry run."""
    body = {"metadata": {"generateName": "a-", **template["metadata"]}, "spec": template["spec"]}
    return core.create_namespaced_pod(namespace, body, dry_run="All")


def is_allowed(core: Any, namespace: str, template: dict[str, Any]) -> bool:
    """Return whether the namespace's Pod Security Standard allows a pod from a Job's template."""
    try:
        create_pod(core, namespace, template)
    except client.ApiException as error:
        if error.status != 403 or "violates PodSecurity" not in error.body:
            raise
        return False
    return True


def template_of(definition: Definition) -> dict[str, Any]:
    template: dict[str, Any] = job_of(definition)["spec"]["template"]
    return template


def unconfined() -> dict[str, Any]:
    """Return a pod template that is valid but that both standards forbid."""
    template = template_of(read())
    template["spec"]["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    return template


@pytest.fixture(scope="module")
def core(server: Server) -> Any:
    """Provide an administrator's client for the core API."""
    return client.CoreV1Api(server.admin)


def enforce(server: Server, core: Any, standard: str) -> Iterator[str]:
    """Create a namespace that enforces a Pod Security Standard, and wait until it does."""
    name = server.create_namespace()
    core.patch_namespace(name, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": standard}}})
    until(lambda: not is_allowed(core, name, unconfined()))
    yield name
    server.delete_namespace(name)


@pytest.fixture(scope="module")
def baseline(server: Server, core: Any) -> Iterator[str]:
    """Provide a namespace that enforces "baseline"."""
    yield from enforce(server, core, "baseline")


@pytest.fixture(scope="module")
def restricted(server: Server, core: Any) -> Iterator[str]:
    """Provide a namespace that enforces "restricted"."""
    yield from enforce(server, core, "restricted")


def admitted_pod(server: Server, namespace: str, definition: Definition) -> Any:
    """Admit a run, and return its pod as the API server shows it."""
    batch, core = client.BatchV1Api(server.admin), client.CoreV1Api(server.admin)
    job = job_of(definition, *LONG)
    name = job["metadata"]["name"]
    batch.create_namespaced_job(namespace, job)
    batch.patch_namespaced_job(name, namespace, {"spec": {"suspend": False}}, _content_type=MERGE_PATCH)
    (pod,) = until(lambda: core.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items)
    found = server.admin.sanitize_for_serialization(pod)
    batch.delete_namespaced_job(name, namespace, propagation_policy="Background", grace_period_seconds=0)
    return found


def mounted_tokens(pod: Any) -> list[str]:
    """Return the names of the mounted volumes that hold a ServiceAccount's token."""
    mounted = {mount["name"] for mount in pod["spec"]["containers"][0].get("volumeMounts", ())}
    return [
        volume["name"]
        for volume in pod["spec"].get("volumes", ())
        if volume["name"] in mounted
        and any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", ()))
    ]


def test_pod__without_security_context__gets_secure_defaults(server: Server, namespace: str) -> None:
    """No token, no Service links, the runtime's seccomp profile, no privilege escalation; no trust annotation."""
    pod = admitted_pod(server, namespace, read())

    assert pod["spec"]["automountServiceAccountToken"] is False
    assert mounted_tokens(pod) == []
    assert pod["spec"]["enableServiceLinks"] is False
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["spec"]["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}
    assert "SlimFaas/DefaultTrust" not in pod["metadata"].get("annotations", {})


def test_pod__of_a_public_definition__is_marked_untrusted(server: Server, namespace: str) -> None:
    """The Job controller copies the annotation of the run's template to each pod."""
    pod = admitted_pod(server, namespace, read(Visibility="Public"))
    assert pod["metadata"]["annotations"]["SlimFaas/DefaultTrust"] == "Untrusted"


def test_pod__gets_every_field_of_the_definitions_security_context(server: Server, namespace: str) -> None:
    context = {
        "RunAsUser": 10001,
        "RunAsGroup": 10002,
        "RunAsNonRoot": True,
        "FsGroup": 10003,
        "SupplementalGroups": [7],
        "ReadOnlyRootFilesystem": True,
        "AllowPrivilegeEscalation": True,
        "Capabilities": {"Add": ["KILL"], "Drop": ["ALL"]},
        "SeccompProfile": {"Type": "Localhost", "LocalhostProfile": "a/b.json"},
    }
    assert context.keys() == PARTS["securityContext"]["properties"].keys()
    pod = admitted_pod(server, namespace, read(ServiceAccountName="default", SecurityContext=context))

    assert pod["spec"]["serviceAccountName"] == "default"
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["securityContext"] == {
        "runAsUser": 10001,
        "runAsGroup": 10002,
        "runAsNonRoot": True,
        "fsGroup": 10003,
        "supplementalGroups": [7],
        "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"},
    }
    assert pod["spec"]["containers"][0]["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": True,
        "capabilities": {"add": ["KILL"], "drop": ["ALL"]},
    }


@pytest.mark.real_only("the embedded cluster mounts no tokens")
def test_pod__mounts_a_token_only_if_the_definition_names_a_service_account(server: Server, namespace: str) -> None:
    """The definition overrides the ServiceAccount's own `automountServiceAccountToken: false`."""
    account = {"automountServiceAccountToken": False}
    client.CoreV1Api(server.admin).patch_namespaced_service_account(SERVICE_ACCOUNT, namespace, account)

    named = admitted_pod(server, namespace, read(ServiceAccountName=SERVICE_ACCOUNT))
    assert named["spec"]["serviceAccountName"] == SERVICE_ACCOUNT
    assert mounted_tokens(named)
    assert not mounted_tokens(admitted_pod(server, namespace, read()))


@ENFORCED
def test_baseline__allows_every_value_that_the_json_schema_allows(core: Any, baseline: str) -> None:
    """Field by field, with a token and without."""
    assert {name for name, _ in SHAPES} == PARTS["securityContext"]["properties"].keys()
    for name, value in SHAPES:
        assert is_allowed(core, baseline, template_of(read(SecurityContext={name: value}))), (name, value)
    assert is_allowed(core, baseline, template_of(read()))
    assert is_allowed(core, baseline, template_of(read(ServiceAccountName=SERVICE_ACCOUNT, Visibility="Public")))


@ENFORCED
@settings(max_examples=60)
@given(context=CONTEXTS)
def test_baseline__allows_every_combination_that_the_service_accepts(
    core: Any, baseline: str, context: dict[str, Any]
) -> None:
    assert is_allowed(core, baseline, template_of(read(SecurityContext=context)))


@ENFORCED
def test_baseline__forbids_what_the_json_schema_forbids(core: Any, baseline: str) -> None:
    """The schema is not stricter than the standard for capabilities and the seccomp profile."""
    for capability in [name for name in DROPPABLE if name not in ADDABLE]:
        template = template_of(read())
        template["spec"]["containers"][0]["securityContext"]["capabilities"] = {"add": [capability]}
        assert not is_allowed(core, baseline, template), capability
    assert not is_allowed(core, baseline, unconfined())


@ENFORCED
def test_baseline__run_gets_its_pod_from_the_job_controller(server: Server, baseline: str) -> None:
    """Not only in a dry run."""
    assert admitted_pod(server, baseline, read(Visibility="Public"))["spec"]["enableServiceLinks"] is False


def documented() -> dict[str, Any]:
    """Return the example in docs/configuration.md of a definition for a "restricted" namespace."""
    section = REFERENCE.read_text("utf-8").partition('### In a namespace that enforces "restricted"')[2]
    (example, *_) = re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    configuration: dict[str, Any] = json.loads(example)
    parse_configuration(json.dumps(configuration))
    (entry,) = configuration["Configurations"].values()
    found: dict[str, Any] = {**entry, "Image": "busybox:1"}
    return found


@ENFORCED
def test_restricted__allows_the_documented_example_and_needs_all_of_it(
    server: Server, core: Any, restricted: str
) -> None:
    """Beyond the defaults, "restricted" requires RunAsNonRoot and dropping ALL capabilities."""
    entry = documented()
    context = entry["SecurityContext"]

    assert admitted_pod(server, restricted, read(**entry))
    assert is_allowed(core, restricted, template_of(read(SecurityContext={"RunAsNonRoot": True, **DROPPING_ALL})))
    for name in ("RunAsNonRoot", "Capabilities"):
        less = {key: value for key, value in context.items() if key != name}
        assert not is_allowed(core, restricted, template_of(read(SecurityContext=less))), name
    for more in ({"AllowPrivilegeEscalation": True}, {"Capabilities": {"Drop": ["ALL"], "Add": ["CHOWN"]}}):
        assert not is_allowed(core, restricted, template_of(read(SecurityContext={**context, **more}))), more
    netbind = {"Capabilities": {"Drop": ["ALL"], "Add": ["NET_BIND_SERVICE"]}}
    assert is_allowed(core, restricted, template_of(read(SecurityContext={**context, **netbind})))
