"""Pod specs: security contexts, shared namespaces, and termination messages."""

import re
import time
from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import CONTAINER, POD_SPEC, job, pod
from tests.parity.sides import STRATEGIC, Session
from tests.parity.steps import EVENTS, JOBS, PODS, Step, create, get, get_list, patch

pytestmark = COMPARES

LARGEST = 2**31 - 1
_DEADLINE_SECONDS = 30.0


def container(**fields: Any) -> list[Step]:
    """Return steps: create a Job whose container has these fields, once as a dry run and once for real; get it."""
    changes = [(f"{CONTAINER}.{name}", value) for name, value in fields.items()]
    return [create(JOBS, job(*changes), dryRun="All"), create(JOBS, job(*changes)), get(JOBS)]


def secured(**fields: Any) -> list[Step]:
    """Return the steps of `container` for a security context with these fields."""
    return container(securityContext=fields)


def spec(**fields: Any) -> list[Step]:
    """Return a step that creates a Job whose pod spec has these fields."""
    return [create(JOBS, job(*((f"{POD_SPEC}.{name}", value) for name, value in fields.items())))]


def pod_secured(**fields: Any) -> list[Step]:
    """Return the step of `spec` for a security context with these fields."""
    return spec(securityContext=fields)


def local(profile: Any) -> dict[str, Any]:
    """Return a profile that is stored on the node."""
    return {"type": "Localhost", **({} if profile is ... else {"localhostProfile": profile})}


CONTAINER_CASES: dict[str, list[Step]] = {
    "the restricted profile": secured(
        allowPrivilegeEscalation=False,
        readOnlyRootFilesystem=True,
        runAsNonRoot=True,
        runAsUser=65534,
        runAsGroup=65534,
        capabilities={"drop": ["ALL"]},
        seccompProfile={"type": "RuntimeDefault"},
        privileged=False,
    ),
    "nothing": secured(),
    "null": container(securityContext=None),
    "the root user": secured(runAsUser=0, runAsGroup=0, runAsNonRoot=False),
    "the root user with runAsNonRoot": secured(runAsUser=0, runAsNonRoot=True),
    "the last user": secured(runAsUser=LARGEST, runAsGroup=LARGEST),
    "a user id over the limit": secured(runAsUser=LARGEST + 1),
    "a group id over the limit": secured(runAsGroup=LARGEST + 1),
    "a negative user id": secured(runAsUser=-1),
    "a negative group id": secured(runAsGroup=-1),
    "a user id over int64": secured(runAsUser=2**63),
    "a user by name": secured(runAsUser="nobody"),
    "a string as a boolean": secured(runAsNonRoot="true"),
    "privileged without privileges": secured(privileged=True, allowPrivilegeEscalation=False),
    "privileged": secured(privileged=True),
    "an administrator without privileges": secured(
        capabilities={"add": ["CAP_SYS_ADMIN"]}, allowPrivilegeEscalation=False
    ),
    "an administrator without privileges, by the short name": secured(
        capabilities={"add": ["SYS_ADMIN"]}, allowPrivilegeEscalation=False
    ),
    "capabilities": secured(capabilities={"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}),
    "capabilities that nobody knows": secured(capabilities={"add": ["FOO", ""], "drop": ["bar"]}),
    "capabilities that are no list": secured(capabilities={"add": "ALL"}),
    "a profile that is unconfined": secured(seccompProfile={"type": "Unconfined"}),
    "a localhost profile": secured(seccompProfile=local("profiles/audit.json")),
    "a localhost profile that has no name": secured(seccompProfile=local(...)),
    "a localhost profile with an empty name": secured(seccompProfile=local("")),
    "a profile path that starts with ..": secured(seccompProfile=local("../audit.json")),
    "a profile path with .. that stays inside": secured(seccompProfile=local("a/../../audit.json")),
    "an absolute profile path": secured(seccompProfile=local("/etc/audit.json")),
    "the runtime's profile with a name": secured(
        seccompProfile={"type": "RuntimeDefault", "localhostProfile": "a.json"}
    ),
    "an unknown profile": secured(seccompProfile={"type": "Sometimes"}),
    "a profile of no type": secured(seccompProfile={}),
    "a profile of the empty type": secured(seccompProfile={"type": ""}),
    "an AppArmor profile": secured(appArmorProfile={"type": "RuntimeDefault"}),
    "an unknown AppArmor profile": secured(appArmorProfile={"type": "Sometimes"}),
    "an AppArmor profile without its name": secured(appArmorProfile=local(...)),
    "an AppArmor profile with a blank": secured(appArmorProfile=local(" a")),
    "an AppArmor profile, by the runtime, with a name": secured(
        appArmorProfile={"type": "RuntimeDefault", "localhostProfile": "a"}
    ),
    "procMount Default": secured(procMount="Default"),
    "procMount Unmasked": secured(procMount="Unmasked"),
    "an unknown procMount": secured(procMount="Sometimes"),
    "an unknown field": secured(foo=1),
    "a field of pods": secured(fsGroup=1),
    "SELinux": secured(seLinuxOptions={"level": "s0:c123,c456"}),
    "Windows": secured(windowsOptions={"runAsUserName": "ContainerUser"}),
    "a terminationMessagePath": container(terminationMessagePath="/tmp/words"),
    "a relative terminationMessagePath": container(terminationMessagePath="words"),
    "an empty terminationMessagePath": container(terminationMessagePath=""),
    "a terminationMessagePolicy": container(terminationMessagePolicy="FallbackToLogsOnError"),
    "an unknown terminationMessagePolicy": container(terminationMessagePolicy="Sometimes"),
    "an empty terminationMessagePolicy": container(terminationMessagePolicy=""),
    "a working directory": container(workingDir="relative/one"),
}

POD_CASES: dict[str, list[Step]] = {
    "the restricted profile": pod_secured(
        runAsNonRoot=True, runAsUser=1000, runAsGroup=1000, fsGroup=2000, supplementalGroups=[1, 2, 3],
        fsGroupChangePolicy="OnRootMismatch", supplementalGroupsPolicy="Strict",
        seccompProfile={"type": "RuntimeDefault"}, sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
    "null": spec(securityContext=None),
    "a negative user id": pod_secured(runAsUser=-1),
    "a group id over the limit": pod_secured(runAsGroup=LARGEST + 1),
    "a negative fsGroup": pod_secured(fsGroup=-1),
    "the largest fsGroup": pod_secured(fsGroup=LARGEST),
    "an fsGroup over the limit": pod_secured(fsGroup=LARGEST + 1),
    "supplementalGroups out of range": pod_secured(supplementalGroups=[1, LARGEST + 1, -1]),
    "groups by name": pod_secured(supplementalGroups=["users"]),
    "a group alone": pod_secured(supplementalGroups=1),
    "the root user with runAsNonRoot": pod_secured(runAsUser=0, runAsNonRoot=True),
    "an unknown policy": pod_secured(fsGroupChangePolicy="Sometimes"),
    "an unknown policy of groups": pod_secured(supplementalGroupsPolicy="Sometimes"),
    "a localhost profile that has no name": pod_secured(seccompProfile=local(...)),
    "a profile path that starts with ..": pod_secured(seccompProfile=local("../x")),
    "an unknown profile": pod_secured(seccompProfile={"type": "Sometimes"}),
    "an unknown AppArmor profile": pod_secured(appArmorProfile={"type": "Sometimes"}),
    "a bad sysctl": pod_secured(sysctls=[{"name": "A B", "value": "1"}, {"name": "", "value": ""}]),
    "one sysctl twice": pod_secured(sysctls=[{"name": "a.b", "value": "1"}, {"name": "a.b", "value": "2"}]),
    "a field of containers": pod_secured(allowPrivilegeEscalation=False),
    "an account": spec(serviceAccountName="default"),
    "a missing account": spec(serviceAccountName="nobody"),
    "an account by its old name": spec(serviceAccount="nobody"),
    "an account by two names": spec(serviceAccountName="one", serviceAccount="other"),
    "an invalid account name": spec(serviceAccountName="A_B"),
    "the empty account": spec(serviceAccountName=""),
    "an account by a number": spec(serviceAccountName=1),
    "no token": spec(automountServiceAccountToken=False),
    "a token": spec(automountServiceAccountToken=True),
    "automountServiceAccountToken as a string": spec(automountServiceAccountToken="yes"),
    "the node's network": spec(hostNetwork=True),
    "the node's processes": spec(hostPID=True, hostIPC=True),
    "shareProcessNamespace with hostPID": spec(hostPID=True, shareProcessNamespace=True),
    "users of its own": spec(hostUsers=False),
    "users of its own and the node's network": spec(hostUsers=False, hostNetwork=True),
    "a restricted pod": [create(PODS, pod(
        ("spec.securityContext", {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}),
        ("spec.containers.0.securityContext", {"allowPrivilegeEscalation": False})))],
    "a pod whose user changes": [create(PODS, pod()), patch(
        PODS, {"spec": {"securityContext": {"runAsUser": 5}}}, STRATEGIC)],
    "a suspended Job's context changed": [create(JOBS, job()), patch(
        JOBS, {"spec": {"template": {"spec": {"securityContext": {"runAsUser": 5}}}}}, STRATEGIC)],
}  # fmt: skip

TABLES = {"container": CONTAINER_CASES, "pod": POD_CASES}
CASES = {f"{table}: {name}": steps for table, cases in TABLES.items() for name, steps in cases.items()}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES.keys())
def test_podspec__is_defaulted_and_refused_alike(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)


def until_event(reason: str) -> Step:
    """Wait for an Event of the Job with a reason; record it, and the Job's pods."""

    def step(session: Session) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        query = {"fieldSelector": f"involvedObject.name=$NAME,reason={reason}"}
        while not (found := session.request("GET", EVENTS, query=query, record=False).body["items"]):
            assert time.monotonic() < deadline, f"no event {reason}"
            time.sleep(0.05)
        name = re.compile(rf"{re.escape(session.name)}-\w+")
        recorded = {field: name.sub("$POD", found[0][field]).replace(session.side.namespace, "$NS") for field in
                 ("type", "reason", "message")}  # fmt: skip
        session.recorded.append(recorded)

    return step


def test_missing_account__job_gets_no_pod(compare: Compare) -> None:
    """The Job is stored, and an Event says why it has no pod."""
    runs = job(("spec.suspend", False), ("spec.managedBy", ...), (f"{POD_SPEC}.serviceAccountName", "$NAME"))
    pods = get_list(PODS, labelSelector="batch.kubernetes.io/job-name=$NAME")
    compare(create(JOBS, runs), until_event("FailedCreate"), pods)
