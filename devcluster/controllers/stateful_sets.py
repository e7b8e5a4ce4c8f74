"""The StatefulSet controller: pods with ordinals, created in order or all at once.

See https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/. Pods have no volumes here, so
volumeClaimTemplates create no claims. A revision is the hash of the template.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from devcluster.controllers.cache import Cache
from devcluster.controllers.loop import Key, KeyQueue, Loop
from devcluster.controllers.metadata import controller_of, key_of
from devcluster.controllers.pods import available_in_seconds, is_active, is_deleting, is_terminal, make_pod
from devcluster.controllers.recorder import Recorder
from devcluster.controllers.workload_status import count, template_hash
from devcluster.errors import ApiError
from devcluster.kinds import POD, STATEFUL_SET
from devcluster.objects import Object

REVISION_LABEL = "controller-revision-hash"


@dataclass
class Plan:
    """One step: the ordinals to create pods for, the pods to delete, and the status to write."""

    status: Object
    create: list[int] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    requeue_after_seconds: float | None = None


def reconcile(stateful_set: Object, pods: Sequence[Object], now: datetime) -> Plan:
    """Decide the next step for a StatefulSet and the pods that it controls."""
    spec = stateful_set["spec"]
    update_revision = revision_of(stateful_set)
    active = [pod for pod in pods if is_active(pod)]
    plan = Plan(_status(stateful_set, active, update_revision, now))
    if stateful_set["metadata"].get("deletionTimestamp"):
        return plan
    first = (spec.get("ordinals") or {}).get("start", 0)
    wanted = range(first, first + spec.get("replicas", 1))
    by_ordinal = {_ordinal(pod): pod for pod in pods}
    min_ready_seconds: int = spec.get("minReadySeconds", 0)
    plan.requeue_after_seconds = count(active, min_ready_seconds, now).next_seconds

    def is_settled(pod: Object) -> bool:
        return is_active(pod) and available_in_seconds(pod, min_ready_seconds, now) == 0

    ended = [pod for pod in pods if is_terminal(pod) and not is_deleting(pod)]
    missing = [ordinal for ordinal in wanted if ordinal not in by_ordinal]
    surplus = [by_ordinal[ordinal] for ordinal in sorted(by_ordinal, reverse=True) if ordinal not in wanted]
    unsettled = [ordinal for ordinal in wanted if ordinal in missing or not is_settled(by_ordinal[ordinal])]
    if spec.get("podManagementPolicy") == "Parallel":
        plan.create = missing
        plan.delete = ended + [pod for pod in surplus if is_active(pod)]
    elif unsettled:
        plan.create = [ordinal for ordinal in unsettled[:1] if ordinal in missing]
        plan.delete = ended
    else:
        plan.delete = ended + [pod for pod in surplus[:1] if is_active(pod)]
    if not (missing or surplus or ended):
        plan.delete = _outdated(spec, [by_ordinal[ordinal] for ordinal in wanted], update_revision, is_settled)
    return plan


def revision_of(stateful_set: Object) -> str:
    """Return the name of the current template's revision."""
    return f"{stateful_set['metadata']['name']}-{template_hash(stateful_set['spec']['template'])}"


def _outdated(spec: Object, pods: list[Object], revision: str, is_settled: Callable[[Object], bool]) -> list[Object]:
    """Return the pod that a rolling update replaces next, as a list.

    It is the highest outdated ordinal, once all pods above it are settled.
    """
    strategy: Object = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    partition: int = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    for pod in reversed(pods):
        if _ordinal(pod) < partition:
            return []
        if pod["metadata"]["labels"].get(REVISION_LABEL) != revision:
            return [pod] if is_active(pod) else []
        if not is_settled(pod):
            return []
    return []


def _status(stateful_set: Object, active: list[Object], update_revision: str, now: datetime) -> Object:
    old: Object = stateful_set.get("status") or {}
    every = count(active, stateful_set["spec"].get("minReadySeconds", 0), now)
    updated = sum(1 for pod in active if pod["metadata"]["labels"].get(REVISION_LABEL) == update_revision)
    # The current revision is that of the last update that reached all pods.
    current_revision = old.get("currentRevision") or update_revision
    if updated == every.total == stateful_set["spec"].get("replicas", 1):
        current_revision = update_revision
    current = sum(1 for pod in active if pod["metadata"]["labels"].get(REVISION_LABEL) == current_revision)
    numbers = {"readyReplicas": every.ready, "currentReplicas": current, "updatedReplicas": updated}
    return {
        "observedGeneration": stateful_set["metadata"]["generation"],
        "replicas": every.total,
        "availableReplicas": every.available,
        "currentRevision": current_revision,
        "updateRevision": update_revision,
        "collisionCount": 0,
        **{name: number for name, number in numbers.items() if number},
    }


def _ordinal(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])


class StatefulSetController:
    """Brings each StatefulSet's pods and status in line with its spec."""

    def __init__(self, cache: Cache, loop: Loop, recorder: Recorder) -> None:
        self._cache = cache
        self._recorder = recorder
        self._queue = KeyQueue(loop, self._reconcile)
        cache.subscribe(STATEFUL_SET, self._on_stateful_set)
        cache.subscribe(POD, self._on_pod)

    def _on_stateful_set(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.add(key_of(new))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        reference = controller_of(pod)
        if reference and (reference["kind"], reference["apiVersion"]) == (STATEFUL_SET.kind, STATEFUL_SET.api_version):
            self._queue.add((pod["metadata"]["namespace"], reference["name"]))

    def _reconcile(self, key: Key) -> float | None:
        stateful_set = self._cache.find(STATEFUL_SET, *key)
        if stateful_set is None:
            return None
        plan = reconcile(stateful_set, self._cache.controlled(POD, stateful_set), datetime.now(UTC))
        for pod in plan.delete:
            self._cache.delete(POD, pod, propagation="Background")
            self._record_event(stateful_set, "SuccessfulDelete", "delete", pod["metadata"]["name"])
        for ordinal in plan.create:
            self._create(stateful_set, ordinal)
        self._cache.write_status(STATEFUL_SET, stateful_set, plan.status)
        return plan.requeue_after_seconds

    def _create(self, stateful_set: Object, ordinal: int) -> None:
        name = f"{stateful_set['metadata']['name']}-{ordinal}"
        pod = make_pod(STATEFUL_SET, stateful_set, stateful_set["spec"]["template"], name)
        pod["metadata"].setdefault("labels", {}).update(
            {
                REVISION_LABEL: revision_of(stateful_set),
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(ordinal),
            }
        )
        pod["spec"].update(hostname=name, subdomain=stateful_set["spec"].get("serviceName", ""))
        try:
            self._cache.create(POD, pod)
        except ApiError as error:
            set_name = stateful_set["metadata"]["name"]
            message = f"create Pod {name} in StatefulSet {set_name} failed error: {error.message}"
            self._recorder.warn(STATEFUL_SET, stateful_set, "FailedCreate", message)
            raise
        self._record_event(stateful_set, "SuccessfulCreate", "create", name)

    def _record_event(self, stateful_set: Object, reason: str, verb: str, pod_name: str) -> None:
        message = f"{verb} Pod {pod_name} in StatefulSet {stateful_set['metadata']['name']} successful"
        self._recorder.normal(STATEFUL_SET, stateful_set, reason, message)
