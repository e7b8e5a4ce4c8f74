"""Pods' specs: whom a pod runs as, what it may do, and how it says its last words."""

import re
import time
from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import CONTAINER, POD_SPEC, job, pod
from tests.parity.sides import STRATEGIC, Talk
from tests.parity.steps import EVENTS, JOBS, PODS, Step, create, get, get_list, patch

pytestmark = COMPARES

LARGEST = 2**31 - 1
_DEADLINE_SECONDS = 30.0


def container(**fields: Any) -> list[Step]:
    """A Job whose container has these fields, and another that is only tried."""
    changes = [(f"{CONTAINER}.{name}", value) for name, value in fields.items()]
    return [create(JOBS, job(*changes), dryRun="All"), create(JOBS, job(*changes)), get(JOBS)]


def secured(**fields: Any) -> list[Step]:
    """A Job whose container has such a security context."""
    return container(securityContext=fields)


def spec(**fields: Any) -> list[Step]:
    """A Job whose pods have these fields."""
    return [create(JOBS, job(*((f"{POD_SPEC}.{name}", value) for name, value in fields.items())))]


def pod_secured(**fields: Any) -> list[Step]:
    """A Job whose pods have such a security context."""
    return spec(securityContext=fields)


def local(profile: Any) -> dict[str, Any]:
    """A profile of the node's own."""
    return {"type": "Localhost", **({} if profile is ... else {"localhostProfile": profile})}


CONTAINER_CASES: dict[str, list[Step]] = {
    "all that is strict": secured(
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
    "the root user, who is none": secured(runAsUser=0, runAsNonRoot=True),
    "the last user": secured(runAsUser=LARGEST, runAsGroup=LARGEST),
    "a user after the last": secured(runAsUser=LARGEST + 1),
    "a group after the last": secured(runAsGroup=LARGEST + 1),
    "a user before the first": secured(runAsUser=-1),
    "a group before the first": secured(runAsGroup=-1),
    "a user beyond all numbers": secured(runAsUser=2**63),
    "a user by name": secured(runAsUser="nobody"),
    "a word as a truth": secured(runAsNonRoot="true"),
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
    "a profile of the node's": secured(seccompProfile=local("profiles/audit.json")),
    "a profile of the node's that has no name": secured(seccompProfile=local(...)),
    "a profile of the node's with an empty name": secured(seccompProfile=local("")),
    "a profile from above": secured(seccompProfile=local("../audit.json")),
    "a profile from above, inside": secured(seccompProfile=local("a/../../audit.json")),
    "a profile from the root": secured(seccompProfile=local("/etc/audit.json")),
    "the runtime's profile with a name": secured(
        seccompProfile={"type": "RuntimeDefault", "localhostProfile": "a.json"}
    ),
    "a profile that nobody knows": secured(seccompProfile={"type": "Sometimes"}),
    "a profile of no type": secured(seccompProfile={}),
    "a profile of the empty type": secured(seccompProfile={"type": ""}),
    "a profile of another kind": secured(appArmorProfile={"type": "RuntimeDefault"}),
    "a profile of another kind that nobody knows": secured(appArmorProfile={"type": "Sometimes"}),
    "a profile of another kind without its name": secured(appArmorProfile=local(...)),
    "a profile of another kind with a blank": secured(appArmorProfile=local(" a")),
    "a profile of another kind, by the runtime, with a name": secured(
        appArmorProfile={"type": "RuntimeDefault", "localhostProfile": "a"}
    ),
    "what /proc shows": secured(procMount="Default"),
    "what /proc shows, all of it": secured(procMount="Unmasked"),
    "what /proc shows, sometimes": secured(procMount="Sometimes"),
    "an unknown field": secured(foo=1),
    "a field of pods": secured(fsGroup=1),
    "SELinux": secured(seLinuxOptions={"level": "s0:c123,c456"}),
    "Windows": secured(windowsOptions={"runAsUserName": "ContainerUser"}),
    "where its last words are": container(terminationMessagePath="/tmp/words"),
    "where its last words are, relatively": container(terminationMessagePath="words"),
    "its last words are nowhere": container(terminationMessagePath=""),
    "how its last words are had": container(terminationMessagePolicy="FallbackToLogsOnError"),
    "how its last words are had, or not": container(terminationMessagePolicy="Sometimes"),
    "how its last words are had, empty": container(terminationMessagePolicy=""),
    "a working directory": container(workingDir="relative/one"),
}

POD_CASES: dict[str, list[Step]] = {
    "all that is strict": pod_secured(
        runAsNonRoot=True, runAsUser=1000, runAsGroup=1000, fsGroup=2000, supplementalGroups=[1, 2, 3],
        fsGroupChangePolicy="OnRootMismatch", supplementalGroupsPolicy="Strict",
        seccompProfile={"type": "RuntimeDefault"}, sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
    "null": spec(securityContext=None),
    "a user before the first": pod_secured(runAsUser=-1),
    "a group after the last": pod_secured(runAsGroup=LARGEST + 1),
    "a file group before the first": pod_secured(fsGroup=-1),
    "the last file group": pod_secured(fsGroup=LARGEST),
    "a file group after the last": pod_secured(fsGroup=LARGEST + 1),
    "groups after the last": pod_secured(supplementalGroups=[1, LARGEST + 1, -1]),
    "groups by name": pod_secured(supplementalGroups=["users"]),
    "a group alone": pod_secured(supplementalGroups=1),
    "the root user, who is none": pod_secured(runAsUser=0, runAsNonRoot=True),
    "a policy that nobody knows": pod_secured(fsGroupChangePolicy="Sometimes"),
    "a policy of groups that nobody knows": pod_secured(supplementalGroupsPolicy="Sometimes"),
    "a profile of the node's that has no name": pod_secured(seccompProfile=local(...)),
    "a profile from above": pod_secured(seccompProfile=local("../x")),
    "a profile that nobody knows": pod_secured(seccompProfile={"type": "Sometimes"}),
    "a profile of another kind that nobody knows": pod_secured(appArmorProfile={"type": "Sometimes"}),
    "a bad sysctl": pod_secured(sysctls=[{"name": "A B", "value": "1"}, {"name": "", "value": ""}]),
    "one sysctl twice": pod_secured(sysctls=[{"name": "a.b", "value": "1"}, {"name": "a.b", "value": "2"}]),
    "a field of containers": pod_secured(allowPrivilegeEscalation=False),
    "an account": spec(serviceAccountName="default"),
    "an account that isn't there": spec(serviceAccountName="nobody"),
    "an account by its old name": spec(serviceAccount="nobody"),
    "an account by two names": spec(serviceAccountName="one", serviceAccount="other"),
    "an account that can't be": spec(serviceAccountName="A_B"),
    "the empty account": spec(serviceAccountName=""),
    "an account by a number": spec(serviceAccountName=1),
    "no token": spec(automountServiceAccountToken=False),
    "a token": spec(automountServiceAccountToken=True),
    "a token, in a word": spec(automountServiceAccountToken="yes"),
    "the node's network": spec(hostNetwork=True),
    "the node's processes": spec(hostPID=True, hostIPC=True),
    "processes shared twice": spec(hostPID=True, shareProcessNamespace=True),
    "users of its own": spec(hostUsers=False),
    "users of its own and the node's network": spec(hostUsers=False, hostNetwork=True),
    "a pod that is strict": [create(PODS, pod(
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
def test_podspecs(compare: Compare, steps: list[Step]) -> None:
    """Both servers fill in, keep and refuse the same."""
    compare(*steps)


def until_event(reason: str) -> Step:
    """Wait until an Event of the Job tells of a reason, and record what it says; and the Job's pods."""

    def step(talk: Talk) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        query = {"fieldSelector": f"involvedObject.name=$NAME,reason={reason}"}
        while not (found := talk.request("GET", EVENTS, query=query, record=False).body["items"]):
            assert time.monotonic() < deadline, f"no event {reason}"
            time.sleep(0.05)
        name = re.compile(rf"{re.escape(talk.name)}-\w+")
        heard = {field: name.sub("$POD", found[0][field]).replace(talk.side.namespace, "$NS") for field in
                 ("type", "reason", "message")}  # fmt: skip
        talk.heard.append(heard)

    return step


def test_a_job_whose_account_is_missing_gets_no_pod(compare: Compare) -> None:
    """It is stored, and its event says why it has none."""
    runs = job(("spec.suspend", False), ("spec.managedBy", ...), (f"{POD_SPEC}.serviceAccountName", "$NAME"))
    pods = get_list(PODS, labelSelector="batch.kubernetes.io/job-name=$NAME")
    compare(create(JOBS, runs), until_event("FailedCreate"), pods)
