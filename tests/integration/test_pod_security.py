"""Runs on clusters that mind what their pods may do: what is promised of the pods, and the Pod Security Standards.

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

ENFORCED = pytest.mark.real_only("no admission plugin enforces the Pod Security Standards there")
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
"""Each field of a SecurityContext with each value that makes a difference."""


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
"""All of them together."""


DROPPING_ALL = {"Capabilities": {"Drop": ["ALL"]}}


def contradicts_itself(context: dict[str, Any]) -> bool:
    capabilities = context.get("Capabilities", {})
    return bool(
        (context.get("RunAsNonRoot") and context.get("RunAsUser") == 0)
        or set(capabilities.get("Add", ())) & set(capabilities.get("Drop", ()))
    )


def read(**entry: Any) -> Definition:
    """The definition with these fields, as the service reads it."""
    return parse_configuration(json.dumps({"Configurations": {"job": {"Image": "busybox:1", **entry}}}))["job"]


def job_of(definition: Definition, *args: str) -> dict[str, Any]:
    spec = merge(definition, Request(args=args))
    return build_job(spec, new_id(), queued_at=datetime.now(UTC), call="test")


def create_pod(core: Any, namespace: str, template: dict[str, Any]) -> Any:
    """Have the API server say what it would make of a pod from a Job's template; nothing is stored."""
    body = {"metadata": {"generateName": "a-", **template["metadata"]}, "spec": template["spec"]}
    return core.create_namespaced_pod(namespace, body, dry_run="All")


def is_taken(core: Any, namespace: str, template: dict[str, Any]) -> bool:
    """Whether the namespace's Pod Security Standard takes a pod from a Job's template."""
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
    """A pod that both standards refuse, and nothing else does."""
    template = template_of(read())
    template["spec"]["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    return template


@pytest.fixture(scope="module")
def core(server: Server) -> Any:
    """Pods and namespaces, as an administrator."""
    return client.CoreV1Api(server.admin)


def enforce(server: Server, core: Any, standard: str) -> Iterator[str]:
    """A namespace that enforces a Pod Security Standard, once it does."""
    name = server.create_namespace()
    core.patch_namespace(name, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": standard}}})
    until(lambda: not is_taken(core, name, unconfined()))
    yield name
    server.delete_namespace(name)


@pytest.fixture(scope="module")
def baseline(server: Server, core: Any) -> Iterator[str]:
    """A namespace that enforces "baseline"."""
    yield from enforce(server, core, "baseline")


@pytest.fixture(scope="module")
def restricted(server: Server, core: Any) -> Iterator[str]:
    """A namespace that enforces "restricted"."""
    yield from enforce(server, core, "restricted")


def admitted_pod(server: Server, namespace: str, definition: Definition) -> Any:
    """The pod of a run, as the API server shows it once the run is admitted."""
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
    """The names of the pod's volumes with a ServiceAccount's token that its container mounts."""
    mounted = {mount["name"] for mount in pod["spec"]["containers"][0].get("volumeMounts", ())}
    return [
        volume["name"]
        for volume in pod["spec"].get("volumes", ())
        if volume["name"] in mounted
        and any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", ()))
    ]


def test_the_pod_of_a_run_gets_the_defaults(server: Server, namespace: str) -> None:
    """No token, no links to Services, the runtime's seccomp profile, no privilege escalation; trusted as its caller."""
    pod = admitted_pod(server, namespace, read())

    assert pod["spec"]["automountServiceAccountToken"] is False
    assert mounted_tokens(pod) == []
    assert pod["spec"]["enableServiceLinks"] is False
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["spec"]["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}
    assert "SlimFaas/DefaultTrust" not in pod["metadata"].get("annotations", {})


def test_the_pod_of_a_public_definition_is_no_trusted_caller(server: Server, namespace: str) -> None:
    """The Job controller gives each pod the mark of the run's template."""
    pod = admitted_pod(server, namespace, read(Visibility="Public"))
    assert pod["metadata"]["annotations"]["SlimFaas/DefaultTrust"] == "Untrusted"


def test_the_pod_of_a_run_gets_what_the_definition_chooses(server: Server, namespace: str) -> None:
    """Every field arrives, none is dropped on the way."""
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


@pytest.mark.real_only("pods get no volume with a token there")
def test_only_a_named_service_account_has_its_token_mounted(server: Server, namespace: str) -> None:
    """Also when the ServiceAccount itself says that its token is not to be mounted: the definition is more specific."""
    account = {"automountServiceAccountToken": False}
    client.CoreV1Api(server.admin).patch_namespaced_service_account(SERVICE_ACCOUNT, namespace, account)

    named = admitted_pod(server, namespace, read(ServiceAccountName=SERVICE_ACCOUNT))
    assert named["spec"]["serviceAccountName"] == SERVICE_ACCOUNT
    assert mounted_tokens(named)
    assert not mounted_tokens(admitted_pod(server, namespace, read()))


@ENFORCED
def test_baseline_takes_every_shape_of_a_security_context(core: Any, baseline: str) -> None:
    """Whatever the JSON Schema admits, field by field, and with a token and without."""
    assert {name for name, _ in SHAPES} == PARTS["securityContext"]["properties"].keys()
    for name, value in SHAPES:
        assert is_taken(core, baseline, template_of(read(SecurityContext={name: value}))), (name, value)
    assert is_taken(core, baseline, template_of(read()))
    assert is_taken(core, baseline, template_of(read(ServiceAccountName=SERVICE_ACCOUNT, Visibility="Public")))


@ENFORCED
@settings(max_examples=60)
@given(context=CONTEXTS)
def test_baseline_takes_every_combination(core: Any, baseline: str, context: dict[str, Any]) -> None:
    """What the service reads without a fault, the API server takes without one."""
    assert is_taken(core, baseline, template_of(read(SecurityContext=context)))


@ENFORCED
def test_what_the_schema_leaves_out_baseline_refuses(core: Any, baseline: str) -> None:
    """The bounds are not tighter than the standard: each capability that can't be added, and Unconfined, is refused."""
    for capability in [name for name in DROPPABLE if name not in ADDABLE]:
        template = template_of(read())
        template["spec"]["containers"][0]["securityContext"]["capabilities"] = {"add": [capability]}
        assert not is_taken(core, baseline, template), capability
    assert not is_taken(core, baseline, unconfined())


@ENFORCED
def test_a_run_in_a_baseline_namespace_gets_its_pod(server: Server, baseline: str) -> None:
    """Not only in a dry run: the Job controller is let through."""
    assert admitted_pod(server, baseline, read(Visibility="Public"))["spec"]["enableServiceLinks"] is False


def documented() -> dict[str, Any]:
    """The reference's example of a definition for a namespace that enforces "restricted"."""
    section = REFERENCE.read_text("utf-8").partition('### In a namespace that enforces "restricted"')[2]
    (example, *_) = re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    configuration: dict[str, Any] = json.loads(example)
    parse_configuration(json.dumps(configuration))
    (entry,) = configuration["Configurations"].values()
    found: dict[str, Any] = {**entry, "Image": "busybox:1"}
    return found


@ENFORCED
def test_restricted_takes_the_documented_example_and_nothing_less(server: Server, core: Any, restricted: str) -> None:
    """RunAsNonRoot and dropping ALL are all that it takes beyond the defaults, and both are needed."""
    entry = documented()
    context = entry["SecurityContext"]

    assert admitted_pod(server, restricted, read(**entry))
    assert is_taken(core, restricted, template_of(read(SecurityContext={"RunAsNonRoot": True, **DROPPING_ALL})))
    for name in ("RunAsNonRoot", "Capabilities"):
        less = {key: value for key, value in context.items() if key != name}
        assert not is_taken(core, restricted, template_of(read(SecurityContext=less))), name
    for more in ({"AllowPrivilegeEscalation": True}, {"Capabilities": {"Drop": ["ALL"], "Add": ["CHOWN"]}}):
        assert not is_taken(core, restricted, template_of(read(SecurityContext={**context, **more}))), more
    netbind = {"Capabilities": {"Drop": ["ALL"], "Add": ["NET_BIND_SERVICE"]}}
    assert is_taken(core, restricted, template_of(read(SecurityContext={**context, **netbind})))
