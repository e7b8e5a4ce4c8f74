"""Why a queued run waits, for the dispatcher's Events and for callers that read a run."""

from collections.abc import Mapping, Sequence
from enum import Enum

from app.domain.readiness import Readiness
from app.domain.run import Run


class PendingReason(Enum):
    """Why a queued run waits; the values are the reasons of its Events."""

    DEFINITION_MISSING = "DefinitionMissing"
    DEPENDENCIES_NOT_READY = "WaitingForDependencies"
    NO_FREE_SLOT = "WaitingForSlot"
    NOTHING = "Admissible"


def find_pending_reason(
    definition: str, admitted: int, slots: Mapping[str, int], unready: Sequence[Readiness]
) -> PendingReason:
    """Return the first thing that a queued run waits for. A slot comes last: only a run that could use one gets it.

    Args:
        definition: the run's.
        admitted: how many runs of the definition hold a slot.
        slots: by definition.
        unready: the run's dependencies that are not ready.
    """
    if definition not in slots:
        return PendingReason.DEFINITION_MISSING
    if unready:
        return PendingReason.DEPENDENCIES_NOT_READY
    return PendingReason.NO_FREE_SLOT if admitted >= slots[definition] else PendingReason.NOTHING


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
    reason = find_pending_reason(run.definition, admitted, slots, unready)
    limit = slots.get(run.definition, 0)
    match reason:
        case PendingReason.DEFINITION_MISSING:
            return reason, f"the configuration has no definition {run.definition} any more"
        case PendingReason.DEPENDENCIES_NOT_READY:
            details = ", ".join(f"{dependency.name} ({dependency.detail})" for dependency in unready)
            return reason, f"waits for {details}"
        case PendingReason.NO_FREE_SLOT:
            return reason, f"waits for a slot: {admitted} of {limit} in use"
        case PendingReason.NOTHING:
            return reason, f"about to start: {admitted} of {limit} slots in use"
