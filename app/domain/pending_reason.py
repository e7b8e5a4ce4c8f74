"""Why a queued run waits, for the dispatcher's Events and for callers that read a run.

Why an admitted run does not start, such as an image that can't be pulled: `app/runs/run_status.py`.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

from app.domain.readiness import Readiness
from app.domain.run import Run


class PendingReason(Enum):
    """Why a queued run waits; the values are the reasons of its Events."""

    DEFINITION_MISSING = "DefinitionMissing"
    HELD = "Held"
    MANAGED_ELSEWHERE = "ManagedByOther"
    DEPENDENCIES_NOT_READY = "WaitingForDependencies"
    NO_FREE_SLOT = "WaitingForSlot"
    NOTHING = "Admissible"
    SCHEDULE_REFUSED = "ScheduleRefused"
    """The definition does not allow any more what the schedule of the run asks for."""
    REFUSED = "AdmissionRefused"
    """The cluster refuses to start it. Only the dispatcher that tried knows."""
    SUSPENDED_AGAIN = "SuspendedAgain"
    """Somebody has suspended it after it was started. Unless it was Kueue, only the dispatcher that saw it knows."""
    QUEUE_TIMEOUT = "QueueTimeout"
    """It was queued for too long and is ended. Unless Kueue undid that, only the dispatcher that ended it knows."""
    NOTIFICATION_GIVEN_UP = "NotificationGivenUp"
    """It has ended, and its receiver could not be told. Only the dispatcher that tried knows."""


def find_pending_reason(
    run: Run, admitted: int, slots: Mapping[str, int], unready: Sequence[Readiness]
) -> PendingReason:
    """Return the first thing that a queued run waits for. A slot comes last: only a run that could use one gets it.

    Args:
        run: queued.
        admitted: how many runs of the definition hold a slot.
        slots: by definition.
        unready: the run's dependencies that are not ready.
    """
    if run.definition not in slots:
        return PendingReason.DEFINITION_MISSING
    if run.held:
        return PendingReason.HELD
    if run.managed_elsewhere:
        return PendingReason.MANAGED_ELSEWHERE
    if unready:
        return PendingReason.DEPENDENCIES_NOT_READY
    if run.undone_by_kueue:
        return explain_undone(run)[0]
    return PendingReason.NO_FREE_SLOT if admitted >= slots[run.definition] else PendingReason.NOTHING


def explain(
    run: Run, admitted: int, slots: Mapping[str, int], unready: Sequence[Readiness]
) -> tuple[PendingReason, str]:
    """Say why a queued run waits.

    Args:
        run: queued.
        admitted: how many runs of its definition hold a slot.
        slots: by definition.
        unready: the run's dependencies that are not ready.

    Returns:
        The reason, and a sentence for people: each unready dependency with its replicas, or the slots in use.
    """
    reason = find_pending_reason(run, admitted, slots, unready)
    limit = slots.get(run.definition, 0)
    match reason:
        case PendingReason.DEFINITION_MISSING:
            return reason, f"the configuration has no definition {run.definition} any more"
        case PendingReason.HELD:
            return reason, "is held by its annotation slimfaas.dev/hold"
        case PendingReason.MANAGED_ELSEWHERE:
            return reason, "its spec.managedBy names another controller, which has to start it"
        case PendingReason.DEPENDENCIES_NOT_READY:
            details = ", ".join(f"{dependency.name} ({dependency.detail})" for dependency in unready)
            return reason, f"waits for {details}"
        case PendingReason.SUSPENDED_AGAIN | PendingReason.QUEUE_TIMEOUT:
            return explain_undone(run)
        case PendingReason.NO_FREE_SLOT:
            return reason, f"waits for a slot: {admitted} of {limit} in use"
        case _:
            return reason, f"about to start: {admitted} of {limit} slots in use"


SCHEDULE_REFUSED_MESSAGE = (
    "its definition does not allow any more what its schedule asks for; the schedule says why. Delete the run and the "
    "schedule, or allow it again"
)

_UNDONE_START = (
    "was started, and Kueue has suspended it, because Kueue manages Jobs without a queue here "
    "(manageJobsWithoutQueueName). It keeps its place. Runs of its definition are started again after a pause of 1 to "
    "5 minutes. Give this Job the label kueue.x-k8s.io/queue-name, and its definition a Queue for further runs"
)
_UNDONE_END = (
    "was queued for too long, and Kueue has undone its end, because Kueue manages Jobs without a queue here "
    "(manageJobsWithoutQueueName). Delete the run"
)


def explain_undone(run: Run) -> tuple[PendingReason, str]:
    """Say what Kueue has undone of a queued run that has no queue of Kueue."""
    if run.undone_by_kueue == "end":
        return PendingReason.QUEUE_TIMEOUT, _UNDONE_END
    return PendingReason.SUSPENDED_AGAIN, _UNDONE_START
