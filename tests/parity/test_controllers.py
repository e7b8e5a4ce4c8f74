"""The controllers of Jobs, Deployments and StatefulSets: the sequence of states, whatever time each takes.

The embedded node runs processes. The real control plane's node (`tests/controlplane/node.py`) runs nothing; annotations
tell it what happens to a pod. The pods here use both.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import pytest

from tests.parity.conftest import COMPARES, AssertAlike
from tests.parity.manifests import changed
from tests.parity.sides import Json, Session
from tests.parity.steps import DEPLOYMENTS, JOBS, PODS, STATEFUL_SETS, Step, create, delete, delete_all, patch

pytestmark = COMPARES

_DEADLINE_SECONDS = 40.0
_OK = 200
State = dict[str, Any]
Look = Callable[[Json], Any]

BACKGROUND, FOREGROUND, ORPHAN = ({"propagationPolicy": policy} for policy in ("Background", "Foreground", "Orphan"))
SUSPEND, RESUME = (patch(JOBS, {"spec": {"suspend": suspend}}) for suspend in (True, False))
LASTING = 60.0  # seconds, longer than any case
MISSING = "missing.invalid/x:1"  # neither node can pull it


def a_job(*changes: tuple[str, Any], seconds: float = 0.3, code: int = 0) -> Step:
    """Create a Job whose pods run for a time and then end with an exit code."""
    script = f"trap 'exit 143' TERM; sleep {seconds} & wait $!; exit {code}"
    annotations = {"testnode/runs-for": f"{seconds}s", "testnode/exit-code": str(code)}
    container = {"name": "main", "image": "busybox:1", "args": ["sh", "-c", script]}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"annotations": annotations}, "spec": spec}
    return create(JOBS, changed({"metadata": {"name": "$NAME"}, "spec": {"template": template}}, *changes))


def a_workload(collection: str, *changes: tuple[str, Any], ready_after_seconds: int = 1) -> Step:
    """Create a Deployment or StatefulSet whose pods take a while to become ready."""
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": ready_after_seconds, "periodSeconds": 1}
    container = {"name": "main", "image": "busybox:1", "args": ["sleep", "600"], "readinessProbe": probe}
    labels = {"app": "$NAME"}
    manifest = {
        "metadata": {"name": "$NAME"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"testnode/ready-after": f"{ready_after_seconds}s"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }
    return create(collection, changed(manifest, *changes))


def a_pod(image: str = "busybox:1") -> Step:
    """Create a pod that runs until it is deleted."""
    container = {"name": "main", "image": image, "args": ["sleep", "600"]}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return create(PODS, {"metadata": {"name": "$NAME"}, "spec": spec})


def conditions_of(obj: Json) -> list[tuple[str, str, str]]:
    """Return type, status and reason of each condition."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return [(found["type"], found["status"], found.get("reason", "")) for found in conditions]


def job_state(job: Json) -> State:
    """Return everything of a Job that the service uses or shows."""
    status = job.get("status") or {}
    return {
        "conditions": conditions_of(job),
        "counts": {name: status.get(name, 0) for name in ("active", "terminating", "succeeded", "failed")},
        "times": [name for name in ("startTime", "completionTime") if name in status],
        "deleting": "deletionTimestamp" in job["metadata"],
        "finalizers": job["metadata"].get("finalizers", []),
    }


def workload_state(workload: Json) -> State:
    """Return everything of a Deployment or StatefulSet that the service uses or shows."""
    status = workload.get("status") or {}
    return {
        "current": status.get("observedGeneration", 0) >= workload["metadata"]["generation"],
        "wanted": workload["spec"]["replicas"],
        "ready": status.get("readyReplicas", 0),
        "conditions": [found for found in conditions_of(workload) if found[0] == "Available"],
    }


def pod_state(pod: Json) -> State:
    """Return everything of a pod that the service shows."""
    return {
        "phase": pod["status"]["phase"],
        "waiting": waiting_reasons(pod),
        "deleting": "deletionTimestamp" in pod["metadata"],
    }


def waiting_reasons(pod: Json) -> list[str]:
    """Return why the pod's containers wait. A kubelet reports a reason even for those that are about to start."""
    states = [container.get("state") or {} for container in pod["status"].get("containerStatuses") or ()]
    reasons = [state["waiting"]["reason"] for state in states if "waiting" in state]
    return [reason for reason in reasons if reason != "ContainerCreating"]


def in_phase(phase: str) -> Look:
    """Return a predicate: the pod is in a phase."""
    return lambda pod: bool(pod["status"]["phase"] == phase)


def waits_for(reason: str) -> Look:
    """Return a predicate: a container of the pod waits for a reason."""
    return lambda pod: reason in waiting_reasons(pod)


def has(type_: str, status: str = "True") -> Look:
    """Return a predicate: a condition has a status."""
    return lambda found: any(one[:2] == (type_, status) for one in conditions_of(found))


def counts(**wanted: int) -> Look:
    """Return a predicate: the status has these counts; a missing count is 0."""
    return lambda found: all((found.get("status") or {}).get(name, 0) == number for name, number in wanted.items())


def settled(ready: int) -> Look:
    """Return a predicate: the workload's status is current, and exactly `ready` pods exist and are ready."""
    look = counts(readyReplicas=ready, replicas=ready, updatedReplicas=ready)
    return lambda found: workload_state(found)["current"] and look(found)


def until(collection: str, reached: Look) -> Step:
    """Wait until an object is in a state."""
    return _wait(collection, lambda found: found is not None and reached(found))


def until_gone(collection: str) -> Step:
    """Wait until an object is gone."""
    return _wait(collection, lambda found: found is None)


def _wait(collection: str, reached: Callable[[Json | None], bool]) -> Step:
    def step(session: Session) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            answer = session.request("GET", f"{collection}/$NAME", record=False)
            found = None if answer.status == 404 else answer.body
            if reached(found):
                return
            assert time.monotonic() < deadline, f"the expected state was not reached: {found}"
            time.sleep(0.05)

    return step


def record_states(collection: str, look: Callable[[Json], State], *steps: Step) -> Step:
    """Take steps, then record every state of the object in the meantime, and whether it is gone."""

    def step(session: Session) -> None:
        listed = session.request("GET", collection, query={"limit": 1}, record=False).body
        for one in steps:
            one(session)
        last = session.request("GET", f"{collection}/$NAME", record=False)
        session.recorded.clear()  # the responses to the steps, which other tests compare
        since = {"resourceVersion": listed["metadata"]["resourceVersion"]}
        for event in session.events(collection, {"fieldSelector": "metadata.name=$NAME", **since}):
            state = {"gone": True} if event["type"] == "DELETED" else look(event["object"])
            if session.recorded[-1:] != [state]:
                session.recorded.append(state)
            if event["type"] == "DELETED" or (last.status == _OK and event["object"] == last.body):
                return

    return step


def agree(real: Sequence[State], embedded: Sequence[State]) -> bool:
    """Return whether two state sequences are equal, except that one may merge consecutive states.

    A controller writes whenever it runs, kube-controller-manager at most once a second, so intermediate states may be
    missing on either side.
    """
    shorter, longer = sorted((real, embedded), key=len)
    rest = iter(longer)
    is_within = all(any(one == other for other in rest) for one in shorter)
    return real[0] == embedded[0] and real[-1] == embedded[-1] and is_within


def each_once(states: Sequence[State], name: str) -> list[Any]:
    """Return the values of one part of the states, without consecutive duplicates."""
    return [value for value, _ in groupby(state.get(name) for state in states)]


def compare_states(real: Sequence[State], embedded: Sequence[State], same: str | None = None) -> list[str]:
    """Return what differs between two state sequences; the part named `same` must have the same sequence of values."""
    alike = agree(real, embedded) and (same is None or each_once(real, same) == each_once(embedded, same))
    return [] if alike else [f"real: {real}", f"embedded: {embedded}"]


def on_exit_code(action: str, operator: str, code: int) -> tuple[str, Any]:
    """Return a pod failure policy of one rule."""
    return "spec.podFailurePolicy", {
        "rules": [{"action": action, "onExitCodes": {"operator": operator, "values": [code]}}]
    }


JOB_STORIES: dict[str, list[Step]] = {
    "success": [a_job(), until(JOBS, has("Complete"))],
    "one completion after the other": [a_job(("spec.completions", 2)), until(JOBS, has("Complete"))],
    "failure": [a_job(("spec.backoffLimit", 0), code=3), until(JOBS, has("Failed"))],
    "failure after a retry": [a_job(("spec.backoffLimit", 1), code=3), until(JOBS, has("Failed"))],
    "failure of a container that may restart": [
        a_job(("spec.backoffLimit", 0), ("spec.template.spec.restartPolicy", "OnFailure"), code=3),
        until(JOBS, has("Failed"))],
    "failure that a policy ends at once": [
        a_job(on_exit_code("FailJob", "In", 3), code=3), until(JOBS, has("Failed"))],
    "failure that a policy counts": [
        a_job(on_exit_code("Count", "NotIn", 4), ("spec.backoffLimit", 0), code=3), until(JOBS, has("Failed"))],
    "failure that a policy ignores, until the deadline": [
        a_job(on_exit_code("Ignore", "In", 3), ("spec.backoffLimit", 0), ("spec.activeDeadlineSeconds", 4), code=3),
        until(JOBS, has("Failed"))],
    "deadline": [a_job(("spec.activeDeadlineSeconds", 1), seconds=LASTING), until(JOBS, has("Failed"))],
    "a missing image, until the deadline": [
        a_job(("spec.template.spec.containers.0.image", MISSING), ("spec.activeDeadlineSeconds", 2)),
        until(JOBS, has("Failed"))],
    "suspended, resumed, success": [a_job(("spec.suspend", True)), until(JOBS, has("Suspended")),
        RESUME, until(JOBS, has("Complete"))],
    "suspended, resumed, suspended again, resumed": [
        a_job(("spec.suspend", True), ("spec.backoffLimit", 0), seconds=LASTING), until(JOBS, has("Suspended")),
        RESUME, until(JOBS, counts(active=1, ready=1)),
        SUSPEND, until(JOBS, has("Suspended")), until(JOBS, counts(terminating=0)),
        RESUME, until(JOBS, counts(active=1, ready=1))],
    "suspended, ended without a pod": [
        a_job(("spec.suspend", True)), until(JOBS, has("Suspended")),
        patch(JOBS, {"spec": {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 1}}),
        until(JOBS, has("Failed"))],
    "suspended, ended without a pod, suspended again before that": [
        a_job(("spec.suspend", True)), until(JOBS, has("Suspended")),
        patch(JOBS, {"spec": {"suspend": False, "parallelism": 0, "activeDeadlineSeconds": 600}}),
        until(JOBS, has("Suspended", "False")), SUSPEND, until(JOBS, has("Suspended")),
        RESUME, until(JOBS, has("Suspended", "False")),
        patch(JOBS, {"spec": {"activeDeadlineSeconds": 1}}), until(JOBS, has("Failed"))],
    "deleted after its TTL": [a_job(("spec.ttlSecondsAfterFinished", 0)), until_gone(JOBS)],
    "deleted in the foreground": [a_job(seconds=LASTING), until(JOBS, counts(ready=1)), delete(JOBS, FOREGROUND),
        until_gone(JOBS)],
    "deleted in the background": [a_job(seconds=LASTING), until(JOBS, counts(ready=1)), delete(JOBS, BACKGROUND),
        until_gone(JOBS)],
    "deleted, orphaning its pods": [a_job(seconds=LASTING), until(JOBS, counts(ready=1)), delete(JOBS, ORPHAN),
        until_gone(JOBS)],
    "deleted while suspended": [a_job(("spec.suspend", True)), until(JOBS, has("Suspended")),
        delete(JOBS, FOREGROUND), until_gone(JOBS)],
}  # fmt: skip


@pytest.mark.parametrize("steps", JOB_STORIES.values(), ids=JOB_STORIES.keys())
def test_job_controller__has_the_same_sequence_of_states(assert_alike: AssertAlike, steps: list[Step]) -> None:
    """Conditions and counts."""
    assert_alike(partial(compare_states, same="conditions"), record_states(JOBS, job_state, *steps))


def scale(collection: str, replicas: int) -> Step:
    """Scale a workload, as `kubectl scale` does."""
    return patch(collection, {"spec": {"replicas": replicas}}, name="$NAME/scale")


def workload_cases(collection: str) -> dict[str, list[Step]]:
    """Return the cases, which are the same for both kinds."""
    ready = [a_workload(collection), until(collection, settled(1))]
    lost = delete_all(PODS, labelSelector="app=$NAME")
    broken = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": MISSING}]}}}}
    # A Deployment keeps its old pod until the new one is ready; a StatefulSet replaces it.
    stuck = {"readyReplicas": 1, "unavailableReplicas": 1} if collection == DEPLOYMENTS else {"readyReplicas": 0}
    return {
        "becoming ready": ready,
        "scaled up and down": [*ready, scale(collection, 2), until(collection, settled(2)), scale(collection, 0),
            until(collection, settled(0))],
        "without replicas": [a_workload(collection, ("spec.replicas", 0)), until(collection, settled(0))],
        "losing its pod": [*ready, lost, until(collection, counts(readyReplicas=0)), until(collection, settled(1))],
        "rolled out to a missing image": [*ready, patch(collection, broken),
            until(collection, counts(**stuck))],
        "deleted": [*ready, delete(collection, FOREGROUND), until_gone(collection)],
    }  # fmt: skip


WORKLOAD_STORIES = {
    f"a {kind} {name}": (collection, steps)
    for kind, collection in (("Deployment", DEPLOYMENTS), ("StatefulSet", STATEFUL_SETS))
    for name, steps in workload_cases(collection).items()
}


@pytest.mark.parametrize(("collection", "steps"), WORKLOAD_STORIES.values(), ids=WORKLOAD_STORIES.keys())
def test_workload_controllers__have_the_same_sequence_of_states(
    assert_alike: AssertAlike, collection: str, steps: list[Step]
) -> None:
    """Of the fields that the readiness of dependencies uses."""
    assert_alike(compare_states, record_states(collection, workload_state, *steps))


POD_STORIES: dict[str, list[Step]] = {
    "running": [a_pod(), until(PODS, in_phase("Running"))],
    "a missing image": [a_pod(image=MISSING), until(PODS, waits_for("ImagePullBackOff"))],
    "deleted": [a_pod(), until(PODS, in_phase("Running")), delete(PODS), until_gone(PODS)],
}


@pytest.mark.parametrize("steps", POD_STORIES.values(), ids=POD_STORIES.keys())
def test_pod__has_the_same_sequence_of_states(assert_alike: AssertAlike, steps: list[Step]) -> None:
    """Of the fields that the status of a run uses."""
    assert_alike(compare_states, record_states(PODS, pod_state, *steps))
