"""What Kueue says about runs that were handed to it and do not run: why they wait, or why they were stopped."""

from collections.abc import Iterable
from typing import NamedTuple

from app.common.types import Json
from app.domain.run import Run
from app.kube import labels
from app.kube.attempts import cut
from app.kube.client import NamespacedClient
from app.kube.errors import ForbiddenError, NotServedError
from app.kube.parsing import find_condition, read_reason

WAITING_FOR_KUEUE = "WaitingForKueue"
"""The reason of a run of which Kueue has said nothing yet, or nothing that the service may read."""

_WAITING_FOR_QUOTA = "WaitingForQuota"
_WAITING_FOR_CHECKS = "WaitingForAdmissionChecks"
_PREEMPTED = "Preempted"
_EVICTED = "Evicted"

_NO_RIGHT = "why is not known, because the service may not read Workloads (k8s/components/kueue grants that)"
_NO_KUEUE = "the cluster has no Kueue"
_NO_WORKLOAD = "Kueue has made no Workload for it"


class KueueStatus(NamedTuple):
    """Why a run that was handed to Kueue does not run.

    Attributes:
        reason: one word for programs.
        message: text for people.
    """

    reason: str
    message: str


def find_kueue_statuses(client: NamespacedClient, runs: Iterable[Run]) -> dict[str, KueueStatus]:
    """Return what Kueue says about those of these runs that are with it, by their uids.

    This makes one call if there are any, and else none.

    Raises:
        ClusterError: the call to the API server failed. That it knows no Workloads, or that the service may not read
            them, is no failure.
    """
    queues = {run.uid: run.local_queue for run in runs if run.with_kueue}
    if not queues:
        return {}
    said: dict[str, KueueStatus] = {}
    nothing = _NO_WORKLOAD
    try:
        for workload in client.objects(client.kueue_workloads_of(list(queues))):
            uid = (workload["metadata"].get("labels") or {}).get(labels.WORKLOAD_JOB_LABEL)
            if uid in queues:
                said[uid] = explain_workload(workload, queues[uid])
    except ForbiddenError:
        nothing = _NO_RIGHT
    except NotServedError:
        nothing = _NO_KUEUE
    return {uid: said.get(uid) or explain_silence(queue, nothing) for uid, queue in queues.items()}


def explain_silence(local_queue: str, why: str = "") -> KueueStatus:
    """Say that a run waits for Kueue, and nothing else is known; `why`: why that is so, if anything."""
    return KueueStatus(WAITING_FOR_KUEUE, f"was handed to Kueue's queue {local_queue}{why and '; '}{why}")


def explain_workload(workload: Json, local_queue: str) -> KueueStatus:
    """Say why Kueue does not let a run's Job run.

    https://kueue.sigs.k8s.io/docs/concepts/workload/

    Args:
        workload: the run's, in `kueue.x-k8s.io/v1beta2`.
        local_queue: that the run was handed to.
    """
    evicted = find_condition(workload, ("Evicted",))
    if evicted is not None:
        reason = _PREEMPTED if evicted.get("reason") == _PREEMPTED else _EVICTED
        what = read_reason(evicted.get("reason")) if reason == _EVICTED else ""
        text = f"Kueue has stopped it, and starts it again when queue {local_queue} has quota"
        return KueueStatus(reason, "; ".join(filter(None, (text, what, cut(evicted.get("message"))))))
    if find_condition(workload, ("Admitted",)) is not None:
        return KueueStatus("Starting", f"Kueue's queue {local_queue} has admitted it, and is about to start it")
    if find_condition(workload, ("QuotaReserved",)) is not None:
        return KueueStatus(_WAITING_FOR_CHECKS, f"has quota in Kueue's queue {local_queue}, and waits for its checks")
    waiting = find_condition(workload, ("QuotaReserved",), "False")
    if waiting is None:
        return explain_silence(local_queue)
    text = f"waits for quota of Kueue's queue {local_queue}"
    return KueueStatus(_WAITING_FOR_QUOTA, "; ".join(filter(None, (text, cut(waiting.get("message"))))))
