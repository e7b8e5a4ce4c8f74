"""Pods of several containers: init containers, sidecars, their own restart policies, and their statuses."""

from typing import Any

import pytest

from tests.parity.conftest import COMPARES, Compare
from tests.parity.manifests import CONTAINER, POD_SPEC, job, pod
from tests.parity.sides import STRATEGIC, Session
from tests.parity.steps import JOBS, PODS, Step, create, get, patch

pytestmark = COMPARES

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PROBE: dict[str, Any] = {"exec": {"command": ["true"]}}
HOOK: dict[str, Any] = {"preStop": {"exec": {"command": ["true"]}}}
SIDECAR_FIELDS = {"startupProbe": PROBE, "readinessProbe": PROBE, "livenessProbe": PROBE, "lifecycle": HOOK}


def init(**fields: Any) -> dict[str, Any]:
    """Return an init container with these fields; `...` removes one."""
    made = {"name": "setup", "image": "busybox:1", **fields}
    return {key: value for key, value in made.items() if value is not ...}


def made(*initial: Any, **container: Any) -> list[Step]:
    """Return steps: create a Job with these init containers and these fields of its container; get it."""
    changes = [(f"{CONTAINER}.{name}", value) for name, value in container.items()]
    manifest = job((f"{POD_SPEC}.initContainers", list(initial)), *changes)
    return [create(JOBS, manifest, dryRun="All"), create(JOBS, manifest), get(JOBS)]


def rules(*given: Any, policy: Any = "Never") -> dict[str, Any]:
    """Return fields of a container: a restartPolicy with rules."""
    fields = {"restartPolicy": policy, "restartPolicyRules": list(given)}
    return {key: value for key, value in fields.items() if value is not ...}


RESTARTS = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}

SPEC_CASES: dict[str, list[Step]] = {
    "an init container": made(init()),
    "no init containers": made(),
    "two": made(init(), init(name="fetch", image="busybox", args=["a"], resources={"limits": {"cpu": "1"}})),
    "two of one name": made(init(), init()),
    "one named as the container": made(init(name="main")),
    "one without a name": made(init(name=...)),
    "one with a bad name": made(init(name="A_")),
    "one without an image": made(init(image=...)),
    "one that is no object": made("setup"),
    "one with an unknown field": made(init(foo=1)),
    "one with a bad environment": made(init(env=[{"name": ""}])),
    "one with a mount without a volume": made(init(volumeMounts=[{"name": "none", "mountPath": "/a"}])),
    "one with a bad amount": made(init(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
    "one with a security context": made(init(securityContext={"runAsUser": -1})),
    "a sidecar": made(init(restartPolicy="Always")),
    "a sidecar with probes and hooks": made(init(restartPolicy="Always", **SIDECAR_FIELDS)),
    **{f"an init container with {name}": made(init(**{name: value})) for name, value in SIDECAR_FIELDS.items()},
    "an init container with all of them": made(init(**SIDECAR_FIELDS)),
    "an init container with the policy Never, and a probe": made(init(restartPolicy="Never", startupProbe=PROBE)),
    "an unknown policy": made(init(restartPolicy="Sometimes")),
    "the empty policy": made(init(restartPolicy="")),
    "a policy that is a number": made(init(restartPolicy=1)),
    "OnFailure": made(init(restartPolicy="OnFailure")),
    "rules": made(init(**rules(RESTARTS))),
    "rules without a policy": made(init(**rules(RESTARTS, policy=...))),
    "rules of a sidecar": made(init(**rules(RESTARTS, policy="Always"))),
    "a rule that restarts all": made(init(**rules({**RESTARTS, "action": "RestartAllContainers"}))),
    "an unknown action": made(init(**rules({**RESTARTS, "action": "Sometimes"}))),
    "a rule without exit codes": made(init(**rules({"action": "Restart"}))),
    "an unknown operator": made(init(**rules({"action": "Restart", "exitCodes": {"operator": "Is", "values": [1]}}))),
    "rules that are no list": made(init(restartPolicy="Never", restartPolicyRules={})),
    "a container with a policy": made(restartPolicy="Always"),
    "a container with an unknown policy": made(restartPolicy="Sometimes"),
    "a container with rules": made(**rules(RESTARTS)),
    "a container with rules alone": made(**rules(RESTARTS, policy=...)),
    "several containers": [create(JOBS, job((f"{POD_SPEC}.containers", [
        {"name": "one", "image": "busybox"}, {"name": "two", "image": "busybox:1", "args": ["a"]}]))), get(JOBS)],
    "the annotation default-container": [create(JOBS, job(("spec.template.metadata", {
        "annotations": {"kubectl.kubernetes.io/default-container": "nothing"}})))],
    "another image": [create(PODS, pod(("spec.initContainers", [init()]))), patch(
        PODS, {"spec": {"initContainers": [{"name": "setup", "image": "busybox:2"}]}}, STRATEGIC)],
    "another policy": [create(PODS, pod(("spec.initContainers", [init()]))), patch(
        PODS, {"spec": {"initContainers": [{"name": "setup", "restartPolicy": "Always"}]}}, STRATEGIC)],
    "one more": [create(PODS, pod()), patch(
        PODS, {"spec": {"initContainers": [{"name": "setup", "image": "busybox:2"}]}}, STRATEGIC)],
}  # fmt: skip


@pytest.mark.parametrize("steps", SPEC_CASES.values(), ids=SPEC_CASES.keys())
def test_containers__are_defaulted_and_refused_alike(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)


def status(name: str, **state: Any) -> dict[str, Any]:
    """Return the status of a container, as a kubelet writes it."""
    more = {key: state.pop(key) for key in ("restartCount", "ready", "started", "lastState") if key in state}
    return {
        "name": name,
        "image": "busybox:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
        **more,
    }


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    """Return the state of a container that has ended."""
    times = {"startedAt": "2020-01-01T00:00:00Z", "finishedAt": "2020-01-01T00:00:01Z"}
    return {"exitCode": code, "reason": reason, "containerID": "x://1", **times}


def conditions(**types: str) -> list[dict[str, Any]]:
    """Return conditions of a pod, by their status."""
    return [{"type": type_, "status": value} for type_, value in types.items()]


WAITS = {"reason": "PodInitializing"}
RUNS = {"startedAt": "2020-01-01T00:00:00Z"}
PULL = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "busybox:1"'}
UP = {"ready": True, "started": True}


def shown(written: dict[str, Any], *more: dict[str, Any], policy: str = "Never", own: Any = ...) -> list[Step]:
    """Return steps: make a pod with an init container, a sidecar and two containers, write its status, and show it."""
    initial = [init(restartPolicy=own), init(name="proxy", restartPolicy="Always")]
    regular = [{"name": "main", "image": "busybox:1"}, {"name": "other", "image": "busybox:1"}]
    changes = (("spec.initContainers", initial), ("spec.containers", regular), ("spec.restartPolicy", policy))
    steps = [create(PODS, pod(*changes))]
    for one in (written, *more):
        steps += [patch(PODS, {"status": one}, name="$NAME/status"), get(PODS), show]
    return steps


def show(session: Session) -> None:
    """Record what `kubectl get pods` shows of the pod: ready, status and restarts."""
    table = session.request("GET", f"{PODS}/$NAME", accept=TABLE, record=False).body
    ready, state, restarts = table["rows"][0]["cells"][1:4]
    session.recorded.append({"ready": ready, "state": state, "restarts": str(restarts).split(" ", 1)[0]})


STATUS_CASES: dict[str, list[Step]] = {
    "an image that is missing": shown({
        "phase": "Pending", "initContainerStatuses": [status("setup", waiting=PULL), status("proxy", waiting=WAITS)],
        "containerStatuses": [status("main", waiting=WAITS), status("other", waiting=WAITS)],
        "conditions": conditions(Initialized="False")}),
    "an init container that runs": shown({
        "phase": "Pending", "initContainerStatuses": [status("setup", running=RUNS), status("proxy", waiting=WAITS)],
        "containerStatuses": [status("main", waiting=WAITS), status("other", waiting=WAITS)]}),
    "an init container that has failed": shown({
        "phase": "Failed", "initContainerStatuses": [
            status("setup", terminated=ended(2)), status("proxy", waiting=WAITS)
        ],
        "containerStatuses": [status("main", waiting=WAITS), status("other", waiting=WAITS)],
        "conditions": conditions(Initialized="False")}),
    "an init container that is restarted": shown({
        "phase": "Pending",
        "initContainerStatuses": [
            status("setup", waiting={"reason": "CrashLoopBackOff"}, lastState={"terminated": ended(2)}, restartCount=3),
            status("proxy", waiting=WAITS)],
        "containerStatuses": [status("main", waiting=WAITS), status("other", waiting=WAITS)]}, policy="OnFailure"),
    "a sidecar that has not started": shown({
        "phase": "Pending",
        "initContainerStatuses": [
            status("setup", terminated=ended(0, "Completed"), ready=True),
            status("proxy", running=RUNS, started=False)],
        "containerStatuses": [status("main", waiting=WAITS), status("other", waiting=WAITS)]}),
    "all running": shown({
        "phase": "Running",
        "initContainerStatuses": [
            status("setup", terminated=ended(0, "Completed"), ready=True), status("proxy", running=RUNS, **UP)],
        "containerStatuses": [status("main", running=RUNS, **UP), status("other", running=RUNS, **UP)],
        "conditions": conditions(Initialized="True", Ready="True")}),
    "one that outlives the other": shown({
        "phase": "Running",
        "initContainerStatuses": [
            status("setup", terminated=ended(0, "Completed"), ready=True),
            status("proxy", running=RUNS, **UP, restartCount=2, lastState={"terminated": ended(1)})],
        "containerStatuses": [status("main", terminated=ended(0, "Completed")), status("other", running=RUNS, **UP)],
        "conditions": conditions(Initialized="True", Ready="False")}),
    "all ended": shown({
        "phase": "Succeeded",
        "initContainerStatuses": [
            status("setup", terminated=ended(0, "Completed"), ready=True), status("proxy", terminated=ended(137))],
        "containerStatuses": [
            status("main", terminated=ended(0, "Completed")), status("other", terminated=ended(0, "Completed"))],
        "conditions": conditions(Initialized="True", Ready="False")}),
    **{
        f"a {name} that runs again, {policy}, after {code}": shown(
            {"phase": "Running", field: [status(name, terminated=ended(code))]},
            {"phase": "Running", field: [status(name, running=RUNS)]},
            policy=policy,
            own=own,
        )
        for name, field in (
            ("setup", "initContainerStatuses"), ("proxy", "initContainerStatuses"), ("main", "containerStatuses"))
        for policy, code, own in (
            ("Never", 1, ...), ("OnFailure", 0, ...), ("OnFailure", 1, ...), ("Always", 1, "Never"),
            ("Never", 0, "OnFailure"))
    },
}  # fmt: skip


@pytest.mark.parametrize("steps", STATUS_CASES.values(), ids=STATUS_CASES.keys())
def test_container_statuses__are_stored_refused_and_shown_alike(compare: Compare, steps: list[Step]) -> None:
    compare(*steps)
