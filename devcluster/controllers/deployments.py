"""The Deployment controller.

It controls its pods directly. There are no ReplicaSets here, so no rollbacks and no revision history. The label
`pod-template-hash` distinguishes pods of the current template from older ones. The status has the same meaning as in
Kubernetes: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from devcluster.controllers.cache import Cache
from devcluster.controllers.conditions import find_condition, put_condition
from devcluster.controllers.loop import Key, KeyQueue, Loop
from devcluster.controllers.metadata import controller_of, key_of
from devcluster.controllers.pods import (
    available_in_seconds,
    is_active,
    is_deleting,
    is_terminal,
    make_pod,
    removal_rank,
)
from devcluster.controllers.recorder import Recorder
from devcluster.controllers.workload_status import count, resolve_share, template_hash
from devcluster.errors import ApiError
from devcluster.kinds import DEPLOYMENT, POD
from devcluster.objects import Object, clone, to_time

HASH_LABEL = "pod-template-hash"


@dataclass
class Plan:
    """One step: the number of pods to create from the current template, the pods to delete, and the status to write."""

    status: Object
    create: int = 0
    delete: list[Object] = field(default_factory=list)
    requeue_after_seconds: float | None = None


def reconcile(deployment: Object, pods: Sequence[Object], now: datetime) -> Plan:
    """Decide the next step for a Deployment and the pods that it controls."""
    plan = Plan({})
    active = [pod for pod in pods if is_active(pod)]
    present_hash = template_hash(deployment["spec"]["template"])
    present = [pod for pod in active if pod["metadata"]["labels"].get(HASH_LABEL) == present_hash]
    if not deployment["metadata"].get("deletionTimestamp"):
        plan.delete = [pod for pod in pods if is_terminal(pod) and not is_deleting(pod)]
        _scale(plan, deployment["spec"], present, [pod for pod in active if pod not in present], now)
        if deployment["spec"].get("strategy", {}).get("type") == "Recreate" and len(pods) > len(present):
            plan.create = 0  # the old pods must be gone first
    _set_status(plan, deployment, active, present, now)
    return plan


def _scale(plan: Plan, spec: Object, present: list[Object], old: list[Object], now: datetime) -> None:
    replicas: int = spec.get("replicas", 1)
    surplus = len(present) - replicas
    if surplus > 0:
        plan.delete += sorted(present, key=removal_rank)[:surplus]
    surge, unavailable = _tolerances(spec)
    if surplus < 0 and not (spec.get("paused") and old):
        plan.create = max(0, min(-surplus, replicas + surge - len(present) - len(old)))
    if not old or spec.get("paused"):
        return
    if spec.get("strategy", {}).get("type") == "Recreate":
        plan.delete += old
        return
    wait_of = {id(pod): available_in_seconds(pod, spec.get("minReadySeconds", 0), now) for pod in (*present, *old)}
    spare = sum(1 for wait in wait_of.values() if wait == 0) - (replicas - unavailable)
    for pod in sorted(old, key=removal_rank):
        if wait_of[id(pod)] != 0:
            plan.delete.append(pod)  # it is not available anyway
        elif spare > 0:
            plan.delete.append(pod)
            spare -= 1


def _tolerances(spec: Object) -> tuple[int, int]:
    """Return how far the pods may exceed, and the available pods fall below, `replicas`."""
    replicas: int = spec.get("replicas", 1)
    strategy: Object = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling: Object = strategy.get("rollingUpdate") or {}
    surge = resolve_share(rolling.get("maxSurge"), replicas, round_up=True)
    unavailable = resolve_share(rolling.get("maxUnavailable"), replicas, round_up=False)
    return surge, min(unavailable or (0 if surge else 1), replicas)


def _set_status(plan: Plan, deployment: Object, active: list[Object], present: list[Object], now: datetime) -> None:
    spec, old_status = deployment["spec"], deployment.get("status") or {}
    replicas: int = spec.get("replicas", 1)
    every = count(active, spec.get("minReadySeconds", 0), now)
    numbers = {
        "replicas": every.total,
        "updatedReplicas": len(present),
        "readyReplicas": every.ready,
        "availableReplicas": every.available,
        "unavailableReplicas": max(0, max(every.total, replicas) - every.available),
    }
    status: Object = {name: number for name, number in numbers.items() if number}
    status["observedGeneration"] = deployment["metadata"]["generation"]
    status["conditions"] = clone(old_status.get("conditions") or [])
    _set_available_condition(status, every.available >= replicas - _tolerances(spec)[1], now)
    complete = every.total == len(present) == every.available == replicas
    _set_progressing_condition(status, old_status, deployment["metadata"]["name"], complete, now)
    plan.status = status
    plan.requeue_after_seconds = every.next_seconds


def _set_available_condition(status: Object, available: bool, now: datetime) -> None:
    reason = "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable"
    message = "Deployment has minimum availability." if available else "Deployment does not have minimum availability."
    _put(status, "Available", "True" if available else "False", reason, message, now)


def _set_progressing_condition(status: Object, old_status: Object, name: str, complete: bool, now: datetime) -> None:
    known = find_condition(status, "Progressing")
    advanced = any(status.get(key, 0) != old_status.get(key, 0) for key in ("updatedReplicas", "availableReplicas"))
    rolling = status["observedGeneration"] != old_status.get("observedGeneration")
    if complete:
        message = f'Deployment "{name}" has successfully progressed.'
        _put(status, "Progressing", "True", "NewReplicaSetAvailable", message, now)
    elif known is None or known["reason"] != "NewReplicaSetAvailable" or (rolling and advanced):
        _put(status, "Progressing", "True", "ReplicaSetUpdated", f'Deployment "{name}" is progressing.', now)


def _put(status: Object, type_: str, value: str, reason: str, message: str, now: datetime) -> None:
    known = find_condition(status, type_)
    if known and (known["status"], known["reason"], known["message"]) == (value, reason, message):
        return
    condition = {"type": type_, "status": value, "reason": reason, "message": message, "lastUpdateTime": to_time(now)}
    put_condition(status, condition, now)


class DeploymentController:
    """Brings each Deployment's pods and status in line with its spec."""

    def __init__(self, cache: Cache, loop: Loop, recorder: Recorder) -> None:
        self._cache = cache
        self._recorder = recorder
        self._queue = KeyQueue(loop, self._reconcile)
        cache.subscribe(DEPLOYMENT, self._on_deployment)
        cache.subscribe(POD, self._on_pod)

    def _on_deployment(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        reference = controller_of(pod)
        if reference and (reference["kind"], reference["apiVersion"]) == (DEPLOYMENT.kind, DEPLOYMENT.api_version):
            self._queue.add((pod["metadata"]["namespace"], reference["name"]))

    def _reconcile(self, key: Key) -> float | None:
        deployment = self._cache.find(DEPLOYMENT, *key)
        if deployment is None:
            return None
        plan = reconcile(deployment, self._cache.controlled(POD, deployment), datetime.now(UTC))
        for pod in plan.delete:
            self._cache.delete(POD, pod, propagation="Background")
            self._record_event(deployment, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        for _ in range(plan.create):
            self._create(deployment)
        self._cache.write_status(DEPLOYMENT, deployment, plan.status)
        return plan.requeue_after_seconds

    def _create(self, deployment: Object) -> None:
        template = deployment["spec"]["template"]
        pod = make_pod(DEPLOYMENT, deployment, template)
        present_hash = template_hash(template)
        pod["metadata"].setdefault("labels", {})[HASH_LABEL] = present_hash
        pod["metadata"]["generateName"] += present_hash + "-"
        try:
            made = self._cache.create(POD, pod)
        except ApiError as error:
            self._recorder.warn(DEPLOYMENT, deployment, "FailedCreate", f"Error creating: {error.message}")
            raise
        self._record_event(deployment, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def _record_event(self, deployment: Object, reason: str, message: str) -> None:
        self._recorder.normal(DEPLOYMENT, deployment, reason, message)
