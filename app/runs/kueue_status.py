"""What Kueue says about runs that were handed to it and do not run: why they wait, or why they were stopped."""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from app.common.types import Json
from app.domain.run import Run
from app.kube import labels
from app.kube.attempts import cut
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ForbiddenError, NotServedError
from app.kube.parsing import find_condition, read_reason

log = logging.getLogger(__name__)

WAITING_FOR_KUEUE = "WaitingForKueue"
"""The reason of a run of which Kueue has said nothing yet, or nothing that the service may read."""

_GATED = "AdmissionGated"
_NOT_ADMISSIBLE = ("Inadmissible", "Misconfigured", "Suspended")
"""Kueue's reasons. The last two stand for the first one if Kueue's feature UnadmittedWorkloadsObservability is on."""

_WAITING_FOR_QUOTA = "WaitingForQuota"
_INADMISSIBLE = "Inadmissible"
_WAITING_FOR_CHECKS = "WaitingForAdmissionChecks"
_PREEMPTED = "Preempted"
_EVICTED = "Evicted"
_DEACTIVATED = "Deactivated"
_GIVEN_UP = "GivenUpByKueue"

_NO_RIGHT = "why is not known, because the service may not read Workloads (k8s/components/kueue grants that)"
_NO_KUEUE = "the API server serves no Workloads of kueue.x-k8s.io/v1beta2: is Kueue installed, and new enough?"
_NO_ANSWER = "why is not known, because Workloads can't be read now"
_NO_WORKLOAD = (
    "Kueue has made no Workload for it yet. If that stays so, Kueue does not run, does not manage this namespace, or "
    "has no class of the name in Priority"
)


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

    This makes one call for each hundred of them, and none if there are none. If a call fails, the statuses say so: what
    Kueue says is not worth hiding the runs.
    """
    queues = {run.uid: run.local_queue for run in runs if run.awaits_kueue}
    if not queues:
        return {}
    said: dict[str, KueueStatus] = {}
    nothing = _NO_WORKLOAD
    try:
        for workload in chain.from_iterable(map(client.objects, client.kueue_workloads_of(list(queues)))):
            uid = (workload["metadata"].get("labels") or {}).get(labels.WORKLOAD_JOB_LABEL)
            if uid in queues:
                said[uid] = explain_workload(workload, queues[uid])
    except ForbiddenError:
        nothing = _NO_RIGHT
    except NotServedError:
        nothing = _NO_KUEUE
    except ClusterError as error:
        log.warning("why Kueue lets runs wait can't be read: %s", error)
        nothing = _NO_ANSWER
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
    waiting = find_condition(workload, ("QuotaReserved",), "False")
    why = cut((waiting or {}).get("message"))
    finished = find_condition(workload, ("Finished",))
    if finished is not None:
        text = f"Kueue's queue {local_queue} has given it up, and starts it no more; cancel it"
        return KueueStatus(_GIVEN_UP, _join(text, read_reason(finished.get("reason")), cut(finished.get("message"))))
    evicted = find_condition(workload, ("Evicted",))
    if evicted is not None:
        reason, message = read_reason(evicted.get("reason")), cut(evicted.get("message"))
        if reason == _PREEMPTED:
            return KueueStatus(_PREEMPTED, _join(f"was preempted; waits for Kueue's queue {local_queue}", message, why))
        if reason.startswith("Deactivated") and not (workload.get("spec") or {}).get("active", True):
            text = f"was deactivated in Kueue's queue {local_queue}, and starts only if its Workload is activated"
            return KueueStatus(_DEACTIVATED, _join(text, message))
        return KueueStatus(_EVICTED, _join(f"was evicted; waits for Kueue's queue {local_queue}", reason, message, why))
    if find_condition(workload, ("Admitted",)) is not None:
        return KueueStatus("Starting", f"Kueue's queue {local_queue} has admitted it, and is about to start it")
    if find_condition(workload, ("QuotaReserved",)) is not None:
        text = f"has quota in Kueue's queue {local_queue}, and waits for admission checks"
        return KueueStatus(_WAITING_FOR_CHECKS, _join(text, *_list_unready_checks(workload)))
    if waiting is None:  # Kueue looks at the first Workloads of a queue only
        return KueueStatus(_WAITING_FOR_QUOTA, f"waits for its turn in Kueue's queue {local_queue}")
    reason = str(waiting.get("reason"))
    told = _INADMISSIBLE if reason in _NOT_ADMISSIBLE else WAITING_FOR_KUEUE if reason == _GATED else _WAITING_FOR_QUOTA
    return KueueStatus(told, _join(f"waits for Kueue's queue {local_queue}", why))


def _list_unready_checks(workload: Json) -> Iterator[str]:
    for check in (workload.get("status") or {}).get("admissionChecks") or ():
        if check.get("state") != "Ready":
            yield cut(f"{check.get('name')} ({check.get('state')}): {check.get('message') or 'no message'}")


def _join(*parts: str) -> str:
    return cut("; ".join(filter(None, parts)))
